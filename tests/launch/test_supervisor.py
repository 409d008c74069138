"""The launcher ends every rank when one ends badly, and its exit code tells the truth."""

import json
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


@pytest.mark.parametrize(("inherited", "threads"), [(None, "3"), ("5", "5")])
def test_ranks_see_their_number_the_world_and_their_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inherited: str | None, threads: str
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if inherited:
        monkeypatch.setenv("OMP_NUM_THREADS", inherited)
    monkeypatch.setenv("SLURM_PROCID", "7")  # the batch script's, not the ranks'
    monkeypatch.setenv("SLURM_NTASKS", "9")
    monkeypatch.setenv("KEPT", "as it is")
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    before = {*os.environ}
    code = f"import json; json.dump(dict(os.environ), open(r'{tmp_path}/' + rank, 'w'))"
    assert launch(python(code), ranks=3, threads=3) == 0
    seen = [json.loads(path.read_text()) for path in sorted(tmp_path.iterdir())]
    for rank, environment in enumerate(seen):
        assert environment["RANK"] == environment["LOCAL_RANK"] == str(rank)
        assert environment["WORLD_SIZE"] == environment["LOCAL_WORLD_SIZE"] == "3"
        assert environment["NODE_RANK"] == "0"
        assert environment["MASTER_ADDR"] == "127.0.0.1"
        assert environment["OMP_NUM_THREADS"] == threads
        assert environment["KEPT"] == "as it is"
        assert environment["GOMP_SPINCOUNT"] == "1000"
        assert not [name for name in environment if name.startswith("SLURM_")]
    (port,) = {environment["MASTER_PORT"] for environment in seen}
    assert 1024 <= int(port) < 65536
    assert {*os.environ} == before  # the parent's own environment stays


@pytest.mark.parametrize("name", ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"])
def test_how_idle_threads_wait_is_left_to_whoever_has_said_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.setenv(name, "7")
    code = f"open(r'{tmp_path}/' + rank, 'w').write(os.environ.get('GOMP_SPINCOUNT', ''))"
    assert launch(python(code), ranks=1, threads=1) == 0
    assert (tmp_path / "0").read_text() == ("7" if name == "GOMP_SPINCOUNT" else "")


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
