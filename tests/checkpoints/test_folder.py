"""Checkpoints: whole or not there, verified, and rotated without losing the best."""

import errno
import fcntl
import json
import os
from pathlib import Path

import pytest
import torch

from tests.checkpoints.written import written
from tests.storage.test_locks import FILE_SYSTEMS, answer
from triad.checkpoints import folder
from triad.checkpoints.folder import (
    describe_checkpoint,
    find_checkpoint,
    keep_while_reading,
    list_complete,
    read_facts,
    read_step,
    rotate,
    sweep_leftovers,
)
from triad.checkpoints.tensors import find_misfit, load_model, read_shapes


def tear(path: Path) -> Path:
    """Cut a shard short, as a machine does that loses its power."""
    file = path / "__0_0.distcp"
    file.write_bytes(file.read_bytes()[:-1])
    return path


def test_a_folder_without_manifest_and_one_still_being_written_are_no_checkpoints(tmp_path: Path) -> None:
    whole = written(tmp_path, 1)
    (written(tmp_path, 2) / "manifest.json").unlink()
    written(tmp_path, 3).rename(tmp_path / "checkpoints" / "step-00000003.tmp")
    assert list_complete(tmp_path / "checkpoints") == [whole]


def test_the_newest_whole_one_is_found_by_its_run_by_its_step_and_by_its_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no checkpoint is there"):
        find_checkpoint(tmp_path)
    earlier, later = written(tmp_path, 5), written(tmp_path, 10)
    assert find_checkpoint(tmp_path) == find_checkpoint(tmp_path, 10) == find_checkpoint(later) == later
    assert find_checkpoint(tmp_path, 5) == earlier


def test_a_step_that_was_not_kept_is_refused_with_those_that_were(tmp_path: Path) -> None:
    written(tmp_path, 5)
    with pytest.raises(FileNotFoundError, match="3 is there; use best, last, or a step that is kept: 5"):
        find_checkpoint(tmp_path, 3)
    with pytest.raises(FileNotFoundError, match="checkpoint=bset is there; use best"):
        find_checkpoint(tmp_path, "bset")
    with pytest.raises(FileNotFoundError, match="no checkpoint is there"):
        find_checkpoint(tmp_path / "elsewhere")


def test_the_best_is_by_the_metric_in_its_own_direction_and_the_last_where_none_was_measured(
    tmp_path: Path,
) -> None:
    for name, better, best in (("loss", "lower", 2), ("accuracy", "higher", 1)):
        for step, metric in ((1, 0.9), (2, 0.1), (3, 0.5), (4, None), (5, float("nan"))):
            written(tmp_path / name, step, metric, better=better, name=f"val/{name}")
        assert read_step(find_checkpoint(tmp_path / name, "best")) == best
        assert read_step(find_checkpoint(tmp_path / name, "last")) == 5
    written(tmp_path / "unmeasured", 1)
    last = written(tmp_path / "unmeasured", 2)
    assert find_checkpoint(tmp_path / "unmeasured", "best") == last
    assert "the last, none that is kept was validated; weights: model" in describe_checkpoint(last)


def test_a_damaged_best_one_is_passed_over_with_a_warning_for_the_next_best(tmp_path: Path) -> None:
    paths = [written(tmp_path, step, metric) for step, metric in ((1, 0.5), (2, 0.1), (3, 0.3), (4, 0.9))]
    (paths[1] / "__0_0.distcp").unlink()
    with pytest.warns(UserWarning, match="step-00000002: __0_0.distcp is missing"):
        assert find_checkpoint(tmp_path, "best") == paths[2]


def test_a_checkpoint_is_named_by_its_folder_but_not_by_one_of_another_run(tmp_path: Path) -> None:
    path, other = written(tmp_path / "a", 1), written(tmp_path / "b", 1)
    assert find_checkpoint(tmp_path / "a", path) == find_checkpoint(tmp_path / "a", path.name) == path
    with pytest.raises(ValueError, match="it lies in another folder"):
        find_checkpoint(tmp_path / "a", str(other))


def test_one_line_says_which_checkpoint_and_which_weights_are_taken(tmp_path: Path) -> None:
    best, last = written(tmp_path, 1, 0.25, validated="ema"), written(tmp_path, 2, 0.5, validated="ema")
    assert describe_checkpoint(best) == f"{tmp_path}: step 1, the best of 2 by val/loss 0.25; weights: ema"
    assert describe_checkpoint(last, "model").endswith(
        ": step 2, val/loss 0.5, the last, the best is step 1; weights: model, where validation measured ema"
    )


def test_when_none_is_whole_nothing_is_loaded_silently(tmp_path: Path) -> None:
    (written(tmp_path, 5) / "__0_0.distcp").unlink()
    with (
        pytest.warns(UserWarning, match="__0_0.distcp is missing"),
        pytest.raises(ValueError, match="none of its checkpoints will do"),
    ):
        find_checkpoint(tmp_path)


def test_the_last_ones_and_the_best_are_kept(tmp_path: Path) -> None:
    for step, metric in ((1, 3.0), (2, 1.0), (3, 2.0), (4, None), (5, 2.5)):
        written(tmp_path, step, metric, keep=2)
    assert [read_facts(path)["step"] for path in list_complete(tmp_path / "checkpoints")] == [2, 4, 5]


def test_the_best_is_the_highest_where_higher_is_better_and_never_what_is_no_number(tmp_path: Path) -> None:
    for step, metric in ((1, float("nan")), (2, 0.5), (3, 0.9), (4, 0.7), (5, 0.1)):
        written(tmp_path, step, metric, keep=1, better="higher", name="val/accuracy")
    assert [read_facts(path)["step"] for path in list_complete(tmp_path / "checkpoints")] == [3, 5]


def test_what_another_metric_said_before_a_resume_counts_no_more(tmp_path: Path) -> None:
    for step, metric in ((1, 3.0), (2, 1.0)):
        written(tmp_path, step, metric)
    for step, metric in ((3, 0.5), (4, 0.2)):
        written(tmp_path, step, metric, keep=1, better="higher", name="val/accuracy")
    assert [read_facts(path)["step"] for path in list_complete(tmp_path / "checkpoints")] == [3, 4]


def test_a_torn_one_is_neither_among_the_last_nor_the_best(tmp_path: Path) -> None:
    for step, metric in ((1, 3.0), (2, 2.0), (3, 4.0), (4, 5.0)):
        written(tmp_path, step, metric)
    tear(tmp_path / "checkpoints" / "step-00000004")
    (tmp_path / "checkpoints" / "step-00000003" / "manifest.json").write_text("{")
    rotate(tmp_path / "checkpoints", keep=1)
    with pytest.warns(UserWarning, match="trying the checkpoint before it"):
        assert find_checkpoint(tmp_path) == tmp_path / "checkpoints" / "step-00000002"


def test_what_is_being_read_is_not_forgotten(tmp_path: Path) -> None:
    read, later = written(tmp_path, 1), written(tmp_path, 2)
    with keep_while_reading(read):
        rotate(tmp_path / "checkpoints", keep=1)
        assert list_complete(tmp_path / "checkpoints") == [read, later]
    rotate(tmp_path / "checkpoints", keep=1)
    assert list_complete(tmp_path / "checkpoints") == [later]


@pytest.mark.parametrize("file_system", ["nfs", "lustre"])
def test_checkpoints_are_rotated_away_where_locks_are_others_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file_system: str
) -> None:
    read, later = written(tmp_path, 1), written(tmp_path, 2)
    monkeypatch.setattr(fcntl, "flock", FILE_SYSTEMS[file_system])
    if file_system == "nfs":  # where a reader is known
        with keep_while_reading(read):
            rotate(tmp_path / "checkpoints", keep=1)
            assert list_complete(tmp_path / "checkpoints") == [read, later]
    with keep_while_reading(later):
        rotate(tmp_path / "checkpoints", keep=1)
    assert [*(tmp_path / "checkpoints").iterdir()] == [later]


def test_a_lock_that_fails_is_an_error_and_no_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, later = written(tmp_path, 1), written(tmp_path, 2)
    monkeypatch.setattr(fcntl, "flock", answer(errno.EIO))
    with pytest.raises(OSError, match=r"\[Errno 5\].*step-00000001/manifest\.json"):
        rotate(tmp_path / "checkpoints", keep=1)
    assert list_complete(tmp_path / "checkpoints") == [read, later]


def test_the_manifest_is_closed_before_its_folder_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    remove = folder.remove_tree

    def note(tree: Path) -> None:
        held = [os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.exists()]
        opened.extend(name for name in held if "step-00000001" in name)
        remove(tree)

    monkeypatch.setattr(folder, "remove_tree", note)
    written(tmp_path, 1)
    written(tmp_path, 2, keep=1)
    assert len(list_complete(tmp_path / "checkpoints")) == 1
    assert not opened


def test_a_checkpoint_whose_removal_was_cut_short_is_none_and_goes_with_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, 1)
    later = written(tmp_path, 2)
    with monkeypatch.context() as patch:
        patch.setattr(folder, "remove_tree", lambda tree: None)
        rotate(tmp_path / "checkpoints", keep=1)
    assert list_complete(tmp_path / "checkpoints") == [later]
    assert len([*(tmp_path / "checkpoints").iterdir()]) == 2
    sweep_leftovers(tmp_path / "checkpoints")
    assert [*(tmp_path / "checkpoints").iterdir()] == [later]


def test_a_checkpoint_of_another_model_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = written(tmp_path, 1, weights=dict(torch.nn.Linear(3, 4).state_dict()))
    assert find_misfit(path, read_shapes(torch.nn.Linear(3, 4))) == ""
    assert find_misfit(path, read_shapes(torch.nn.Linear(3, 5))) == (
        "it is of another model (bias is (4,) there, (5,) here)"
    )
    assert find_misfit(path, read_shapes(torch.nn.Linear(3, 4, bias=False))) == (
        "it is of another model (bias is (4,) there, none here)"
    )
    with pytest.raises(ValueError, match="cannot be loaded"):
        load_model(path, torch.nn.Linear(3, 5))


def test_the_manifest_says_what_is_in_the_folder(tmp_path: Path) -> None:
    path = written(tmp_path, 7)
    manifest = json.loads((path / "manifest.json").read_text())
    assert set(manifest["files"]) == {file.name for file in path.iterdir()} - {"manifest.json"}
    tensors = manifest["facts"]["tensors"]
    assert tensors["model.a"] == {"shape": [30, 20], "dtype": "float32"}
    assert manifest["facts"]["bytes"] == sum(entry["bytes"] for entry in manifest["files"].values())
