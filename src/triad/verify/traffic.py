"""Counting the messages of a step between processes, and the bytes that each process holds."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

KINDS = {
    "allreduce_": "all_reduce",
    "all_reduce": "all_reduce",
    "all_reduce_": "all_reduce",
    "_allgather_base_": "all_gather",
    "all_gather_into_tensor": "all_gather",
    "all_gather_into_tensor_out": "all_gather",
    "_reduce_scatter_base_": "reduce_scatter",
    "reduce_scatter_tensor": "reduce_scatter",
    "alltoall_base_": "all_to_all",
    "send": "send",
}


class Traffic(TorchDispatchMode):
    """Count messages and their bytes by kind: the whole tensor of a gather or scatter, else what is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        space, _, name = func._schema.name.partition("::")
        if "c10d" in space and (kind := KINDS.get(name)):
            self.messages[kind] += 1
            # alltoall_base_(what arrives, what is sent, ...)
            tensors = [args[1]] if kind == "all_to_all" else tree_leaves((args, result))
            self.bytes[kind] += max(local_bytes(t) for t in tensors if isinstance(t, Tensor))
        return result


def local_bytes(tensor: Tensor) -> int:
    """Bytes of a tensor as this process holds it."""
    local = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    return local.numel() * local.element_size()


def count_bytes(tensors: Iterable[Any]) -> int:
    """Bytes of all tensors among some values."""
    return sum(local_bytes(tensor) for tensor in tensors if isinstance(tensor, Tensor))
