"""TensorBoard: figures, samples and pictures of a run in <run>/tensorboard."""

from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from triad.runs.directory import Run


class TensorBoard(TensorBoardLogger):
    """Lightning's logger, in the run's directory; samples as text and, at the end, pictures as images."""

    def __init__(self, run: Run) -> None:
        super().__init__(run.path, name="", version="tensorboard", default_hp_metric=False)
        self.run = run

    @rank_zero_only
    def log_text(self, key: str, columns: list[str | int], data: list[list[Any]], step: int) -> None:
        """Rows of a table, as preformatted text."""
        text = "\n\n".join("    " + str(cell).replace("\n", "\n    ") for row in data for cell in row[1:])
        self.experiment.add_text(key, text, step)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        if status == "success" and (pictures := sorted(self.run.path.glob("*.png"))):
            from matplotlib.image import imread

            for path in pictures:
                self.experiment.add_image(f"pictures/{path.stem}", imread(path), dataformats="HWC")
        super().finalize(status)
