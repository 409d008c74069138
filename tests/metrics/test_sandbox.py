"""What a model's program can do to the machine: nothing. What it cannot do: pass without its tests."""

import os
import socket
import threading
from pathlib import Path

import pytest

from triad.metrics import confinement
from triad.metrics.sandbox import Outcome, run_program

MEMORY = 1 << 29
missing = confinement.find_missing()
pytestmark = pytest.mark.skipif(bool(missing), reason=f"needs {missing}")


def run(program: str, seconds: int = 2) -> Outcome:
    return run_program(program, seconds, MEMORY)


CALL = """
import ctypes, os
library = ctypes.CDLL(None, use_errno=True)
def call(*arguments):
    if library.syscall(*arguments) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
"""
X86 = os.uname().machine == "x86_64"
IGNORING = (
    "import signal\nfor number in set(signal.valid_signals()) - {9, 19}:\n"
    "    try:\n        signal.signal(number, lambda *_: 0)\n    except OSError:\n        pass\n"
)


@pytest.mark.parametrize(
    "program",
    [
        "assert sorted([2, 1]) == [1, 2]",
        "import collections, decimal, hashlib, heapq, math, random, re, statistics, typing, zoneinfo",
        "from dataclasses import dataclass\n@dataclass\nclass Point:\n    x: int\nassert Point(1).x == 1",
        "import threading\nseen = []\nthread = threading.Thread(target=seen.append, args=(1,))\n"
        "thread.start()\nthread.join()\nassert seen == [1]",
        "import asyncio\nasync def f():\n    await asyncio.sleep(0)\nasyncio.run(f())",
        "print('x' * 10**7)",
        "import os\nassert os.getpgrp() == os.getpid()",  # Ctrl-C of a terminal is for the parent
    ],
)
def test_what_only_computes_passes(program: str) -> None:
    assert run(program) == Outcome(True)


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("assert 1 == 2, 'no'", "AssertionError: no"),
        ("import sys\nsys.exit(0)\nassert False", "SystemExit: 0"),
        ("import os\nos._exit(0)", "left before its end"),
        ("import builtins\nbuiltins.exec = None\nassert False", "AssertionError: "),
        ("import ctypes\nctypes.string_at(0)", "ended by SIGSEGV"),
        ("def f(:", "SyntaxError: invalid syntax (program, line 1)"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt: "),
        ("print('passed')\nraise GeneratorExit", "GeneratorExit: "),
        ("import atexit, os\natexit.register(os._exit, 0)\nassert False", "AssertionError: "),
        ("raise ValueError('x' * 10**6)", f"ValueError: {'x' * 488}"),
        (
            "class Fake(Exception):\n    def __str__(self):\n        raise SystemExit(0)\nraise Fake",
            "an error that cannot be told",
        ),
    ],
)
def test_what_does_not_come_to_its_end_does_not_pass(program: str, why: str) -> None:
    assert run(program) == Outcome(False, why)


@pytest.mark.parametrize(
    "program",
    [
        "while True: pass",
        f"{IGNORING}signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\nwhile True: pass",
        "import threading\nfor _ in range(3):\n"
        "    threading.Thread(target=lambda: [0 for _ in iter(int, 1)]).start()\nwhile True: pass",
        "while True:\n    try:\n        while True: pass\n    except BaseException:\n        pass",
        "import resource\ntry:\n    resource.setrlimit(resource.RLIMIT_CPU, (1000, 1000))\n"
        "except (OSError, ValueError):\n    pass\nwhile True: pass",
    ],
)
def test_what_does_not_end_is_ended(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triad.metrics.sandbox.PATIENCE", 100)  # so that it is not the clock
    assert run(program, 1) == Outcome(False, "ended by the kernel, as after 1 s of processor time")


def test_what_waits_is_ended_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triad.metrics.sandbox.PATIENCE", 1)
    assert run("import time\ntime.sleep(1000)", 1) == Outcome(False, "not at its end after 1 s")


@pytest.mark.parametrize(
    "program",
    [
        "import os\nos.fork()",
        "import subprocess\nsubprocess.run(['true'])",
        "import os\nos.posix_spawn('/bin/true', ['true'], {})",
        "import os\nos.execv('/bin/true', ['true'])",
        "import socket\nsocket.socket()",
        "import socket\nsocket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)",
        "import urllib.request\nurllib.request.urlopen('http://127.0.0.1')",
        "import os\nos.kill(os.getppid(), 9)",
        "import os\nos.killpg(0, 9)",
        "import os\nos.setpriority(os.PRIO_PROCESS, os.getppid(), 19)",
        "import os\nos.sched_setaffinity(os.getppid(), {0})",
        "import resource, os\nresource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))",
        "import os, resource\nresource.prlimit(os.getpid(), resource.RLIMIT_CORE, (0, 0))",
        "import fcntl, os\nfcntl.fcntl(0, fcntl.F_SETOWN, os.getppid())",
        "import os\nos.memfd_create('a')",
        "import os\nos.listdir('/tmp')",
        "import os\nos.setsid()",
        "import mmap\nmmap.mmap(-1, 1 << 32)",
        "x = bytearray(600 << 20)",  # of 512 MiB
        "import threading, time\nfor _ in range(10**4):\n"
        "    threading.Thread(target=time.sleep, args=(9,), daemon=True).start()",
        f"{CALL}call({57 if X86 else 220}, 0, 0, 0, 0, 0)",  # fork; clone without threads
        f"{CALL}call(435, 0, 0)",  # clone3
        f"{CALL}call({41 if X86 else 198}, 2, 1, 0)",  # socket
        f"{CALL}call({101 if X86 else 117}, 16, os.getppid(), 0, 0)",  # ptrace
        f"{CALL}call({310 if X86 else 270}, os.getppid(), 0, 0, 0, 0, 0)",  # process_vm_readv
        f"{CALL}call({62 if X86 else 129}, os.getppid(), 9)",  # kill
        f"{CALL}call(425, 8, 0)",  # io_uring_setup, which would do what is asked without a call
        f"{CALL}call(437, -100, b'/tmp/x', 0, 0)",  # openat2, whose flags lie in memory
        f"{CALL}call({272 if X86 else 97}, 0x10000000)",  # unshare: a name space in which it is root
        f"{CALL}call({157 if X86 else 167}, 1, 0, 0, 0, 0)",  # prctl: to outlive the parent
        f"{CALL}call(1 << 30 | 39)",  # a number of x32
        f"{CALL}call(5000)",
    ],
)
def test_what_reaches_out_is_refused_by_the_kernel(program: str) -> None:
    passed, why = run(program)
    assert not passed
    refused = ("PermissionError", "OSError", "URLError", "MemoryError", "RuntimeError")
    assert why.partition(":")[0] in refused, why


def test_the_network_is_out_of_reach() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        port = server.getsockname()[1]
        assert not run(f"import socket\nsocket.create_connection(('127.0.0.1', {port}))").passed
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize(
    "way",
    [
        "open({path!r}, 'w').write('x')",
        "open({path!r}, 'a').write('x')",
        "open({path!r}, 'r+').write('x')",
        "import os\nos.open({path!r}, os.O_RDONLY | os.O_TRUNC)",
        "import os\nos.open({path!r}, os.O_RDONLY | os.O_CREAT)",
        "import os\nos.truncate({path!r}, 0)",
        "import os\nos.unlink({path!r})",
        "import os\nos.rename({path!r}, {path!r} + '2')",
        "import os\nos.symlink('/', {path!r} + '2')",
        "import os\nos.link({path!r}, {path!r} + '2')",
        "import os\nos.mkdir({path!r} + '2')",
        "import os\nos.mkfifo({path!r} + '2')",
        "import os\nos.chmod({path!r}, 0)",
        "import os\nos.utime({path!r}, (0, 0))",
        "import ctypes\nctypes.CDLL(None).remove({path!r}.encode()) == 0 or 1 / 0",
    ],
)
def test_no_file_is_written(way: str, tmp_path: Path) -> None:
    path = tmp_path / "kept"
    path.write_text("kept")
    before = path.stat()
    assert not run(way.format(path=str(path))).passed
    assert [*tmp_path.iterdir()] == [path]
    assert path.read_text() == "kept"
    after = path.stat()
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)


@pytest.mark.parametrize("place", [Path.home(), *map(Path, ("/", "/dev/shm", "/tmp", "/var/tmp"))], ids=str)
def test_nothing_is_written_where_everybody_may(place: Path) -> None:
    path = place / "triad-sandbox-test"
    assert not run(f"open({str(path)!r}, 'w').write('x')").passed
    assert not path.exists()


def test_secrets_are_out_of_sight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIAD_TEST_SECRET", "open sesame")
    (tmp_path / "secret").write_text("open sesame")
    assert run("import os\nassert 'TRIAD_TEST_SECRET' not in os.environ").passed
    paths = [f"/proc/{os.getpid()}/{name}" for name in ("environ", "mem", "maps")]
    for path in [*paths, str(tmp_path / "secret"), "/etc/passwd"]:
        passed, why = run(f"open({path!r}, 'rb').read(1)")
        assert not passed
        assert why.startswith("PermissionError"), path


def test_descriptors_of_the_parent_are_not_inherited(tmp_path: Path) -> None:
    with (tmp_path / "open").open("w") as file:
        os.dup2(file.fileno(), 50, inheritable=True)
        try:
            assert run("import os\nos.fstat(50)") == Outcome(False, "OSError: [Errno 9] Bad file descriptor")
        finally:
            os.close(50)


def test_what_confines_holds_in_all_threads() -> None:
    program = (
        "import threading, socket\nfaults = []\ndef f():\n    try:\n        socket.socket()\n"
        "    except PermissionError as error:\n        faults.append(error)\n"
        "thread = threading.Thread(target=f)\nthread.start()\nthread.join()\nassert faults"
    )
    assert run(program).passed


def test_a_flood_of_reports_is_cut_off() -> None:
    program = (
        "import os\nfor _ in range(10**4):\n    for one in range(3, 1000):\n        try:\n"
        "            os.write(one, b'x' * 4096)\n        except OSError:\n            pass\n"
    )
    passed, why = run(program)
    assert not passed
    assert len(why) <= 2 * confinement.LONGEST_REPORT


def test_no_process_and_no_descriptor_is_left() -> None:
    before, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    for program in ("pass", "import os\nos._exit(0)", "assert False"):
        run(program)
    assert len(os.listdir("/proc/self/fd")) == before
    assert threading.active_count() == threads


def test_a_process_that_is_not_confined_is_a_fault_and_no_failure_of_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "unconfined.py").write_text("raise OSError('E2BIG')")
    monkeypatch.setattr(confinement, "__file__", str(tmp_path / "unconfined.py"))
    with pytest.raises(OSError, match="a program was not run: its process could not be confined"):
        run("pass")


def test_a_machine_that_cannot_confine_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triad.metrics.sandbox.find_missing", lambda: "Landlock")
    with pytest.raises(ValueError, match=r"which takes Landlock: leave out metrics=pass_at_k here"):
        run("pass")


@pytest.mark.parametrize("machine", confinement.MACHINES)
def test_the_filter_jumps_forward_and_ends_in_a_refusal(machine: str) -> None:
    instructions = confinement.make_filter(machine)
    for at, (code, yes, no, _) in enumerate(instructions):
        if code in (confinement.EQUAL, confinement.ABOVE, confinement.ANY_BIT):
            assert max(at + 1 + yes, at + 1 + no) < len(instructions)
            assert max(yes, no) < 256
    assert instructions[-1] == (confinement.RETURN, 0, 0, confinement.ERRNO | confinement.EPERM)
