"""The text of new tokens: where a stop string ends it, and what of it is certain and may be shown."""

import codecs
from collections.abc import Callable, Iterable, Sequence

from triad.data.tokenizers.tokenizer import Tokenizer


class NewText:
    """The text of tokens that come one by one, up to the first stop string.

    Nothing that was shown is taken back: half a character waits for its other half, and what may be the
    beginning of a stop string for what follows it. Where several stop strings occur, the text ends at the one
    that is complete first, so that it does not matter how the text is cut into tokens. Stop strings and what
    stands behind them are no part of the text, nor is half a character at its end. A tokenizer whose pieces
    do not add up to its text (`joins` is false) shows it when it has ended. Raises ValueError for an empty
    stop string.
    """

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str] = ()) -> None:
        if "" in stops:
            raise ValueError('stop="": an empty string stands everywhere; leave it out')
        self.tokenizer = tokenizer
        self.stops = [stop.encode() for stop in stops]
        self.tokens: list[int] = []
        self.waiting = b""
        self.stopped = False
        self.decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def add(self, token: int) -> str:
        """What may be shown once this token is there."""
        self.tokens.append(token)
        if self.stopped:
            return ""
        if not self.tokenizer.joins:
            self.stopped = find_stop(self.tokenizer.decode(self.tokens).encode(), self.stops) is not None
            return ""
        self.waiting += self.tokenizer.pieces[token] if token < self.tokenizer.vocab_size else b""
        end = find_stop(self.waiting, self.stops)
        self.stopped = end is not None
        certain = len(self.waiting) - _count_held(self.waiting, self.stops) if end is None else end
        shown, self.waiting = self.waiting[:certain], b"" if self.stopped else self.waiting[certain:]
        return self.decoder.decode(shown)

    def finish(self) -> str:
        """What is left to show when no token follows."""
        if self.tokenizer.joins:
            return self.decoder.decode(self.waiting)
        text = self.tokenizer.decode(self.tokens).encode()
        return text[: find_stop(text, self.stops)].decode(errors="replace")


def decode_text(tokenizer: Tokenizer, tokens: Iterable[int], stops: Sequence[str] = ()) -> str:
    """The text of new tokens up to the first stop string."""
    text = NewText(tokenizer, stops)
    return "".join([*map(text.add, tokens), text.finish()])


def find_stop(text: bytes, stops: Sequence[bytes]) -> int | None:
    """Where the stop string begins that is complete first, the longest of several; None where none is."""
    found = [(start + len(stop), start) for stop in stops if (start := text.find(stop)) >= 0]
    return min(found)[1] if found else None


def make_stopped(tokenizer: Tokenizer, stops: Sequence[str]) -> Callable[[list[int]], bool]:
    """A function of the new tokens: whether the last of them completes a stop string."""
    sought = [stop.encode() for stop in stops]
    longest = max(map(len, sought), default=0)

    def stopped(tokens: list[int]) -> bool:
        if not tokenizer.joins:
            return find_stop(tokenizer.decode(tokens).encode(), sought) is not None
        tail = b""
        for place in range(len(tokens) - 1, -1, -1):  # as much as a stop string that ends in the last one has
            token = tokens[place]
            tail = (tokenizer.pieces[token] if token < tokenizer.vocab_size else b"") + tail
            if place < len(tokens) - 1 and len(tail) >= longest + len(tokenizer.pieces[tokens[-1]]):
                break
        return find_stop(tail, sought) is not None

    return stopped


def _count_held(text: bytes, stops: Sequence[bytes]) -> int:
    """Bytes at the end of a text that a stop string begins with."""
    longest = min(len(text), max(map(len, stops), default=1) - 1)
    held = (size for size in range(longest, 0, -1) if any(stop.startswith(text[-size:]) for stop in stops))
    return next(held, 0)
