"""A sample of the model's output at each validation."""

import re
import warnings
from typing import Any

from lightning.pytorch import Callback, Trainer

from triad.data.tokenizers.tokenizer import Tokenizer
from triad.layers.ranges import NonNegativeFloat, NonNegativeInt, PositiveInt
from triad.runs.directory import Run
from triad.storage.durable import name_file, open_in_place, replacing

HEAD = re.compile(rb"^--- step (\d+)$", re.MULTILINE)


class Sample(Callback):
    """Print the task's sample after each validation: what is made of its first row, or of a `prompt`.

    It is appended to the run's samples.txt, and sent to loggers that take text. A resumed run drops the
    entries at or after the step that it samples first.

    Every rank takes part, because the weights may be spread over them; all draw the same numbers. A model
    that no token can be drawn from has no sample.
    """

    observer = True  # changes no metric of the run: triad.config.identity

    def __init__(
        self,
        run: Run,
        tokenizer: Tokenizer,
        context: PositiveInt,
        prompt: str | None,
        length: NonNegativeInt,
        temperature: NonNegativeFloat,
    ) -> None:
        self.path, self.tokenizer, self.context = run.samples_file, tokenizer, context
        self.length, self.temperature = length, temperature
        self.continued = False  # from the entries of an earlier start
        known = [character for character in prompt or "" if _encodes(tokenizer, character)]
        begun = tokenizer.encode("".join(known)).tolist() or [tokenizer.separator or 0]
        self.start = None if prompt is None else begun

    def on_validation_epoch_end(self, trainer: Trainer, training: Any) -> None:
        try:
            self._show_sample(trainer, training)
        except Exception as error:  # a sample is looked at: a run does not end for want of one
            warnings.warn(
                f"callbacks.sample: step {trainer.global_step} has no sample: {error}", stacklevel=2
            )

    def _show_sample(self, trainer: Trainer, training: Any) -> None:
        model = trainer.strategy.full_model(training.model)
        with trainer.precision_plugin.val_step_context():
            try:
                lines = training.sample(model, self.start, self.length, self.context, self.temperature)
            except FloatingPointError as error:
                lines = [f"no sample: {error}"]
        if lines and trainer.is_global_zero:
            text = "\n".join(line if isinstance(line, str) else self.tokenizer.decode(line) for line in lines)
            self._append(trainer.global_step, text)
            indented = "\n".join("    | " + line for line in text.splitlines()[:12])
            print(indented, flush=True)
            for logger in trainer.loggers:
                if hasattr(logger, "log_text"):
                    logger.log_text(
                        "samples", ["step", "sample"], [[trainer.global_step, text]], trainer.global_step
                    )

    def _append(self, step: int, text: str) -> None:
        if not self.continued and self.path.exists():
            kept = _cut_from(self.path.read_bytes(), step)
            with replacing(self.path) as file:
                file.write(kept)
        self.continued = True
        with name_file(self.path), open(self.path, "ab", buffering=0, opener=open_in_place) as file:
            file.write(f"--- step {step}\n{text}\n".encode())


def _cut_from(text: bytes, step: int) -> bytes:
    """The entries of a samples.txt of before a step; without the last if it was cut short."""
    whole = text[: text.rfind(b"\n") + 1]
    heads = (head for head in HEAD.finditer(whole) if int(head[1]) >= step)
    return whole[: next((head.start() for head in heads), len(whole))]


def _encodes(tokenizer: Tokenizer, character: str) -> bool:
    try:
        tokenizer.encode(character)
    except ValueError:
        return False
    return True
