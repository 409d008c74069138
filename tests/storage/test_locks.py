"""Locks that hold on every file system: NFS, Lustre without flock and others, by what each of them raises."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from triad.storage import locks
from triad.storage.durable import (
    make_temporary_name,
    remove_tree,
    replace,
    replacing_folder,
    sweep_temporaries,
)
from triad.storage.locks import Lock, describe_process, hold, lock

FLOCK = fcntl.flock


def answer(number: int) -> Callable[[int, int], None]:
    """A flock of a file system that has none."""

    def flock(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    return flock


def nfs(descriptor: int, operation: int) -> None:
    """NFS makes record locks of flock: an exclusive one takes a descriptor that may write."""
    writes = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
    if operation & fcntl.LOCK_EX and not writes:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    FLOCK(descriptor, operation)


FILE_SYSTEMS = {
    "local": FLOCK,
    "nfs": nfs,
    "lustre": answer(errno.ENOSYS),
    "no lockd": answer(errno.ENOLCK),
    "fuse": answer(errno.EOPNOTSUPP),
}


@pytest.fixture(params=FILE_SYSTEMS)
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(fcntl, "flock", FILE_SYSTEMS[request.param])
    locks._tell_no_locks.cache_clear()
    return request.param


def test_a_run_is_held_once_says_by_whom_and_is_free_afterwards(
    tmp_path: Path, file_system: str, capfd: pytest.CaptureFixture
) -> None:
    run = tmp_path / "a"
    for _ in range(2):
        with hold(run):
            (run / "config.yaml").touch()
            with pytest.raises(BlockingIOError, match=rf"a: another process \({os.getpid()} on "), hold(run):
                pass
    assert {path.name for path in run.iterdir()} == {".lock", "config.yaml"}
    # never without a word: one line, once
    assert capfd.readouterr().err.count("has no locks") == (file_system not in ("local", "nfs"))


def test_a_directory_in_which_nothing_was_written_is_removed(tmp_path: Path, file_system: str) -> None:
    with hold(tmp_path / "a"):
        pass
    assert not [*tmp_path.iterdir()]


def test_the_lock_of_a_process_that_was_killed_is_void(tmp_path: Path, file_system: str) -> None:
    reader, writer = os.pipe()
    if not (child := os.fork()):
        Lock(tmp_path / "x").take()
        os.write(writer, b"!")
        signal.pause()
    os.read(reader, 1)
    ours = Lock(tmp_path / "x")
    with pytest.raises(BlockingIOError):
        ours.take(wait=False)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    ours.take(wait=False)
    with pytest.raises(BlockingIOError):
        Lock(tmp_path / "x").take(wait=False)
    ours.release()


def test_a_thing_is_made_by_one_process_at_a_time(tmp_path: Path, file_system: str, monkeypatch) -> None:
    monkeypatch.setattr(locks, "POLL_S", 0.001)
    path, children = tmp_path / "count", []
    path.write_text("0")
    for _ in range(4):
        if child := os.fork():
            children.append(child)
            continue
        for _ in range(25):
            with lock(path):
                replace(path, str(int(path.read_text()) + 1))
        os._exit(0)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert path.read_text() == "100"


def test_a_lease_of_another_machine_is_void_when_it_was_not_touched_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", FILE_SYSTEMS["lustre"])
    lease = tmp_path / "x.lease"
    for text in (describe_process(os.getpid()).replace(" ", "-elsewhere ", 1), ""):  # or not yet written
        lease.write_text(text)
        with pytest.raises(BlockingIOError):
            Lock(tmp_path / "x").take(wait=False)
        now = (tmp_path / "x").stat().st_mtime
        os.utime(lease, (now, now - locks.STALE_S - 5))
        held = Lock(tmp_path / "x")
        held.take(wait=False)
        assert lease.read_text() == describe_process(os.getpid())
        held.release()
        assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_whoever_holds_a_lease_touches_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", FILE_SYSTEMS["lustre"])
    monkeypatch.setattr(locks, "BEAT_S", 0.001)
    with hold(tmp_path / "a"):
        lease = tmp_path / "a" / ".lock.lease"
        os.utime(lease, (0, 0))
        deadline = time.monotonic() + 30
        while not lease.stat().st_mtime and time.monotonic() < deadline:
            time.sleep(0.001)
        assert lease.stat().st_mtime > 0


def test_a_lease_that_another_was_faster_to_renew_is_given_back(tmp_path: Path) -> None:
    lease = locks.Lease(tmp_path / "x.lease", tmp_path / "x")
    lease.path.write_text("of the faster")
    lease._remove("of the dead")
    assert lease.path.read_text() == "of the faster"
    assert [*tmp_path.iterdir()] == [lease.path]


def test_an_error_of_a_lock_that_is_not_that_it_is_in_use_is_raised_with_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", answer(errno.EIO))
    with pytest.raises(OSError, match=r"\[Errno 5\].*/a/\.lock") as raised, hold(tmp_path / "a"):
        pass
    assert not isinstance(raised.value, BlockingIOError)


def test_a_lock_that_is_a_symbolic_link_leaves_its_target_as_it_is(tmp_path: Path) -> None:
    target, run = tmp_path / "precious", tmp_path / "a"
    target.write_text("precious")
    run.mkdir()
    (run / ".lock").symlink_to(target)
    with pytest.raises(OSError, match=r"a/\.lock: is a symbolic link"), hold(run):
        pass
    (tmp_path / "x.lock").symlink_to(target)
    with pytest.raises(OSError, match="is a symbolic link"), lock(tmp_path / "x"):
        pass
    assert target.read_text() == "precious"


def test_what_replaces_a_symbolic_link_replaces_the_link(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("precious")
    (tmp_path / "code.diff").symlink_to(target)
    replace(tmp_path / "code.diff", "+ a line\n")
    assert target.read_text() == "precious"
    assert not (tmp_path / "code.diff").is_symlink()
    (tmp_path / "tokenizer").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="tokenizer"), replacing_folder(tmp_path / "tokenizer") as beside:
        (beside / "a").touch()
    assert not (tmp_path / "elsewhere").exists()


def test_temporary_names_do_not_follow_from_the_number_of_the_process(tmp_path: Path) -> None:
    code = f"from triad.storage.durable import *; print(make_temporary_name(Path({str(tmp_path)!r}, 'x')))"
    code = f"import os; os.getpid = lambda: 7; {code}"
    names = {subprocess.check_output([sys.executable, "-c", code]) for _ in range(2)}
    assert len(names) == 2
    assert len({make_temporary_name(tmp_path / "x") for _ in range(600)}) == 600


def test_whoever_holds_a_run_removes_what_killed_writers_left_and_nothing_else(tmp_path: Path) -> None:
    run = tmp_path / "a"
    run.mkdir()
    left, stay = make_temporary_name(run / "config.yaml"), [run / "mine.tmp", run / "model.safetensors.tmp"]
    for path in (left, *stay):
        path.write_text("half")
    make_temporary_name(run / "tokenizer").mkdir()
    with hold(run):
        assert {*run.iterdir()} == {run / ".lock", *stay}
    other = make_temporary_name(tmp_path / "y")
    for path in (make_temporary_name(tmp_path / "x"), other):
        path.touch()
    with lock(tmp_path / "x"):
        pass
    assert {*tmp_path.iterdir()} == {run, other, tmp_path / "x.lock"}
    sweep_temporaries(tmp_path)
    assert not other.exists()


def test_a_tree_in_which_nfs_keeps_an_open_file_is_no_error_and_another_that_stays_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = tmp_path / "step-00000001.tmp"
    tree.mkdir()
    (tree / "a").touch()
    (tree / ".nfs0000000000000001").touch()
    unlink = os.unlink

    def busy(path: str, **where: int) -> None:
        if str(path).endswith(("nfs0000000000000001", "kept")):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), path)
        unlink(path, **where)

    monkeypatch.setattr(os, "unlink", busy)
    remove_tree(tree)
    assert [path.name for path in tree.iterdir()] == [".nfs0000000000000001"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "kept").touch()
    with pytest.raises(OSError, match="kept"):
        remove_tree(other)
    remove_tree(tmp_path / "absent")
