"""Saving beside training: exact snapshots, and failures that harm nothing."""

import gc
import os
import resource
from pathlib import Path
from threading import current_thread, main_thread

import pytest
import torch

from tests.checkpoints import gpu
from tests.checkpoints.written import said, written
from tests.conftest import REPOSITORY
from triad.checkpoints.folder import checkpoint_path, find_checkpoint, list_complete
from triad.checkpoints.saving import Copies, Saver
from triad.checkpoints.tensors import read_weights
from triad.config.messages import DISK


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


def test_copies_of_a_gpu_are_complete_before_training_changes_what_they_are_of(monkeypatch) -> None:
    runtime, copies = gpu.install(monkeypatch), Copies()
    on_gpu = {"a": torch.randn(3, 5), "step": torch.tensor(7.0), "none": torch.empty(0, 2)}
    on_gpu["half"] = torch.randn(9).bfloat16()
    held = {name: gpu.place(tensor) for name, tensor in on_gpu.items()} | {"on the host": torch.ones(2)}
    for _ in range(2):
        copied = copies.copy(held)
        wanted = {name: tensor.clone() for name, tensor in on_gpu.items()}
        for tensor in on_gpu.values():
            tensor.add_(1)
        assert all(torch.equal(copied[name], wanted[name]) for name in wanted)
        assert torch.equal(copied["on the host"], torch.ones(2))
    assert runtime.sizes == [3 * 64]  # one block, of the size of what it holds
    del copies
    gc.collect()
    assert not runtime.pinned


def test_memory_that_cannot_be_pinned_is_said_and_saved_from_all_the_same(monkeypatch) -> None:
    gpu.install(monkeypatch, error=2)
    weight = torch.randn(3)
    with pytest.warns(UserWarning, match=r"cannot be pinned \(CUDA error 2\); training waits longer"):
        copied = Copies().copy({"a": gpu.place(weight)})
    assert torch.equal(copied["a"], weight)


def test_the_thread_that_saves_uses_the_gpu_of_its_process_and_no_other(tmp_path: Path, monkeypatch) -> None:
    chosen = []
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: chosen.append((current_thread(), device)))
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "is_initialized", lambda: True)
        patch.setattr(torch.cuda, "current_device", lambda: 3)
        saver = Saver(keep=1)
    saver.save(checkpoint_path(tmp_path, 1), lambda: {"model": {"a": torch.ones(1)}}, said(1))
    saver.wait()
    ((thread, device),) = chosen
    assert device == 3
    assert thread is saver.thread is not main_thread()
    assert not saver.failures


def test_a_checkpoint_is_on_disk_before_it_has_its_name(tmp_path: Path, monkeypatch) -> None:
    done, sync, rename = [], os.fsync, os.replace

    def note_sync(file: int) -> None:
        sync(file)
        done.append(Path(os.readlink(f"/proc/self/fd/{file if isinstance(file, int) else file.fileno()}")))

    def note_rename(old: Path, new: Path) -> None:
        done.append("named" if Path(new).name == "step-00000001" else None)
        rename(old, new)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_rename)
    path = written(tmp_path, 1)
    before, behind = done[: done.index("named")], done[done.index("named") :]
    beside = path.with_suffix(".tmp")
    assert {beside / file.name for file in path.iterdir()} | {beside} <= {*before}
    assert before[-1] == beside  # its files have names there
    assert path.parent in behind


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
    (failure,) = saver.failures.values()
    assert "step-00000002 was not saved" in failure
    assert "File too large" in failure
    assert "\n" not in failure
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [good.name]
    saver.save(
        checkpoint_path(tmp_path / "checkpoints", 3), lambda: {"model": {"a": torch.ones(99, 99)}}, said(3)
    )
    saver.wait()
    assert [*saver.failures.values()] == [failure]
    assert len(list_complete(tmp_path / "checkpoints")) == 2


def test_training_goes_on_when_the_disk_is_full_and_ends_with_its_code_if_the_last_save_failed(
    python, train, tmp_path: Path
) -> None:
    script = tmp_path / "full.py"
    script.write_text(FULL.format(repository=str(REPOSITORY)))
    words = ["debug=tiny", "run_id=a", "callbacks.checkpoint.every_steps=2", "strategy=fsdp"]
    words += ["trainer.devices=2", "trainer.accelerator=cpu"]
    done = python(str(script), *words, code=DISK)
    for step in (4, 6, 8, 10):
        assert f"step-{step:08d} was not saved" in done.stderr
    assert done.stderr.count("training goes on") == 3
    assert done.stderr.count("error: ") == 1
    assert "step-00000010 was not saved ([Errno 28] No space left on device" in done.stderr
    assert [path.name for path in list_complete(tmp_path / "outputs" / "a" / "checkpoints")] == [
        "step-00000002"
    ]
    assert not (tmp_path / "outputs" / "a" / "result.json").exists()
    train("resume=outputs/a")  # with room again
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
