"""Rows of tokens that a model continues, and its caches of them.

Shapes: B rows, R rows that are kept, T time, S source, V words.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triad.layers.full_attention import PADDING


class Prefixes:
    """The tokens of some rows so far, read by one call of each model per step.

    With several models the logits are the log of the mean of their probabilities, an ensemble (Sutskever et
    al. 2014, arXiv:1409.3215, section 3.6). Rows that are shorter than others are padded at the left. A row
    that has filled `context` is read on from the newer half of it. With `lockstep` a model gives the logits
    of all tokens, since those of a sharded one are gathered from other processes.
    """

    def __init__(
        self,
        models: Sequence[nn.Module],
        rows: Sequence[Sequence[int]],
        sources: Sequence[Sequence[int]] | None,
        context: int,
        vocab_size: int | None,
        lockstep: bool = False,
    ) -> None:
        self.models, self.context, self.vocab_size, self.lockstep = models, context, vocab_size, lockstep
        self.device = next(models[0].parameters()).device
        self.tokens_BT = self._align(rows, left=True)
        self.source_BS = None if sources is None else self._align(sources, left=False)
        self.lengths = [len(row) for row in rows]  # of what the models see
        self._forget()

    def append(self, tokens_B: Tensor) -> None:
        """Add a token to each row."""
        self.tokens_BT = torch.cat((self.tokens_BT, tokens_B[:, None]), 1)
        self.lengths = [length + 1 for length in self.lengths]
        self.fresh += 1

    def read(self) -> Tensor:
        """The logits of each row's next token, logits_BV, in fp32 at least."""
        if self.held + self.fresh > self.context:
            half = max(1, self.context // 2)
            self.lengths = [half if length > self.context else length for length in self.lengths]
            self._forget()
        read_BT = self.tokens_BT[:, -self.fresh :]
        if self.padding_B is not None and not self.held:
            column_T = torch.arange(self.fresh, device=self.device)
            read_BT = read_BT.where(column_T >= self.padding_B[:, None], PADDING)
        source = () if self.source_BS is None else (self.source_BS,)
        self.held, self.fresh = self.held + self.fresh, 0
        found = []
        for model, cache in zip(self.models, self.caches, strict=True):
            last = {} if self.lockstep or read_BT.shape[1] == 1 else {"loss": _read_last}
            logits_BV = model(*source, read_BT, cache=cache, **last)[0][:, -1, : self.vocab_size]
            found.append(logits_BV.to(torch.promote_types(logits_BV.dtype, torch.float32)))
        if len(found) == 1:
            return found[0]
        log_probabilities = torch.stack([logits_BV.log_softmax(-1) for logits_BV in found])
        return log_probabilities.logsumexp(0) - math.log(len(found))

    def select(self, rows: Sequence[int]) -> None:
        """Keep some rows, in a given order, each as often as it is named."""
        rows_R = torch.tensor(rows, device=self.device)
        self.tokens_BT = self.tokens_BT.index_select(0, rows_R)
        self.lengths = [self.lengths[row] for row in rows]
        if self.padding_B is not None:
            self.padding_B = self.padding_B[rows_R]
        if self.source_BS is not None:
            self.source_BS = self.source_BS.index_select(0, rows_R)
        for cache in self.caches:
            cache.select(rows_R)

    def overwrite(self, rows: Sequence[int], others: Sequence[int]) -> None:
        """Put others in the place of some rows, continuations of the same prompts.

        Of the caches only what comes behind their first different token is copied.
        """
        rows_M, others_M = (torch.tensor(index, device=self.device) for index in (rows, others))
        copied_MT = self.tokens_BT[others_M]
        first = int((self.tokens_BT[rows_M] != copied_MT).any(0).int().argmax())
        self.tokens_BT[rows_M] = copied_MT
        uncached = self.tokens_BT.shape[1] - self.fresh - self.held  # columns before those in the caches
        for cache in self.caches:
            cache.overwrite(rows_M, others_M, max(0, first - uncached))

    def _forget(self) -> None:
        """Start with empty caches."""
        self.held, self.fresh = 0, max(self.lengths)  # columns in the caches, and those that are to be read
        padding = [self.fresh - length for length in self.lengths]
        self.padding_B = torch.tensor(padding, device=self.device) if any(padding) else None
        rows = (len(self.lengths),) if self.padding_B is None else (len(self.lengths), self.padding_B)
        self.caches = [model.empty_cache(*rows) for model in self.models]

    def _align(self, rows: Sequence[Sequence[int]], left: bool) -> Tensor:
        width = max(1, *map(len, rows))
        padding = [[PADDING] * (width - len(row)) for row in rows]
        pairs = zip(padding, rows, strict=True)
        aligned = [[*pad, *row] if left else [*row, *pad] for pad, row in pairs]
        return torch.tensor(aligned, dtype=torch.int64, device=self.device)


def _read_last(hidden_BTD: Tensor, weight_VD: Tensor, vocabulary: Any) -> Tensor:
    """The logits of the last token only, in the place of a loss: those of a long prompt are many."""
    return F.linear(hidden_BTD[:, -1:], weight_VD)
