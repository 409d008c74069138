"""Context parallelism: each process holds some time steps of every sequence.

Shapes: B batch, T time in this process, S time of the whole sequence, N heads, K key-value heads, H head
size, D width; C processes of the group.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.distributed.device_mesh import DeviceMesh

from triad.layers.documents import Offset, move_offset
from triad.strategies.splits import check_splits
from triad.strategies.torch_private import all_gather_single, reduce_scatter_single


class Zigzag:
    """Of 2 C chunks of a sequence process r holds chunks r and 2 C - 1 - r, which balances causal attention.

    Dubey et al. 2024 (Llama 3), arXiv:2407.21783, section 3.3.2. `on` is whether sequences are split at
    present: while a loss is computed, but not while text is sampled.
    """

    def __init__(self, mesh: DeviceMesh) -> None:
        self.group, self.rank, self.ranks = mesh.get_group(), mesh.get_local_rank(), mesh.size()
        self.chunks = self.rank, 2 * self.ranks - 1 - self.rank
        self.on = False

    def part(self, x_BS: Tensor) -> Tensor:
        """This process's chunks of a batch, x_BT."""
        assert x_BS.shape[1] % (2 * self.ranks) == 0
        parts_B = x_BS.chunk(2 * self.ranks, dim=1)
        return torch.cat([parts_B[chunk] for chunk in self.chunks], dim=1)

    def starts(self, length: int) -> list[int]:
        """The position of each chunk's first token, when `length` tokens of the sequence are here."""
        return [chunk * (length // 2) for chunk in self.chunks]


def split(model: nn.Module, mesh: DeviceMesh) -> Zigzag:
    """Make every layer that mixes tokens use the whole sequence while `on` is set.

    It replaces `kernel` of attention (and a `key_shift` before it), `tables` of positions, the forward of
    layers with `takes_offset`, and the `sequence_sums` of routers. Raises ValueError for a layer
    that does not declare that time may be split.
    """
    zigzag = Zigzag(mesh)
    check_splits(model, "context", mesh.size())
    for module in model.modules():
        layer: Any = module
        if getattr(layer, "key_shift", None) is not None:
            # after the gather: the previous token may be in another process
            layer.kernel, layer.key_shift = partial(_attend_shifted, layer.key_shift, layer.kernel), None
        if hasattr(layer, "kernel"):
            layer.kernel = partial(_attend, zigzag, layer.kernel)
        elif hasattr(layer, "tables"):
            layer.tables = partial(_make_tables, zigzag, layer.tables)
        elif hasattr(layer, "takes_offset"):
            layer.forward = partial(_add_positions, zigzag, layer.forward)
        elif hasattr(layer, "sequence_sums"):
            layer.sequence_sums = partial(_sequence_sums, zigzag)
    return zigzag


def _attend(
    zigzag: Zigzag,
    kernel: Callable,
    q_BNTH: Tensor,
    k_BKTH: Tensor,
    v_BKTH: Tensor,
    dropout: float = 0.0,
    mask: Callable | None = None,
    starts_BS: Tensor | None = None,
) -> Tensor:
    """Own queries against all keys before them: the kernel sees each chunk as new tokens after a cache."""
    if not zigzag.on:
        return kernel(q_BNTH, k_BKTH, v_BKTH, dropout, mask, starts_BS)
    # concatenated, for one message: those of latent attention differ in size
    both_BKSH = _gather_sequence(zigzag, torch.cat((k_BKTH, v_BKTH), -1))
    k_BKSH, v_BKSH = both_BKSH.split((k_BKTH.shape[-1], v_BKTH.shape[-1]), -1)
    chunks = q_BNTH.chunk(2, dim=2)
    length = chunks[0].shape[2]
    ends = [start + length for start in zigzag.starts(2 * length)]
    parts = []
    for q, end in zip(chunks, ends, strict=True):
        starts = None if starts_BS is None else starts_BS[:, :end]
        parts.append(kernel(q, k_BKSH[:, :, :end], v_BKSH[:, :, :end], dropout, mask, starts))
    return torch.cat(parts, dim=2)


def _attend_shifted(
    shift: Callable,
    kernel: Callable,
    q_BNTH: Tensor,
    k_BKSH: Tensor,
    v_BKSH: Tensor,
    dropout: float,
    mask: Callable | None,
    starts_BS: Tensor | None,
) -> Tensor:
    return kernel(q_BNTH, shift(k_BKSH, starts_BS), v_BKSH, dropout, mask, starts_BS)


def _gather_sequence(zigzag: Zigzag, kv_BKTH: Tensor) -> Tensor:
    """Keys and values of the whole sequence, in order: first chunks by rank, then second chunks reversed."""
    gathered = _Gather.apply(kv_BKTH, zigzag.group)  # C first
    up, down = gathered.chunk(2, dim=-2)
    return torch.cat((up, down.flip(0))).movedim(0, -3).flatten(-3, -2)


def _make_tables(
    zigzag: Zigzag, tables: Callable, offset: Offset, length: int, like: Tensor
) -> tuple[Tensor, Tensor]:
    """The angles of this process's positions."""
    if not zigzag.on:
        return tables(offset, length, like)
    half = length // 2
    offsets = [move_offset(offset, start, half) for start in zigzag.starts(length)]
    cos, sin = zip(*(tables(each, half, like) for each in offsets), strict=True)
    return torch.cat(cos, -2), torch.cat(sin, -2)


def _add_positions(zigzag: Zigzag, forward: Callable, x_BTD: Tensor, offset: Offset = 0) -> Tensor:
    """The output of a layer of positions, for this process's chunks."""
    if not zigzag.on:
        return forward(x_BTD, offset)
    chunks, starts = x_BTD.chunk(2, 1), zigzag.starts(x_BTD.shape[1])
    offsets = [move_offset(offset, start, chunks[0].shape[1]) for start in starts]
    return torch.cat([forward(x, each) for x, each in zip(chunks, offsets, strict=True)], 1)


def _sequence_sums(zigzag: Zigzag, *sums: Tensor) -> tuple[Tensor, ...]:
    """Counts of this process's time, without gradients -> counts of the sequence, all in one message."""
    if not zigzag.on:
        return sums
    total = torch.cat([count.to(sums[0].dtype) for count in sums], 1)
    dist.all_reduce(total, group=zigzag.group)
    return total.split([count.shape[1] for count in sums], 1)


class _Gather(torch.autograd.Function):
    """x of every process, stacked. Backward: each process gets the sum of the gradients of its own x."""

    @staticmethod
    @torch.compiler.disable
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        gathered = x.new_empty(group.size() * len(x), *x.shape[1:])  # what gloo wants to fill
        all_gather_single(gathered, x.contiguous(), group=group)
        return gathered.unflatten(0, (group.size(), -1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        own = grad.new_empty(grad.shape[1:])
        reduce_scatter_single(own, grad.flatten(0, 1).contiguous(), group=ctx.group)
        return own, None
