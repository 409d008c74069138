"""A sample of the model's output at each validation."""

import warnings
from typing import Any

from lightning.pytorch import Callback, Trainer

from triad.data.tokenizers import Tokenizer
from triad.layers.ranges import NonNegativeFloat, NonNegativeInt, PositiveInt
from triad.runs.directory import Run


class Sample(Callback):
    """Print the task's sample after each validation, such as a continuation of `prompt`.

    It is appended to the run's samples.txt, and sent to loggers that take text.

    Every rank takes part, because the weights may be spread over them; all draw the same numbers. A model
    that no token can be drawn from has no sample.
    """

    observer = True  # changes no metric of the run: triad.config.identity

    def __init__(
        self,
        run: Run,
        tokenizer: Tokenizer,
        context: PositiveInt,
        prompt: str,
        length: NonNegativeInt,
        temperature: NonNegativeFloat,
    ) -> None:
        self.path, self.tokenizer, self.context = run.samples_file, tokenizer, context
        self.prompt, self.length, self.temperature = prompt, length, temperature
        known = [character for character in prompt if _encodes(tokenizer, character)]
        self.start = tokenizer.encode("".join(known)).tolist() or [tokenizer.separator or 0]

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
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"--- step {trainer.global_step}\n{text}\n")
            indented = "\n".join("    | " + line for line in text.splitlines()[:12])
            print(indented, flush=True)
            for logger in trainer.loggers:
                if hasattr(logger, "log_text"):
                    logger.log_text(
                        "samples", ["step", "sample"], [[trainer.global_step, text]], trainer.global_step
                    )


def _encodes(tokenizer: Tokenizer, character: str) -> bool:
    try:
        tokenizer.encode(character)
    except ValueError:
        return False
    return True
