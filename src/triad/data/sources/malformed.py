"""Records that cannot be read: refused, or left out and counted."""

import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

OnError = Literal["raise", "skip"]
END = sys.maxsize  # in the place of a line: what is wrong ends the file


class Malformed(ValueError):
    """What is wrong with a record or a file, in one sentence; `reason` is what it is counted as.

    `number` is the line or row that it begins with, END where nothing more of the file can be read.
    """

    def __init__(self, sentence: str, reason: str = "damaged", number: int = END) -> None:
        super().__init__(sentence)
        self.reason, self.number = reason, number


@dataclass(eq=False)
class Skipped:
    """How many records of a source were left out, by reason.

    Files are read from front to back, and again; so a record counts if its number is beyond all that were
    counted of its file before.
    """

    on_error: OnError = "raise"
    reasons: Counter[str] = field(default_factory=Counter)
    last: dict[Path, int] = field(default_factory=dict)

    def meet(self, path: Path, error: Malformed) -> None:
        """Count what is malformed; with on_error=raise, raise it."""
        if self.on_error == "raise":
            raise error
        self.count(path, error.number, error.reason)

    def count(self, path: Path, number: int, reason: str) -> None:
        if number > self.last.get(path, 0):
            self.last[path] = number
            self.reasons[reason] += 1

    def clear(self) -> None:
        """Count anew."""
        self.reasons.clear()
        self.last.clear()


def describe_skipped(reasons: dict[str, int]) -> str:
    """How many records were left out, by reason; "" where none was."""
    listed = (f"{number:,} {reason}" for reason, number in sorted(reasons.items()))
    return f"left out {sum(reasons.values()):,} records: {', '.join(listed)}" if reasons else ""
