"""Expert parallelism: each process holds some experts, and rows travel to them and back.

Shapes: R rows of this process sorted by expert, M rows received, D width, E experts, e experts of this
process, P processes of the group.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from triad.layers.parameters import holds_experts
from triad.strategies.splits import check_splits


def split(model: nn.Module, mesh: DeviceMesh) -> None:
    """Give each process of the group E / P consecutive experts of every layer.

    Lepikhin et al. 2020 (GShard), arXiv:2006.16668, section 3.1; Fedus et al. 2021 (Switch),
    arXiv:2101.03961, section 5.5. Deviates: no capacity, so nothing is dropped or padded: exactly the routed
    rows are sent. Raises ValueError if the processes do not divide the experts, or for experts that do not
    declare that they may be split.
    """
    for module in [module for module in model.modules() if holds_experts(module)]:
        layer: Any = module
        check_splits(layer, "expert", mesh.size())
        for name, weight in list(layer.named_parameters(recurse=False)):
            if (experts := len(weight)) % mesh.size():
                raise ValueError(
                    f"strategy.expert={mesh.size()} does not divide the layer's {experts} experts"
                )
            part = distribute_tensor(weight.data, mesh, [Shard(0)], src_data_rank=None)
            setattr(layer, name, nn.Parameter(part, requires_grad=weight.requires_grad))
        layer.to_local = _to_local
        layer.forward = partial(_run_experts, layer.forward, mesh.get_group())


@torch.compiler.disable  # the number of rows received depends on the data
def _run_experts(forward: Callable, group: dist.ProcessGroup, x_RD: Tensor, end_E: Tensor) -> Tensor:
    """Send rows to the processes of their experts, apply these, and send the results back: y_RD.

    Every process takes part in every exchange, forward and backward, with or without rows of its own: the
    gradient of a weight is the sum over the rows of the whole group.
    """
    sent_E = end_E.diff(prepend=end_E.new_zeros(1)).long()
    arriving_Pe = torch.empty_like(sent_E)
    dist.all_to_all_single(arriving_Pe, sent_E, group=group)
    arriving_Pe = arriving_Pe.unflatten(0, (group.size(), -1))
    totals = torch.stack((sent_E.view_as(arriving_Pe).sum(1), arriving_Pe.sum(1)))
    sent, arriving = totals.tolist()  # the one wait for the device
    order_M, back_M = _sort_by_expert(arriving_Pe, sum(arriving))
    x_MD = _Permute.apply(_Exchange.apply(x_RD, sent, arriving, group), order_M, back_M)
    end_e = arriving_Pe.sum(0).cumsum(0).to(end_E.dtype)
    y_MD = forward(x_MD, end_e)
    return _Exchange.apply(_Permute.apply(y_MD, back_M, order_M), arriving, sent, group)


def _sort_by_expert(arriving_Pe: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """The order that sorts received rows from (sender, expert) to (expert, sender), and its inverse."""
    senders, held = arriving_Pe.shape
    expert_C = torch.arange(held, device=arriving_Pe.device).repeat(senders)
    expert_M = expert_C.repeat_interleave(arriving_Pe.flatten(), output_size=rows)
    order_M = expert_M.argsort(stable=True)
    return order_M, order_M.argsort()


def _to_local(weight: Tensor) -> Tensor:
    assert isinstance(weight, DTensor)
    return weight.to_local()


class _Exchange(torch.autograd.Function):
    """Send the first sent[0] rows to process 0 of the group, the next sent[1] to process 1, and so on.

    Backward: gradients are sent back the same way.
    """

    @staticmethod
    def forward(ctx, x_RD, sent, arriving, group):
        ctx.sent, ctx.arriving, ctx.group = sent, arriving, group
        return _exchange(x_RD, sent, arriving, group)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_MD):
        return _exchange(grad_MD, ctx.arriving, ctx.sent, ctx.group), None, None, None


def _exchange(x_RD: Tensor, sent: list[int], arriving: list[int], group: dist.ProcessGroup) -> Tensor:
    x_MD = x_RD.new_empty(sum(arriving), x_RD.shape[1])
    dist.all_to_all_single(x_MD, x_RD.contiguous(), arriving, sent, group=group)
    return x_MD


class _Permute(torch.autograd.Function):
    """Permute rows; `back` is the inverse order, so that the backward pass is a gather, too."""

    @staticmethod
    def forward(ctx, x_MD, order_M, back_M):
        ctx.save_for_backward(back_M)
        return x_MD[order_M]

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_MD):
        (back_M,) = ctx.saved_tensors
        return grad_MD[back_M], None, None
