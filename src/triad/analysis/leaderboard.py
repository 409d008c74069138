"""The leaderboard: settings best first, each with its interval and its paired difference to one of them."""

import math
from pathlib import Path
from typing import Literal, NamedTuple

from triad.analysis.confidence_intervals import Interval, estimate_interval
from triad.analysis.settings import Setting, format_cell, format_number, shorten_key
from triad.config.directions import OF_ALL_RUNS
from triad.config.errors import Refusal
from triad.config.schema import suggest

Goal = Literal["auto", "minimize", "maximize"]
MEASURES = (
    "val/loss",
    "val/bits_per_byte",
    "steps",
    "train/tokens",
    "train/flops",
    "perf/flops",
    "perf/energy_joules",
    "perf/energy_joules_estimate",
    "perf/cost",
    "perf/tokens_per_s",
    "perf/mfu",
    "perf/train_s",
)


class Line(NamedTuple):
    """A setting, its metric over the seeds, and how it stands to the reference; no result, no score."""

    setting: Setting
    score: Interval | None
    verdict: str


class Board(NamedTuple):
    """Lines, best first; those without a result last."""

    metric: str
    maximize: bool
    columns: list[str]
    lines: list[Line]
    reference: Setting | None


def rank_settings(
    found: list[Setting], metric: str, goal: Goal = "auto", by: str = "", against: str | None = None
) -> Board:
    """Rank settings by a metric. With `by` (keys, with commas) only the best of each of their values is kept.

    Differences are to the best setting, or to `against`: a run's name or directory, or key=value words.
    """
    columns = list(next((setting.values for setting in found if setting.values), {}))
    maximize = _is_higher_better(found, metric) if goal == "auto" else goal == "maximize"
    scores = {id(s): estimate_interval([*figures.values()]) for s in found if (figures := s.figures(metric))}

    def place(setting: Setting) -> tuple[bool, bool, float]:
        score = scores.get(id(setting))
        if score is None or math.isnan(score.mean):
            return score is None, True, 0.0
        return False, False, -score.mean if maximize else score.mean

    ranked = sorted(found, key=place)
    if by:
        first = _parse_keys(by, found)
        columns = [*first, *(key for key in columns if key not in first)]
        ranked = _keep_best_of_each(ranked, first)
    reference = (
        _find_setting(against, found) if against else next((s for s in ranked if id(s) in scores), None)
    )
    lines = [Line(s, scores.get(id(s)), _judge(s, reference, metric, maximize, not against)) for s in ranked]
    return Board(metric, maximize, columns, lines, reference)


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
    if difference.half is None:
        return f"{difference.mean:+.4g}, one seed: no telling"
    found = f"{difference.mean:+.4g} ± {difference.half:.2g}"
    if difference.contains(0.0):
        return f"{found}, within noise"
    return f"{found}, {'better' if (difference.mean > 0) == maximize else 'worse'}"


def _parse_keys(by: str, found: list[Setting]) -> list[str]:
    known = dict.fromkeys(key for setting in found for key in (*setting.values, *setting.runs[0].config))
    for key in by.split(","):
        if key not in known:
            raise Refusal(f"by={key} is not a key of these runs{suggest(key, list(known))}")
    return by.split(",")


def _keep_best_of_each(ranked: list[Setting], keys: list[str]) -> list[Setting]:
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


def make_header(ranking: Board) -> list[str]:
    """Heads of the columns that `cells` fills."""
    keys = [shorten_key(key) for key in ranking.columns]
    against = f"against {_describe_reference(ranking)}"
    return ["#", *keys, "seeds", ranking.metric, "± 95 %", against, *list_measures(ranking), "state", "run"]


def _describe_reference(ranking: Board) -> str:
    """The reference by its place, or by name where `by` left it out."""
    places = [place for place, line in enumerate(ranking.lines, 1) if line.setting is ranking.reference]
    if ranking.reference is None or places == [1]:
        return "the best"
    return f"line {places[0]}" if places else ranking.reference.label


def list_measures(ranking: Board) -> list[str]:
    """Further figures that at least one of the runs has."""
    have = {key for line in ranking.lines for run in line.setting.runs for key in run.result}
    return [key for key in MEASURES if key in have and key != ranking.metric]


def make_cells(ranking: Board) -> list[list[str]]:
    """The leaderboard as text, a list for each line; further figures are means over the seeds."""
    return [_make_row(ranking, place, line) for place, line in enumerate(ranking.lines, 1)]


def _make_row(ranking: Board, place: int, line: Line) -> list[str]:
    setting, score = line.setting, line.score
    half = "" if score is None or score.half is None else f"{score.half:.2g}"
    further = (setting.figures(key).values() for key in list_measures(ranking))
    return [
        str(place) if score else "",
        *(format_cell(setting.value(key)) for key in ranking.columns),
        str(score.n) if score else "",
        format_number(score.mean) if score else "",
        half,
        line.verdict,
        *(format_number(sum(values) / len(values)) if values else "" for values in further),
        describe_states(setting),
        describe_names(setting),
    ]


def describe_states(setting: Setting) -> str:
    """The state that all runs have, or how many have which."""
    found = [run.state for run in setting.runs]
    counted = {state: found.count(state) for state in found}
    if len(counted) == 1:
        return found[0]
    return ", ".join(f"{count} {state}" for state, count in counted.items())


def describe_names(setting: Setting) -> str:
    """The first run's name, and how many there are besides."""
    more = len(setting.runs) - 1
    return setting.runs[0].directory.name + (f" (+{more})" if more else "")


def to_markdown(ranking: Board) -> str:
    """The leaderboard as a table in markdown."""
    rows = [make_header(ranking), *make_cells(ranking)]
    lines = ["| " + " | ".join(text.replace("|", "\\|") for text in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]) + "\n"
