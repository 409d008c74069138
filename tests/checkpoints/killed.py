"""Runs that are killed with signal 9 at random moments and started again, each until it is finished.

    python killed.py FOLDER KILLS SEED RANKS key=value ...

prints one line of JSON: how many kills there were, how many hit a checkpoint being written, and in what each
run departs from one that was never killed. Processes are forked from this one, which has imported everything,
so that a start takes no time.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import lightning.pytorch
import torch

import triad.callbacks.checkpoint
import triad.strategies.mesh  # noqa: F401
from tests.checkpoints.moved import everything
from train import train
from triad.config.compose import compose
from triad.launch.rank import exit_together, run_rank
from triad.launch.supervisor import _find_free_port
from triad.runs.directory import Run
from triad.runs.metrics import read_metrics
from triad.runs.start import prepare_run


def started(run: Path, ranks: int) -> list[int]:
    """Fork the processes of a run."""
    port, processes = str(_find_free_port()), []
    for number in range(ranks):
        if child := os.fork():
            processes.append(child)
            continue
        os.environ |= {"RANK": str(number), "LOCAL_RANK": str(number), "NODE_RANK": "0"}
        os.environ |= {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        with (run / f"output-{number}.txt").open("a") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            code = 1
            try:
                code = run_rank(train, Run(run))
                exit_together(code)  # alone, an exit that is caught here
            finally:
                os._exit(code)
    return processes


def ended(processes: list[int], run: Path) -> None:
    """Wait for processes that nobody kills."""
    for process in processes:
        if code := os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]):
            sys.exit(f"{run}: {code}: {(run / 'output-0.txt').read_text()[-3000:]}")


def killed(processes: list[int], after_s: float, run: Path) -> tuple[bool, bool]:
    """Kill all after a while, unless they end before; whether it was done, and whether in mid-save."""
    time.sleep(after_s)
    for process in processes:
        os.kill(process, signal.SIGKILL)
    saving = bool(list((run / "checkpoints").glob("*.tmp")))
    codes = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]
    if wrong := [code for code in codes if code not in (0, -signal.SIGKILL)]:
        sys.exit(f"{run}: {wrong[0]}: {(run / 'output-0.txt').read_text()[-3000:]}")
    return any(codes), saving


def losses(run: Path) -> dict[int, tuple]:
    rows = read_metrics(run / "metrics.csv")
    return {row["step"]: (row.get("train/loss"), row.get("val/loss")) for row in rows}


def departs(run: Path, straight: Path) -> str:
    """What is not bit for bit the same, or ""."""
    if losses(run) != losses(straight):
        return "losses"
    ours, theirs = everything(run), everything(straight)
    apart = [name for name in ours.keys() | theirs.keys() if not torch.equal(ours[name], theirs[name])]
    return min(apart, default="")


def main(folder: Path, kills: int, seed: int, ranks: int, words: list[str]) -> dict:
    lightning.pytorch.seed_everything(seed, verbose=False)
    draw = random.Random(seed)

    def made(name: str) -> Path:
        asked = [*words, f"trainer.devices={ranks}", f"run_id={name}", f"output_dir={folder}"]
        return prepare_run(compose(asked), asked).path

    straight = made("straight")
    began = time.perf_counter()
    ended(started(straight, ranks), straight)
    whole_s = time.perf_counter() - began
    done = saving = number = 0
    departed = {}
    while done < kills:
        number += 1
        run = made(f"killed-{number}")
        while done < kills and not Run(run).result():
            hit, mid_save = killed(started(run, ranks), draw.uniform(0, whole_s), run)
            done, saving = done + hit, saving + (hit and mid_save)
        if not Run(run).result():
            ended(started(run, ranks), run)
        departed[run.name] = departs(run, straight)
    return {"kills": done, "mid_save": saving, "runs": number, "whole_s": whole_s, "departed": departed}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), *map(int, sys.argv[2:5]), sys.argv[5:])))
