"""Draw learning rate and batch size over the steps of a run

python -m triad.curves scheduler=cosine,wsd batch=ramp to=curves.png
"""

from collections.abc import Callable
from itertools import pairwise, product
from pathlib import Path
from typing import NamedTuple

from triad.config.build import build
from triad.config.compose import compose, refuse_unmeasured
from triad.schedules.batch_size import Rule, couple_to_batch

GROUP = "Look before training"


class Curve(NamedTuple):
    """A run's rate and rows, step by step."""

    name: str
    rates: list[float]
    rows: list[int]


def curves(overrides: list[str], to: str = "curves.png") -> None:
    """Draw learning rate and batch size of runs composed from words of train.py, and print some values.

    `a=1,2` makes a curve of each value, as in a sweep. The suffix of `to` says which kind of picture it is.
    """
    found = [
        _compute_curve(" ".join(chosen), [*same, *chosen]) for same, chosen in _expand_choices(overrides)
    ]
    for curve in found:
        last = len(curve.rows) - 1
        for step in sorted({0, last // 4, last // 2, 3 * last // 4, last}):
            print(f"{curve.name}  step {step}: rate {curve.rates[step]:.4g}, {curve.rows[step]} rows".strip())
        print(f"{curve.name}  {sum(curve.rows):,} rows in {last + 1:,} steps".strip())
    _draw(Path(to), found)
    print(to)


def _expand_choices(overrides: list[str]) -> list[tuple[list[str], tuple[str, ...]]]:
    """The words that are the same for all curves, and those that one of them has chosen."""
    several = [word for word in overrides if "," in word and "[" not in word and "{" not in word]
    same = [word for word in overrides if word not in several]
    choices = ([f"{w.partition('=')[0]}={v}" for v in w.partition("=")[2].split(",")] for w in several)
    return [(same, chosen) for chosen in product(*choices)]


def _compute_curve(name: str, words: list[str]) -> Curve:
    config = compose(words)
    refuse_unmeasured(config)
    if not config["scheduler"].get("_partial_"):
        raise ValueError("scheduler=plateau follows the run's validations: there is no curve before they are")
    rule: Rule = build(config["batch"])
    if rule.tokens:
        raise ValueError("batch=tokens: the lengths of the rows decide how many a step has; use batch=fixed")
    rule = rule.of(_count_rows(config)) if not rule.sizes else rule
    steps = config["trainer"]["max_steps"]
    done = [rule(step) for step in range(steps + 1)]
    rows = [after - before for before, after in pairwise(done)]
    schedule: Callable[[int], float] = couple_to_batch(build(config["scheduler"]), rule, rows.__getitem__)
    return Curve(name, [config["optimizer"]["lr"] * schedule(step) for step in range(steps)], rows)


def _count_rows(config: dict) -> int:
    """Rows of the training set: only its tokens tell."""
    from triad.data.packing import pack
    from triad.data.preparation import find_parts, prepare_source
    from triad.data.rows import tokenize

    part = build({key: config[key] for key in ("data", "tokenizer", "batch")} | find_parts(config))
    _, tokens = tokenize(prepare_source(config, part), part["tokenizer"])
    return part["batch"].of(len(pack(tokens.sources[""].train, config["context"], config["packing"])))(1)


def _draw(path: Path, found: list[Curve]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.2), layout="constrained")
    above, below = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    for curve in found:
        above.plot(curve.rates, label=curve.name, linewidth=1.2)
        below.plot(curve.rows, linewidth=1.2)
    if len(found) > 1:
        figure.legend(loc="outside right upper", fontsize="small")
    above.set(ylabel="learning rate", ylim=(0, None))
    below.set(xlabel="step", ylabel="rows", ylim=(0, None))
    figure.savefig(path, dpi=75)


if __name__ == "__main__":
    from triad.config.command_line import run_command

    run_command(curves)
