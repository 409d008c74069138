"""Run a sweep while its drivers and trials are killed at random: `-m tests.sweep.kills FOLDER KILLS SEED`.

A process of its own that imports once and forks the drivers: a start costs 20 ms in place of a second.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from triad.sweep.controller import run_sweep


def driver(words: dict) -> int:
    """Start a driver on the sweep file; its process."""
    if child := os.fork():
        return child
    sink = os.open("driver.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    try:
        code = run_sweep(["sweep.yaml"], words["jobs"], words["seeds"], 0, False, None, None)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        code = 70
    sys.stdout.flush()
    os._exit(code)


def wait_for_progress(process: int, since_s: float) -> None:
    """Wait until a trial has logged something anew, or the driver is at its end."""
    ended = os.WEXITED | os.WNOHANG | os.WNOWAIT
    while os.waitid(os.P_PID, process, ended) is None:
        if any(path.stat().st_mtime > since_s for path in Path("outputs").glob("*/*/metrics.csv")):
            return
        time.sleep(0.01)


def kill_at_random(words: dict, kills: int, seed: int) -> int:
    """Kill drivers and trials so many times, then let the sweep end; the kills that met somebody at work."""
    chance, met, process, last_s = random.Random(seed), 0, driver(words), time.time()
    while met < kills:
        if met % 2:  # however busy the machine is, every other kill meets a trial that has something to lose
            wait_for_progress(process, last_s)
        time.sleep(chance.uniform(0.02, 0.2))
        gone, status = os.waitpid(process, os.WNOHANG)
        if gone:
            assert status == 0, status
            return met
        trials = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        victim = int(chance.choice([str(process), *trials * 2]))
        os.kill(victim, signal.SIGKILL)
        met, last_s = met + 1, time.time()
        if victim == process:
            os.waitpid(process, 0)
            process = driver(words)
    assert os.waitpid(process, 0)[1] == 0
    return met


def side_by_side(words: dict, drivers: int) -> None:
    """Several drivers on one sweep, to its end."""
    for process in [driver(words) for _ in range(drivers)]:
        assert os.waitpid(process, 0)[1] == 0


def interrupt(words: dict) -> int:
    """Ctrl-C while a trial is at work; the exit code. Nothing of the driver's may be left."""
    process = driver(words)
    children = Path(f"/proc/{process}/task/{process}/children")
    while not (trials := children.read_text().split()):
        time.sleep(0.02)
    os.kill(process, signal.SIGINT)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    assert not [trial for trial in trials if Path(f"/proc/{trial}").exists()]
    return code


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    asked = {key: int(value) for key, value in (word.split("=") for word in sys.argv[4:])}
    drivers = asked.pop("drivers", 1)
    options = {"jobs": 1, "seeds": None} | asked
    if sys.argv[2] == "interrupt":
        print(interrupt(options))
    elif drivers > 1:
        print(side_by_side(options, drivers))
    else:
        print(kill_at_random(options, int(sys.argv[2]), int(sys.argv[3])))
