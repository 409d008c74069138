"""Filters applied to documents one after the other, and a count of what each did."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from triad.data.clean.drop import Drop
from triad.data.progress import Advance
from triad.data.sources.source import Source, Split

EXAMPLES = 3  # documents that are named for each thing that happened to some
CHUNK = 1 << 19  # characters of the documents that are worked on at once
Filters = Mapping[str, Callable[..., Any]]


class Unit(NamedTuple):
    """Documents that stay or go together: one, or both sides of a pair."""

    names: tuple[str, ...]
    labels: tuple[str, ...]
    texts: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.names[0]

    @property
    def bytes(self) -> int:
        return sum(len(text) if text.isascii() else len(text.encode()) for text in self.texts)


@dataclass
class Step:
    """What one filter did: units that came, were changed, were dropped by which rule; the names of some."""

    name: str
    came: int = 0
    changed: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def count(self, unit: Unit, left: Unit | Drop) -> None:
        """Count what became of a unit."""
        self.came += 1
        self.bytes_in += (size := unit.bytes)
        if isinstance(left, Drop):
            self.dropped[left.rule] += 1
            self._remember(left.rule, unit)
        elif left.texts == unit.texts:
            self.bytes_out += size
        else:
            self.changed += 1
            self.bytes_out += left.bytes
            self._remember("changed", unit)

    def add(self, other: "Step") -> None:
        """Count what the same filter did to the units that came next."""
        self.came += other.came
        self.changed += other.changed
        self.bytes_in += other.bytes_in
        self.bytes_out += other.bytes_out
        self.dropped.update(other.dropped)
        for what, names in other.examples.items():
            self.examples[what] = [*self.examples.get(what, ()), *names][:EXAMPLES]

    def _remember(self, what: str, unit: Unit) -> None:
        if len(named := self.examples.setdefault(what, [])) < EXAMPLES:
            named.append(unit.name)


class Cleaned(NamedTuple):
    """What filters left of a chunk of units, and what each did."""

    came: Counter[str]
    units: list[Unit]
    steps: list[Step]


def clean_unit(unit: Unit, filters: Filters, steps: list[Step]) -> Unit | None:
    """What the filters leave of a unit, counted in `steps`; None where one drops it."""
    for step, apply in zip(steps, filters.values(), strict=True):
        left = _apply(apply, unit)
        step.count(unit, left)
        if isinstance(left, Drop):
            return None
        unit = left
    return unit


def _apply(apply: Callable[..., Any], unit: Unit) -> Unit | Drop:
    if getattr(getattr(apply, "func", apply), "reads", "text") == "pairs":
        return apply(*unit.texts) or unit
    kept = []
    for text in unit.texts:
        left = apply(text)
        if isinstance(left, Drop):
            return left
        if not left.strip():
            return Drop("empty")
        kept.append(left)
    return unit._replace(texts=tuple(kept))


def read_units(source: Source, split: Split) -> Iterator[Unit]:
    """The documents of a split, those of parallel text by twos."""
    documents = source.stream(split)
    for first in documents:
        together = (first, next(documents)) if source.yields == "pairs" else (first,)
        names, labels = (tuple(getattr(one, field) for one in together) for field in ("name", "label"))
        yield Unit(names, labels, tuple(one.text for one in together))


def read_chunks(source: Source, split: Split) -> Iterator[list[Unit]]:
    """The documents of a split in lists of some CHUNK characters."""
    return cut_chunks(read_units(source, split))


def cut_chunks(units: Iterable[Unit]) -> Iterator[list[Unit]]:
    """Units in lists of some CHUNK characters."""
    chunk: list[Unit] = []
    length = 0
    for unit in units:
        chunk.append(unit)
        if (length := length + sum(map(len, unit.texts))) >= CHUNK:
            yield chunk
            chunk, length = [], 0
    if chunk:
        yield chunk


def clean_chunk(filters: Filters, units: list[Unit]) -> Cleaned:
    """What the filters leave of some units. A function of its arguments alone, so any process may call it."""
    came: Counter[str] = Counter()
    steps = [Step(name) for name in filters]
    left = [clean_unit(unit, filters, steps) for unit in count_units(units, came)]
    return Cleaned(came, [unit for unit in left if unit], steps)


def gather(
    cleaned: Iterable[Cleaned], steps: list[Step], size: Counter[str], advance: Advance
) -> Iterator[Unit]:
    """The units that were left, counted as if all chunks were one."""
    for chunk in cleaned:
        size.update(chunk.came)
        for step, other in zip(steps, chunk.steps, strict=True):
            step.add(other)
        advance(chunk.came["bytes"])
        yield from chunk.units


def count_units(units: Iterable[Unit], size: Counter[str]) -> Iterator[Unit]:
    """The same units, counted in `size` as they pass."""
    for unit in units:
        size["units"] += 1
        size["bytes"] += unit.bytes
        yield unit


class Example(NamedTuple):
    """A document to which a filter did something, before and after; "" after where it was dropped."""

    split: Split
    filter: str
    what: str
    name: str
    before: str
    after: str


def find_examples(
    source: Source, filters: Filters, done: Mapping[Split, list[dict[str, Any]]]
) -> Iterator[Example]:
    """The texts of the documents that the steps of a manifest name as examples: it holds no text itself."""
    for split, steps in done.items():
        wanted = {
            (step["name"], name): what
            for step in steps
            for what, names in step["examples"].items()
            for name in names
        }
        names = {name for _, name in wanted}
        for unit in read_units(source, split):
            for key, apply in filters.items() if unit.name in names else ():
                left = _apply(apply, unit)
                dropped = isinstance(left, Drop)
                if what := wanted.get((key, unit.name)):
                    before, after = "\n".join(unit.texts), "" if dropped else "\n".join(left.texts)
                    yield Example(split, key, what, unit.name, before, after)
                if dropped:
                    break
                unit = left
