"""One rank: a process that trains from a run directory."""

import atexit
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import NoReturn

from triad.config.errors import Diverged, one_line
from triad.config.messages import choose_exit_code, wait_to_be_ended
from triad.config.secrets import mask
from triad.runs.directory import Run

EXPECTED = (
    ".*does not have many workers.*",  # the windows are memory-mapped: workers would only cost time
    ".*isinstance.treespec, LeafSpec.*",  # lightning on a newer torch
)


def exit_together(code: int) -> NoReturn:
    """End this process; a rank that succeeded first waits for the other ranks.

    A rank leaves by os._exit: a gloo thread that frees its last tensor while the interpreter shuts down
    aborts the process (torch 2.13; 3 of 32 runs on a busy machine, in spite of a barrier).
    """
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        sys.exit(code)
    if not code:
        distributed.barrier()
        distributed.destroy_process_group()
    atexit._run_exitfuncs()  # some loggers register exit handlers
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def run_rank(work: Callable[..., None], run: Run) -> int:
    """Read the run's configuration and do the work; a failure writes error.txt. Return the exit code."""
    arguments = run.arguments()
    quieten()
    try:
        work(run, **arguments)
    except Exception as error:
        if not _keep_traceback(run):
            wait_to_be_ended()
        if not isinstance(error, ValueError | OSError | LookupError | Diverged):
            raise
        sentence = f"error: {one_line(error)}  (traceback: {run.error_file})"
        print(sentence, file=sys.stderr, flush=True)
        return choose_exit_code(error)
    return 0


def _keep_traceback(run: Run) -> bool:
    """Write error.txt, unless another rank has already written it."""
    try:
        with run.error_file.open("x", encoding="utf-8") as file:
            file.write(mask(traceback.format_exc()))
    except FileExistsError:
        return False
    except OSError:
        return True  # a full disk: the sentence is printed all the same
    return True


def quieten() -> None:
    """Keep Lightning's and torch's remarks about our own choices off the screen; real warnings stay."""
    import lightning.pytorch  # noqa: F401 (it sets its log levels on import)

    # the last says that gloo sends all of a matrix where NCCL sends a part of it
    for name in ("lightning.pytorch", "lightning.fabric", "torch.distributed.tensor._collective_utils"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for message in EXPECTED:
        warnings.filterwarnings("ignore", message)
