"""Precisions that a device or a layout does not have."""

from importlib.util import find_spec

from triad.config.processes import degree
from triad.config.refusals import Impossible

TABLE = [
    Impossible(
        "fp8 needs a GPU that has it",
        "precision=fp8 trainer.accelerator=cpu",
        lambda c: c["precision"].get("name") == "fp8" and c["trainer"]["accelerator"] == "cpu",
        "precision=fp8 needs a GPU with fp8 units (compute capability 8.9, H100 for one): use "
        "precision=bf16-mixed here",
    ),
    Impossible(
        "fp8 products come from torchao",
        "precision=fp8",
        lambda c: c["precision"].get("name") == "fp8" and find_spec("torchao") is None,
        "precision=fp8 needs the package torchao: pip install torchao",
    ),
    Impossible(
        "fp8 products and split matrices",
        "strategy=tensor precision=fp8 trainer.devices=2 trainer.accelerator=cpu",
        lambda c: c["precision"].get("name") == "fp8" and degree(c, "tensor") > 1,
        "precision=fp8 does not go with strategy.tensor={strategy[tensor]}: use precision=bf16-mixed",
    ),
]
