"""Replay: some steps of a run once more, from a checkpoint or the beginning, held against what it wrote."""

import json
import shutil
from pathlib import Path

import pytest

from tests.runs.test_directory import TINY, losses
from triad.checkpoints.folder import list_complete
from triad.config.errors import Refusal
from triad.replay import configure_replay, find_checkpoint_before, parse_interval, replay
from triad.runs.directory import Run
from triad.runs.passport import read_passport
from triad.storage.manifest import checksum


def contents(folder: Path) -> dict[str, str]:
    return {str(path): checksum(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def test_steps_of_a_run_are_the_same_bit_for_bit_and_a_changed_figure_or_weight_is_found(
    train, tmp_path: Path, environment: dict[str, str], monkeypatch, capfd
) -> None:
    words = ("run_id=a", "trainer.max_steps=6", "callbacks.checkpoint.every_steps=2", "model.dropout=0.1")
    looks = ("trainer.log_every_n_steps=2", "callbacks.checkpoint.keep=9", "callbacks.summary.curve=false")
    train(*TINY, *words, *looks)
    run = tmp_path / "outputs" / "a"
    before = contents(run)
    for name in ("TRIAD_CACHE", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, environment[name])

    def replayed(code: int = 1, **keep: str) -> str:
        with pytest.raises(SystemExit) as end:
            replay(str(run), "3:6", **keep)
        said = capfd.readouterr().out
        assert end.value.code == code, said
        return said

    said = replayed(0, keep=str(tmp_path / "again"))
    assert f"replaying steps 3 to 6, from {run}/checkpoints/step-00000002" in said
    assert "at step 2" in said
    assert "machine   of the same class: compared bit for bit" in said
    assert "figures of the 3 steps that both logged" in said  # 4, 6, and 5 with its validation
    assert "weights   all of step-00000006 is equal bit for bit" in said
    assert contents(run) == before
    assert losses(tmp_path / "again" / "a").keys() == {
        3,
        4,
        5,
        6,
    }  # every one, though the run logged every other

    again = read_passport(tmp_path / "again" / "a")  # what follows starts no second one
    monkeypatch.setattr("triad.replay.train_again", lambda *_: again)

    rows = (run / "metrics.csv").read_text()
    (run / "metrics.csv").write_text(rows.replace("\n4,", "\n4,1", 1))
    assert "the first bit that differs is in train/loss of step 4: 1" in replayed()
    (run / "metrics.csv").write_text(rows)
    final = run / "checkpoints" / "step-00000006"
    shutil.rmtree(final)
    shutil.copytree(run / "checkpoints" / "step-00000004", final)
    assert "apart" in replayed().partition("weights   ")[2]
    kept = json.loads((run / "run.json").read_text())
    kept["machine"]["processor"], kept["code"] = "another", "another"
    (run / "run.json").write_text(json.dumps(kept))
    said = replayed()
    assert "machine   of another class (processor another, here " in said
    assert "code      not that of the run" in said
    assert not list((tmp_path / "outputs").glob(".replay-*"))


ROWS = [{"step": step, "train/loss": 1.0} for step in (10, 20)]


@pytest.mark.parametrize("steps", ["10", "20:10", "5:5", "a:b", "-1:3", "10:21"])
def test_steps_that_are_none_or_that_the_run_has_not_made_are_refused(steps: str) -> None:
    with pytest.raises(Refusal, match=f"steps={steps}: "):
        parse_interval(steps, ROWS)


def test_a_replay_of_steps_of_which_nothing_was_kept_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "a"
    run.mkdir()
    (run / "config.yaml").write_text("task: {}\n")
    (run / "run.json").write_text("{}")
    (run / "metrics.csv").write_text("step,train/loss\n10,1.0\n20,0.5\n")
    with pytest.raises(Refusal, match="logged no step from 1 to 7"):
        replay(str(run), "3:7")
    with pytest.raises(FileNotFoundError, match="no run is there; did you mean a"):
        replay(str(tmp_path / "aa"), "3:7")


def test_a_damaged_checkpoint_is_passed_over_and_said_so(tmp_path: Path, capsys) -> None:
    from tests.checkpoints.written import written

    for step in (2, 4, 6):
        written(tmp_path, step)
    assert find_checkpoint_before(Run(tmp_path), 5) == tmp_path / "checkpoints" / "step-00000004"
    next((tmp_path / "checkpoints" / "step-00000004").glob("*.distcp")).unlink()
    assert find_checkpoint_before(Run(tmp_path), 5) == tmp_path / "checkpoints" / "step-00000002"
    assert "is missing; trying the one before it" in capsys.readouterr().out
    assert find_checkpoint_before(Run(tmp_path), 1) is None
    assert len(list_complete(tmp_path / "checkpoints")) == 3


def test_what_only_looks_on_is_left_out_of_a_replay_and_what_acts_is_not() -> None:
    nodes = {
        name: {"_target_": f"triad.callbacks.{target}"}
        for name, target in (
            ("metrics", "metrics.Metrics"),
            ("checkpoint", "checkpoint.Checkpoint"),
            ("progress", "progress.Progress"),
            ("sample", "sample.Sample"),
            ("ema", "ema.Ema"),
        )
    }
    config = {"trainer": {"num_nodes": 1, "accelerator": "cpu"}, "callbacks": nodes, "logger": {}}
    kept = configure_replay(config, 7)["callbacks"]
    assert kept.keys() == {"metrics", "checkpoint", "progress", "ema", "stop"}
    del nodes["metrics"]
    with pytest.raises(Refusal, match="the run kept no figures"):
        configure_replay(config, 7)
    with pytest.raises(Refusal, match=r"trainer.num_nodes=2: a replay runs on the one machine"):
        configure_replay(config | {"trainer": {"num_nodes": 2}}, 7)
