"""Rows of several documents, which do not see each other.

Such a row comes with `starts_BS`: for each token the index in its row of the first token of its document. A
token sees those of its own document up to itself, and its position is its index less that start, so that a
document is computed as if it stood in a row of its own. Without starts a row is one document.

Shapes: B batch, T queries or new tokens, S keys, N heads, K key-value heads, H head size, U value size, D
width.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.utils.rnn import pad_sequence

from triad.layers.moe import runs_on_cpu

SMALLEST_HEAD = 16  # that FlexAttention takes
Offset = int | Tensor  # what is added to the index of a token for its position: one number, or one for each


def find_offset(past: Offset, starts_BS: Tensor | None) -> Offset:
    """The offset of tokens that follow `past` others, or of the documents of a row."""
    return past if starts_BS is None else -starts_BS


def move_offset(offset: Offset, first: int, length: int) -> Offset:
    """The offset of `length` tokens from index `first` on, whose own index is counted from there."""
    return first + (offset[:, first : first + length] if isinstance(offset, Tensor) else offset)


def make_positions(length: int, offset: Offset, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The positions of tokens: position_T, or position_BT where the offset is one for each."""
    return torch.arange(length, device=device, dtype=dtype) + offset


def attend_within_documents(
    kernel: Callable,
    q_BNTH: Tensor,
    k_BKSH: Tensor,
    v_BKSU: Tensor,
    dropout: float,
    mask: Callable | None,
    starts_BS: Tensor,
) -> Tensor:
    """A kernel of attention, whose queries, the last of the keys, see keys of their own document only.

        visible iff start_i <= j <= i, and where the mask allows it

    A CPU computes one document after another, which costs what the documents cost: 2 rows of 2,048 tokens, 8
    heads of 64 and documents of 100 to 1,000 take 0.37 s forward and backward with one thread of an EPYC,
    with a mask 1.32 s, as one document 0.66 s (2026-11-29). Elsewhere their lengths would have to be read
    from the device: there a mask hides the other documents' keys.
    """
    if runs_on_cpu(q_BNTH):
        return _attend_in_turn(kernel, q_BNTH, k_BKSH, v_BKSU, dropout, mask, starts_BS)
    return kernel(q_BNTH, k_BKSH, v_BKSU, dropout, DocumentMask(mask, starts_BS))


def suits_blocks(q_BNTH: Tensor, dropout: float, mask: Callable | None) -> bool:
    """Whether FlexAttention takes these queries: on a GPU, without dropout or a bias of scores."""
    of_size = q_BNTH.shape[-1] >= SMALLEST_HEAD and q_BNTH.dtype != torch.float64
    return q_BNTH.is_cuda and of_size and not dropout and (mask is None or hasattr(mask, "is_visible"))


@torch.compiler.disable
def attend_in_blocks(
    q_BNTH: Tensor, k_BKSH: Tensor, v_BKSU: Tensor, mask: Any, starts_BS: Tensor, flex: Callable
) -> Tensor:
    """attend_within_documents by FlexAttention, which leaves out blocks in which no query sees a key.

    Dong et al. 2024, arXiv:2412.05496, section 3. `flex` is torch's flex_attention, compiled.
    """
    new, keys = q_BNTH.shape[2], k_BKSH.shape[2]

    def is_visible(row: Tensor, _: Tensor, query: Tensor, key: Tensor) -> Tensor:
        query = query + keys - new
        seen = (starts_BS[row, query] <= key) & (key <= query)
        return seen if mask is None else seen & mask.is_visible(query - key)

    blocks = create_block_mask(is_visible, len(q_BNTH), None, new, keys, device=q_BNTH.device)
    grouped = q_BNTH.shape[1] != k_BKSH.shape[1]
    return flex(q_BNTH, k_BKSH, v_BKSU, block_mask=blocks, enable_gqa=grouped)


@cache
def compile_flex() -> Callable:
    """torch's flex_attention as a fused kernel, compiled at its first call."""
    return torch.compile(flex_attention)


@torch.compiler.disable
def _attend_in_turn(
    kernel: Callable,
    q_BNTH: Tensor,
    k_BKSH: Tensor,
    v_BKSU: Tensor,
    dropout: float,
    mask: Callable | None,
    starts_BS: Tensor,
) -> Tensor:
    """One call for each document, or for neighbours of one length, such as the tokens of padding."""
    past = k_BKSH.shape[2] - q_BNTH.shape[2]
    rows = []
    for q_NTH, k_KSH, v_KSU, starts_S in zip(q_BNTH, k_BKSH, v_BKSU, starts_BS, strict=True):
        starts_M, new_M = starts_S[past:].unique_consecutive(return_counts=True)
        unseen = int(starts_M[0])  # keys before the first query's document
        keys_M = new_M.clone()
        keys_M[0] += past - unseen
        alike, counts = torch.stack((new_M, keys_M), 1).unique_consecutive(dim=0, return_counts=True)
        lengths, counts = alike.tolist(), counts.tolist()
        new = [count * each for count, (each, _) in zip(counts, lengths, strict=True)]
        keys = [unseen, *(count * each for count, (_, each) in zip(counts, lengths, strict=True))]
        parts = zip(
            counts, q_NTH.split(new, 1), k_KSH.split(keys, 1)[1:], v_KSU.split(keys, 1)[1:], strict=True
        )
        outputs = [
            kernel(*(x.unflatten(1, (count, -1)).transpose(0, 1) for x in qkv), dropout, mask)
            for count, *qkv in parts
        ]
        rows.append(torch.cat([y.transpose(0, 1).flatten(1, 2) for y in outputs], 1))
    return torch.stack(rows)


class DocumentMask:
    """A mask that hides other documents' keys, beside what `mask` hides: see layers/mask.py."""

    def __init__(self, mask: Callable | None, starts_BS: Tensor) -> None:
        self.mask, self.starts_BS = mask, starts_BS

    def __call__(self, q_BNTH: Tensor, keys: int) -> Tensor:
        new = q_BNTH.shape[2]
        index_S = torch.arange(keys, device=q_BNTH.device)
        starts_B1T1 = self.starts_BS[:, None, keys - new : keys, None]
        visible_B1TS = (index_S >= starts_B1T1) & (index_S <= index_S[keys - new :, None])
        own = self.mask(q_BNTH, keys) if self.mask else None
        return (q_BNTH.new_zeros(()) if own is None else own).where(visible_B1TS, float("-inf"))


@torch.compiler.disable
def run_within_documents(recurrent: nn.LSTM, x_BTD: Tensor, starts_BT: Tensor) -> Tensor:
    """The output of an LSTM that starts from zeros at each document.

    Documents that differ in length by less than a factor of two are computed side by side, padded behind
    their ends, since torch's kernel of a CPU for sequences of uneven length takes many times as long.
    """
    firsts = (starts_BT == torch.arange(starts_BT.shape[1], device=starts_BT.device)).flatten().nonzero()
    lengths = firsts.flatten().diff(append=firsts.new_full((1,), starts_BT.numel()))
    documents = list(x_BTD.flatten(0, 1).split(lengths.tolist()))
    alike: dict[int, list[int]] = {}
    for index, document in enumerate(documents):
        alike.setdefault(len(document).bit_length(), []).append(index)
    for chosen in alike.values():
        padded, _ = recurrent(pad_sequence([documents[index] for index in chosen], batch_first=True))
        for index, y_TD in zip(chosen, padded, strict=True):
            documents[index] = y_TD[: len(documents[index])]
    return torch.cat(documents).unflatten(0, x_BTD.shape[:2])
