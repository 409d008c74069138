"""Checkpoints: whole or not there, verified, and rotated without losing the best."""

import json
from pathlib import Path

import pytest
import torch

from triad.callbacks.checkpoint import Checkpoint, checksum, complete, damage, load_model, newest
from triad.run import write


def written(folder: Path, step: int, metric: float | None = None) -> Path:
    path = folder / f"step-{step:08d}"
    path.mkdir(parents=True)
    (path / "__0_0.distcp").write_bytes(bytes([step % 256]) * 100)
    files = {"__0_0.distcp": checksum(path / "__0_0.distcp")}
    write(path / "manifest.json", {"step": step, "metric": metric, "callbacks": {}, "files": files})
    return path


def test_a_folder_without_manifest_and_one_still_being_written_are_no_checkpoints(tmp_path: Path) -> None:
    whole = written(tmp_path, 1)
    (written(tmp_path, 2) / "manifest.json").unlink()
    written(tmp_path, 3).rename(tmp_path / "step-00000003.tmp")
    assert complete(tmp_path) == [whole]


def test_the_newest_whole_one_is_found(tmp_path: Path) -> None:
    assert newest(tmp_path) is None
    written(tmp_path, 5)
    later = written(tmp_path, 10)
    assert newest(tmp_path) == later


@pytest.mark.parametrize("harm", ["truncated", "flipped", "missing", "manifest"])
def test_damage_is_seen_and_the_one_before_is_taken(tmp_path: Path, harm: str) -> None:
    good, bad = written(tmp_path, 5), written(tmp_path, 10)
    file = bad / "__0_0.distcp"
    match harm:
        case "truncated":
            file.write_bytes(file.read_bytes()[:-1])
        case "flipped":
            file.write_bytes(b"\x00" + file.read_bytes()[1:])
        case "missing":
            file.unlink()
        case "manifest":
            (bad / "manifest.json").write_text("{")
    assert damage(bad)
    with pytest.warns(UserWarning, match="step-00000010"):
        assert newest(tmp_path) == good


def test_when_none_is_whole_nothing_is_loaded_silently(tmp_path: Path) -> None:
    (written(tmp_path, 5) / "__0_0.distcp").unlink()
    with (
        pytest.warns(UserWarning, match="missing"),
        pytest.raises(ValueError, match="no checkpoint there is whole"),
    ):
        newest(tmp_path)


def test_the_last_ones_and_the_best_are_kept(tmp_path: Path) -> None:
    callback = Checkpoint(tmp_path, every_steps=1, keep=2, monitor="val/loss")
    for step, metric in ((1, 3.0), (2, 1.0), (3, 2.0), (4, None), (5, 2.5)):
        written(callback.folder, step, metric)
        callback._rotate()
    assert [path.name[-1] for path in complete(callback.folder)] == ["2", "4", "5"]


def test_a_checkpoint_of_another_model_is_refused_in_one_sentence(tmp_path: Path) -> None:
    import torch.distributed.checkpoint as dcp

    path = tmp_path / "step-00000001"
    with pytest.warns(UserWarning, match="single process"):
        dcp.save({"model": torch.nn.Linear(3, 4).state_dict()}, checkpoint_id=str(path), no_dist=True)
    with pytest.raises(ValueError, match="does not fit this model"):
        load_model(path, torch.nn.Linear(3, 5))


def test_the_manifest_names_every_file_with_its_checksum(tmp_path: Path) -> None:
    path = written(tmp_path, 7)
    manifest = json.loads((path / "manifest.json").read_text())
    assert set(manifest["files"]) == {file.name for file in path.iterdir()} - {"manifest.json"}
