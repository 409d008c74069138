"""The leaderboard: settings best first, each with its interval and its paired difference to one of them."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from triad.analysis.comparable import group_comparable
from triad.analysis.confidence_intervals import Interval, estimate_interval, format_interval
from triad.analysis.settings import Outcome, Setting, format_cell, group_by_setting
from triad.config.directions import OF_ALL_RUNS, find_best
from triad.config.errors import Refusal
from triad.config.schema import suggest

Goal = Literal["auto", "minimize", "maximize"]
WITHOUT_TOKENS = "val/bits_per_byte"  # the loss of a text, whatever its tokenizer


class Line(NamedTuple):
    """A setting, its metric over the seeds, and how it stands to the reference; no result, no score."""

    setting: Setting
    score: Interval | None
    verdict: str


class Board(NamedTuple):
    """Lines, best first; those without a result last. A title where there are other boards beside it."""

    metric: str
    maximize: bool
    columns: list[str]
    lines: list[Line]
    reference: Setting | None
    together: list[Setting]  # also those that `by` leaves out
    title: str = ""
    notes: list[str] = []


def rank_runs(
    found: list[Outcome], metric: str, goal: Goal = "auto", by: str = "", against: str | None = None
) -> list[Board]:
    """A board for each group of runs that are comparable, the largest first; notes are under the last one.

    Raises Refusal for a word of `by` or `against` that fits no run.
    """
    runs = [run for run in found if not run.left_out]
    groups = group_comparable(runs, metric)
    together = {title: group_by_setting(members) for title, members in groups.items()}
    everything = [setting for settings in together.values() for setting in settings]
    keys = _parse_keys(by, everything) if by else []
    reference = _find_setting(against, everything) if against else None
    boards, notes = [], [*_count_left_out(found), *(run.fault for run in found if run.fault)]
    for title, settings in together.items():
        if not any(setting.figures(metric) for setting in settings) and any(r.result for r in groups[title]):
            notes.append(f"without {metric} ({len(groups[title])}): {title}")
            continue
        boards.append(rank_settings(settings, metric, goal, keys, reference)._replace(title=title))
    if any("tokenizer " in board.title for board in boards) and any(WITHOUT_TOKENS in r.result for r in runs):
        notes.append(f"metric={WITHOUT_TOKENS} ranks runs with other tokenizers, too")
    boards = boards or [Board(metric, False, [], [], None, [])]
    return [*boards[:-1], boards[-1]._replace(notes=notes)]


def _count_left_out(found: list[Outcome]) -> list[str]:
    """A sentence for each reason why some are no runs to compare."""
    names: dict[str, list[str]] = {}
    for run in found:
        if run.left_out:
            names.setdefault(run.left_out, []).append(run.directory.name)
    return [f"{reason}, left out ({len(each)}): {', '.join(each)}" for reason, each in names.items()]


def rank_settings(
    found: list[Setting],
    metric: str,
    goal: Goal = "auto",
    by: Sequence[str] = (),
    against: Setting | None = None,
) -> Board:
    """Rank settings by a metric. With `by`, some keys, only the best of each of their values is kept.

    Differences are to `against` if it is among them, else to the best setting.
    """
    columns = list(next((setting.values for setting in found if setting.values), {}))
    scores = {id(s): estimate_interval([*figures.values()]) for s in found if (figures := s.figures(metric))}
    maximize = goal == "maximize"
    if goal == "auto" and scores:
        maximize = _is_higher_better(found, metric)

    def place(setting: Setting) -> tuple[bool, bool, float]:
        score = scores.get(id(setting))
        if score is None or math.isnan(score.mean):
            return score is None, True, 0.0
        return False, False, -score.mean if maximize else score.mean

    ranked = sorted(found, key=place)
    if by:
        columns = [*by, *(key for key in columns if key not in by)]
        ranked = _keep_best_of_each(ranked, by)
    chosen = any(setting is against for setting in found)
    reference = against if chosen else next((s for s in ranked if id(s) in scores), None)
    lines = [Line(s, scores.get(id(s)), _judge(s, reference, metric, maximize, not chosen)) for s in ranked]
    return Board(metric, maximize, columns, lines, reference, found)


def find_best_run(setting: Setting, metric: str, maximize: bool) -> Outcome:
    """Of the seeds of a setting the one with the best result; the first where none has one."""
    way = "higher" if maximize else "lower"
    measured = [run for run in setting.runs if metric in run.result]
    return find_best(measured, lambda run: run.result[metric], way) or [*measured, *setting.runs][0]


def _is_higher_better(found: list[Setting], metric: str) -> bool:
    """As the runs record it; of a metric that every run can have, also where they record nothing."""
    runs = [run for setting in found for run in setting.runs]
    said = {run.better[metric] for run in runs if metric in run.better}
    if not said and metric in OF_ALL_RUNS:
        said = {OF_ALL_RUNS[metric]}
    if len(said) != 1:
        why = "the runs do not agree" if said else "no run records"
        raise Refusal(f"metric={metric}: {why} which way is better; say goal=minimize or goal=maximize")
    return said == {"higher"}


def compare_paired(setting: Setting, reference: Setting, metric: str) -> Interval | None:
    """The mean difference of a setting to another over the seeds that both have; None without such a seed."""
    own, other = setting.figures(metric), reference.figures(metric)
    differences = [own[seed] - other[seed] for seed in own if seed in other]
    return estimate_interval(differences) if differences else None


def _judge(setting: Setting, reference: Setting | None, metric: str, maximize: bool, best: bool) -> str:
    if reference is None or not setting.figures(metric):
        return ""
    if setting is reference:
        return "the best" if best else "the reference"
    difference = compare_paired(setting, reference, metric)
    if difference is None:
        return "no seed in common"
    if not math.isfinite(difference.mean):
        return "not finite"
    found = format_interval(difference, "+")
    if difference.half is None:
        return f"{found}, one seed: no telling"
    if difference.contains(0.0):
        return f"{found}, within noise"
    return f"{found}, {'better' if (difference.mean > 0) == maximize else 'worse'}"


def _parse_keys(by: str, found: list[Setting]) -> list[str]:
    known = dict.fromkeys(
        key for setting in found for run in setting.runs for key in (*setting.values, *run.config, *run.words)
    )
    for key in by.split(","):
        if key not in known:
            raise Refusal(f"by={key} is not a key of these runs{suggest(key, list(known))}")
    return by.split(",")


def _keep_best_of_each(ranked: list[Setting], keys: Sequence[str]) -> list[Setting]:
    best: dict[str, Setting] = {}
    for setting in ranked:
        best.setdefault(repr([setting.value(key) for key in keys]), setting)
    return list(best.values())


def _find_setting(word: str, found: list[Setting]) -> Setting:
    """The one setting that has a run of this name or directory, or all of these key=value words."""
    fits = [
        setting
        for setting in found
        if any(word == run.directory.name or Path(word) == run.directory for run in setting.runs)
        or ("=" in word and _matches(setting, word.split(",")))
    ]
    if len(fits) != 1:
        names = [run.directory.name for setting in found for run in setting.runs]
        why = f"fits {len(fits)} settings: add a key=value word" if fits else "is none of these runs"
        raise Refusal(f"against={word} {why}{'' if fits else suggest(word, names)}")
    return fits[0]


def _matches(setting: Setting, words: list[str]) -> bool:
    pairs = (word.partition("=") for word in words)
    return all(_equal(format_cell(setting.value(key)), value) for key, _, value in pairs)


def _equal(one: str, other: str) -> bool:
    """Equal as text or as numbers: 1e-3 is 0.001."""
    try:
        return one == other or float(one) == float(other)
    except ValueError:
        return False
