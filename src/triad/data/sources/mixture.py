"""Several sources, mixed by shares of tokens."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, NamedTuple

from triad.data.sources.source import Source

SKIPPED = re.compile(r"(\d+):(\d+)")
Weights = dict[str, Fraction]  # of each source, by its name


class Skip(NamedTuple):
    """Steps begin ... end - 1, whose rows are left out."""

    begin: int
    end: int


@dataclass(frozen=True)
class Mixture:
    """Sources of text by name, and what share of the tokens each has from which step on.

    What a resumed run may change is declared: `changed` arguments for another value, in `extended` ones what
    is there stays and more may come.
    """

    yields: ClassVar[str] = "text"
    needs = {"batch.again": (None,)}
    changed = ("weights", "schedule", "skip")
    extended = ("sources",)
    name: ClassVar[str] = "mixture"
    sources: dict[str, Any]
    stages: tuple[tuple[int, Weights], ...]
    skips: tuple[Skip, ...]


def mixture(
    sources: dict, weights: dict[str, float], schedule: list[dict], skip: list[str]
) -> Mixture:
    """Rows of several sources of text, so that each has its share of the tokens, after cleaning.

    `weights` are positive numbers, or 0 for none, one for each source; they are divided by their sum.
    `schedule` is a list of {from: step, weights: {...}}: from that step on these weights hold. `skip` is a
    list of begin:end: from step `begin` on the run reads what comes behind the rows that steps begin ...
    end - 1 would have read. Raises ValueError for weights that are not those of the sources.
    """
    named = {str(name): source for name, source in sources.items() if source is not None}
    if not named:
        raise ValueError("data.sources is empty: data.sources.NAME={_target_: ...} adds one")
    for name, source in named.items():
        if "/" in name or not hasattr(source, "documents") or source.yields == "pairs":
            raise ValueError(f"data.sources.{name}: a source of text stands here, under a name without /")
    stages = [(0, read_weights(weights, named, "data.weights"))]
    for number, entry in enumerate(schedule):
        key = f"data.schedule[{number}]"
        if set(entry) != {"from", "weights"} or not isinstance(entry["weights"], dict):
            raise ValueError(f"{key}={entry}: it has two keys, such as {{from: 1000, weights: {{a: 1, b: 3}}}}")
        step = entry["from"]
        if type(step) is not int or step <= stages[-1][0]:
            raise ValueError(f"{key}.from={step}: a step behind {stages[-1][0]}, where the weights before begin")
        stages.append((step, read_weights(entry["weights"], named, f"{key}.weights")))
    return Mixture(named, tuple(stages), tuple(map(_read_skip, skip)))


def read_weights(weights: Mapping[str, Any], sources: Mapping[str, Any], key: str) -> Weights:
    """Shares that sum to 1, in the order of the sources. Raises ValueError, naming the key."""
    if unknown := [name for name in weights if name not in sources]:
        raise ValueError(f"{key}.{unknown[0]}: no source has that name; there are {', '.join(sources)}")
    found = {}
    for name in sources:
        if name not in weights:
            raise ValueError(f"{key}.{name} is missing: the share of data.sources.{name}, or 0 for none")
        weight = weights[name]
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < float("inf"):
            raise ValueError(f"{key}.{name}={weight}: a share is a positive number, or 0 for none")
        found[name] = Fraction(str(weight))
    if not (total := sum(found.values())):
        raise ValueError(f"{key}: all shares are 0, so that no source is read; give one a positive share")
    return {name: weight / total for name, weight in found.items()}


def _read_skip(text: str) -> Skip:
    found = SKIPPED.fullmatch(text)
    if not found or int(found[1]) >= int(found[2]):
        raise ValueError(f"data.skip: {text}: two steps, the earlier first, such as data.skip=[1000:1200]")
    return Skip(int(found[1]), int(found[2]))


@contextmanager
def name_source(name: str) -> Iterator[None]:
    """Say of which source of a mixture an error is."""
    try:
        yield
    except ValueError as error:
        error.args = (f"data.sources.{name}: {error}", *error.args[1:])
        raise
