"""A run that a signal ends: all processes stop after the same step, and nothing that was trained is lost."""

from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, Trainer

from triad.runs.signals import signals


class Agreement:
    """The largest number that any process has named, learned by all of them at the same call.

    It is what was named at the call before, whose messages have arrived by then: no step waits for another
    process. A process that is alone learns it at once. Every process calls equally often.
    """

    def __init__(self) -> None:
        self.group: Any = dist.new_group(backend="gloo") if dist.is_initialized() else None
        self.named = torch.zeros((), dtype=torch.int64)
        self.message: Any = None

    def __call__(self, number: int) -> int:
        """Name a number; the largest of the call before."""
        if self.group is None:
            return number
        self.wait()
        largest, self.named = int(self.named), torch.tensor(number)
        self.message = dist.all_reduce(self.named, dist.ReduceOp.MAX, group=self.group, async_op=True)
        return largest

    def wait(self) -> None:
        """Wait for the messages of the last call."""
        if self.message:
            self.message.wait()


class Interruption(Callback):
    """End a run in all processes after one and the same step, when a signal has come to any of them.

    In validation they end after the same batch; a run that is resumed from there validates first. The
    checkpoint callback saves. Lightning asks `received_sigterm` behind each step and each batch of
    validation and raises SIGTERMException. Its own handlers are not registered: they broadcast amid the
    messages of training, and under SLURM they requeue the job, which would start a new run.
    """

    observer = True  # changes no metric of the run: triad.config.identity

    def __init__(self) -> None:
        self.validating = self.missed = False

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        connector: Any = trainer._signal_connector
        connector.register_signal_handlers = lambda: None
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None

    def state_dict(self) -> dict[str, Any]:
        return {"missed": True} if self.validating else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.missed = state_dict["missed"]

    def on_fit_start(self, trainer: Trainer, training: Any) -> None:
        """The last callback of all: the others have been restored."""
        self.agree = Agreement()
        if self.missed:
            trainer.validating = True
            trainer.fit_loop.epoch_loop.val_loop.run()
            trainer.training = True

    def on_train_start(self, trainer: Trainer, training: Any) -> None:
        signals.training = True

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self._look(trainer)

    def on_validation_start(self, trainer: Trainer, training: Any) -> None:
        self.validating = True

    def on_validation_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self._look(trainer)

    def on_validation_end(self, trainer: Trainer, training: Any) -> None:
        self.validating = False

    def on_train_end(self, trainer: Trainer, training: Any) -> None:
        self.agree.wait()

    def _look(self, trainer: Trainer) -> None:
        connector: Any = trainer._signal_connector
        if not signals.agreed and (number := self.agree(signals.first)):
            signals.agreed = number
            connector.received_sigterm = True
