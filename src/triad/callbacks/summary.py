"""The summary of a run on the terminal: one screen when it starts, one when it ends."""

import re
import shlex
import warnings
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer

from triad.analysis.loss_picture import draw_loads, draw_losses
from triad.config.offers import read_choices
from triad.config.tables import fold_line, open_console
from triad.data.mixed_tokens import MixedTokens
from triad.data.token_files import Tokens
from triad.data.tokenizers.tokenizer import Tokenizer
from triad.hardware.device import describe
from triad.layers.ranges import PositiveInt
from triad.runs.directory import Run
from triad.runs.metrics import SPEEDS, TAKEN, summarize

OPENING, LONGEST = 64, 24  # tokens that are looked at, and characters of a prompt


class Summary(Callback):
    """Print what will be trained on what, and what came of it; write result.json: the run is finished.

    The result is written when all is done, after the last checkpoint and the pictures; also by a run that was
    killed between these and is resumed, though it has no step left to train. `curve` draws the losses to
    curve.png and, where there are experts, their loads to loads.png.
    """

    observer = True  # changes no metric of the run: triad.config.identity

    def __init__(
        self, run: Run, tokenizer: Tokenizer, tokens: Tokens | MixedTokens, context: PositiveInt, curve: bool
    ) -> None:
        self.run, self.tokenizer, self.tokens, self.context = run, tokenizer, tokens, context
        self.picture = run.curve_file if curve else None

    def on_fit_start(self, trainer: Trainer, training: Any) -> None:
        if trainer.is_global_zero:
            self.run.result_file.unlink(missing_ok=True)  # no longer finished, when it is made longer
            self.tokenizer.save(self.run.tokenizer)
            for tokens in self.tokens.sources.values():
                if tokens.compression:
                    tokens.compression.begin()
            _show(self._opening(trainer, training))

    def on_fit_end(self, trainer: Trainer, training: Any) -> None:
        if trainer.is_global_zero:
            rows = self.run.metrics()
            result: dict[str, Any] = summarize(rows, *self.run.monitored()) | {"steps": trainer.global_step}
            if xz := self.tokens.xz_bits_per_byte:
                result["xz/bits_per_byte"] = xz
            if self.picture:
                self._draw(self.picture, rows)
            self.run.finish(result)
            _show(self._closing(result))

    def _draw(self, picture: Path, rows: list[dict[str, float]]) -> None:
        try:
            draw_losses(picture, rows)
            draw_loads(self.run.loads_file, rows)
        except Exception as error:  # a picture is looked at: a run that has trained does not end without one
            warnings.warn(f"callbacks.summary: {picture} is not drawn: {error}", stacklevel=2)

    def _opening(self, trainer: Trainer, training: Any) -> dict[str, str]:
        total, active = training.count[:2]
        rows = _sizes(trainer.datamodule, trainer.global_step, trainer.max_steps)
        trained = trainer.datamodule.first_row(trainer.max_steps) * self.context
        train, val = self.tokens.train, self.tokens.val
        strategy, hardware = trainer.strategy, training.hardware
        typed = self.run.passport().get("choices", {})
        device, padding = describe(strategy.root_device), getattr(trainer.datamodule, "padding", 0)
        return {
            "model": f"{type(training.model).__name__.removeprefix('FSDP')}, {total:,} parameters"
            + (f", {active:,} active per token" if active != total else ""),
            "data": f"{train.size:,} tokens to train on, {val.size:,} to validate, vocabulary"
            f" {self.tokenizer.vocab_size:,} ({val.bytes_per_token:.2f} bytes per token)",
            "batch": f"{rows} sequences x {self.context} tokens, {hardware.micro_batch_size or 'all'} at a"
            f" time; {trainer.max_steps:,} steps, {trained:,} tokens"
            + (f", {padding:.1%} of them padding" if padding else ""),
            "layout": f"{_layout(strategy, typed)} on {trainer.world_size} x {device};"
            f" precision={_name_precision(trainer.precision, typed)},"
            f" attention {hardware.attention}"
            + (", recurrent layers fp32 for want of a kernel" if hardware.recurrent_fp32 else "")
            + (", compiled" if hardware.compile else ""),
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
            words = [f"run={self.run}", f"prompt={_find_opening(self.tokens, self.tokenizer)}"]
            facts["sample"] = f"python -m triad.generate {shlex.join([*words, *self.run.packages_word])}"
        return facts | {
            "resume": f"{self.run.resume_command} trainer.max_steps={2 * result['steps']}",
            "compare": f"python -m triad.compare {shlex.quote(str(self.run.path.parent))}/*",
        }


def _layout(strategy: Any, typed: dict[str, Any]) -> str:
    """A strategy as it is typed, or else by its class, and the axes that are split."""
    name = f"strategy={typed['strategy']}" if "strategy" in typed else type(strategy).__name__
    degrees = getattr(strategy, "degrees", {})
    split = ", ".join(f"{axis} {degree}" for axis, degree in degrees.items() if degree > 1)
    return f"{name} ({split})" if split else name


def _name_precision(precision: str, typed: dict[str, Any]) -> str:
    """A precision as it is typed: Lightning has other names."""
    named = (name for name, node in read_choices("precision").items() if node.get("name") == precision)
    return typed["precision"] if typed.get("precision", "auto") != "auto" else next(named, precision)


def _find_opening(tokens: Tokens | MixedTokens, tokenizer: Tokenizer) -> str:
    """The first words of the validation text, to be typed."""
    first = next(iter(tokens.sources.values())).val.tokens[:OPENING]
    lines = [line.strip() for line in tokenizer.decode(first).splitlines()]
    line = next((line for line in lines if any(map(str.isalnum, line))), "")
    words = [part.end() for part in re.finditer(r"\S+", line) if part.end() <= LONGEST]
    return line[: words[-1] if words else LONGEST]


def _sizes(data: Any, step: int, steps: int) -> str:
    """Sequences of the next step, and of the last one if it has others."""
    sizes = dict.fromkeys((data.batch_rows(step), data.batch_rows(max(steps - 1, step))))
    return " to ".join(map(str, sizes))


def _show(facts: dict[str, str]) -> None:
    """A line for each fact; what is wider than the terminal goes on below it, but for a command to copy."""
    width = open_console().width - 9
    for key, value in facts.items():
        lines = [value] if value.startswith("python ") else fold_line(value, width, "  |, |; ")
        print(f"{key:<8} " + "\n         ".join(lines), flush=True)
