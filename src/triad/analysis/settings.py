"""Run directories as points to compare: what differs between them, and what each came to."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from triad.config.command_line import key_of
from triad.config.errors import Refusal
from triad.config.identity import is_observer, leaves
from triad.config.schema import suggest
from triad.runs.directory import Run

NAMES = ("seed", "run_id", "output_dir", "tags", "logger")  # keys that do not distinguish settings


class Outcome(NamedTuple):
    """What there is to compare of a run: its configuration as dotted keys, what was typed, its result if any.

    Without callbacks that only observe: they make no other setting. `left_out` says why it is no run to
    compare: a start that failed before anything was trained, or weights made of other runs'.
    """

    directory: Path
    config: dict[str, Any]
    words: dict[str, str] = {}
    result: dict[str, float] = {}
    state: str = "finished"
    seed: int = 0
    better: dict[str, str] = {}  # "lower" or "higher", by metric
    left_out: str = ""
    fault: str = ""  # of one that cannot be read
    text: dict[str, Any] = {}  # fingerprints of the data


class Setting(NamedTuple):
    """Runs that differ by nothing but the seed, and the values of the keys in which settings differ."""

    values: dict[str, Any]
    runs: list[Outcome]

    def figures(self, metric: str) -> dict[int, float]:
        """A metric for each seed that has it, by seed; the same seed run twice counts once, as the mean."""
        found: dict[int, list[float]] = {}
        for run in self.runs:
            if metric in run.result:
                found.setdefault(run.seed, []).append(float(run.result[metric]))
        return {seed: sum(values) / len(values) for seed, values in sorted(found.items())}

    def value(self, key: str) -> Any:
        """A key's value, of those that differ or any other of the configuration; None where there is none."""
        run = self.runs[0]
        return self.values[key] if key in self.values else run.config.get(key, run.words.get(key))

    @property
    def label(self) -> str:
        """The values that distinguish it, or its run's name where none do."""
        values = [(key, value) for key, value in self.values.items() if value is not None]
        words = [f"{shorten_key(key)}={format_cell(value)}" for key, value in values]
        return ", ".join(words) or self.runs[0].directory.name


def find_directories(words: list[str], keys: list[str]) -> list[Path]:
    """The run directories that words name or hold.

    Raises Refusal at a word that is nothing of the kind; `keys` are the words that would not be one.
    """
    found: dict[Path, None] = {}
    for word in words:
        path = Path(word)
        if not path.exists():
            known = keys if "=" in word else Run(path).siblings
            near = suggest(word.partition("=")[0] if "=" in word else path.name, known)
            raise Refusal(f"{word}: no run is there{near}")
        found |= dict.fromkeys(_find_inside(path))
    if not found:
        raise Refusal(f"{' '.join(words[:3])}: no run is there; python train.py makes one")
    return list(found)


def _find_inside(path: Path, depth: int = 3) -> list[Path]:
    """A run directory itself, or the runs in a directory of runs, sweeps or outputs, but for hidden ones."""
    if Run(path).exists:
        return [path]
    if not depth or not path.is_dir():
        return []
    return [run for inner in sorted(path.glob("[!.]*")) for run in _find_inside(inner, depth - 1)]


def load_outcome(directory: Path, state: str | None = None, has_task: bool = True) -> Outcome:
    """Read a run directory. One that was never written (its words were refused) has a name and a state.

    So has one whose files are damaged: it stops nothing else. A sweep may run another program than train.py,
    whose configuration has no task.
    """
    run = Run(directory)
    if not run.exists:
        return Outcome(directory, {}, state=state or "not started")
    try:
        return _read_outcome(run, state, has_task)
    except Refusal as error:
        return Outcome(directory, {}, state="unreadable", fault=str(error))


def _read_outcome(run: Run, state: str | None, has_task: bool) -> Outcome:
    config, result, words = run.config(has_task), run.result(), run.overrides()
    numbers = {key: value for key, value in (result or {}).items() if isinstance(value, int | float)}
    typed = {key_of(word): word.partition("=")[2] for word in words}
    acting = {name: node for name, node in (config.get("callbacks") or {}).items() if not is_observer(node)}
    others = {key: value for key, value in config.items() if key != "callbacks"}
    known = dict(leaves(others | ({"callbacks": acting} if acting else {})))
    state = state or run.state
    told = numbers, state, config.get("seed", 0), run.directions()
    text = run.pinned() if run.data_file.is_file() else {}
    left_out = _find_why_left_out(run, state)
    return Outcome(run.path, known, typed, *told, left_out=left_out, text=text)


def _find_why_left_out(run: Run, state: str) -> str:
    """Why there is no run to compare, or ""; a trial that failed is a result of its sweep."""
    if state == "finished" or run.metrics():
        return ""
    if any(run.checkpoints.glob("*")):
        return "weights made of other runs"
    return "failed starts" if state == "failed" and not run.is_trial else ""


def group_by_setting(runs: list[Outcome]) -> list[Setting]:
    """Put the runs of one setting together, and say in which keys the settings differ."""
    together: dict[str, list[Outcome]] = {}
    for run in runs:
        same = {key: value for key, value in run.config.items() if key.partition(".")[0] not in NAMES}
        name = _to_text(same) if same else str(run.directory)
        together.setdefault(name, []).append(run)
    groups = [sorted(group, key=lambda run: run.seed) for group in together.values()]
    written = [group[0] for group in groups if group[0].config]
    columns = find_differing_keys(written, {key for run in runs for key in run.words})
    return [
        Setting({key: _find_value(key, group, runs) for key in columns} if group[0].config else {}, group)
        for group in groups
    ]


def find_differing_keys(runs: list[Outcome], typed: set[str]) -> list[str]:
    """Keys that tell settings apart: those typed that differ, then as few others as it takes.

    Most keys that differ follow from others (`scheduler.steps` from `trainer.max_steps`, a whole model's from
    `model=moe`): a key that nobody typed is left out where the keys before it determine it.
    """
    keys = dict.fromkeys(key for run in runs for key in (*run.words, *run.config))
    chosen = [key for key in keys if key in typed]
    others = sorted((key for key in keys if key not in typed), key=lambda key: not key.endswith("._target_"))
    found: list[str] = []
    known = [""] * len(runs)  # what the found keys say of each run
    for key in [*chosen, *others]:
        texts = [_to_text(_find_value(key, [run], runs)) for run in runs]
        told = dict(zip(known, texts, strict=True))
        if key.partition(".")[0] in NAMES or len(set(texts)) < 2:
            continue
        if key in typed or any(told[old] != text for old, text in zip(known, texts, strict=True)):
            found.append(key)
            known = [old + text for old, text in zip(known, texts, strict=True)]
    return found


def _find_value(key: str, group: list[Outcome], runs: list[Outcome]) -> Any:
    """A key's value in a setting: that of the resolved configuration; of a group, the choice that was typed.

    A choice that was not typed is known where another run typed it and has the same node; else it is None.
    """
    run = group[0]
    if key in run.config or any(key in other.config for other in runs):
        return run.config.get(key)
    typed = [member.words[key] for member in group if key in member.words]
    if typed or not (node := _select_node(key, run)):
        return typed[0] if typed else None
    return next(
        (other.words[key] for other in runs if key in other.words and _select_node(key, other) == node), None
    )


def _select_node(group: str, run: Outcome) -> dict[str, Any]:
    return {key: value for key, value in run.config.items() if key.startswith(f"{group}.")}


def _to_text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def shorten_key(key: str) -> str:
    """A key as a column is called."""
    return key.removesuffix("._target_")


def format_cell(value: Any) -> str:
    """A value as a table shows it: a number, a class by its name, empty where there is none."""
    if value is None:
        return ""
    if isinstance(value, float):
        return format_number(value)
    if isinstance(value, str):
        return value.rpartition(".")[2] if value.startswith(("triad.", "torch.", "lightning.")) else value
    return json.dumps(value, default=str)


def format_number(value: float) -> str:
    """Five digits, or all of a count up to ten million: 0.001, 3.4567, 512000, 1.3e12."""
    if abs(value) < 1e7 and value == int(value):
        return f"{value:.0f}"
    return re.sub(r"e\+0*", "e", f"{value:.5g}")
