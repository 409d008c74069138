"""The launcher ends every rank when one ends badly, and its exit code tells the truth."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from triad.launch.supervisor import launch


def python(code: str) -> list[str]:
    return [sys.executable, "-c", f"import os, signal, sys, time; rank = os.environ['RANK']; {code}"]


def test_ranks_see_their_number_and_the_world(tmp_path: Path) -> None:
    names = "RANK LOCAL_RANK WORLD_SIZE MASTER_ADDR MASTER_PORT OMP_NUM_THREADS"
    code = f"open(r'{tmp_path}/' + rank, 'w').write(' '.join(os.environ[n] for n in '{names}'.split()[:3]))"
    assert launch(python(code), ranks=3, threads=1) == 0
    assert sorted(path.read_text() for path in tmp_path.iterdir()) == ["0 0 3", "1 1 3", "2 2 3"]


def test_the_first_failure_ends_the_others_and_is_the_exit_code() -> None:
    start = time.monotonic()
    assert launch(python("sys.exit(7) if rank == '1' else time.sleep(60)"), ranks=2, threads=1) == 7
    assert time.monotonic() - start < 30


def test_a_killed_rank_gives_128_plus_the_signal() -> None:
    code = "os.kill(os.getpid(), signal.SIGKILL) if rank == '0' else time.sleep(60)"
    assert launch(python(code), ranks=2, threads=1) == 128 + signal.SIGKILL


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)]
)
def test_no_rank_outlives_its_parent(tmp_path: Path, number: int, code: int) -> None:
    child = f"open(r'{tmp_path}/' + str(os.getpid()), 'w').close(); time.sleep(60)"
    parent = f"""
import sys
from triad.launch.supervisor import Interrupted, launch
try:
    sys.exit(launch({python(child)!r}, 2, 1))
except Interrupted as signal:
    sys.exit(signal.args[0])
"""
    process = subprocess.Popen([sys.executable, "-c", parent])
    deadline = time.monotonic() + 30
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    assert process.wait(30) == code
    children = [int(path.name) for path in tmp_path.iterdir()]
    while any(alive(child) for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(children) == 2
    assert not [child for child in children if alive(child)]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"
