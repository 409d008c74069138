"""What ends a run that is no fault of the program: a user's mistake, divergence, a full disk."""

from triad.config.secrets import mask


class Refusal(ValueError):
    """A user's mistake, in one sentence that names the key and a remedy."""


class Diverged(FloatingPointError):
    """Training has come to numbers that are not finite, in one sentence that names the step."""


class Unsaved(OSError):
    """The last checkpoint of a run could not be written, in one sentence that names it and why."""


def one_line(error: BaseException) -> str:
    """An error's text on one line, without passwords."""
    return mask(" ".join(str(error).split())) or type(error).__name__
