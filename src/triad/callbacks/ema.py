"""An average of the weights over the last steps."""

from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from triad.layers.ranges import DecayRate


class Ema(Callback):
    """Keep an exponential moving average of the weights, and validate with it.

        a_0 = w_0,   a_k = d_k a_{k-1} + (1 - d_k) w_k      Tarvainen & Valpola 2017, arXiv:1703.01780, eq. 1
        d_k = min(decay, (1 + k) / (10 + k))                TensorFlow, tf.train.ExponentialMovingAverage

    k counts the updates, so that the initial weights do not outlast a run shorter than 1 / (1 - decay). Each
    process averages the shards it holds, in fp32 where weights are narrower. The average is in the
    checkpoints, beside the weights. val/loss and the samples are the average's, and so are the weights that
    `export`, `generate` and `load` take. Buffers are copied. Not Lightning's EMAWeightAveraging, which keeps
    whole copies of the model.
    """

    replaces = "weights"  # in validation
    uses = ("weights",)
    checkpoint_key = "ema"  # its name in a checkpoint

    def __init__(self, decay: DecayRate) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"callbacks.ema.decay={decay}: at least 0 and below 1")
        self.decay = decay
        self.updates = 0
        self.average: dict[str, Tensor] | None = None  # until training starts, or a checkpoint is loaded

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.updates = state_dict["updates"]

    def weights(self, training: Any) -> dict[str, Tensor]:
        """The average, by parameter name."""
        if self.average is None:
            self.average = copy_weights(training)
        return self.average

    def on_train_start(self, trainer: Trainer, training: Any) -> None:
        self.weights(training)

    def on_train_batch_end(self, trainer: Trainer, training: Any, *_: Any) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        move_averages(self.weights(training), training, 1 - decay)

    def on_validation_start(self, trainer: Trainer, training: Any) -> None:
        self.trained = replace_weights(self.weights(training), training)

    def on_validation_end(self, trainer: Trainer, training: Any) -> None:
        replace_weights(self.trained, training)
        del self.trained


def copy_weights(training: Any) -> dict[str, Tensor]:
    """Copies of the weights and buffers of now, by name, for averages.

    They are in fp32 where weights are narrower: in bf16 a step below 1/512 of a number is rounded away.
    """
    return {name: copy_widened(tensor) for name, tensor in read_weights(training).items()}


def copy_widened(x: Tensor) -> Tensor:
    """A copy of a tensor, in fp32 where it is of fewer bits."""
    widened = torch.promote_types(x.dtype, torch.float32) if x.is_floating_point() else x.dtype
    return x.detach().to(widened, copy=True)


@torch.no_grad()
def move_averages(averages: dict[str, Tensor], training: Any, share: float) -> None:
    """Move averages a share of the way to the weights; copy buffers."""
    learned = {name for name, _ in training.model.named_parameters()}
    moving: tuple[list[Tensor], list[Tensor]] = ([], [])
    for name, average, weight in _pair_shards(averages, training):
        if name in learned:
            moving[0].append(average)
            moving[1].append(weight.to(average.dtype))
        else:
            average.copy_(weight)
    torch._foreach_lerp_(*moving, share)


@torch.no_grad()
def replace_weights(values: dict[str, Tensor], training: Any) -> dict[str, Tensor]:
    """Give the model other weights, rounded to its own type; return copies of those it had.

    In validation there are no gradients, so that these copies do not raise the peak of memory.
    """
    replaced = {name: tensor.clone() for name, tensor in read_weights(training).items()}
    for _, value, weight in _pair_shards(values, training):
        weight.copy_(value)
    for module in training.model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()  # or what has been gathered would be used once more
    return replaced


def read_weights(training: Any) -> dict[str, Tensor]:
    """The weights and buffers of now, by name, as far as they are here."""
    return training.model.state_dict()


def _pair_shards(averages: dict[str, Tensor], training: Any) -> list[tuple[str, Tensor, Tensor]]:
    """Name, average and weight of all shards held here."""
    weights = read_weights(training)
    return [(name, _local(average), _local(weights[name])) for name, average in averages.items()]


def _local(x: Tensor) -> Tensor:
    return x.to_local() if isinstance(x, DTensor) else x
