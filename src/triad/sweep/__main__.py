"""Run a W&B sweep file here, on one machine or many

python -m triad.sweep sweeps/lr.yaml                       all trials; the same again after any interruption
python -m triad.sweep sweeps/lr.yaml jobs=2 seeds=5        two side by side; five seeds of each point
python -m triad.sweep sweeps/lr.yaml debug=tiny fork=try   words for all trials; under another name
"""

from typing import Literal

from triad.config.command_line import run_command

GROUP = "Train"


def sweep(
    overrides: list[str],
    jobs: int = 1,
    seeds: int | None = None,
    extend: int = 0,
    retry: bool = False,
    fork: str | None = None,
    storage: str | None = None,
    launcher: Literal["here", "slurm"] = "here",
    drivers: int = 1,
) -> None:
    """Run a sweep file, trial by trial, into outputs/<its name>/; started again, it goes on where it stopped.

    The file's name comes first; other words go to every trial. `jobs=` runs so many side by side, each on its
    share of the cores or GPUs; `seeds=N` runs each point with the seeds 0 to N-1 and tells the search their
    mean; `extend=N` adds N points to what run_cap says; `retry=true` tries the failed ones again; `fork=` is
    another name, for a changed file; `storage=`, or TRIAD_STORAGE in the environment, is a database URL in
    place of the journal in the sweep's folder. `launcher=slurm drivers=N` submits N such commands to a
    cluster; slurm.partition=... are its options.
    """
    from triad.sweep.controller import run_sweep

    raise SystemExit(run_sweep(overrides, jobs, seeds, extend, retry, fork, storage, launcher, drivers))


if __name__ == "__main__":
    run_command(sweep)
