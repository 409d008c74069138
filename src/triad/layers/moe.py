"""Sparse experts.

Shapes: B batch, T time, N = B T tokens, D width, F hidden, E experts,
k choices per token, R = N k rows, C = T k.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from triad.layers.autocast import autocast_off, lowered
from triad.layers.feedforward import SwiGLU


class Routing(NamedTuple):
    """What one layer's router did: its loss, already weighted, and the tokens of each expert, by sequence."""

    auxiliary_B: Tensor
    load_BE: Tensor


class MixtureOfExperts(nn.Module):
    """Send each token to its k best experts and add their answers, weighted.

        p = softmax(W_r x),   y = sum_{e in top-k(p)} w_e E_e(x),   w_e = p_e / sum_{top-k} p
        Jiang et al. 2024 (Mixtral), arXiv:2401.04088, section 2.1

        auxiliary = balance E sum_e f_e P_e + z mean_t (log sum_e exp (W_r x_t)_e)^2

    f_e is the share of a sequence's choices that went to expert e and P_e its mean probability there (the
    sequence as GShard's group, arXiv:2006.16668; DeepSeek-V3, arXiv:2412.19437, eq. 17-20; balance x 1 when
    uniform); z as in ST-MoE, arXiv:2202.08906, eq. 5. Per sequence, so that the sum over a batch does not
    depend on how the batch was cut; the attribute `whole_sequence` may be replaced from outside, when x_BTD
    holds a part of each sequence's time: it turns the part's three means into the sequence's.

    x_BTD -> y_BTD and the Routing of these tokens. `shared`: so many hidden sizes of always-on SwiGLU are
    added (DeepSeekMoE, arXiv:2401.06066). `normalize: false` keeps w = p_e. The router works in fp32.
    Deviates: dropless, no capacity factor. Raises ValueError unless 1 <= top_k <= experts.
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        experts: int,
        top_k: int,
        shared: int,
        normalize: bool,
        balance: float,
        z: float,
    ):
        super().__init__()
        if not 1 <= top_k <= experts:
            raise ValueError(f"top_k={top_k} must lie between 1 and experts={experts}")
        self.top_k, self.normalize, self.balance, self.z = top_k, normalize, balance, z
        self.router = nn.Linear(width, experts, bias=False)
        self.experts = Experts(width, hidden, experts)
        self.shared = SwiGLU(width, shared * hidden, bias=False, dropout=0.0) if shared else None
        self.whole_sequence: Callable[..., tuple[Tensor, ...]] = _themselves

    def forward(self, x_BTD: Tensor) -> tuple[Tensor, Routing]:
        with autocast_off(x_BTD):
            exact = torch.promote_types(x_BTD.dtype, torch.float32)
            logits_BTE = F.linear(x_BTD.to(exact), self.router.weight.to(exact))
        probability_BTE = logits_BTE.softmax(-1)
        weight_BTk, choice_BTk = probability_BTE.topk(self.top_k, dim=-1)
        if self.normalize:
            weight_BTk = weight_BTk / weight_BTk.sum(-1, keepdim=True)
        x_BTD = lowered(x_BTD)
        y_BTD = self._routed(x_BTD.flatten(0, 1), weight_BTk.flatten(), choice_BTk.flatten()).view_as(x_BTD)
        if self.shared is not None:
            y_BTD = y_BTD + self.shared(x_BTD)
        return y_BTD, self._routing(logits_BTE, probability_BTE, choice_BTk)

    def _routed(self, x_ND: Tensor, weight_R: Tensor, choice_R: Tensor) -> Tensor:
        """Sort rows by expert, apply, sort back: gathers only, so no sum depends on the order of threads."""
        sorted_R, order_R = choice_R.sort(stable=True)
        back_R = order_R.argsort()
        experts_E = torch.arange(self.experts.gate_EDF.shape[0], device=x_ND.device)
        end_E = torch.searchsorted(sorted_R, experts_E, right=True, out_int32=True)
        y_RD = self.experts(_Dispatch.apply(x_ND, order_R, back_R, self.top_k), end_E)
        y_RD = y_RD * weight_R[order_R].to(y_RD.dtype)[:, None]
        return _Combine.apply(y_RD, order_R, back_R, self.top_k)

    def _routing(self, logits_BTE: Tensor, probability_BTE: Tensor, choice_BTk: Tensor) -> Routing:
        choice_BC = choice_BTk.flatten(1)
        count_BE = torch.zeros_like(probability_BTE[:, 0]).scatter_add_(
            1, choice_BC, torch.ones_like(choice_BC, dtype=probability_BTE.dtype)
        )
        share_BE, mean_BE, z_B = self.whole_sequence(
            count_BE / choice_BC.shape[1], probability_BTE.mean(1), logits_BTE.logsumexp(-1).square().mean(1)
        )
        balance_B = (share_BE * mean_BE).sum(-1) * logits_BTE.shape[-1]
        return Routing(self.balance * balance_B + self.z * z_B, count_BE.detach())


def _themselves(*means: Tensor) -> tuple[Tensor, ...]:
    return means


class Experts(nn.Module):
    """E SwiGLU networks, their weights stacked; row r of x goes through the expert whose share of the rows it
    lies in.

    x_RD sorted by expert and end_E (the row after each expert's last) -> y_RD.
    """

    def __init__(self, width: int, hidden: int, experts: int):
        super().__init__()
        self.gate_EDF = nn.Parameter(torch.empty(experts, width, hidden))
        self.up_EDF = nn.Parameter(torch.empty(experts, width, hidden))
        self.down_EFD = nn.Parameter(torch.empty(experts, hidden, width))

    def forward(self, x_RD: Tensor, end_E: Tensor) -> Tensor:
        return each_through_its_expert(x_RD, end_E, self.gate_EDF, self.up_EDF, self.down_EFD)


def each_through_its_expert(
    x_RD: Tensor, end_E: Tensor, gate_EDF: Tensor, up_EDF: Tensor, down_EFD: Tensor
) -> Tensor:
    """What a layer of experts computes, with all of its weights or those of some experts."""
    weights = lowered(gate_EDF), lowered(up_EDF), lowered(down_EFD)
    return (loop if _on_cpu(x_RD) else grouped)(x_RD, end_E, *weights)


def grouped(x_RD: Tensor, end_E: Tensor, gate_EDF: Tensor, up_EDF: Tensor, down_EFD: Tensor) -> Tensor:
    """All experts in one call of torch's grouped product."""
    hidden_RF = F.silu(_product(x_RD, gate_EDF, end_E)) * _product(x_RD, up_EDF, end_E)
    return _product(hidden_RF, down_EFD, end_E)


@torch.compiler.disable
def loop(x_RD: Tensor, end_E: Tensor, gate_EDF: Tensor, up_EDF: Tensor, down_EFD: Tensor) -> Tensor:
    """One expert after another; needs the counts on the host, which is free on a CPU and a wait on a GPU.

    Forward and backward of a layer, width 256, 8 experts of 352, top 2, 4,096 tokens, EPYC, 2 threads
    (grouped in brackets): fp32 100 ms (119), bf16 autocast 66 ms (70).
    """
    counts = end_E.diff(prepend=end_E.new_zeros(1)).tolist()
    rows = zip(x_RD.split(counts), gate_EDF.unbind(), up_EDF.unbind(), down_EFD.unbind(), strict=True)
    return torch.cat([(F.silu(x @ gate) * (x @ up)) @ down for x, gate, up, down in rows])


def _on_cpu(x: Tensor) -> bool:
    """Real numbers on a CPU, not the shapes alone (meta, fake): then the loop is the faster way."""
    return type(x) is Tensor and x.is_cpu


def _product(x_RD: Tensor, weight_EDF: Tensor, end_E: Tensor) -> Tensor:
    # torch 2.13 infers the shape of a grouped product in bf16 only; where there are no numbers, none are lost
    hollow = x_RD.is_meta or (x_RD.is_cpu and type(x_RD) is not Tensor)
    if hollow and x_RD.dtype != torch.bfloat16:
        return F.grouped_mm(x_RD.bfloat16(), weight_EDF.bfloat16(), offs=end_E).to(x_RD.dtype)
    return F.grouped_mm(x_RD, weight_EDF, offs=end_E)


class _Dispatch(torch.autograd.Function):
    """x_ND -> rows in order of expert. Backward: each token's k rows are gathered and added."""

    @staticmethod
    def forward(ctx, x_ND, order_R, back_R, k):
        ctx.save_for_backward(back_R)
        ctx.k = k
        return x_ND[order_R // k]

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_RD):
        (back_R,) = ctx.saved_tensors
        return grad_RD[back_R].unflatten(0, (-1, ctx.k)).sum(1), None, None, None


class _Combine(torch.autograd.Function):
    """The transpose of _Dispatch."""

    @staticmethod
    def forward(ctx, y_RD, order_R, back_R, k):
        ctx.save_for_backward(order_R)
        ctx.k = k
        return y_RD[back_R].unflatten(0, (-1, k)).sum(1)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_ND):
        (order_R,) = ctx.saved_tensors
        return grad_ND[order_R // ctx.k], None, None, None
