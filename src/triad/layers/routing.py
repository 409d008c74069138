"""What a router answers: which rows go to which expert, and what there is to say of it.

A router is made by `router(width, experts)` and maps x_BTD and tokens_BT to (TokensChoose or ExpertsChoose,
Routing). Its attribute `top_k` says how many experts a token meets. Everything is decided within a sequence,
so that nothing depends on how a batch was cut, and tokens below 0 are padding, which takes nobody's room. A
router whose statistics alone span the sequence takes its
means through an attribute `whole_sequence`, which may be replaced from outside where x_BTD holds a part of
each sequence's time.

Shapes: B batch, T time, N = B T tokens, D width, E experts, k choices per token, R = N k rows, C = T k,
S tokens that an expert takes of a sequence.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from triad.layers.autocast import autocast_off


class Routing(NamedTuple):
    """What a router did, by sequence: its loss, already weighted; the rows that asked for each expert, kept
    or not; the mean entropy of a token's probabilities in nats; the share of rows (of tokens, where experts
    choose) that were dropped.
    """

    auxiliary_B: Tensor
    load_BE: Tensor
    entropy_B: Tensor
    dropped_B: Tensor

    @property
    def seen_BS(self) -> Tensor:
        """All but the loss, side by side: E loads, entropy, dropped share."""
        return torch.cat((self.load_BE, self.entropy_B[:, None], self.dropped_B[:, None]), 1)


SEEN = 2  # columns of `seen_BS` behind the loads


class TokensChoose(NamedTuple):
    """Each token goes to its k experts; a row of weight nothing has been dropped.

    Dropped rows are multiplied by nothing rather than left out: shapes do not depend on what was routed.
    """

    expert_BTk: Tensor
    weight_BTk: Tensor
    experts: int

    def through(self, experts: Callable, x_BTD: Tensor) -> Tensor:
        """Sort rows by expert, apply, sort back: gathers only, so no sum depends on the order of threads."""
        x_ND, choice_R, k = x_BTD.flatten(0, 1), self.expert_BTk.flatten(), self.expert_BTk.shape[-1]
        sorted_R, order_R = choice_R.sort(stable=True)
        experts_E = torch.arange(self.experts, device=x_ND.device)
        end_E = torch.searchsorted(sorted_R, experts_E, right=True, out_int32=True)
        weight_R = self.weight_BTk.flatten()[order_R]
        if len(x_ND) == 1:  # as in generation: rows are copies of one token, and nothing need be sorted back
            y_RD = experts(x_ND.repeat(k, 1), end_E)
            return (weight_R.to(y_RD.dtype) @ y_RD).view_as(x_BTD)
        back_R = order_R.argsort()
        y_RD = experts(_Dispatch.apply(x_ND, order_R, back_R, k), end_E)
        y_RD = y_RD * weight_R.to(y_RD.dtype)[:, None]
        return _Combine.apply(y_RD, order_R, back_R, k).view_as(x_BTD)


class ExpertsChoose(NamedTuple):
    """Each expert takes S tokens of every sequence; a token may be taken by several or none.

    Deviates from the gathers above: a token's rows are as many as took it, so they are added by index, on a
    GPU in an order of the hardware's.
    """

    token_BES: Tensor
    weight_BES: Tensor

    def through(self, experts: Callable, x_BTD: Tensor) -> Tensor:
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


def real(x_BTD: Tensor, tokens_BT: Tensor | None) -> Tensor:
    """Where there are tokens and no padding, which is below 0 -> real_BT; everywhere, where nobody says."""
    if tokens_BT is None:
        return torch.ones(x_BTD.shape[:2], dtype=torch.bool, device=x_BTD.device)
    return tokens_BT >= 0


def mean(x_BTE: Tensor, real_BT: Tensor) -> Tensor:
    """The mean over the tokens that are real -> mean_BE; nothing where none is."""
    share_BT1 = (real_BT / real_BT.sum(1, keepdim=True).clamp_min(1))[..., None].to(x_BTE.dtype)
    return (x_BTE * share_BT1).sum(1)


def load(expert_BTk: Tensor, like_BTE: Tensor, real_BT: Tensor | None = None) -> Tensor:
    """How many rows of each sequence asked for each expert -> load_BE, in the dtype of `like_BTE`."""
    choice_BC = expert_BTk.flatten(1)
    ones_BC = torch.ones_like(choice_BC, dtype=like_BTE.dtype)
    if real_BT is not None:
        ones_BC = ones_BC * real_BT.repeat_interleave(expert_BTk.shape[-1], 1)
    return torch.zeros_like(like_BTE[:, 0]).scatter_add_(1, choice_BC, ones_BC).detach()


def entropy(probability_BTE: Tensor, real_BT: Tensor | None = None) -> Tensor:
    """mean_t -sum_e p_te log p_te -> entropy_B."""
    entropy_BT1 = torch.special.entr(probability_BTE.detach()).sum(-1, keepdim=True)
    return (entropy_BT1.mean(1) if real_BT is None else mean(entropy_BT1, real_BT))[:, 0]


def capacity(factor: float, rows_B: Tensor, experts: int) -> Tensor:
    """How many of a sequence's rows an expert may hold -> most_B.

    capacity = tokens / experts * factor      Fedus et al. 2021, arXiv:2101.03961, eq. 3

    Of rows, so that k choices have k times the room (GShard's 2 N / E); rounded up. Raises ValueError for
    factor <= 0.
    """
    if factor <= 0:
        raise ValueError(f"router.capacity={factor} leaves no room: use a factor above 0, such as 1.25")
    return (rows_B.double() / experts * factor).ceil().long()


def within(expert_BTk: Tensor, experts: int, most_B: Tensor, asks_BTk: Tensor) -> Tensor:
    """Which rows are among the first `most` that asked for their expert, in order of time -> kept_BTk.

    Rows that do not ask are kept, and take no room.
    """
    asked_BCE = F.one_hot(expert_BTk.flatten(1), experts) * asks_BTk.flatten(1)[..., None]
    queue_BCE = asked_BCE.cumsum(1)
    place_BC = (queue_BCE * asked_BCE).sum(-1)  # 1 for the first
    return (place_BC <= most_B[:, None]).view_as(expert_BTk)


def themselves(*means: Tensor) -> tuple[Tensor, ...]:
    """What `whole_sequence` is where the whole sequence is here."""
    return means


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
