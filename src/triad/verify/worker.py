"""One process per rank trains several prepared runs, so that start-up is paid once.

`python -m triad.verify.worker RUN...`, started by triad.launch.supervisor.
"""

import os
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from triad.config.locations import TRAIN
from triad.config.own_code import take_own_code
from triad.data.progress import format_time
from triad.launch.rank import exit_together, run_rank
from triad.runs.directory import Run


def load_train() -> Callable[..., None]:
    """The function `train` of train.py, which is a script and no module of the package."""
    spec = spec_from_file_location("train", TRAIN)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.train


def main(directories: list[Path]) -> None:
    """Train one run after another; what a run would print goes to its output-<rank>.txt."""
    since, number = time.monotonic(), os.environ["RANK"]
    ranks = os.environ["LOCAL_WORLD_SIZE"]  # Lightning takes WORLD_SIZE away when a run ends
    for done, directory in enumerate(directories):
        if number == "0":
            each_s = (time.monotonic() - since) / max(done, 1)
            left = f", {format_time(each_s * (len(directories) - done))} left" if done else ""
            of = f"{done + 1}/{len(directories)} with {ranks} processes{left}"
            print(f"  {directory.name}  {of}", flush=True)
        with (directory / f"output-{number}.txt").open("w") as file, redirect_stdout(file):
            code = run_rank(load_train(), Run(directory))
        if code:
            sys.exit(code)


if __name__ == "__main__":
    main([Path(word) for word in take_own_code(sys.argv[1:])])
    exit_together(0)
