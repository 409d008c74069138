"""The result of a router: which rows go to which expert, and statistics of the routing.

A router is made by `router(width, experts)` and maps x_BTD, tokens_BT and real_BT to TokensChoose or
ExpertsChoose, and to a function that computes the Routing. It is a function because generation does not need
the statistics, which are half of the work for a single token. real_BT is false at padding, which takes no
capacity and enters no statistic, so that the routing of a sequence does not depend on the width of its batch;
null: no padding. The attribute `top_k` is the number of experts a token goes to. Routing depends on its own
sequence only, not on how a batch is divided. A router in which only the statistics span the sequence counts
through the attribute `sequence_sums`, which context parallelism replaces.

Shapes: B batch, T time, N = B T tokens, D width, E experts, k choices per token, R = N k rows, C = T k,
S tokens that an expert takes of a sequence, A terms of the auxiliary loss.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, overload

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from triad.layers.autocast import autocast_off


class Routing(NamedTuple):
    """Statistics of a router by sequence: the weighted auxiliary loss, which is added to that of other
    layers; the rows that asked for each expert, dropped ones included; the mean entropy of a token's
    probabilities in nats; the share of rows (of tokens, where experts choose) that were dropped; and, of a
    router whose auxiliary loss is one of all layers, what `pool` makes.
    """

    auxiliary_B: Tensor
    load_BE: Tensor
    entropy_B: Tensor
    dropped_B: Tensor
    pooled_BA: Tensor | None = None

    @property
    def terms_BA(self) -> Tensor:
        """The terms of the auxiliary loss, which `add_terms` adds up over layers."""
        added_B1 = self.auxiliary_B[:, None]
        return added_B1 if self.pooled_BA is None else torch.cat((added_B1, self.pooled_BA), 1)

    @property
    def statistics_BS(self) -> Tensor:
        """All but the loss, concatenated: E loads, entropy, dropped share."""
        return torch.cat((self.load_BE, self.entropy_B[:, None], self.dropped_B[:, None]), 1)


STATISTICS = 2  # columns of `statistics_BS` after the loads


def pool(share_BE: Tensor, probability_BE: Tensor, z_B: Tensor) -> Tensor:
    """The terms of a loss that takes the tokens of all layers together -> pooled_BA.

    By sequence: each expert's choices per token, weighted, its mean probability, and a mean to be added.
    """
    return torch.cat((torch.ones_like(z_B)[:, None], z_B[:, None], share_BE, probability_BE), 1)


def add_terms(one_BA: Tensor, other_BA: Tensor) -> Tensor:
    """The sum of two layers' terms, of which either may have no pooled ones.

    Raises ValueError where both have them, of different numbers of experts.
    """
    sizes = one_BA.shape[1], other_BA.shape[1]
    if min(sizes) > 1 and sizes[0] != sizes[1]:
        raise ValueError("router.over_layers=pool: layers differ in their number of experts; use sum")
    one_BA, other_BA = (F.pad(x_BA, (0, max(sizes) - x_BA.shape[1])) for x_BA in (one_BA, other_BA))
    return one_BA + other_BA


def auxiliary_loss(terms_BA: Tensor) -> Tensor:
    """The auxiliary loss of each sequence, from the sum of its layers' terms -> auxiliary_B.

        sum_l auxiliary_l + sum_e (mean_l F_le) (mean_l P_le) + mean_l z_l

    with the means over the layers that pool: their tokens are as one sequence, L times as long.
    """
    auxiliary_B = terms_BA[:, 0]
    if terms_BA.shape[1] == 1:
        return auxiliary_B
    layers_B, z_B = terms_BA[:, 1], terms_BA[:, 2]
    share_BE, probability_BE = terms_BA[:, 3:].chunk(2, 1)
    return auxiliary_B + (share_BE * probability_BE).sum(1) / layers_B**2 + z_B / layers_B


class TokensChoose(NamedTuple):
    """Each token goes to its k experts; a dropped row has weight 0.

    Dropped rows are multiplied by 0 rather than removed, so that shapes do not depend on the routing.
    """

    expert_BTk: Tensor
    weight_BTk: Tensor
    experts: int

    def dispatch(self, experts: Callable, x_BTD: Tensor) -> Tensor:
        """Sort rows by expert, apply, sort back: gathers only, so no sum depends on the order of threads."""
        x_ND, choice_R, k = x_BTD.flatten(0, 1), self.expert_BTk.flatten(), self.expert_BTk.shape[-1]
        sorted_R, order_R = choice_R.sort(stable=True)
        experts_E = torch.arange(self.experts, device=x_ND.device)
        end_E = torch.searchsorted(sorted_R, experts_E, right=True, out_int32=True)
        weight_R = self.weight_BTk.flatten()[order_R]
        if len(x_ND) == 1:  # generation: rows are copies of one token and need no inverse sort
            y_RD = experts(x_ND.repeat(k, 1), end_E)
            return (weight_R.to(y_RD.dtype) @ y_RD).view_as(x_BTD)
        back_R = order_R.argsort()
        y_RD = experts(_Dispatch.apply(x_ND, order_R, back_R, k), end_E)
        y_RD = y_RD * weight_R.to(y_RD.dtype)[:, None]
        return _Combine.apply(y_RD, order_R, back_R, k).view_as(x_BTD)


class ExpertsChoose(NamedTuple):
    """Each expert takes S tokens of every sequence; a token may be taken by several or none.

    Unlike TokensChoose this adds rows by index, since the number of rows of a token varies; on a GPU the
    order of these additions is not deterministic.
    """

    token_BES: Tensor
    weight_BES: Tensor

    def dispatch(self, experts: Callable, x_BTD: Tensor) -> Tensor:
        """Gather rows expert by expert, apply, add up by token."""
        x_ND = x_BTD.flatten(0, 1)
        batch, many, each = self.token_BES.shape
        first_B = torch.arange(batch, device=x_ND.device) * x_BTD.shape[1]
        row_R = (self.token_BES + first_B[:, None, None]).transpose(0, 1).flatten()
        end_E = torch.arange(1, many + 1, device=x_ND.device, dtype=torch.int32) * (batch * each)
        y_RD = experts(x_ND.index_select(0, row_R), end_E)
        y_RD = y_RD * self.weight_BES.transpose(0, 1).flatten().to(y_RD.dtype)[:, None]
        return y_RD.new_zeros(x_ND.shape).index_add(0, row_R, y_RD).view_as(x_BTD)


def logits(x_BTD: Tensor, weight_ED: Tensor) -> Tensor:
    """W x in fp32 or better, whatever autocast says -> logits_BTE."""
    with autocast_off(x_BTD):
        exact = torch.promote_types(x_BTD.dtype, torch.float32)
        return F.linear(x_BTD.to(exact), weight_ED.to(exact))


def load(expert_BTk: Tensor, like_BTE: Tensor, real_BT: Tensor | None) -> Tensor:
    """How many rows of each sequence asked for each expert -> load_BE, in the dtype of `like_BTE`."""
    choice_BC = expert_BTk.flatten(1)
    if real_BT is None:
        one_BC = torch.ones_like(choice_BC, dtype=like_BTE.dtype)
    else:
        one_BC = real_BT[..., None].expand_as(expert_BTk).flatten(1).to(like_BTE.dtype)
    return torch.zeros_like(like_BTE[:, 0]).scatter_add_(1, choice_BC, one_BC).detach()


def entropy(probability_BTE: Tensor, real_BT: Tensor | None, length_B1: Tensor | None = None) -> Tensor:
    """mean_t -sum_e p_te log p_te -> entropy_B."""
    return mean(torch.special.entr(probability_BTE.detach()).sum(-1), real_BT, length_B1)


def length(x_BTE: Tensor, real_BT: Tensor | None) -> Tensor:
    """How many tokens of each sequence are here -> length_B1."""
    if real_BT is None:
        return torch.full_like(x_BTE[:, :1, 0], x_BTE.shape[1], dtype=torch.long)
    return real_BT.sum(1, keepdim=True)


def mean(x_BT: Tensor, real_BT: Tensor | None, length_B1: Tensor | None = None) -> Tensor:
    """The mean over a sequence's tokens, of x_BT -> mean_B or x_BTE -> mean_BE.

    `length_B1` is the length of the sequence where only some of it is here: then the result is a share of the
    mean, and the shares add up to it.
    """
    if real_BT is None:
        real_BT = torch.ones_like(x_BT if x_BT.ndim == 2 else x_BT[..., 0], dtype=torch.bool)
    whole_B1 = real_BT.sum(1, keepdim=True) if length_B1 is None else length_B1
    weight_BT = real_BT / whole_B1.clamp_min(1).to(x_BT.dtype)
    # no einsum, which autocast would lower
    return (x_BT * (weight_BT if x_BT.ndim == 2 else weight_BT[..., None])).sum(1)


@overload
def capacity(factor: float, rows: int, experts: int) -> int: ...


@overload
def capacity(factor: float, rows: Tensor, experts: int) -> Tensor: ...


def capacity(factor: float, rows: int | Tensor, experts: int) -> int | Tensor:
    """How many of a sequence's rows an expert may hold.

    capacity = tokens / experts * factor      Fedus et al. 2021, arXiv:2101.03961, eq. 3

    Of rows, so that k choices have k times the room (GShard's 2 N / E); rounded up. Raises ValueError for
    factor <= 0.
    """
    if factor <= 0:
        raise ValueError(f"router.capacity={factor} leaves no room: use a factor above 0, such as 1.25")
    if isinstance(rows, int):
        return math.ceil(rows / experts * factor)
    return (rows.double() / experts * factor).ceil().long()


def keep_within_capacity(
    expert_BTk: Tensor, experts: int, most: int | Tensor, asks_BTk: Tensor | None
) -> Tensor:
    """Which rows are among the first `most` that ask for their expert, in order of time -> kept_BTk.

    `asks_BTk`, or of each token asks_BT1, is false for rows that ask for none; null: all ask.
    """
    asked_BCE = F.one_hot(expert_BTk.flatten(1), experts)
    if asks_BTk is not None:
        asked_BCE = asked_BCE * asks_BTk.expand_as(expert_BTk).flatten(1)[..., None]
    queue_BCE = asked_BCE.cumsum(1)
    place_BC = (queue_BCE * asked_BCE).sum(-1)  # 1 for the first, 0 for a row that does not ask
    return ((place_BC > 0) & (place_BC <= most)).view_as(expert_BTk)


def local_sums(*sums: Tensor) -> tuple[Tensor, ...]:
    """The default of `sequence_sums`: the whole sequence is in this process."""
    return sums


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
