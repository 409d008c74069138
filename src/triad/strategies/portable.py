"""What a checkpoint holds, under single-device names, whatever layout the tensors are in."""

from typing import Any

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

OPTIONS = StateDictOptions(full_state_dict=False, flatten_optimizer_state_dict=True)

Tensors = dict[str, dict[str, Any]]


def tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> Tensors:
    """Weights by `name`, optimizer state by `state.name.key`, its settings by `param_groups.name.key`."""
    return {
        "model": get_model_state_dict(model, options=OPTIONS),
        "optimizer": get_optimizer_state_dict(model, optimizer, options=OPTIONS),
    }


def restore(model: nn.Module, optimizer: torch.optim.Optimizer, found: Tensors) -> None:
    """Take over what `tensors` gave and a checkpoint has filled."""
    set_model_state_dict(model, found["model"], options=OPTIONS)
    set_optimizer_state_dict(model, optimizer, found["optimizer"], options=OPTIONS)
