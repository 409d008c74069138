"""Fit a scaling law to runs and find the best size for a budget

python -m triad.scaling outputs/isoflop flops=1e15 to=isoflop.png
"""

import math
from pathlib import Path

import numpy as np

from triad.analysis.scaling_law import Law, Measurement, Slice, cut_slices, fit_exponent, fit_law
from triad.analysis.settings import find_directories, group_by_setting, load_outcome
from triad.config.errors import Refusal

NEEDED = ("train/tokens", "train/flops")
LEAST = 6  # points: the law has five numbers
RESAMPLES, MIDDLE = 100, 0.9


def scaling(
    overrides: list[str],
    metric: str = "val/loss",
    flops: float | None = None,
    to: str | None = None,
) -> None:
    """Fit L(N, D) = E + A / N^alpha + B / D^beta to finished runs, and say which size is best for a budget.

    The words are runs or directories of runs, such as outputs/isoflop. Two ways are shown: the law, and the
    lowest points of parabolas at equal FLOPs. Intervals hold 90 % of the fits to resampled runs. `flops` is
    a budget to say the best size, length and loss for; `to` draws the runs, the slices and the law.
    """
    means, single = read_points(find_directories(overrides or ["outputs"], ["metric", "flops", "to"]), metric)
    law, cut = fit_law(means), cut_slices(means)
    laws, cuts = _resample(single)
    off = math.sqrt(sum((law.loss(p.parameters, p.tokens) - p.loss) ** 2 for p in means) / len(means))
    print(f"law     {metric} = {law}")
    print(f"        off by {off:.3f}, the root mean square of {len(means)} settings ({len(single)} runs)")
    for name in ("floor", "alpha", "beta"):
        print(f"        {name} between {_describe_interval([getattr(one, name) for one in laws])}")
    for one in cut:
        by_law = f"by the law {law.best(one.flops):.3g}"
        print(f"slice   {one.flops:.3g} FLOPs: best {one.best:.3g} parameters, {one.loss:.3f}; {by_law}")
    ways = [("the law", law.exponent, [one.exponent for one in laws])]
    if len(cut) > 1:
        ways.append(("parabolas", fit_exponent(cut), [fit_exponent(one) for one in cuts]))
    for name, value, others in ways:
        print(f"N ~ C^a a = {value:.2f} by {name}, between {_describe_interval(others)}")
    if flops:
        size = law.best(flops)
        tokens = flops / (6 * size)
        loss = law.loss(size, tokens)
        print(f"budget  {flops:.3g} FLOPs: {size:.3g} parameters, {tokens:.3g} tokens, {metric} {loss:.3f}")
    if to:
        _draw(Path(to), means, law, cut, metric)
        print(to)


def read_points(runs: list[Path], metric: str) -> tuple[list[Measurement], list[Measurement]]:
    """The means over seeds, and every run by itself; of settings of one size and length, the best one's.

    Raises Refusal where results lack what is needed.
    """
    best: dict[tuple[float, float], tuple[Measurement, list[Measurement]]] = {}
    for setting in group_by_setting([load_outcome(run) for run in runs]):
        mine = [_read_point(run.directory, run.result, metric) for run in setting.runs if run.result]
        if not mine:
            continue
        mean = mine[0]._replace(loss=sum(point.loss for point in mine) / len(mine))
        if mean[:2] not in best or mean.loss < best[mean[:2]][0].loss:
            best[mean[:2]] = (mean, mine)
    means = [mean for mean, _ in best.values()]
    if len(means) < LEAST or any(len({point[i] for point in means}) < 3 for i in (0, 1)):
        raise Refusal(
            f"{len(means)} finished settings: a law needs at least {LEAST}, of three sizes and three lengths"
        )
    return means, [point for _, mine in best.values() for point in mine]


def _read_point(run: Path, result: dict[str, float], metric: str) -> Measurement:
    if missing := [name for name in (*NEEDED, metric) if name not in result]:
        raise Refusal(f"metric={metric}: {run} has no {missing[0]}")
    tokens = result["train/tokens"]
    return Measurement(result["train/flops"] / (6 * tokens), tokens, result[metric])


def _resample(single: list[Measurement]) -> tuple[list[Law], list[list[Slice]]]:
    """Laws and slices of as many runs drawn with replacement, again and again."""
    random = np.random.default_rng(0)
    laws, cuts = [], []
    for _ in range(RESAMPLES):
        drawn = [single[i] for i in random.integers(len(single), size=len(single))]
        together: dict[tuple[float, float], list[float]] = {}
        for point in drawn:
            together.setdefault(point[:2], []).append(point.loss)
        means = [Measurement(*at, sum(losses) / len(losses)) for at, losses in together.items()]
        if len(means) >= LEAST:
            laws.append(fit_law(means))
            cuts.append(cut_slices(means))
    return laws, cuts


def _describe_interval(values: list[float]) -> str:
    """The middle 90 %."""
    kept = [value for value in values if math.isfinite(value)]
    if not kept:
        return "unknown bounds"
    low, high = np.quantile(kept, [(1 - MIDDLE) / 2, (1 + MIDDLE) / 2])
    return f"{low:.2f} and {high:.2f}"


def _draw(path: Path, means: list[Measurement], law: Law, cut: list[Slice], metric: str) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    sizes = sorted({point.parameters for point in means})
    for size in sizes:
        runs = sorted((p for p in means if p.parameters == size), key=lambda p: p.tokens)
        line = left.plot(
            [p.flops for p in runs], [p.loss for p in runs], "o", markersize=4, label=f"{size:.3g}"
        )
        left.plot(
            [p.flops for p in runs], [law.loss(size, p.tokens) for p in runs], color=line[0].get_color(), lw=1
        )
    left.set(xscale="log", xlabel="FLOPs", ylabel=metric, title="runs, and the law (lines)")
    left.legend(title="parameters", fontsize="small")
    for one in cut:
        line = right.plot(
            [p.parameters for p in one.points],
            [p.loss for p in one.points],
            "o-",
            markersize=4,
            label=f"{one.flops:.2g}",
        )
        right.plot([one.best], [one.loss], "*", markersize=11, color=line[0].get_color())
    right.set(xscale="log", xlabel="parameters", title="at equal FLOPs; stars: the best size")
    right.set_xticks(sizes, [f"{size:.2g}" for size in sizes], rotation=45)
    right.minorticks_off()
    if cut:
        right.legend(title="FLOPs", fontsize="small")
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    from triad.config.command_line import run_command

    run_command(scaling)
