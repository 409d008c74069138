"""TensorBoard, where it is installed."""

from pathlib import Path

import pytest


def test_figures_samples_and_pictures_are_read_back(tmp_path: Path) -> None:
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    from matplotlib.figure import Figure

    from triad.loggers.tensorboard import TensorBoard
    from triad.runs.directory import Run

    logger = TensorBoard(Run(tmp_path))
    for step in (1, 2):
        logger.log_metrics({"train/loss": 3.0 - step}, step)
        logger.log_text("samples", ["step", "sample"], [[step, "def f\n    pass"]], step)
    figure = Figure()
    figure.savefig(tmp_path / "curve.png")
    logger.finalize("success")
    events = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(1, 2.0), (2, 1.0)]
    assert [event.step for event in events.Tensors("samples/text_summary")] == [1, 2]
    assert b"    def f\n        pass" in events.Tensors("samples/text_summary")[0].tensor_proto.string_val[0]
    assert len(events.Images("pictures/curve")) == 1
