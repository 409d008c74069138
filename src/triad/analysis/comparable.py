"""Runs whose metrics may be ranked together: those that were measured at one task, on one text."""

import json
from typing import NamedTuple

from triad.analysis.settings import Outcome
from triad.config.schema import read_attribute


class MeasuredOn(NamedTuple):
    """What a run was measured on: task, text, and the tokenizer where the metric depends on it."""

    task: str
    data: str
    tokenizer: str


def group_comparable(runs: list[Outcome], metric: str) -> dict[str, list[Outcome]]:
    """Runs by what they were measured on, most of them first; the keys are the words that tell groups apart.

    The text is known by the fingerprint that a run keeps of it; of a run that has not come so far it is that
    of a run with the same `data`. What has no configuration stands with the first group.
    """
    known: dict[str, str] = {}
    for run in runs:
        for key in ("data", "tokenizer"):
            if kept := _read_fingerprint(run, key):
                known.setdefault(_describe_node(run, key), kept)
    groups: dict[MeasuredOn, list[Outcome]] = {}
    for run in runs:
        if run.config:
            groups.setdefault(_find_measured(run, metric, known), []).append(run)
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
    titles = _name_groups([measured for measured, _ in ordered], [members[0] for _, members in ordered])
    found = {title: members for title, (_, members) in zip(titles, ordered, strict=True)}
    rest = [run for run in runs if not run.config]
    if rest:
        first = next(iter(found), "")
        found[first] = [*found.get(first, []), *rest]
    return found


def _find_measured(run: Outcome, metric: str, known: dict[str, str]) -> MeasuredOn:
    task = str(run.config.get("task._target_", ""))
    name = metric.removeprefix("val/").partition("/")[0]
    keys = ("data", "tokenizer") if name in (read_attribute(task, "per_token") or ()) else ("data",)
    data, *tokenizer = (
        _read_fingerprint(run, key) or known.get(node := _describe_node(run, key), node) for key in keys
    )
    return MeasuredOn(task, data, *(tokenizer or [""]))


def _read_fingerprint(run: Outcome, key: str) -> str | None:
    return run.text.get({"data": "validation"}.get(key, key))


def _describe_node(run: Outcome, key: str) -> str:
    return json.dumps({name: value for name, value in run.config.items() if name.startswith(f"{key}.")})


def _name_groups(measured: list[MeasuredOn], members: list[Outcome]) -> list[str]:
    """The words that tell each group from the others: none if there is one group only."""
    differ = [key for key in MeasuredOn._fields if len({getattr(one, key) for one in measured}) > 1]
    names = []
    for one, run in zip(measured, members, strict=True):
        words = {key: _name_part(run, key) for key in differ if getattr(one, key)}
        names.append(", ".join(f"{key} {word}" for key, word in words.items() if word))
    return [
        name if names.count(name) == 1 else f"{name} ({place})".strip() for place, name in enumerate(names, 1)
    ]


def _name_part(run: Outcome, key: str) -> str:
    """A part by the name of its file, a text with its path, a tokenizer with its number of words."""
    *_, module, name = ["", "", *str(run.config.get(f"{key}._target_", "")).split(".")]
    size = run.text.get("facts", {}).get("vocab_size") if key == "tokenizer" else None
    more = f"{size:,}" if size else run.config.get(f"{key}.path") or run.config.get(f"{key}.source") or ""
    return f"{module if name[:1].isupper() else name} {more}".strip()
