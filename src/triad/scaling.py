"""Fit a scaling law to runs and find the best size for a budget

python -m triad.scaling outputs/isoflop flops=1e15 to=isoflop.png
"""

import math
from contextlib import suppress
from pathlib import Path

import numpy as np

from triad.analysis.comparable import group_comparable
from triad.analysis.confidence_intervals import LEVEL
from triad.analysis.scaling_law import Law, Measurement, Slice, cut_slices, fit_exponent, fit_law
from triad.analysis.settings import find_directories, group_by_setting, load_outcome
from triad.config.directions import find_best
from triad.config.errors import Refusal
from triad.data.progress import track

GROUP = "Compare runs"

NEEDED = ("train/tokens", "train/flops")
LEAST = 6  # points: the law has five numbers
RESAMPLES = 200


def scaling(
    overrides: list[str],
    metric: str = "val/loss",
    flops: float | None = None,
    to: str | None = None,
) -> None:
    """Fit L(N, D) = E + A / N^alpha + B / D^beta to finished runs, and say which size is best for a budget.

    The words are runs or directories of runs, such as outputs/isoflop. Two ways are shown: the law, and the
    lowest points of parabolas at equal FLOPs. Intervals hold 95 % of the fits to runs drawn with replacement
    (Efron 1979, percentiles). `flops` is a budget to say the best size, length and loss for; `to` draws the
    runs, the slices and the law.
    """
    means, single = read_points(find_directories(overrides or ["outputs"], ["metric", "flops", "to"]), metric)
    law, cut = fit_law(single), cut_slices(means)
    laws, cuts = resample(single, law)
    off = math.sqrt(sum((law.loss(p.parameters, p.tokens) - p.loss) ** 2 for p in means) / len(means))
    print(f"law     {metric} = {law}")
    print(f"        off by {off:.3f}, the root mean square of {len(means)} settings ({len(single)} runs)")
    for name, symbol in zip(Law._fields, ("E", "A", "B", "alpha", "beta"), strict=True):
        print(f"        {symbol:6}{_describe(getattr(law, name), [getattr(one, name) for one in laws])}")
    if len(laws) < RESAMPLES:
        print(
            f"        {RESAMPLES - len(laws)} of {RESAMPLES} resamples follow no law: the intervals lack them"
        )
    for one in cut:
        by_law = f"by the law {law.best(one.flops):.3g}"
        print(f"slice   {one.flops:.3g} FLOPs: best {one.best:.3g} parameters, {one.loss:.3f}; {by_law}")
    print(f"N ~ C^a a = {_describe(law.exponent, [one.exponent for one in laws])} by the law")
    if len(cut) > 1:
        print(f"N ~ C^a a = {_describe(fit_exponent(cut), [fit_exponent(one) for one in cuts])} by parabolas")
    if flops:
        size = law.best(flops)
        tokens = flops / (6 * size)
        loss = law.loss(size, tokens)
        sizes = _describe(size, [one.best(flops) for one in laws])
        print(f"budget  {flops:.3g} FLOPs: {tokens:.3g} tokens, {metric} {loss:.3f}, parameters {sizes}")
    if to:
        _draw(Path(to), means, law, cut, metric)
        print(to)


def read_points(runs: list[Path], metric: str) -> tuple[list[Measurement], list[Measurement]]:
    """The means over seeds, and every run by itself; of settings of one size and length, the best one's.

    Raises Refusal where results lack what is needed, or were measured on different tasks or texts.
    """
    finished = [found for run in runs if (found := load_outcome(run)).result]
    if len(groups := group_comparable(finished, metric)) > 1:
        raise Refusal(f"a law holds for one task and text, these are {'; '.join(groups)}: name runs of one")
    measured: dict[tuple[float, float], list[tuple[Measurement, list[Measurement]]]] = {}
    for setting in group_by_setting(finished):
        mine = [_read_point(run.directory, run.result, metric) for run in setting.runs]
        mean = mine[0]._replace(loss=sum(point.loss for point in mine) / len(mine))
        measured.setdefault(mean[:2], []).append((mean, mine))
    chosen = (find_best(several, lambda one: one[0].loss, "lower") for several in measured.values())
    best = [one for one in chosen if one]
    means = [mean for mean, _ in best]
    if not _suffices(means):
        raise Refusal(
            f"{len(means)} finished settings: a law needs at least {LEAST}, of three sizes and three lengths"
        )
    return means, [point for _, mine in best for point in mine]


def _read_point(run: Path, result: dict[str, float], metric: str) -> Measurement:
    if missing := [name for name in (*NEEDED, metric) if name not in result]:
        raise Refusal(f"metric={metric}: {run} has no {missing[0]}")
    tokens = result["train/tokens"]
    return Measurement(result["train/flops"] / (6 * tokens), tokens, result[metric])


def _suffices(points: list[Measurement]) -> bool:
    """Whether so many sizes and lengths can tell the law's five numbers."""
    sizes, lengths = ({point[i] for point in points} for i in (0, 1))
    return len({point[:2] for point in points}) >= LEAST and min(len(sizes), len(lengths)) >= 3


def resample(single: list[Measurement], law: Law) -> tuple[list[Law], list[list[Slice]]]:
    """Laws and slices of as many runs drawn with replacement, RESAMPLES times; fewer where some have none."""
    random = np.random.default_rng(0)
    laws, cuts = [], []
    for _ in track(range(RESAMPLES), "intervals", RESAMPLES, "resamples"):
        drawn = [single[i] for i in random.integers(len(single), size=len(single))]
        if not _suffices(drawn):
            continue
        with suppress(Refusal):
            laws.append(fit_law(drawn, law))
        together: dict[tuple[float, float], list[float]] = {}
        for point in drawn:
            together.setdefault(point[:2], []).append(point.loss)
        cuts.append(cut_slices([Measurement(*at, sum(loss) / len(loss)) for at, loss in together.items()]))
    return laws, cuts


def _describe(value: float, resampled: list[float]) -> str:
    """A figure, and the middle of what resamples give."""
    kept = [one for one in resampled if math.isfinite(one)]
    if not kept:
        return f"{value:.4g} (no interval)"
    low, high = np.quantile(kept, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return f"{value:.4g} ({low:.4g} to {high:.4g})"


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
