"""What autocast does to a tensor, asked for once instead of by each operation."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def to_autocast_dtype(x: Tensor) -> Tensor:
    """The tensor in autocast's dtype where autocast is on, else as it is.

    Autocast remembers the casts of weights but not of activations: q, k and v would each cast the same input,
    and each cast comes back in the backward pass.
    """
    dtype = autocast_dtype(x)
    return x if dtype is None else x.to(dtype)


def autocast_dtype(x: Tensor) -> torch.dtype | None:
    """The dtype that products on this tensor's device are cast to, if they are."""
    device = x.device.type
    on = device != "meta" and torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if on else None


def autocast_off(x: Tensor) -> AbstractContextManager:
    """A stretch of code in which nothing is cast on this tensor's device."""
    # meta has no autocast to switch off, and says so by raising
    return nullcontext() if x.device.type == "meta" else torch.autocast(x.device.type, enabled=False)
