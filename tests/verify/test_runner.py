"""On what the layouts are compared."""

import pytest

from triad.config.errors import Refusal
from triad.verify.runner import choose_accelerator


@pytest.mark.parametrize(
    ("gpus", "ranks", "chosen"), [("", 1, "cpu"), ("0", 1, "gpu"), ("0", 2, "cpu"), ("0,1", 2, "gpu")]
)
def test_a_layout_is_on_gpus_if_each_process_has_one(monkeypatch, gpus: str, ranks: int, chosen: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    assert choose_accelerator(ranks) == chosen
    assert choose_accelerator(ranks, "cpu") == "cpu"


def test_more_processes_than_gpus_are_refused_where_gpus_were_asked_for(monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert choose_accelerator(1, "gpu") == "gpu"
    with pytest.raises(Refusal, match="2 processes need as many GPUs, here are 1: use accelerator=auto"):
        choose_accelerator(2, "gpu")
    with pytest.raises(Refusal, match="accelerator=tpu: use auto, cpu or gpu"):
        choose_accelerator(2, "tpu")
