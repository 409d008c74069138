"""What ends a run that is no fault of the program: a user's mistake, divergence, a full disk, a signal."""

import dis
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from triad.config.locations import PACKAGE, own_packages
from triad.config.secrets import mask


class Refusal(ValueError):
    """A user's mistake, in one sentence that names the key and a remedy."""


class NotComposed(Refusal):
    """Words of which Hydra composes nothing: a key, a group or a choice that is not there."""


class Diverged(FloatingPointError):
    """Training has come to numbers that are not finite, in one sentence that names the step."""


class Unsaved(OSError):
    """The last checkpoint of a run could not be written, in one sentence that names it and why."""


class Interrupted(BaseException):
    """A signal asks this process to end. Holds the exit code, 128 + the signal.

    Like KeyboardInterrupt it is no Exception, so that nobody who expects a failure takes it for one.
    """


def one_line(error: BaseException) -> str:
    """An error's text on one line, without passwords."""
    return mask(" ".join(str(error).split())) or type(error).__name__


def is_sentence(error: BaseException) -> bool:
    """Whether a statement of ours raised an error: its text is written for users, whatever its class is.

    What Python or a library raises, as int("x") does within our code too, is not.
    """
    if isinstance(error, Refusal | Diverged):
        return True
    if isinstance(error, AssertionError) or not (traceback := error.__traceback__):
        return False
    while traceback.tb_next:
        traceback = traceback.tb_next
    code, at = traceback.tb_frame.f_code, traceback.tb_lasti
    return _is_written_for_users(traceback.tb_frame) and dis.opname[code.co_code[at]] == "RAISE_VARARGS"


def is_ours(frame: FrameType) -> bool:
    """Whether a frame runs code of this package, also of a command, whose module is __main__."""
    return Path(frame.f_code.co_filename).is_relative_to(PACKAGE)


def _is_written_for_users(frame: FrameType) -> bool:
    """Whether what a frame raises is a sentence: of code of ours, and of one's own that a start permits."""
    file = Path(frame.f_code.co_filename)
    return is_ours(frame) or any(file.is_relative_to(place) for place in own_packages.values())


def walk_frames(error: BaseException) -> Iterator[FrameType]:
    """The frames that an error passed through, the innermost first."""
    frames, traceback = [], error.__traceback__
    while traceback:
        frames.append(traceback.tb_frame)
        traceback = traceback.tb_next
    return reversed(frames)
