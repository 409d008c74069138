"""Several sources, mixed by shares of tokens."""

import math
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property, partial
from typing import Any, NamedTuple

from triad.data.sources.source import Contents, Document, Source, Split
from triad.storage.manifest import fingerprint

STRETCH = 4096  # characters of a long source that are chosen together
NAME = re.compile(r"[\w-]+")
SKIPPED = re.compile(r"(\d+):(\d+)")
Weights = dict[str, Fraction]  # of each source, by its name


class Skip(NamedTuple):
    """Steps begin ... end - 1, whose rows are left out."""

    begin: int
    end: int


ALONE = ("text", "labels")  # kinds whose documents are read one by one


@dataclass(frozen=True)
class Mixture(Source):
    """Sources of text by name, and what share of the tokens each has from which step on.

    What a resumed run may change is declared: arguments that may have another value, and those in which what
    is there stays and more may come. Labels are left out: what a labelled source needs is not needed here.
    """

    yields = "text"
    needs = {"batch.again": (False,)}
    encloses = ("sources",)
    may_change = ("weights", "schedule", "skip")
    may_grow = ("sources",)
    sources: dict[str, Source] = field(default_factory=dict)
    stages: tuple[tuple[int, Weights], ...] = ()
    skips: tuple[Skip, ...] = ()

    @cached_property
    def contents(self) -> dict[Split, Contents]:
        """Those of all sources together."""
        return {split: _join(self.sources, split) for split in ("train", "val")}

    def sample(self, most_bytes: int) -> Source:
        """A text of so many bytes at most that has the sources by weight, the mean of all stages.

        Stretches of a long source are chosen by their hash; a short one comes as often as its weight asks.
        """
        mean = {name: sum(w[name] for _, w in self.stages) / len(self.stages) for name in self.sources}
        train, val = self.contents.values()
        sizes = {name: source.contents["train"].bytes for name, source in self.sources.items()}
        total = min(most_bytes, sum(sizes.values()))
        rates = {name: float(mean[name] * total / sizes[name]) for name in self.sources}
        known = Contents(fingerprint(train.fingerprint, rates), total, (), train.documents)
        read = partial(_read_by_weight, self.sources, rates)
        return WeightedText(self.name, read, known={"train": known, "val": val})

    def map(self, work: Callable[[Source], Source]) -> "Mixture":
        """The mixture of what some work makes of each source."""
        made = {}
        for name, source in self.sources.items():
            with name_source(name):
                made[name] = work(source)
        return replace(self, read=partial(_read_all, made), sources=made)


@dataclass(frozen=True)
class WeightedText(Source):
    """The sources of a mixture by weight; its contents follow from theirs and are not read."""

    yields = "text"
    known: dict[Split, Contents] = field(default_factory=dict)

    @property
    def contents(self) -> dict[Split, Contents]:
        return self.known


def mixture(sources: dict, weights: dict[str, float], schedule: list[dict], skip: list[str]) -> Mixture:
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
        if not NAME.fullmatch(name):
            raise ValueError(f"data.sources.{name}: a name has letters, digits, _ and - only")
        if not isinstance(source, Source) or isinstance(source, Mixture) or source.yields not in ALONE:
            raise ValueError(f"data.sources.{name}: a source of text stands here, such as data=text is")
    return Mixture(
        "mixture", partial(_read_all, named), None, named, *read_plan(named, weights, schedule, skip)
    )


def read_plan(
    names: Iterable[str], weights: Mapping[str, Any], schedule: list[dict], skip: list[str]
) -> tuple[tuple[tuple[int, Weights], ...], tuple[Skip, ...]]:
    """The stages and skips that are asked for. Raises ValueError, naming the key."""
    names = [*names]
    stages = [(0, read_weights(weights, names, "data.weights"))]
    for number, entry in enumerate(schedule):
        key = f"data.schedule[{number}]"
        if set(entry) != {"from", "weights"} or not isinstance(entry["weights"], dict):
            raise ValueError(f"{key}={entry}: two keys, such as {{from: 1000, weights: {{a: 1, b: 3}}}}")
        step = entry["from"]
        if type(step) is not int or step <= stages[-1][0]:
            raise ValueError(f"{key}.from={step}: a step after {stages[-1][0]}, the one before it")
        stages.append((step, read_weights(entry["weights"], names, f"{key}.weights")))
    return tuple(stages), tuple(map(_read_skip, skip))


def read_weights(weights: Mapping[str, Any], sources: list[str], key: str) -> Weights:
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
def name_source(name: str) -> Generator[None]:
    """Say of which source of a mixture an error is."""
    try:
        yield
    except ValueError as error:
        error.args = (f"data.sources.{name}: {error}", *error.args[1:])
        raise


def _read_all(sources: dict[str, Source], split: Split) -> Iterator[Document]:
    for name, source in sources.items():
        with name_source(name):
            for document in source.documents(split):
                yield document._replace(name=f"{name}/{document.name}", label="")


def _read_by_weight(sources: dict[str, Source], rates: dict[str, float], split: Split) -> Iterator[Document]:
    for name, source in sources.items():
        for turn in range(math.ceil(rates[name])):
            rate = rates[name] - turn
            for document in source.documents(split):
                for number, stretch in enumerate(_cut(document.pieces)):
                    if rate >= 1 or int(fingerprint(name, document.name, number)[:8], 16) < rate * 2**32:
                        yield Document(f"{name}/{document.name}:{number}:{turn}", stretch)


def _cut(pieces: Iterable[str]) -> Iterator[str]:
    for piece in pieces:
        yield from (piece[start : start + STRETCH] for start in range(0, len(piece), STRETCH))


def _join(sources: dict[str, Source], split: Split) -> Contents:
    found = {}
    for name, source in sources.items():
        with name_source(name):
            found[name] = source.contents[split]
    each = {name: contents.fingerprint for name, contents in found.items()}
    size, documents = (sum(getattr(one, key) for one in found.values()) for key in ("bytes", "documents"))
    return Contents(fingerprint(each), size, (), documents)
