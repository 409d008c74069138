"""One file with all weights, from a checkpoint of any layout and precision."""

from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp

from triad.consolidate import consolidate


def saved(run: Path, weights: dict[str, torch.Tensor], step: int) -> None:
    path = run / "checkpoints" / f"step-{step:08d}"
    dcp.save({"model": weights, "optimizer": {"state.a.step": torch.ones(())}}, checkpoint_id=path)
    (path / "manifest.json").write_text("{}")


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_the_file_holds_every_weight_by_name_in_fp32_and_nothing_else(tmp_path: Path) -> None:
    weights = {"a": torch.randn(3, 2, dtype=torch.bfloat16), "b.weight": torch.randn(4, dtype=torch.float64)}
    saved(tmp_path, weights, step=2)
    consolidate(str(tmp_path), step=2)
    found = torch.load(tmp_path / "model.pt", weights_only=True)
    assert found.keys() == weights.keys()
    for name, weight in weights.items():
        torch.testing.assert_close(found[name], weight.float(), rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_a_step_that_was_not_kept_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, {"a": torch.ones(1)}, step=2)
    with pytest.raises(FileNotFoundError, match="step 3"):
        consolidate(str(tmp_path), step=3)
