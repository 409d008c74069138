"""One rank: a process that trains from a run directory."""

import atexit
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

from triad.checkpoints.folder import list_complete
from triad.config.errors import Interrupted
from triad.config.messages import explain_failure, wait_to_be_ended
from triad.config.secrets import mask
from triad.runs.directory import Run
from triad.runs.signals import signals

EXPECTED = (
    ".*does not have many workers.*",  # the windows are memory-mapped: workers would only cost time
    ".*isinstance.treespec, LeafSpec.*",  # lightning on a newer torch
)


def exit_together(code: int, finished: int = 0) -> NoReturn:
    """End this process; a rank that succeeded, or that a signal ends with the others, first waits for these.

    The code `finished` stands in for 0.

    A rank leaves by os._exit: a gloo thread that frees its last tensor while the interpreter shuts down
    aborts the process (torch 2.13; 3 of 32 runs on a busy machine, in spite of a barrier).
    """
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        sys.exit(code or finished)
    if not code or signals.agreed:
        distributed.barrier()
        distributed.destroy_process_group()
    atexit._run_exitfuncs()  # some loggers register exit handlers
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or finished)


def run_rank(work: Callable[..., None], run: Run) -> int:
    """Read the run's configuration and do the work; a failure writes error.txt. Return the exit code.

    It is 128 + the signal of a run that a signal ended. Signals are handled to the end of this process.
    """
    signals.training, signals.agreed = False, 0
    signals.catch()
    arguments: dict[str, Any] = {}
    try:
        arguments = run.arguments()
        quieten()
        work(run, **arguments)
    except (Interrupted, SystemExit) as end:
        if not (signals.agreed or isinstance(end, Interrupted)):
            raise
        if not signals.agreed and os.environ.get("RANK", "0") == "0":
            print(_describe_interruption(run), flush=True)
        return 128 + (signals.agreed or signals.first)
    except Exception as error:
        if not _keep_traceback(run):
            wait_to_be_ended()
        sentence, code = explain_failure(error, arguments)
        print(f"error: {sentence}  (traceback: {run.report_file})", file=sys.stderr, flush=True)
        return code
    return 0


def _describe_interruption(run: Run) -> str:
    """What a signal before the first step has cost: nothing."""
    if run.id.startswith("."):  # a probe's or a replay's
        return "interrupted: nothing was trained"
    on = "goes on" if list_complete(run.checkpoints) else "starts it"
    return f"interrupted before the first step: nothing was trained; {run.resume_command} {on}"


def _keep_traceback(run: Run) -> bool:
    """Write error.txt, unless another rank has already written it."""
    try:
        with run.report_file.open("x", encoding="utf-8") as file:
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
