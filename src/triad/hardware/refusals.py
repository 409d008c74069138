"""Precisions that a device or a layout does not have."""

from importlib.util import find_spec

from triad.config.processes import degree
from triad.config.refusals import Impossible

TABLE = [
    Impossible(
        "fp16 needs the units of a GPU",
        "precision=fp16-mixed trainer.accelerator=cpu",
        lambda c: c["precision"].get("name") == "16-mixed" and c["trainer"]["accelerator"] == "cpu",
        "precision=fp16-mixed needs a GPU: use precision=bf16-mixed or fp32 on a CPU",
    ),
    Impossible(
        "a loss scaler sees only the shards of its own process",
        "strategy=fsdp precision=fp16-mixed",
        lambda c: c["precision"].get("name") == "16-mixed" and "data_shard" in c["strategy"],
        "precision=fp16-mixed needs whole gradients in every process: use strategy=single or ddp, or "
        "precision=bf16-mixed: it needs no scaler",
    ),
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
