"""Positions as a bias on attention. Shapes: N heads, T queries, S keys."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triad.layers.ranges import PositiveInt


class RelativeBias(nn.Embedding):
    """Add a learned number to each head's scores, by the distance of the key.

        scores_{n,t,s} += b_{n, bucket(s - t)}      Raffel et al. 2020 (T5), arXiv:1910.10683, section 2.1

    Half the buckets hold one distance each, the others ranges of logarithmic width up to `distance`; larger
    distances fall into the last bucket. `bidirectional`: half of the buckets are for earlier tokens, half for
    later ones; else all are for earlier tokens. T, S and the position of the first of T -> bias_NTS. One
    module serves all layers of a stack.
    """

    splits = ("expert",)
    starts = {"weight": "relative"}

    def __init__(self, heads: PositiveInt, buckets: PositiveInt, distance: PositiveInt, bidirectional: bool):
        super().__init__(buckets, heads)
        self.distance, self.bidirectional = distance, bidirectional

    def forward(self, new: int, total: int, offset: int = 0) -> Tensor:
        device = self.weight.device
        here_T1 = torch.arange(offset, offset + new, device=device)[:, None]
        ahead_TS = torch.arange(total, device=device) - here_T1
        return F.embedding(self.bucket(ahead_TS), self.weight).permute(2, 0, 1)

    def bucket(self, ahead_TS: Tensor) -> Tensor:
        """The bucket of each relative position, s - t."""
        buckets = self.num_embeddings // 2 if self.bidirectional else self.num_embeddings
        first = (ahead_TS > 0) * buckets if self.bidirectional else torch.zeros_like(ahead_TS)
        far_TS = ahead_TS.abs() if self.bidirectional else (-ahead_TS).clamp_min(0)
        single = buckets // 2  # distances below it have a bucket each
        ratio_TS = (far_TS.clamp_min(1).float() / single).log() / math.log(self.distance / single)
        range_TS = single + (ratio_TS * (buckets - single)).long()
        return first + far_TS.where(far_TS < single, range_TS.clamp_max(buckets - 1))
