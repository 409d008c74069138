"""One file with all weights, from a checkpoint of any layout and precision."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from tests.checkpoints.written import written
from triad.export import export

WEIGHTS = {
    "a": torch.randn(3, 5, dtype=torch.bfloat16),
    "b.weight": torch.randn(4, 7),
    "b.bias": torch.randn(1, dtype=torch.float64),
    "steps": torch.tensor(3),
}


def same(found: dict[str, torch.Tensor]) -> None:
    assert found.keys() == WEIGHTS.keys()
    for name, weight in WEIGHTS.items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=0)


def test_one_safetensors_file_holds_every_weight_by_name_and_nothing_else(tmp_path: Path) -> None:
    written(tmp_path, 2, weights=WEIGHTS)
    export(str(tmp_path))
    same(load_file(tmp_path / "model.safetensors"))
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
    assert not list(tmp_path.glob("*.tmp"))


def test_one_torch_file_holds_the_same(tmp_path: Path) -> None:
    written(tmp_path, 2, weights=WEIGHTS)
    export(str(tmp_path), to="torch")
    same(torch.load(tmp_path / "model.pt", weights_only=True))


def test_what_is_too_large_for_one_file_is_spread_over_several_with_an_index(tmp_path: Path) -> None:
    written(tmp_path, 2, weights=WEIGHTS)
    export(str(tmp_path), largest_bytes=112)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 3 * 5 * 2 + 4 * 7 * 4 + 8 + 8
    assert sorted(set(index["weight_map"].values())) == [
        f"model-{n:05d}-of-00003.safetensors" for n in (1, 2, 3)
    ]
    same({name: load_file(tmp_path / file)[name] for name, file in index["weight_map"].items()})


def test_an_average_is_exported_by_its_name_and_what_is_not_there_is_refused(tmp_path: Path) -> None:
    average = {name: weight + 1 for name, weight in WEIGHTS.items()}
    written(tmp_path, 2, weights=WEIGHTS, ema=average)
    export(str(tmp_path), weights="ema")
    torch.testing.assert_close(load_file(tmp_path / "model-ema.safetensors")["b.weight"], average["b.weight"])
    with pytest.raises(ValueError, match="holds no weights=swa, only ema, model"):
        export(str(tmp_path), weights="swa")


def test_what_is_validated_is_exported_unless_the_weights_are_named(tmp_path: Path) -> None:
    average = {name: weight + 1 for name, weight in WEIGHTS.items()}
    written(tmp_path, 2, weights=WEIGHTS, validated="ema", ema=average)
    export(str(tmp_path))
    torch.testing.assert_close(load_file(tmp_path / "model.safetensors")["b.weight"], average["b.weight"])
    export(str(tmp_path), weights="model")
    same(load_file(tmp_path / "model.safetensors"))


def test_a_step_is_chosen_and_one_that_was_not_kept_is_refused(tmp_path: Path) -> None:
    written(tmp_path, 2)
    written(tmp_path, 4)
    export(str(tmp_path), checkpoint="2")
    assert load_file(tmp_path / "model.safetensors")["a"].unique().item() == 2
    with pytest.raises(FileNotFoundError, match="checkpoint=3 is there"):
        export(str(tmp_path), checkpoint="3")


def test_an_export_that_breaks_off_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, 2, weights=WEIGHTS)
    export(str(tmp_path), largest_bytes=112)
    before = {path: path.read_bytes() for path in tmp_path.glob("model*")}
    loads = iter((None, None))

    def break_off(*_: object) -> None:
        if next(loads, "end") == "end":
            raise OSError("no space left")

    monkeypatch.setattr("triad.checkpoints.tensors.load_tensors", break_off)
    with pytest.raises(OSError, match="no space left"):
        export(str(tmp_path), largest_bytes=112)
    assert {path: path.read_bytes() for path in tmp_path.glob("model*")} == before
