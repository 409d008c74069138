"""On a GPU the same words train, and agree with the CPU."""

from pathlib import Path

import pytest
import torch

from triad.runs.metrics import read_metrics

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
TINY = ("debug=tiny", "precision=fp32", "hardware.attention=flash")


@pytest.mark.parametrize("strategy", ["single", "ddp", "fsdp"])
@pytest.mark.parametrize("model", ["decoder", "lstm"])
def test_a_gpu_trains_to_the_losses_of_the_cpu(train, tmp_path: Path, strategy: str, model: str) -> None:
    train(*TINY, f"model={model}", "trainer.accelerator=cpu", "run_id=cpu")
    train(
        *TINY,
        f"model={model}",
        f"strategy={strategy}",
        "trainer.accelerator=gpu",
        "trainer.devices=1",
        "run_id=gpu",
    )
    curves = {
        name: [row["train/loss"] for row in read_metrics(tmp_path / "outputs" / name / "metrics.csv")]
        for name in ("cpu", "gpu")
    }
    assert curves["gpu"] == pytest.approx(curves["cpu"], rel=1e-3)


@pytest.mark.parametrize(
    "words", ["", "model=bloom_7b1 model.width=64 model.depth=2 model.attention.heads=4"]
)
def test_documents_of_a_row_are_apart_on_a_gpu(train, tmp_path: Path, words: str) -> None:
    """By FlexAttention, and for a bias of scores by a mask."""
    for device in ("cpu", "gpu"):
        at = (f"trainer.accelerator={device}", f"run_id={device}", "trainer.devices=1")
        train(*TINY, "packing=documents", *words.split(), *at)
    on_cpu, on_gpu = (
        [row["train/loss"] for row in read_metrics(tmp_path / "outputs" / name / "metrics.csv")]
        for name in ("cpu", "gpu")
    )
    assert on_gpu == pytest.approx(on_cpu, rel=1e-3)


def test_the_default_run_works_in_bf16(train, tmp_path: Path) -> None:
    train("debug=tiny", "trainer.accelerator=gpu", "trainer.devices=1", "run_id=gpu")
    assert "perf/tokens_per_s" in (tmp_path / "outputs" / "gpu" / "metrics.csv").read_text()
