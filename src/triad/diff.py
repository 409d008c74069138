"""Tell whether two runs must coincide, and whether they do: `python -m triad.diff outputs/A outputs/B`."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from triad.config.errors import Refusal
from triad.config.identity import find_differing, is_place, leaves, mathematics, system
from triad.runs import divergence
from triad.runs.passport import Passport, read_passport, same_code

GROUP = "Compare runs"

# Which keys of the system, beside those of strategy and hardware, change the last bits
ROUNDING = tuple(
    f"trainer.{key}" for key in ("accelerator", "devices", "num_nodes", "deterministic", "benchmark")
)
BITS = "they must coincide bit for bit"
TOLERANCE = "they must coincide but for rounding"
OPEN = "they may differ"
DIFFER = "they need not coincide"


class Difference(NamedTuple):
    """In what two runs differ: keys of the mathematics and of the system, code, text, choices, machine."""

    mathematics: list[str]
    system: list[str]
    code: bool
    text: bool | None  # None: one of them has not begun
    choices: dict[str, tuple[str, str]]
    machine: dict[str, tuple[Any, Any]]


def diff(overrides: list[str], tolerance: float = 1e-4) -> None:
    """Say whether two runs must coincide, what differs in which part, and where their curves part.

    The words are the two runs' directories. The exit code is 0 if they must coincide, and their curves do,
    or differ by no more than the `tolerance` (relative) where layouts round differently; 1 if not.
    """
    if len(overrides) != 2:
        raise Refusal(f"name two runs, such as outputs/a outputs/b; {len(overrides)} words are here")
    one, other = (read_passport(Path(word)) for word in overrides)
    found = find_difference(one, other)
    said, bits = judge(one, other, found)
    figures = [*divergence.pair_figures(one.run.metrics(), other.run.metrics())]
    parted = divergence.find_first(figures, 0.0 if bits else tolerance)
    for line in (*describe(one, other, found), said, *divergence.describe(figures, tolerance)):
        print(line)
    raise SystemExit(1 if said.startswith(DIFFER) or parted else 0)


def find_difference(one: Passport, other: Passport) -> Difference:
    """In what two runs differ."""
    text = None if one.text is None or other.text is None else one.text != other.text
    keys = find_differing(mathematics(one.config), mathematics(other.config))
    places = [key for key in keys if is_place(key) and text is False]  # of the same text
    choices = {
        question: (one.choices[question], other.choices[question])
        for question in one.choices
        if other.choices.get(question, one.choices[question]) != one.choices[question]
    }
    ours, theirs = one.machine(), other.machine()
    return Difference(
        [key for key in keys if key not in places],
        places + find_differing(system(one.config), system(other.config)),
        not same_code(one, other),
        text,
        choices,
        {key: (ours.get(key), theirs.get(key)) for key in find_differing(ours, theirs)},
    )


def judge(one: Passport, other: Passport, found: Difference) -> tuple[str, bool]:
    """Whether two runs must coincide, in words; and whether bit for bit."""
    precision = "precision" in found.choices  # precision=auto chose by the machine
    parts = {"mathematics": found.mathematics or precision, "code": found.code, "text": found.text}
    if differs := [part for part, differs in parts.items() if differs]:
        return f"{DIFFER}: other {' and '.join(differs)}", False
    if found.text is None:
        return f"{OPEN}: the text of a run is known once it has begun", False
    for run in (one, other):
        if run.resumed_with_others():
            return f"{OPEN}: {run.name} was resumed with other mathematics than it was begun with", False
    moved = [key for key in found.system if key.startswith(("strategy.", "hardware.")) or key in ROUNDING]
    if any(value for key, value in mathematics(one.config).items() if key.endswith("dropout")) and moved:
        return f"{OPEN}: masks of dropout are drawn by each process for its own rows", False
    if moved or found.choices or found.machine:
        why = ", ".join([*moved, *found.choices, *found.machine])
        return f"{TOLERANCE}: the same mathematics, code and text; sums in another order by {why}", False
    return f"{BITS}: the same mathematics, code, text and class of machine", True


def describe(one: Passport, other: Passport, found: Difference) -> Iterator[str]:
    """What differs, part by part, with where it comes from."""
    held = [(run, partial(_format_value, dict(leaves(run.config)))) for run in (one, other)]
    for part, keys in (("mathematics", found.mathematics), ("system", found.system)):
        yield f"{part:<12} {'differs:' if keys else 'the same'}"
        for key in keys:
            yield f"  {key}"
            yield from (f"    {run.name}: {value(key)}{run.origin(key)}" for run, value in held)
    commits = ", ".join(dict.fromkeys([_describe_commit(one), _describe_commit(other)]))
    yield f"{'code':<12} {'differs' if found.code else 'the same'} ({commits})"
    text = {None: "not known: a run has not begun", True: "differs", False: "the same"}
    yield f"{'text':<12} {text[found.text]}"
    yield f"{'machine':<12} {'differs:' if found.machine or found.choices else 'the same'}"
    for name, (ours, theirs) in (found.machine | found.choices).items():
        yield f"  {name}: {ours} and {theirs}"
    for part in ("versions", "environment"):
        ours, theirs = (run.record.get(part, {}) for run in (one, other))
        names = [name for name in find_differing(ours, theirs) if name not in found.machine]
        yield f"{part:<12} {'differs:' if names else 'the same'}"
        yield from (f"  {name}: {ours.get(name)} and {theirs.get(name)}" for name in names)


def _describe_commit(run: Passport) -> str:
    commit = run.record.get("git_commit")
    return f"{commit[:12] if commit else 'no commit'}{' and changes' if run.diff else ''}"


def _format_value(held: dict[str, Any], key: str) -> str:
    return "absent" if key not in held else "null" if held[key] is None else str(held[key])


if __name__ == "__main__":
    from triad.config.command_line import run_command

    run_command(diff)
