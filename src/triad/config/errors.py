"""A user's mistake."""


class Refusal(ValueError):
    """A user's mistake, in one sentence that names the key and a remedy."""


def one_line(error: BaseException) -> str:
    """An error's text on one line."""
    return " ".join(str(error).split()) or type(error).__name__
