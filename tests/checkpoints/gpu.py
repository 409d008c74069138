"""A GPU that is not there: tensors that say they are on it, and copies that happen when it is waited for."""

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch


class GPUTensor(torch.Tensor):
    """A tensor on GPU 1, as far as it says; an asynchronous copy of it waits for `synchronize`."""

    is_cuda = True
    device = torch.device("cuda", 1)
    queue: ClassVar[list[Callable]] = []

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            if func is torch.Tensor.copy_ and (kwargs or {}).get("non_blocking"):
                cls.queue.append(lambda: args[0].copy_(args[1].as_subclass(torch.Tensor)))
                return args[0]
            return func(*args, **(kwargs or {}))


class Runtime:
    """Takes note of the memory that is pinned."""

    def __init__(self, error: int) -> None:
        self.error = error
        self.pinned: dict[int, int] = {}  # bytes by address
        self.sizes: list[int] = []  # of all that was asked for

    def cudaHostRegister(self, address: int, size: int, flags: int) -> int:
        self.sizes.append(size)
        if not self.error:
            self.pinned[address] = size
        return self.error

    def cudaHostUnregister(self, address: int) -> None:
        del self.pinned[address]


def install(monkeypatch: pytest.MonkeyPatch, error: int = 0) -> Runtime:
    """Have torch.cuda answer for that GPU."""
    runtime = Runtime(error)

    def synchronize(device: torch.device) -> None:
        assert device == GPUTensor.device
        while GPUTensor.queue:
            GPUTensor.queue.pop(0)()

    monkeypatch.setattr(torch.cuda, "cudart", lambda: runtime)
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    return runtime


def place(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor on that GPU."""
    return tensor.as_subclass(GPUTensor)
