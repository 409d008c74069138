"""What ends a run that is no fault of the program: a user's mistake, divergence, and a signal."""


class Refusal(ValueError):
    """A user's mistake, in one sentence that names the key and a remedy."""


class Diverged(FloatingPointError):
    """Training has come to numbers that are not finite, in one sentence that names the step."""


class Interrupted(BaseException):
    """A signal asks this process to end. Holds the exit code, 128 + the signal.

    Like KeyboardInterrupt it is no Exception, so that nobody who expects a failure takes it for one.
    """


def one_line(error: BaseException) -> str:
    """An error's text on one line."""
    return " ".join(str(error).split()) or type(error).__name__
