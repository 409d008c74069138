"""Reading a W&B sweep file: every key is understood or refused by name, with its line.

https://docs.wandb.ai/guides/sweeps/sweep-config-keys describes the format.
"""

from itertools import product
from math import prod
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import yaml

from triad.config.errors import Refusal
from triad.config.schema import suggest
from triad.sweep.search_space import SweepParameter, parse_parameter

METHODS = ("grid", "random", "bayes")
GOALS = ("minimize", "maximize")
KEYS = (
    *("program", "method", "metric", "parameters", "early_terminate", "command", "run_cap"),
    *("name", "project", "entity", "description"),
)
ELSEWHERE = ("controller", "job", "image_uri", "scheduler", "settings", "prior_runs")  # of W&B's own service
DEFAULT_COMMAND = ["${env}", "${interpreter}", "${program}", "${args}"]
Goal = Literal["auto", "minimize", "maximize"]  # auto: what the metric itself says
Lines = dict[tuple[str, ...], int]


class Rungs(NamedTuple):
    """Early termination: after how many logged values a trial is judged, and of how many one goes on."""

    values: tuple[int, ...]
    eta: int


class Sweep(NamedTuple):
    """A sweep file, checked. `space` is by dotted key; `asked` is what trials depend on, as written."""

    path: Path
    text: str
    name: str
    program: str
    method: str
    metric: str
    goal: Goal
    space: dict[str, SweepParameter]
    lines: dict[str, int]
    rungs: Rungs | None
    command: list[str]
    run_cap: int | None
    labels: dict[str, str]
    asked: dict[str, Any]

    def count_points(self, extend: int) -> int:
        """How many points there are to be; of a grid all combinations, at most run_cap."""
        if self.method == "grid":
            if extend:
                raise Refusal(
                    f"extend={extend}: a grid ends with its last combination;"
                    " add values to it and start it as fork=NAME"
                )
            every = prod(len(one.grid or []) for one in self.space.values())
            return min(every, self.run_cap or every)
        if not (self.run_cap or extend):
            raise Refusal(
                f"{self.path}: method {self.method} has no end; add a line run_cap: N, or say extend=N"
            )
        return (self.run_cap or 0) + extend

    def combination(self, index: int) -> dict[str, Any]:
        """The draws of a grid's point, the last parameter running fastest; {} where they are not known."""
        if self.method != "grid":
            return {}
        grids = [one.grid or [] for one in self.space.values()]
        draws = next(point for at, point in enumerate(product(*grids)) if at == index)
        return {
            key: draw
            for (key, one), draw in zip(self.space.items(), draws, strict=True)
            if one.distribution is not None
        }

    def with_goal(self, known: dict[str, str] | None) -> "Sweep":
        """With the goal of its metric, where `known` says which way each is better; None: nobody knows.

        Raises Refusal for a goal against that, and for a metric that has neither.
        """
        line = [at for at, text in enumerate(self.text.splitlines(), 1) if text.startswith("metric")]
        where, goal = f"{self.path}:{line[0] if line else 1}: metric {self.metric}", self.goal
        if known is None:
            goal = "minimize" if goal == "auto" else goal  # W&B's own
        elif self.metric in known:
            goal = "maximize" if known[self.metric] == "higher" else "minimize"
            if self.goal not in ("auto", goal):
                raise Refusal(f"{where}: {known[self.metric]} is better; say goal: {goal}, or leave it out")
        elif goal == "auto" or self.metric.startswith("val/"):
            measured = ", ".join(name for name in known if name.startswith("val/"))
            raise Refusal(
                f"{where}: no run records which way is better{suggest(self.metric, [*known])}; trials have"
                f" {measured}, and what else they log needs a goal: minimize or maximize"
            )
        return self._replace(goal=goal, asked=self.asked | {"metric": {"name": self.metric, "goal": goal}})

    def corners(self) -> list[dict[str, Any]]:
        """Two points that are far apart, to try the configuration with."""
        return [
            {key: one.value(_get_end(one, last)) for key, one in self.space.items()} for last in (False, True)
        ]


def read_sweep(path: Path) -> Sweep:
    """A sweep file. Raises Refusal, naming file, line and key, at the first thing that is not understood."""
    if not path.is_file():
        near = suggest(path.name, sorted(found.name for found in path.parent.glob("*.yaml")))
        raise Refusal(f"{path}: no sweep file is there{near}")
    text = path.read_text(encoding="utf-8")
    try:
        content = yaml.safe_load(text)
        lines = _find_lines(yaml.compose(text, Loader=yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise Refusal(f"{path}: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise Refusal(f"{path}: is not a sweep file: program, method, metric and parameters are missing")
    try:
        return _parse_sweep(path, text, content, lines)
    except _Fault as fault:
        raise Refusal(f"{path}:{_find_line(lines, fault.where)}: {fault}") from None


class _Fault(ValueError):
    """What is wrong, and at which key."""

    def __init__(self, where: tuple[str, ...], sentence: str) -> None:
        super().__init__(sentence)
        self.where = where


def _parse_sweep(path: Path, text: str, content: dict, lines: Lines) -> Sweep:
    for key in content:
        if key in ELSEWHERE:
            raise _Fault((key,), f"{key} is a matter of W&B's service; leave it out to run the sweep here")
        if key not in KEYS:
            raise _Fault((str(key),), f"{key} is not a key of a sweep{suggest(str(key), [*KEYS])}")
    for key in ("program", "method", "metric", "parameters"):
        if key not in content:
            raise _Fault((), f"{key} is missing")
    method = _check_one_of(("method",), content["method"], METHODS)
    metric = _check_keys(("metric",), content["metric"], ("name", "goal"))
    if not metric.get("name"):
        raise _Fault(("metric",), "metric needs a name")
    flat = dict(_flatten(("parameters",), content["parameters"]))
    space = {key: _parse_parameter(where, node, method) for key, (where, node) in flat.items()}
    run_cap = content.get("run_cap")
    if run_cap is not None and (not isinstance(run_cap, int) or run_cap < 1):
        raise _Fault(("run_cap",), f"run_cap: {run_cap!r} is not a number of trials")
    command = content.get("command", DEFAULT_COMMAND)
    if not isinstance(command, list) or not command:
        raise _Fault(("command",), "command is not a list of words")
    return Sweep(
        path=path,
        text=text,
        name=str(content.get("name") or path.stem),
        program=str(content["program"]),
        method=method,
        metric=str(metric["name"]),
        goal=cast(Goal, _check_one_of(("metric", "goal"), metric["goal"], GOALS))
        if "goal" in metric
        else "auto",
        space=space,
        lines={key: _find_line(lines, where) for key, (where, _) in flat.items()},
        rungs=_parse_rungs(content.get("early_terminate")),
        command=[str(item) for item in command],
        run_cap=run_cap,
        labels={key: str(content[key]) for key in ("project", "entity") if content.get(key)},
        asked={key: content.get(key) for key in KEYS[:7]},
    )


def _flatten(where: tuple[str, ...], node: Any) -> Any:
    """(dotted key, (its place, its entry)) of every parameter, nested ones with their parents' names."""
    if not isinstance(node, dict) or not node:
        raise _Fault(where, "parameters are not a list of names")
    for key, entry in node.items():
        here = (*where, str(key))
        if not isinstance(entry, dict):
            raise _Fault(here, f"{key}: {entry!r} is not value: ..., values: [...] or a distribution")
        if "parameters" in entry:
            for inner, found in _flatten((*here, "parameters"), entry["parameters"]):
                yield f"{key}.{inner}", found
        else:
            yield str(key), (here, entry)


def _parse_parameter(where: tuple[str, ...], node: dict, method: str) -> SweepParameter:
    try:
        found = parse_parameter(node)
    except ValueError as error:
        raise _Fault(where, f"{where[-1]}: {error}") from None
    if method == "grid" and found.grid is None:
        raise _Fault(where, f"{where[-1]}: a grid needs values to go through; use values: [...] or random")
    return found


def _parse_rungs(node: Any) -> Rungs | None:
    """Hyperband's rungs as W&B counts them: in values logged, min_iter * eta^k or max_iter / eta^k."""
    if node is None:
        return None
    where = ("early_terminate",)
    _check_keys(where, node, ("type", "min_iter", "max_iter", "s", "eta", "strict"))
    _check_one_of((*where, "type"), node.get("type"), ("hyperband",))
    if node.get("strict"):
        raise _Fault((*where, "strict"), "strict is not known here; leave it out")
    eta, low, high, s = (node.get(key) for key in ("eta", "min_iter", "max_iter", "s"))
    eta = 3 if eta is None else eta
    for key, value, least in (("eta", eta, 2), ("min_iter", low, 1), ("max_iter", high, 1), ("s", s, 1)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
            raise _Fault((*where, key), f"{key}: {value!r} is not a whole number from {least} on")
    if (low is None) == (high is None):
        raise _Fault(where, "hyperband needs min_iter, or max_iter and s")
    if low is not None:
        return Rungs(tuple(low * eta**k for k in range(20)), eta)
    if s is None:
        raise _Fault(where, "hyperband with max_iter needs s, the number of times that a trial is judged")
    return Rungs(tuple(sorted({high // eta**k for k in range(1, s + 1)} - {0})), eta)


def _check_keys(where: tuple[str, ...], node: Any, keys: tuple[str, ...]) -> dict:
    if not isinstance(node, dict):
        raise _Fault(where, f"{where[-1]} needs {', '.join(keys)}")
    for key in node:
        if key not in keys:
            raise _Fault((*where, str(key)), f"{where[-1]}.{key} is not known{suggest(str(key), [*keys])}")
    return node


def _check_one_of(where: tuple[str, ...], value: Any, known: tuple[str, ...]) -> str:
    if value not in known:
        raise _Fault(where, f"{where[-1]} {value} is not known{suggest(str(value), [*known])}")
    return value


def _get_end(one: SweepParameter, last: bool) -> Any:
    if one.grid:
        return one.grid[-1 if last else 0]
    distribution: Any = one.distribution
    return distribution.high if last else distribution.low


def _find_lines(node: Any, where: tuple[str, ...] = ()) -> Lines:
    """The line of every key of a YAML file, counted from 1."""
    found: Lines = {}
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        here = (*where, str(key.value))
        found |= {here: key.start_mark.line + 1} | _find_lines(value, here)
    return found


def _find_line(lines: Lines, where: tuple[str, ...]) -> int:
    while where and where not in lines:
        where = where[:-1]
    return lines.get(where, 1)
