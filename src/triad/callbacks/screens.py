"""What a person sees of a run: one screen when it opens, one when it closes."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer

from triad import run as runs
from triad.data.tokenizers import Tokenizer
from triad.data.tokens import Tokens
from triad.figures import read
from triad.hardware import describe

SPEEDS = ("perf/tokens_per_s", "perf/mfu")
TAKEN = (
    "train/tokens",
    "train/flops",
    "perf/train_s",
    "perf/energy_joules",
    "perf/energy_joules_estimate",
    "perf/cost",
)


class Screens(Callback):
    """Print what will be trained on what, and what came of it; write result.json: the run is finished.

    The result is written when all is done, after the last checkpoint; also by a run that was killed between
    these two and is resumed, though it has no step left to train. `curve` draws the losses to curve.png and,
    where there are experts, their loads to loads.png.
    """

    looks_on = True  # changes no figure of the run: triad.mathematics

    def __init__(self, run: Path, tokenizer: Tokenizer, tokens: Tokens, context: int, curve: bool) -> None:
        self.run, self.tokenizer, self.tokens, self.context = run, tokenizer, tokens, context
        self.picture = run / "curve.png" if curve else None

    def on_fit_start(self, trainer: Trainer, task: Any) -> None:
        if trainer.is_global_zero:
            (self.run / "result.json").unlink(missing_ok=True)  # no longer finished, when it is made longer
            if not (self.run / "tokenizer").exists():
                self.tokenizer.save(self.run / "tokenizer")
            _show(self._opening(trainer, task))

    def on_fit_end(self, trainer: Trainer, task: Any) -> None:
        if trainer.is_global_zero:
            rows = read(self.run / "metrics.csv")
            result: dict[str, Any] = figures(rows) | {"steps": trainer.global_step}
            if xz := self.tokens.xz_bits_per_byte:
                result["xz/bits_per_byte"] = xz
            runs.finish(self.run, result)
            if self.picture:
                curve(self.picture, rows)
                loads(self.picture.with_name("loads.png"), rows)
            _show(self._closing(result))

    def _opening(self, trainer: Trainer, task: Any) -> dict[str, str]:
        total, active = task.count[:2]
        rows = _sizes(trainer.datamodule, trainer.global_step, trainer.max_steps)
        trained = trainer.datamodule.first_row(trainer.max_steps) * self.context
        train, val = self.tokens.train, self.tokens.val
        strategy, hardware = trainer.strategy, task.hardware
        device = describe(strategy.root_device)
        return {
            "model": f"{type(task.model).__name__.removeprefix('FSDP')}, {total:,} parameters"
            + (f", {active:,} active per token" if active != total else ""),
            "data": f"{len(train.tokens):,} tokens to train on, {len(val.tokens):,} to validate, vocabulary"
            f" {self.tokenizer.vocab_size:,} ({val.bytes_per_token:.2f} bytes per token)",
            "batch": f"{rows} sequences x {self.context} tokens, {hardware.micro_batch_size or 'all'} at a"
            f" time; {trainer.max_steps:,} steps, {trained:,} tokens",
            "layout": f"{_layout(strategy)} on {trainer.world_size} x {device}; {trainer.precision},"
            f" attention {hardware.attention}" + (", compiled" if hardware.compile else ""),
            "run": str(self.run),
        }

    def _closing(self, result: dict[str, Any]) -> dict[str, str]:
        best = [key for key in result if key.startswith("val/") or key in SPEEDS]
        took = [key for key in TAKEN if key in result]
        facts = {
            name: "  ".join(f"{key} {result[key]:.4g}" for key in keys)
            for name, keys in (("best", best), ("took", took))
        }
        xz = self.tokens.xz_bits_per_byte
        if xz and "val/bits_per_byte" in result:
            facts["xz -9e"] = f"{xz:.4g} bits per byte of the same validation text"
        if self.picture:
            facts["curve"] = str(self.picture)
        if "val/bits_per_byte" in result:  # it codes a text, and can continue one
            facts["sample"] = f'python -m triad.generate run={self.run} prompt="def "'
        return facts | {
            "resume": f"python train.py resume={self.run} trainer.max_steps={2 * result['steps']}",
            "compare": f"python -m triad.compare {self.run.parent}/*",
        }


def _layout(strategy: Any) -> str:
    """A strategy by name, a mesh with the axes that are split."""
    degrees = getattr(strategy, "degrees", {})
    split = ", ".join(f"{axis} {degree}" for axis, degree in degrees.items() if degree > 1)
    return f"{type(strategy).__name__} ({split})" if split else type(strategy).__name__


def _sizes(data: Any, step: int, steps: int) -> str:
    """Sequences of the next step, and of the last one if it has others."""
    sizes = dict.fromkeys((data.batch_rows(step), data.batch_rows(max(steps - 1, step))))
    return " to ".join(map(str, sizes))


def figures(rows: list[dict[str, float]]) -> dict[str, float]:
    """The figures of the best validation, the median speed, and what all of it took."""
    found: dict[str, float] = {}
    if validated := [row for row in rows if "val/loss" in row]:
        best = min(validated, key=lambda row: row["val/loss"])
        found = {key: value for key, value in best.items() if key.startswith("val/")}
    for key in SPEEDS:
        if measured := [row[key] for row in rows if key in row]:
            found[key] = float(torch.tensor(measured).median())
    last = {key: value for row in rows for key, value in row.items()}
    if "perf/energy_joules_estimate" in last:  # since some resume; what was measured before is a part of it
        last.pop("perf/energy_joules", None)
    return found | {key: last[key] for key in TAKEN if key in last}


def curve(path: Path, rows: list[dict[str, float]]) -> None:
    """Draw training and validation loss over the steps."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("matplotlib is not installed: no picture of the curve (pip install matplotlib)")
        return

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for key, marker in (("train/loss", ""), ("val/loss", "o")):
        points = [(row["step"], row[key]) for row in rows if key in row]
        axes.plot([step for step, _ in points], [loss for _, loss in points], label=key, marker=marker)
    axes.set(xlabel="step", ylabel="loss (nats per token)", title=path.parent.name)
    axes.legend()
    figure.savefig(path, dpi=120)


def loads(path: Path, rows: list[dict[str, float]]) -> None:
    """Draw how many tokens each expert of each layer got over the steps, over the mean of its layer."""
    steps = [row for row in rows if "train/load/0/0" in row]
    if not steps or find_spec("matplotlib") is None:
        return
    from matplotlib.figure import Figure

    names = [key.removeprefix("train/load/").split("/") for key in steps[0] if key.startswith("train/load/")]
    layers, experts = (1 + max(int(name[place]) for name in names) for place in (0, 1))
    figure = Figure(figsize=(7, 0.6 + 1.4 * layers), layout="constrained")
    for layer, axes in enumerate(figure.subplots(layers, sharex=True, squeeze=False)[:, 0]):
        grid = [[row[f"train/load/{layer}/{expert}"] for row in steps] for expert in range(experts)]
        extent = (steps[0]["step"], steps[-1]["step"] + 1, experts, 0)
        image = axes.imshow(grid, cmap="RdBu_r", vmin=0, vmax=2, aspect="auto", extent=extent)
        axes.set(ylabel=f"layer {layer}, expert")
    axes.set(xlabel="step")
    figure.colorbar(image, ax=figure.axes, label="tokens over the layer's mean", extend="max")
    figure.savefig(path, dpi=120)


def _show(facts: dict[str, str]) -> None:
    print("\n".join(f"{key:<8} {value}" for key, value in facts.items()), flush=True)
