"""The mean of checkpoints equals the mean by hand."""

from pathlib import Path

import pytest
import torch

from tests.checkpoints.written import written
from triad.average import average
from triad.checkpoints.folder import find_checkpoint, find_validated
from triad.checkpoints.tensors import read_weights
from triad.config.errors import Refusal


def drawn(run: Path, steps: int) -> list[dict[str, torch.Tensor]]:
    """Random weights as the checkpoints of a run."""
    found = [{"a": torch.randn(5, 3), "b.weight": torch.randn(4)} for _ in range(steps)]
    for step, model in enumerate(found, 1):
        written(run, step, weights=model)
    return found


def test_the_last_three_of_a_run_are_averaged_as_by_hand(tmp_path: Path) -> None:
    models = drawn(tmp_path / "a", steps=4)
    average(str(tmp_path / "a"), last=3)
    found = read_weights(find_checkpoint(tmp_path / "a-average"))
    for name in ("a", "b.weight"):
        by_hand = torch.stack([model[name] for model in models[1:]]).double().mean(0).float()
        torch.testing.assert_close(found[name], by_hand, rtol=0, atol=0)


def test_named_checkpoints_of_several_runs_are_averaged(tmp_path: Path) -> None:
    first, second = drawn(tmp_path / "a", steps=2), drawn(tmp_path / "b", steps=1)
    step = tmp_path / "a" / "checkpoints" / "step-00000001"
    average(f"{step},{tmp_path / 'b'}", to=str(tmp_path / "both"))
    found = read_weights(find_checkpoint(tmp_path / "both"))
    torch.testing.assert_close(found["a"], (first[0]["a"] + second[0]["a"]) / 2)


def test_checkpoints_are_averaged_by_the_weights_that_each_was_validated_with(tmp_path: Path) -> None:
    drawn(tmp_path / "a", steps=1)
    kept = {"a": torch.ones(5, 3), "b.weight": torch.ones(4)}
    path = written(tmp_path / "a", 2, weights=kept, validated="ema", ema={k: 3 * v for k, v in kept.items()})
    average(f"{tmp_path / 'a'},{path}", to=str(tmp_path / "both"))
    assert torch.equal(read_weights(find_checkpoint(tmp_path / "both"))["a"], torch.full((5, 3), 3.0))
    assert find_validated(find_checkpoint(tmp_path / "both")) == "model"


def test_more_than_are_kept_another_model_and_a_folder_that_is_there_are_refused(tmp_path: Path) -> None:
    drawn(tmp_path / "a", steps=2)
    with pytest.raises(Refusal, match="keeps 2 checkpoints"):
        average(str(tmp_path / "a"), last=3)
    written(tmp_path / "b", 1, weights={"a": torch.zeros(5, 4), "b.weight": torch.zeros(4)})
    with pytest.raises(Refusal, match="its a is not like that of"):
        average(f"{tmp_path / 'a'},{tmp_path / 'b'}")
    (tmp_path / "a-average").mkdir()
    with pytest.raises(Refusal, match="it exists"):
        average(str(tmp_path / "a"), last=2)
