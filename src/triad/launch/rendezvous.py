"""Ranks that torchrun or srun has started agree on the run directory before anything else."""

from collections.abc import Callable
from itertools import count
from pathlib import Path

from triad.config.messages import MISTAKE, wait_to_be_ended
from triad.config.processes import set_slurm_variables

questions = count()  # a multirun asks once for each job
stores = []  # kept alive, as rank 0 may host the store


def agree_on_run(prepare: Callable[[], Path]) -> Path:
    """Rank 0 prepares the run directory; every rank gets its path, or ends when rank 0 could not.

    Under SLURM the variables that torchrun would set are set here first.
    """
    from torch.distributed import rendezvous

    if not stores:
        set_slurm_variables()
        stores.append(next(rendezvous("env://")))
    (store, rank, _), question = stores[0], f"triad/run/{next(questions)}"
    if rank == 0:
        try:
            store.set(question, str(prepare()))
        except BaseException:
            store.set(question, "")
            raise
    if not (answer := store.get(question).decode()):
        wait_to_be_ended()  # rank 0 reports why
        raise SystemExit(MISTAKE)
    return Path(answer)
