"""When a resumed start becomes the run's."""

from lightning.pytorch import Callback, Trainer

from triad.runs.directory import Run


class Acceptance(Callback):
    """Put the record of a resumed start in place once all processes have read the checkpoint.

    It comes last of the callbacks: whatever refuses to go on has done so by then, and the run is as it was.
    """

    def __init__(self, run: Run) -> None:
        self.run = run

    def on_fit_start(self, trainer: Trainer, *_: object) -> None:
        trainer.strategy.barrier()
        if trainer.is_global_zero:
            self.run.accept()
