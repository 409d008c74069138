"""Locks between processes, also on file systems that have none.

A lock is `flock` on a file that stays: the system releases it when its holder dies. Where the file system has
no flock (Lustre mounted without it, some network and FUSE systems) a *lease* takes its place, and one line
says so: a file `<lock>.lease` that only one process can create. It names the host, the boot, the process and
when that started, and its holder touches it every BEAT_S. On the holder's machine it is void as soon as that
process is gone; elsewhere when it has not been touched for STALE_S by the file server's clock.
"""

import errno
import fcntl
import os
import socket
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from threading import Event, Thread

from triad.storage.durable import make_temporary_name, name_file, open_in_place, sweep_temporaries

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)
IN_USE = (errno.EAGAIN, errno.EACCES)  # where NFS makes record locks of flock it may answer the second
BEAT_S, STALE_S = 15.0, 120.0
POLL_S = 0.2


class Lock:
    """An exclusive lock on a file, from `take` to `release` or until this process dies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor = -1
        self.lease = Lease(path.with_name(f"{path.name}.lease"), path)

    def take(self, wait: bool = True) -> None:
        """Take the lock. Raises BlockingIOError if another process has it and this one is not to wait."""
        while True:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # for writing, as NFS demands of an exclusive lock; not truncated, as it may be another's
            self.descriptor = open_in_place(self.path, os.O_RDWR | os.O_CREAT)
            try:
                if flock(self.descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), self.path):
                    self.lease.wait_for_others(wait)
                else:
                    self.lease.take(wait)
                if os.fstat(self.descriptor).st_nlink:
                    return
            except BaseException:
                os.close(self.descriptor)
                raise
            self.release()  # its file was removed meanwhile: another process may have locked a new one

    def release(self) -> None:
        """Release the lock; its file stays, as removing it would race with a process that waits for it."""
        self.lease.release()
        os.close(self.descriptor)


class Lease:
    """A file that only one process can create, in place of a lock: see the head of this module."""

    def __init__(self, path: Path, clock: Path) -> None:
        self.path, self.clock = path, clock  # a file of ours whose time the file server sets
        self.ended: Event | None = None  # while it is ours

    def take(self, wait: bool) -> None:
        """Create the file. Raises BlockingIOError if another process has it and this one is not to wait."""
        while True:
            self.wait_for_others(wait)
            with suppress(FileExistsError):
                descriptor = open_in_place(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
                break
        with name_file(self.path), open(descriptor, "w", encoding="utf-8") as file:
            file.write(describe_process(os.getpid()))
        self.ended = Event()
        Thread(target=self._beat, args=(self.ended,), name="lease", daemon=True).start()

    def wait_for_others(self, wait: bool) -> None:
        """Return when nobody has the lease. Raises BlockingIOError if somebody has and `wait` is False."""
        while (holder := self._read()) is not None:
            if self._is_void(holder):
                self._remove(holder)
            elif not wait:
                raise BlockingIOError(errno.EAGAIN, "in use", str(self.path))
            else:
                time.sleep(POLL_S)

    def release(self) -> None:
        if self.ended:
            self.ended.set()
            self.ended = None
            if self._read() == describe_process(os.getpid()):
                self.path.unlink(missing_ok=True)

    def _beat(self, ended: Event) -> None:
        while not ended.wait(BEAT_S):
            with suppress(OSError):
                os.utime(self.path)

    def _read(self) -> str | None:
        try:
            return self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def _is_void(self, holder: str) -> bool:
        place, _, process = holder.rpartition(" ")
        if place == describe_place() and (number := process.partition(":")[0]).isdigit():
            return describe_process(int(number)) != holder
        with suppress(FileNotFoundError):
            os.utime(self.clock)
            return self.clock.stat().st_mtime - self.path.stat().st_mtime > STALE_S
        return False  # released meanwhile

    def _remove(self, holder: str) -> None:
        """Remove a lease that is void; if another process was faster and has a new one, give that back."""
        aside = make_temporary_name(self.path)
        with suppress(FileNotFoundError):
            os.rename(self.path, aside)
            if aside.read_text(encoding="utf-8") != holder:
                with suppress(FileExistsError):
                    os.link(aside, self.path)
            aside.unlink()


def flock(descriptor: int, operation: int, path: Path) -> bool:
    """Lock an open file; False, which is said once, where its file system has no locks.

    Raises BlockingIOError if another process has the lock, and OSError, which names the file, else.
    """
    try:
        fcntl.flock(descriptor, operation)
    except OSError as error:
        if error.errno in IN_USE:
            raise BlockingIOError(errno.EAGAIN, "in use", str(path)) from None
        if error.errno not in NO_LOCKS:
            raise OSError(error.errno, error.strerror, str(path)) from None
        _tell_no_locks(os.fstat(descriptor).st_dev, path.parent, error.strerror)
        return False
    return True


@cache
def _tell_no_locks(device: int, folder: Path, why: str) -> None:
    """Say once of a file system that it has no locks."""
    print(
        f"{folder}: its file system has no locks ({why}): *.lease files take their place, and nothing keeps a"
        " checkpoint that another process reads from being rotated away",
        file=sys.stderr,
        flush=True,
    )


@contextmanager
def lock(path: Path, waiting: str = "") -> Generator[None]:
    """Keep other processes from making `path`; the lock lies beside it and goes when this process does.

    A process that has to wait prints `waiting` before; of the ranks of a run only the first does. What
    writers that were killed have left of `path` is removed.
    """
    held = Lock(path.with_name(f"{path.name}.lock"))
    try:
        held.take(wait=False)
    except BlockingIOError:
        if waiting and os.environ.get("RANK", "0") == "0":
            print(waiting, file=sys.stderr, flush=True)
        held.take()
    try:
        sweep_temporaries(path.parent, path.name)
        yield
    finally:
        held.release()


@contextmanager
def hold(directory: Path) -> Generator[str]:
    """Lock a run's directory against a second process; yield the words that `read_holder` reads there.

    Raises BlockingIOError if another one holds it. Files that killed processes have left half-written are
    removed, and so is a directory in which nothing was written while it was held.
    """
    held = Lock(directory / ".lock")
    try:
        held.take(wait=False)
    except BlockingIOError:
        holder = read_holder(directory).partition("\n")[0]
        said = f"{directory}: another process{holder and f' ({holder})'} is running it; wait for it or end it"
        raise BlockingIOError(said) from None
    try:
        sweep_temporaries(directory)
        holder = f"{os.getpid()} on {socket.gethostname()}\n{os.urandom(8).hex()}\n"
        with name_file(held.path):
            os.pwrite(held.descriptor, holder.encode(), 0)
            os.ftruncate(held.descriptor, len(holder.encode()))
            os.fsync(held.descriptor)  # other machines are to read it
        yield holder
    finally:
        if {*directory.iterdir()} <= {held.path, held.lease.path}:
            held.path.unlink()
            held.lease.release()
            with suppress(OSError):  # another process begins to use it
                directory.rmdir()
        held.release()


def read_holder(directory: Path) -> str:
    """What the process that holds, or last held, a directory wrote into its lock; "" if there is none."""
    with suppress(OSError):
        return (directory / ".lock").read_text(encoding="utf-8", errors="replace")
    return ""


def describe_process(number: int) -> str:
    """A process of this machine: the place, its number and when it started; the last empty if it is gone."""
    started = ""
    with suppress(OSError):
        started = Path(f"/proc/{number}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    return f"{describe_place()} {number}:{started}"


@cache
def describe_place() -> str:
    """Where numbers of processes mean something: the host, its boot and the namespace of a container."""
    boot = namespace = ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        namespace = os.readlink("/proc/self/ns/pid")
    return f"{socket.gethostname()} {boot} {namespace}"
