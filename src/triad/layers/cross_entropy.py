"""The output layer and its loss in one, a slice of tokens at a time.

Shapes: B batch, T time, N = B T tokens, C tokens of a chunk, D width, V vocabulary.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from triad.layers.autocast import autocast_dtype, autocast_off

IGNORED = -100


def _identity(x: Tensor) -> Tensor:
    return x


class Vocabulary(NamedTuple):
    """Which rows of the output layer a weight holds, and how to reduce over the slices of one vocabulary.

    Row 0 is word `start`; the largest slice has `most` of the `words` rows (0: the vocabulary is not sliced).
    `all_reduce_sum` and `all_reduce_max` combine a tensor with those of the other slices, without gradients.
    """

    start: int = 0
    most: int = 0
    words: int = 0
    all_reduce_sum: Callable[[Tensor], Tensor] = _identity
    all_reduce_max: Callable[[Tensor], Tensor] = _identity


WHOLE = Vocabulary()


def cross_entropy_sum(
    hidden_BTD: Tensor,
    weight_VD: Tensor,
    targets_BT: Tensor,
    chunk: int | None = None,
    vocabulary: Vocabulary = WHOLE,
    bias_V: Tensor | None = None,
    smoothing: float = 0.0,
    z_loss: float = 0.0,
) -> Tensor:
    """Sum of -log softmax(W h)_target over the targets that are not -100, as a scalar of fp32.

    The logits of the whole batch are never in memory at once: they are computed for `chunk` tokens at a time
    (in autocast's dtype), turned into the loss (in fp32) and, where gradients are wanted, into dW and dh in
    the forward pass, since the gradient of a sum does not depend on later layers; backward only scales. dW is
    accumulated in fp32. `chunk` null: 8 MiB of fp32 logits, but at least 512 tokens, because for fewer adding
    to dW takes longer than its product (4,096 tokens of width 256, bf16, against all at once: V = 4,096
    107 ms instead of 181; V = 257 9 and 9; 1,024 of width 768, V = 50,257 1,160 and 1,090). After Wijmans et
    al. 2024, arXiv:2411.09009 (the same saving by recomputation).

    With a slice of the `vocabulary` the loss is that of all words, and dh is the share of these rows: the
    caller sums dh over the slices. After Shoeybi et al. 2019, arXiv:1909.08053, section 3.

    `bias_V` is added to the logits; with a slice it is refused by a ValueError. With `smoothing` e each
    target is (1 - e) of itself and e / V of every word (Szegedy et al. 2016, arXiv:1512.00567, section 7).
    `z_loss` a adds a log^2 Z, Z = sum exp(W h), which keeps logits from drifting (Chowdhery et al. 2022,
    PaLM, arXiv:2204.02311, section 5).
    """
    if vocabulary != WHOLE and bias_V is not None:
        raise ValueError("a bias of words: the vocabulary must be in one piece")
    dtype = autocast_dtype(hidden_BTD) or torch.promote_types(hidden_BTD.dtype, weight_VD.dtype)
    chunk = chunk or max(512, 2**21 // (vocabulary.most or weight_VD.shape[0]))  # alike in all slices
    # inside a Function gradients are always off, so whether they are on is an argument
    arguments = (
        targets_BT.flatten(),
        chunk,
        dtype,
        torch.is_grad_enabled(),
        _choose_loss(vocabulary, smoothing, z_loss),
    )
    with autocast_off(hidden_BTD):
        return _CrossEntropySum.apply(hidden_BTD.flatten(0, -2), weight_VD, bias_V, *arguments)


def _choose_loss(vocabulary: Vocabulary, smoothing: float, z_loss: float) -> Callable:
    if vocabulary != WHOLE:
        return partial(_loss_of_slice, vocabulary, smoothing, z_loss)
    return partial(_smoothed_loss, smoothing, z_loss) if smoothing or z_loss else _loss


class _CrossEntropySum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden_ND, weight_VD, bias_V, targets_N, chunk, dtype, gradient, loss_of):
        wanted = [gradient and needed for needed in ctx.needs_input_grad[:3]]
        exact = torch.promote_types(dtype, torch.float32)
        weight, bias = weight_VD.to(dtype), None if bias_V is None else bias_V.to(dtype)
        loss = torch.zeros((), dtype=exact, device=hidden_ND.device)
        d_hidden = torch.empty_like(hidden_ND) if wanted[0] else None
        d_weight = torch.zeros_like(weight_VD, dtype=exact) if wanted[1] else None
        d_bias = torch.zeros_like(bias_V, dtype=exact) if wanted[2] else None
        for start in range(0, len(targets_N), chunk):
            rows = slice(start, start + chunk)
            hidden = hidden_ND[rows].to(dtype)
            logits = hidden @ weight.mT if bias is None else torch.addmm(bias, hidden, weight.mT)
            partial_loss, logits = loss_of(logits, targets_N[rows], any(wanted))
            loss += partial_loss
            if d_hidden is not None:
                d_hidden[rows] = logits @ weight
            if d_weight is not None:
                _accumulate(d_weight, logits, hidden)
            if d_bias is not None:
                d_bias += logits.sum(0, dtype=exact)
        d_weight = None if d_weight is None else d_weight.to(weight_VD.dtype)
        ctx.save_for_backward(d_hidden, d_weight, None if d_bias is None else d_bias.to(bias_V.dtype))
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        scaled = [None if d is None else d * grad.to(d.dtype) for d in ctx.saved_tensors]
        return *scaled, None, None, None, None, None


def _loss(logits_CV: Tensor, targets_C: Tensor, gradient: bool) -> tuple[Tensor, Tensor]:
    """The summed loss of some rows and, if wanted, its gradient with respect to their logits."""
    dtype = logits_CV.dtype
    kept_C = targets_C != IGNORED
    index_C1 = targets_C.where(kept_C, 0)[:, None]
    log_p_CV = logits_CV.log_softmax(-1, dtype=torch.promote_types(dtype, torch.float32))
    loss = -(log_p_CV.gather(1, index_C1)[:, 0].where(kept_C, 0)).sum()
    if not gradient:
        return loss, logits_CV
    p_CV = log_p_CV.exp_()
    p_CV.scatter_add_(1, index_C1, torch.full_like(index_C1, -1, dtype=p_CV.dtype))
    return loss, p_CV.mul_(kept_C[:, None]).to(dtype)


def _smoothed_loss(
    smoothing: float, z_loss: float, logits_CV: Tensor, targets_C: Tensor, gradient: bool
) -> tuple[Tensor, Tensor]:
    """As _loss, with smoothed targets q and the z-loss: -sum_v q_v log p_v + a log^2 Z.

    The gradient is p - q + 2 a p log Z.
    """
    dtype, even = logits_CV.dtype, smoothing / logits_CV.shape[1]
    kept_C = targets_C != IGNORED
    index_C1 = targets_C.where(kept_C, 0)[:, None]
    log_p_CV = logits_CV.log_softmax(-1, dtype=torch.promote_types(dtype, torch.float32))
    target_C = log_p_CV.gather(1, index_C1)[:, 0]
    log_z_C = logits_CV.gather(1, index_C1)[:, 0] - target_C
    loss_C = z_loss * log_z_C.square() - (1 - smoothing) * target_C
    loss = (loss_C - even * log_p_CV.sum(-1) if even else loss_C).where(kept_C, 0).sum()
    if not gradient:
        return loss, logits_CV
    p_CV = log_p_CV.exp_().mul_((1 + 2 * z_loss * log_z_C)[:, None]).sub_(even)
    p_CV.scatter_add_(1, index_C1, torch.full_like(index_C1, smoothing - 1, dtype=p_CV.dtype))
    return loss, p_CV.mul_(kept_C[:, None]).to(dtype)


def _loss_of_slice(
    vocabulary: Vocabulary,
    smoothing: float,
    z_loss: float,
    logits_CV: Tensor,
    targets_C: Tensor,
    gradient: bool,
) -> tuple[Tensor, Tensor]:
    """As _smoothed_loss, where V is a slice of the words: log sum exp(z) - sum_v q_v z_v over all slices."""
    dtype = logits_CV.dtype
    kept_C = targets_C != IGNORED
    index_C = targets_C - vocabulary.start
    here_C = kept_C & (index_C >= 0) & (index_C < logits_CV.shape[1])
    index_C1 = index_C.where(here_C, 0)[:, None]
    z_CV = logits_CV.to(torch.promote_types(dtype, torch.float32))
    largest_C = vocabulary.all_reduce_max(z_CV.amax(-1))
    z_CV = z_CV - largest_C[:, None]
    even = smoothing / vocabulary.words if smoothing else 0.0
    target_logit_C = (1 - smoothing) * z_CV.gather(1, index_C1)[:, 0].where(here_C, 0)
    target_logit_C = target_logit_C + even * z_CV.sum(-1) if even else target_logit_C
    e_CV = z_CV.exp_()
    sum_C, target_logit_C = vocabulary.all_reduce_sum(torch.stack((e_CV.sum(-1), target_logit_C))).unbind()
    log_z_C = sum_C.log() + largest_C
    loss = (sum_C.log() - target_logit_C + z_loss * log_z_C.square()).where(kept_C, 0).sum()
    if not gradient:
        return loss, logits_CV
    p_CV = e_CV.mul_(((1 + 2 * z_loss * log_z_C) / sum_C)[:, None])
    p_CV = p_CV.sub_(even) if even else p_CV
    p_CV.scatter_add_(1, index_C1, (smoothing - 1) * here_C[:, None].to(p_CV.dtype))
    return loss, p_CV.mul_(kept_C[:, None]).to(dtype)


def _accumulate(total_VD: Tensor, logits_CV: Tensor, hidden_CD: Tensor) -> None:
    if total_VD.dtype == logits_CV.dtype:
        total_VD.addmm_(logits_CV.mT, hidden_CD)
    else:
        total_VD += logits_CV.mT @ hidden_CD
