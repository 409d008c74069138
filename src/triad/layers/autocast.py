"""Casting a tensor as autocast does, once instead of in each operation."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def to_autocast_dtype(x: Tensor) -> Tensor:
    """The tensor in autocast's dtype where autocast is on, else unchanged.

    Autocast caches the casts of weights but not of activations: q, k and v would each cast the same input,
    and each cast has a backward pass.
    """
    dtype = autocast_dtype(x)
    return x if dtype is None else x.to(dtype)


def autocast_dtype(x: Tensor) -> torch.dtype | None:
    """The dtype that products on this tensor's device are cast to, if they are."""
    device = x.device.type
    on = device != "meta" and torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if on else None


def autocast_off(x: Tensor) -> AbstractContextManager:
    """A context in which autocast is off for this tensor's device."""
    # torch.autocast raises for meta, which has no autocast
    return nullcontext() if x.device.type == "meta" else torch.autocast(x.device.type, enabled=False)
