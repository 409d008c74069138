"""The lengths of rows, from which layers say what they cost. Shapes: R rows."""

from typing import NamedTuple

import torch
from torch import Tensor


class Rows(NamedTuple):
    """Rows as a layer meets them: the tokens of its own sequence, and those of a source that it reads.

    A pair is a query and a key. `all_pairs`: pairs that a mask hides count, since they are computed, too;
    otherwise only the true entries of the mask count. Each method gives the pairs of each row.
    """

    tokens_R: Tensor
    source_R: Tensor | None
    all_pairs: bool

    def count_past(self, reach: int | None = None) -> Tensor:
        """Pairs in which a token sees itself and those before it, at most `reach` in all."""
        if self.all_pairs:
            return self._count_bands(reach) if reach else self.tokens_R**2
        growing_R = self.tokens_R if reach is None else self.tokens_R.clamp_max(reach)
        full_R = (self.tokens_R - growing_R) * growing_R  # tokens with as many keys as they can reach
        return growing_R * (growing_R + 1) // 2 + full_R

    def _count_bands(self, reach: int) -> Tensor:
        """What attention.flash multiplies: `reach` queries at a time, with twice as many keys."""
        bands_R = (self.tokens_R - 1) // reach  # behind the first
        return torch.where(self.tokens_R > 2 * reach, (1 + 2 * bands_R) * reach**2, self.tokens_R**2)

    def count_both_sides(self) -> Tensor:
        """Pairs in which a token sees all tokens of its sequence."""
        return self.tokens_R**2

    def count_source(self) -> Tensor:
        """Pairs in which a token sees all tokens of the source. Raises ValueError without a source."""
        if self.source_R is None:
            raise ValueError("this layer reads a source: its length is needed beside that of the target")
        return self.tokens_R * self.source_R
