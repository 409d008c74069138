"""The process that runs checks: `python -m benchmarks.gpu.worker FOLDER DEVICE DEADLINE CHECK ...`.

It writes a line to FOLDER/journal.jsonl when an item begins and when it ends, and leaves out items that are
there. After an error that broke the CUDA context it ends, to be started again.
"""

import json
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import torch

from benchmarks.gpu import kernels, machine, runs
from benchmarks.gpu.__main__ import AGAIN
from benchmarks.gpu.items import Absent, Bench, Item, Missed
from triad.config.errors import one_line
from triad.hardware.device import describe, device
from triad.launch.rank import quieten

Check = Callable[[Bench], Iterator[Item]]
PLACES = (runs, kernels, machine)


def find_check(name: str) -> Check:
    """The function of a check."""
    return next(getattr(place, name) for place in PLACES if hasattr(place, name))


def settle(item: Item, bench: Bench) -> tuple[str, str]:
    """Run an item; return its verdict and figures."""
    try:
        figures = item.run()
    except Missed as missed:
        return "FAIL", str(missed)
    except Absent as absent:
        return "SKIP", str(absent)
    except Exception as error:
        traceback.print_exc()
        return "FAIL", f"{type(error).__name__}: {one_line(error)}"[:300]
    return ("PASS", figures) if item.on_cpu or not bench.small else ("PATH", f"{figures} (cpu: path only)")


def is_broken(bench: Bench) -> bool:
    """Whether the device answers no more."""
    try:
        if not bench.small:
            torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False


def main(folder: Path, asked: str, deadline: float, names: list[str]) -> int:
    """Run the items that have not begun; the code is AGAIN if the rest needs a new process."""
    kind = asked if asked != "auto" else "gpu" if torch.cuda.is_available() else "cpu"
    bench = Bench(device(kind), folder)
    journal = folder / "journal.jsonl"
    seen = [json.loads(line) for line in journal.read_text().splitlines()]
    known = {(report["check"], report["item"]) for report in seen}
    quieten()
    warnings.simplefilter("ignore")  # of packages that this machine happens to have

    def note(check: str, item: str, verdict: str, figures: str = "", seconds: float = 0.0) -> None:
        report = {"check": check, "item": item, "verdict": verdict, "figures": figures, "seconds": seconds}
        with journal.open("a") as file:
            file.write(json.dumps(report) + "\n")

    if not seen:
        note("", "", "device", f"{describe(bench.device)}, torch {torch.__version__}")
    for name in names:
        for item in find_check(name)(bench):
            if (name, item.name) in known:
                continue
            if time.time() > deadline:
                note(name, item.name, "NOT RUN", "out of time")
                continue
            note(name, item.name, "begun")
            began = time.time()
            verdict, figures = settle(item, bench)
            note(name, item.name, verdict, figures, time.time() - began)
            with suppress(Exception):
                bench.forget()
            if is_broken(bench):
                return AGAIN
    note("", "", "end")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), sys.argv[4:]))
