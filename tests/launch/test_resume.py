"""Runs that go on: after kill -9, in another layout, with other words, from another run's weights."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkpoints.test_corruption import bomb, resealed
from tests.checkpoints.written import written
from tests.conftest import REPOSITORY
from tests.runs.test_directory import TINY, losses, validations
from triad.checkpoints.folder import INDEX, find_checkpoint, list_complete, read_facts
from triad.checkpoints.tensors import read_weights
from triad.runs.metrics import read_metrics


@pytest.mark.parametrize("layout", [(), ("strategy=fsdp", "trainer.devices=2")], ids=["single", "fsdp"])
def test_five_steps_kill_9_resume_five_steps_are_ten_steps_bit_for_bit(
    train, tmp_path: Path, environment: dict[str, str], layout: tuple[str, ...]
) -> None:
    words = (
        *TINY,
        *layout,
        "model.dropout=0.1",
        "callbacks.checkpoint.every_steps=5",
        "trainer.val_check_interval=4",
    )
    train(*words, "run_id=straight")
    killed = tmp_path / "outputs" / "killed"
    _train_until_killed(tmp_path, environment, at_step=7, words=[*words, "run_id=killed"])
    assert not (killed / "result.json").exists()
    assert [path.name for path in list_complete(killed / "checkpoints")] == ["step-00000005"]
    train(f"resume={killed}")
    straight = tmp_path / "outputs" / "straight"
    assert losses(killed) == losses(straight)
    assert validations(killed) == validations(straight)


def test_torn_foreign_and_malicious_checkpoints_are_passed_over_and_said_so(train, tmp_path: Path) -> None:
    train(*TINY, "run_id=a")
    written(tmp_path / "outputs" / "a", 11)  # of another model
    resealed(INDEX, bomb(os.mkdir))(written(tmp_path / "outputs" / "a", 12))
    torn = tmp_path / "outputs" / "a" / "checkpoints" / "step-00000010" / "__0_0.distcp"
    torn.write_bytes(torn.read_bytes()[:-100])
    done = train("resume=outputs/a", "trainer.max_steps=12")
    assert "step-00000012: .metadata cannot be read (it names posix.mkdir, which no checkpoint" in done.stderr
    assert not (tmp_path / "outputs" / "a" / "exploded").exists()
    assert "step-00000011: it is of another model (a is (30, 20) there, none here)" in done.stderr
    assert "step-00000010: __0_0.distcp has " in done.stderr
    assert "at step 5" in done.stdout
    assert losses(tmp_path / "outputs" / "a").keys() == set(range(1, 13))


def test_resuming_with_another_model_is_refused_and_with_another_strategy_is_not(
    train, tmp_path: Path
) -> None:
    train(*TINY, "run_id=a", "trainer.max_steps=4", "scheduler=constant")
    refused = train("resume=outputs/a", "model.depth=3", code=2).stderr
    assert "model.depth is not what the run was started with" in refused
    done = train("resume=outputs/a", "strategy=ddp", "trainer.devices=2", "trainer.max_steps=6")
    assert "at step 4; saved by 1 process of Single, now 2 processes of DDP" in done.stdout
    assert losses(tmp_path / "outputs" / "a").keys() == set(range(1, 7))


def test_a_changed_optimizer_setting_holds_after_a_resume_and_early_stopping_remembers(
    train, tmp_path: Path
) -> None:
    stop = ("callbacks=[default,early_stopping]", "callbacks.early_stopping.patience=9")
    train(*TINY, *stop, "run_id=a", "trainer.max_steps=5", "scheduler=constant", "scheduler.warmup=0")
    train("resume=outputs/a", "optimizer.lr=1e-5", "trainer.max_steps=12")
    rates = {row["step"]: row["train/lr"] for row in read_metrics(tmp_path / "outputs" / "a" / "metrics.csv")}
    assert rates[5] == pytest.approx(4e-3)
    assert rates[6] == rates[12] == pytest.approx(1e-5)
    callbacks = read_facts(find_checkpoint(tmp_path / "outputs" / "a"))["callbacks"]
    memory = next(value for key, value in callbacks.items() if key.startswith("EarlyStopping"))
    assert memory["best_score"]["tensor"] == pytest.approx(
        min(validations(tmp_path / "outputs" / "a").values())
    )


def test_a_run_killed_behind_its_last_checkpoint_is_finished_by_resuming_it(train, tmp_path: Path) -> None:
    train(*TINY, "run_id=a", "trainer.max_steps=2", "scheduler.warmup=0")
    result = tmp_path / "outputs" / "a" / "result.json"
    before = result.read_text()
    result.unlink()
    train("resume=outputs/a")
    assert result.read_text() == before


def test_resuming_on_another_text_is_refused(train, text: Path) -> None:
    words = ("data=text", f"data.path={text}", "run_id=a", "trainer.max_steps=2", "scheduler.warmup=0")
    train(*TINY, *words)
    text.write_text(text.read_text() + "One line more.\n")
    assert "text or its tokenizer" in train("resume=outputs/a", "trainer.max_steps=4", code=2).stderr


@pytest.mark.slow
def test_a_new_run_starts_from_the_weights_of_another_in_another_layout(train, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    train(*TINY, "run_id=a", "strategy=fsdp", "trainer.devices=2")
    still = ("optimizer.lr=0.0", "trainer.max_steps=2", "scheduler.warmup=0", "seed=5")
    anew = ("resume=outputs/a", "resume.weights_only=true", "run_id=b")
    done = train(*anew, *still, "strategy=tensor")
    assert "resuming" not in done.stdout
    assert losses(outputs / "b").keys() == {1, 2}
    before, after = read_weights(find_checkpoint(outputs / "a")), read_weights(find_checkpoint(outputs / "b"))
    assert before.keys() == after.keys()
    assert all(before[name].equal(after[name]) for name in before)
    assert "run_id=b: outputs/b exists" in train(*anew, code=2).stderr
    train("resume=outputs/b", "trainer.max_steps=3")
    assert losses(outputs / "b").keys() == {1, 2, 3}
    other = train(*anew[:2], "run_id=c", "model.depth=3", code=2).stderr
    assert "it is of another model (blocks.2." in other
    assert "resume.weights_only needs a run" in train("resume.weights_only=true", code=2).stderr
    assert "no checkpoint is there" in train("weights=outputs/none", "run_id=d", code=2).stderr


def test_another_optimizer_cannot_go_on_with_the_state_of_this_one(train, tmp_path: Path) -> None:
    train(*TINY, "run_id=a", "trainer.max_steps=2", "scheduler=constant", "scheduler.warmup=0")
    done = train("resume=outputs/a", "optimizer=adagrad", "trainer.max_steps=4", code=2)
    assert "it was written with another one; resume.weights_only=true" in done.stderr


def test_the_checkpoints_of_a_run_are_listed_and_what_is_damaged_said(train, python, tmp_path: Path) -> None:
    train(*TINY, "run_id=a", "strategy=fsdp", "trainer.devices=2")
    words = ["-m", "triad.checkpoint", "show=outputs/a"]

    def shown(code: int) -> str:
        done = python(*words, code=code)
        return done.stdout + done.stderr

    assert shown(0).count("2 processes of Mesh (data_shard 2)") == 2
    path = find_checkpoint(tmp_path / "outputs" / "a", 10)
    shard = path / "__1_0.distcp"
    shard.write_bytes(shard.read_bytes()[:-9])
    assert "step-00000010  damaged: __1_0.distcp has" in (said := shown(2))
    assert "step-00000005  " in said
    words[-1] += "/checkpoints/step-00000005"
    assert ["model.norm.weight", "192", "float32"] in [line.split() for line in shown(0).splitlines()]


def _train_until_killed(folder: Path, environment: dict[str, str], at_step: int, words: list[str]) -> None:
    """Like train.py, but the process of rank 0 kills itself with signal 9 at the end of a step."""
    script = folder / "killed.py"
    script.write_text(KILLED.format(repository=str(REPOSITORY), at_step=at_step))
    done = subprocess.run(
        [sys.executable, str(script), *words], cwd=folder, env=environment, capture_output=True
    )
    assert done.returncode == 128 + signal.SIGKILL


KILLED = """
import os, signal, sys
sys.path.insert(0, {repository!r})
from train import train
from triad.launch.command import compose_and_launch

def work(run, **config):
    from triad.callbacks.metrics import Metrics
    end = Metrics.on_train_batch_end
    def killed(self, trainer, *arguments):
        end(self, trainer, *arguments)
        if trainer.global_step == {at_step} and trainer.is_global_zero:
            next(c for c in trainer.callbacks if hasattr(c, "saver")).saver.wait()
            os.kill(os.getpid(), signal.SIGKILL)
    Metrics.on_train_batch_end = killed
    train(run, **config)

compose_and_launch(work)
"""
