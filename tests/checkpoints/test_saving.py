"""Saving beside training: exact snapshots, and failures that harm nothing."""

import resource
from pathlib import Path

import torch

from tests.checkpoints.written import said, written
from tests.conftest import REPOSITORY
from triad.checkpoints.folder import checkpoint_path, find_checkpoint, list_complete
from triad.checkpoints.saving import Saver
from triad.checkpoints.tensors import read_weights


def test_what_is_saved_is_what_the_weights_were_when_asked(tmp_path: Path) -> None:
    weight = torch.randn(1000, 1000)
    wanted = weight.clone()
    saver = Saver(keep=1)
    saver.save(checkpoint_path(tmp_path / "checkpoints", 1), lambda: {"model": {"a": weight}}, said(1))
    for _ in range(50):
        weight.mul_(0.5)  # training goes on while the thread writes
    saver.wait()
    torch.testing.assert_close(read_weights(find_checkpoint(tmp_path))["a"], wanted, rtol=0, atol=0)


def test_a_second_save_uses_the_same_room_and_is_as_exact(tmp_path: Path) -> None:
    weight, saver = torch.randn(100, 100), Saver(keep=9)
    for step in (1, 2, 3):
        weight.add_(1)
        saver.save(
            checkpoint_path(tmp_path / "checkpoints", step), lambda: {"model": {"a": weight}}, said(step)
        )
    saver.wait()
    first, last = (
        read_weights(find_checkpoint(tmp_path, 1))["a"],
        read_weights(find_checkpoint(tmp_path, 3))["a"],
    )
    torch.testing.assert_close(last, weight, rtol=0, atol=0)
    torch.testing.assert_close(first, weight - 2)


def test_a_disk_that_cannot_be_written_leaves_the_checkpoint_before_and_says_why(tmp_path: Path) -> None:
    good = written(tmp_path, 1)
    saver = Saver(keep=9)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))  # no file may grow beyond this
    try:
        saver.save(
            checkpoint_path(tmp_path / "checkpoints", 2),
            lambda: {"model": {"a": torch.ones(99, 99)}},
            said(2),
        )
        saver.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    (failure,) = saver.failures
    assert "step-00000002 was not saved" in failure
    assert "File too large" in failure
    assert "\n" not in failure
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [good.name]
    saver.save(
        checkpoint_path(tmp_path / "checkpoints", 3), lambda: {"model": {"a": torch.ones(99, 99)}}, said(3)
    )
    saver.wait()
    assert saver.failures == [failure]
    assert len(list_complete(tmp_path / "checkpoints")) == 2


def test_training_goes_on_when_the_disk_is_full_with_a_warning_each_time(python, tmp_path: Path) -> None:
    script = tmp_path / "full.py"
    script.write_text(FULL.format(repository=str(REPOSITORY)))
    words = ["debug=tiny", "run_id=a", "callbacks.checkpoint.every_steps=2", "strategy=fsdp"]
    words += ["trainer.devices=2", "trainer.accelerator=cpu"]
    done = python(str(script), *words)
    for step in (4, 6, 8, 10):
        assert f"step-{step:08d} was not saved" in done.stderr
    assert done.stderr.count("training goes on") == 4
    assert [path.name for path in list_complete(tmp_path / "outputs" / "a" / "checkpoints")] == [
        "step-00000002"
    ]
    assert (tmp_path / "outputs" / "a" / "result.json").exists()


FULL = """
import errno, sys
sys.path.insert(0, {repository!r})
from train import train
from triad.launch.command import compose_and_launch

def work(run, **config):
    import os
    import torch.distributed as dist
    from triad.checkpoints import saving
    sync = os.fsync
    def full(descriptor):  # what a full disk answers when a shard of the second process is flushed
        name = os.readlink(f"/proc/self/fd/{{descriptor}}") if isinstance(descriptor, int) else ""
        if "__1_0" in name and "step-00000002" not in name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return sync(descriptor)
    os.fsync = full
    train(run, **config)

compose_and_launch(work)
"""
