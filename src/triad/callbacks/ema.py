"""An average of the weights over the last steps."""

from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor


class Ema(Callback):
    """Keep an exponential moving average of the weights, and validate with it.

        a_0 = w_0,   a_k = d a_{k-1} + (1 - d) w_k        Tarvainen & Valpola 2017, arXiv:1703.01780, eq. 1

    Each process averages the shards it holds. The average is in the checkpoints, beside the weights: `export`
    and `generate` take it with weights=ema. val/loss and the samples are the average's. Buffers are copied.
    Not Lightning's EMAWeightAveraging, which keeps whole copies of the model.
    """

    replaces = "weights"  # in validation
    uses = ("weights",)
    checkpoint_key = "ema"  # its name in a checkpoint

    def __init__(self, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"callbacks.ema.decay={decay}: at least 0 and below 1")
        self.decay = decay
        self.average: dict[str, Tensor] | None = None  # until training starts, or a checkpoint is loaded

    def weights(self, training: Any) -> dict[str, Tensor]:
        """The average, by parameter name."""
        if self.average is None:
            self.average = {name: tensor.detach().clone() for name, tensor in read_weights(training).items()}
        return self.average

    def on_train_start(self, trainer: Trainer, training: Any) -> None:
        self.weights(training)

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Trainer, training: Any, *_: Any) -> None:
        learned = {name for name, _ in training.model.named_parameters()}
        averages, weights = [], []
        for name, average, weight in pair_shards(self.weights(training), training):
            if name in learned:
                averages.append(average)
                weights.append(weight)
            else:
                average.copy_(weight)
        torch._foreach_lerp_(averages, weights, 1 - self.decay)

    def on_validation_start(self, trainer: Trainer, training: Any) -> None:
        exchange(self.weights(training), training)

    def on_validation_end(self, trainer: Trainer, training: Any) -> None:
        exchange(self.weights(training), training)


@torch.no_grad()
def exchange(averages: dict[str, Tensor], training: Any) -> None:
    """Let the averages and the weights trade places."""
    for _, average, weight in pair_shards(averages, training):
        kept = weight.clone()
        weight.copy_(average)
        average.copy_(kept)
    for module in training.model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()  # or what has been gathered would be used once more


def pair_shards(averages: dict[str, Tensor], training: Any) -> list[tuple[str, Tensor, Tensor]]:
    """Name, average and weight of all shards held here."""
    weights = read_weights(training)
    return [(name, _local(average), _local(weights[name])) for name, average in averages.items()]


def read_weights(training: Any) -> dict[str, Tensor]:
    """The weights and buffers of now, by name, as far as they are here."""
    return training.model.state_dict()


def _local(x: Tensor) -> Tensor:
    return x.to_local() if isinstance(x, DTensor) else x
