"""Attention.

Shapes: B batch, T new tokens, S all tokens so far, D width, N heads, K key-value heads, H head size.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triad.layers.autocast import autocast_off, to_autocast_dtype
from triad.layers.documents import (
    Offset,
    attend_in_blocks,
    attend_within_documents,
    compile_flex,
    find_offset,
    suits_blocks,
)
from triad.layers.flops import Rows
from triad.layers.padding import LeftPadding
from triad.layers.ranges import PositiveInt, UnitInterval


class KernelInputs(NamedTuple):
    """What decides which kernel is the fastest for a layer, beside the number of rows and tokens."""

    heads: int
    kv_heads: int
    head_size: int
    value_size: int
    dropout: float
    mask: nn.Module | None

    def __str__(self) -> str:
        sizes = f"heads {self.heads}/{self.kv_heads} sizes {self.head_size}/{self.value_size}"
        return f"{sizes} dropout {self.dropout:g} mask {self.mask or 'causal'}"


class Attention(nn.Module):
    """Let each token look at itself and the tokens before it.

        softmax(q k^T / sqrt(H)) v, in N heads      Vaswani et al. 2017, arXiv:1706.03762, eq. 1
        N / K heads share one key and value         Ainslie et al. 2023, arXiv:2305.13245

    x_BTD (and the cache of earlier tokens, or starts_BT of documents) -> y_BTD. `kv_heads` null: as many as
    heads; `head_size` null: width / heads. `dropout` applies to the weights and to the output, as in GPT-2.
    `rotary(head_size=H)` and `query_key_norm(H)` make modules for q and k, `key_shift(head_size=H)` one for
    all keys, cached ones included, and `mask()` one of layers/mask.py. The attribute `kernel` (flash or plain
    below) may be replaced from outside: same result, another speed. Raises ValueError if heads do not divide.
    """

    splits = ("tensor", "context", "pipeline", "expert", "documents")
    starts = {"q.weight": "query", "out.weight": "residual"}
    cuts = {"q": "outputs", "k": "outputs", "v": "outputs", "out": "inputs"}

    def __init__(
        self,
        width: PositiveInt,
        heads: PositiveInt,
        kv_heads: PositiveInt | None,
        head_size: PositiveInt | None,
        bias: bool,
        dropout: UnitInterval,
        mask: Callable | None,
        rotary: Callable | None,
        query_key_norm: Callable | None,
        key_shift: Callable | None,
    ):
        super().__init__()
        kv_heads = kv_heads or heads
        _check_heads(width, heads, kv_heads, head_size)
        self.head_size = head_size or width // heads
        self.q = nn.Linear(width, heads * self.head_size, bias)
        self.k = nn.Linear(width, kv_heads * self.head_size, bias)
        self.v = nn.Linear(width, kv_heads * self.head_size, bias)
        self.out = nn.Linear(heads * self.head_size, width, bias)
        self.q_norm = query_key_norm(self.head_size) if query_key_norm else nn.Identity()
        self.k_norm = query_key_norm(self.head_size) if query_key_norm else nn.Identity()
        self.rotary = rotary(head_size=self.head_size) if rotary else None
        self.mask = mask() if mask else None
        self.key_shift = key_shift(head_size=self.head_size) if key_shift else None
        self.dropout = nn.Dropout(dropout)
        self.kernel: Callable = flash

    def forward(
        self, x_BTD: Tensor, cache: "KeyValueCache | None" = None, starts_BT: Tensor | None = None
    ) -> Tensor:
        x_BTD = to_autocast_dtype(x_BTD)
        q_BNTH = self.q_norm(self._heads(self.q(x_BTD))).transpose(1, 2)
        k_BKSH = self.k_norm(self._heads(self.k(x_BTD))).transpose(1, 2)
        v_BKSH = self._heads(self.v(x_BTD)).transpose(1, 2)
        if self.rotary is not None:
            offset = find_offset(cache.offset(x_BTD.shape[1]) if cache else 0, starts_BT)
            q_BNTH, k_BKSH = self.rotary(q_BNTH, k_BKSH, offset)
        if cache is not None:
            k_BKSH, v_BKSH = cache.extend(k_BKSH, v_BKSH, self.mask.reach if self.mask else None)
        if self.key_shift is not None:
            k_BKSH = self.key_shift(k_BKSH, cache.starts(k_BKSH) if cache else starts_BT)
        dropout = self.dropout.p if self.training else 0.0
        mask = cache.hide_padding(self.mask) if cache else self.mask
        y_BNTH = self.kernel(q_BNTH, k_BKSH, v_BKSH, dropout, mask, starts_BT)
        return self.dropout(self.out(y_BNTH.transpose(1, 2).flatten(-2)))

    def pieces(self) -> dict[str, int]:
        """The sizes that the number of slices must divide."""
        size = self.head_size
        return {"heads": self.q.out_features // size, "kv_heads": self.k.out_features // size}

    def mixing_flops(self, rows: Rows) -> Tensor:
        """FLOPs of the products of queries with keys and of weights with values, forward and backward."""
        return 12 * self.q.out_features * rows.count_past(self.mask.reach if self.mask else None)

    def find_queries(self) -> tuple[str, int]:
        """The submodule in which attention scores are linear, and the size of a head."""
        gains = next(self.q_norm.parameters(), None)
        return "q" if gains is None else "q_norm", self.head_size

    def kernel_inputs(self) -> KernelInputs:
        """What the kernel is called with."""
        heads, kv_heads = self.pieces().values()
        sizes = heads, kv_heads, self.head_size, self.head_size
        return KernelInputs(*sizes, self.dropout.p, self.mask)

    def _heads(self, x_BTD: Tensor) -> Tensor:
        # the number of heads is inferred: under tensor parallelism only some of them live here
        return x_BTD.unflatten(-1, (-1, self.head_size))


class KeyValueCache:
    """Keys and values of the tokens so far, in buffers for `context` tokens that are filled in place.

    The buffers are allocated by the first `extend`, when the dtype and the heads of this process are known.
    Latent attention stores its latents as k and its rotated keys as v, so the two differ in size. Where
    queries reach back a limited number of keys, only as many are kept. A layer with a state keeps it as k and
    v, whose first dimension is the batch. The tokens of `padding` are the first ones that a cache is given.
    """

    def __init__(self, batch: int, context: int, padding: LeftPadding | None = None):
        self.batch = batch
        self.context = context
        self.padding = padding
        self.length = 0
        self.k: Tensor | None = None
        self.v: Tensor | None = None
        self.fills = False  # k and v are buffers, of which `length` columns are used

    def offset(self, new: int) -> Offset:
        """What is added to the index of each of `new` tokens for its position."""
        return self.length if self.padding is None else self.padding.offset(self.length, new)

    def starts(self, k_BKSH: Tensor) -> Tensor | None:
        """The first token of the document of each key, or None where there is no padding."""
        return None if self.padding is None else self.padding.starts(self.length, k_BKSH.shape[2])

    def hide_padding(self, mask: Callable | None) -> Callable | None:
        """A mask that hides padding, too."""
        return mask if self.padding is None else self.padding.hide(mask, self.length)

    def select(self, rows_R: Tensor) -> None:
        """Keep some rows, in a given order, each as often as it is named."""
        self.batch = len(rows_R)
        if self.k is not None and self.v is not None:
            self.k, self.v = (self._select(x, rows_R) for x in (self.k, self.v))

    def _select(self, x: Tensor, rows_R: Tensor) -> Tensor:
        if not self.fills:
            return x.index_select(0, rows_R)
        kept = x.new_empty(len(rows_R), *x.shape[1:])
        kept[:, :, : self.length] = x[:, :, : self.length].index_select(0, rows_R)
        return kept

    def overwrite(self, rows_M: Tensor, others_M: Tensor, since: int) -> None:
        """Put others in the place of some rows, which have equal tokens in the columns before `since`."""
        for x in (self.k, self.v):
            if x is not None:
                columns = slice(since, self.length) if self.fills else slice(None)
                x[rows_M, :, columns] = x[others_M, :, columns]

    def extend(self, k_BKTH: Tensor, v_BKTH: Tensor, reach: int | None = None) -> tuple[Tensor, Tensor]:
        """Append new tokens; return k_BKSH and v_BKSH, those that are kept and the new ones.

        `reach` is the number of keys that a query can see, itself included; null: all. Raises ValueError if
        the tokens do not fit.
        """
        batch, heads, new, _ = k_BKTH.shape
        end = self.length + new
        if batch != self.batch or end > self.context:
            raise ValueError(
                f"the cache holds batch={self.batch} context={self.context}; "
                f"got batch={batch} and {end} tokens"
            )
        if reach is not None and reach < self.context:
            self.length = end
            return self._slide(k_BKTH, v_BKTH, reach)
        if self.k is None or self.v is None:
            self.k = k_BKTH.new_empty(batch, heads, self.context, k_BKTH.shape[-1])
            self.v = v_BKTH.new_empty(batch, heads, self.context, v_BKTH.shape[-1])
            self.fills = True
        self.k[:, :, self.length : end] = k_BKTH
        self.v[:, :, self.length : end] = v_BKTH
        self.length = end
        return self.k[:, :, :end], self.v[:, :, :end]

    def _slide(self, k_BKTH: Tensor, v_BKTH: Tensor, reach: int) -> tuple[Tensor, Tensor]:
        """Keep the last `reach`: the next query sees one less, but a key shift needs the key before them."""
        if self.k is not None and self.v is not None:
            k_BKTH, v_BKTH = torch.cat((self.k, k_BKTH), 2), torch.cat((self.v, v_BKTH), 2)
        self.k, self.v = (all_BKSH[:, :, -reach:].contiguous() for all_BKSH in (k_BKTH, v_BKTH))
        return k_BKTH, v_BKTH


class LayerCaches(list[KeyValueCache]):
    """The caches of a stack of layers, which share the padding before the first token of each row."""

    def __init__(self, caches: list, padding: LeftPadding | None):
        super().__init__(caches)
        self.padding = padding

    def refuse_unfilled(self, layers: Iterable[Any], length: int) -> None:
        """Raise ValueError, naming the layer, where one has not added what it read to its cache."""
        for layer, cache in zip(layers, self, strict=True):
            if cache.length != length:
                raise ValueError(
                    f"{type(layer).__name__} ignores the cache that it is given, so no text is decoded with"
                    " it: have it keep there what it remembers (CONTRIBUTING.md, Layer) and run triad verify"
                )

    def select(self, rows_R: Tensor) -> None:
        """Keep some rows, in a given order, each as often as it is named."""
        if self.padding is not None:
            self.padding.select(rows_R)
        for cache in self:
            cache.select(rows_R)

    def overwrite(self, rows_M: Tensor, others_M: Tensor, since: int) -> None:
        """Put others in the place of some rows of the same prompt: see KeyValueCache."""
        for cache in self:
            cache.overwrite(rows_M, others_M, since)


def flash(
    q_BNTH: Tensor,
    k_BKSH: Tensor,
    v_BKSH: Tensor,
    dropout: float = 0.0,
    mask: Callable | None = None,
    starts_BS: Tensor | None = None,
) -> Tensor:
    """Attention by torch's fused kernel, which does not store the T x S weights; causal without a mask.

    Where queries reach back less than half of T, only keys within reach are multiplied. With starts_BS, of
    all keys, a query sees its own document only.
    """
    if starts_BS is not None and suits_blocks(q_BNTH, dropout, mask):
        return attend_in_blocks(q_BNTH, k_BKSH, v_BKSH, mask, starts_BS, compile_flex())
    if starts_BS is not None:
        return attend_within_documents(flash, q_BNTH, k_BKSH, v_BKSH, dropout, mask, starts_BS)
    new, total = q_BNTH.shape[2], k_BKSH.shape[2]
    past = total - new
    reach = getattr(mask, "reach", None)
    if reach and new > 2 * reach and (past == 0 or past >= reach):
        return _attend_in_bands(q_BNTH, k_BKSH, v_BKSH, dropout, mask)
    mask_TS = mask(q_BNTH, total) if mask else None
    causal = mask_TS is None
    if causal and past and new > 1:
        # torch's is_causal aligns queries with the first keys; with a cache they are the last ones
        mask_TS = _visible_mask(new, past, q_BNTH.device)
    grouped = q_BNTH.shape[1] != k_BKSH.shape[1]
    return F.scaled_dot_product_attention(
        q_BNTH, k_BKSH, v_BKSH, mask_TS, dropout, is_causal=causal and not past, enable_gqa=grouped
    )


def _attend_in_bands(q_BNTH: Tensor, k_BKSH: Tensor, v_BKSH: Tensor, dropout: float, mask: Any) -> Tensor:
    """flash where a query sees `mask.reach` = R keys at most: each R queries against their 2 R keys.

    The sliding chunks of Beltagy et al. 2020, arXiv:2004.05150, section 3.2. The first R queries, which have
    no earlier keys, are computed by themselves.
    """
    reach, new, past = mask.reach, q_BNTH.shape[2], k_BKSH.shape[2] - q_BNTH.shape[2]
    alone = reach if past == 0 else 0
    keys = slice(max(0, past - reach), None)
    q, k, v = (
        F.pad(x, (0, 0, 0, -new % reach)).unflatten(2, (-1, reach)).transpose(1, 2)  # B bands heads R H
        for x in (q_BNTH[:, :, alone:], k_BKSH[:, :, keys], v_BKSH[:, :, keys])
    )
    k, v = (torch.cat((x[:, :-1], x[:, 1:]), 3).flatten(0, 1) for x in (k, v))
    y = flash(q.flatten(0, 1), k, v, dropout, mask)
    y_BNTH = y.unflatten(0, q.shape[:2]).transpose(1, 2).flatten(2, 3)[:, :, : new - alone]
    if alone:
        q, k, v = (x[:, :, :reach] for x in (q_BNTH, k_BKSH, v_BKSH))
        y_BNTH = torch.cat((flash(q, k, v, dropout, mask), y_BNTH), 2)
    return y_BNTH


def plain(
    q_BNTH: Tensor,
    k_BKSH: Tensor,
    v_BKSH: Tensor,
    dropout: float = 0.0,
    mask: Callable | None = None,
    starts_BS: Tensor | None = None,
) -> Tensor:
    """Attention in separate operations: on some CPUs faster than flash for short contexts.

    Heads that share keys are stacked along time, so one product serves grouped and ordinary attention. Scores
    and softmax are fp32, as in flash: a score of 100 that is rounded to bf16 is wrong by up to 0.25, which
    made the error 15 times that of flash for queries of norm 170.
    """
    if starts_BS is not None:
        return attend_within_documents(plain, q_BNTH, k_BKSH, v_BKSH, dropout, mask, starts_BS)
    (batch, heads, new, size), (kv_heads, total) = q_BNTH.shape, k_BKSH.shape[1:3]
    group = heads // kv_heads
    exact = torch.promote_types(q_BNTH.dtype, torch.float32)
    with autocast_off(q_BNTH):
        q_exact, k_exact = q_BNTH.to(exact), k_BKSH.to(exact)
        mask_TS = mask(q_exact, total) if mask else None
        if mask_TS is None:
            mask_TS = _causal_mask(q_exact, total)
        if mask_TS.ndim == 2:
            stacked = mask_TS.repeat(group, 1)
        else:
            stacked = mask_TS.expand(batch, heads, -1, -1).reshape(-1, group * new, total)
        q = q_exact.reshape(batch * kv_heads, group * new, size)
        scores = torch.baddbmm(stacked, q, k_exact.flatten(0, 1).mT, alpha=size**-0.5)
        weights = scores.softmax(-1).to(v_BKSH.dtype)
        weights = F.dropout(weights, dropout) if dropout else weights
        y = torch.bmm(weights, v_BKSH.flatten(0, 1))
    return y.view(batch, heads, new, v_BKSH.shape[-1])


def _causal_mask(q_BNTH: Tensor, total: int) -> Tensor:
    hidden_TS = _visible_mask(q_BNTH.shape[2], total - q_BNTH.shape[2], q_BNTH.device).logical_not_()
    return torch.zeros_like(hidden_TS, dtype=q_BNTH.dtype).masked_fill_(hidden_TS, float("-inf"))


def _visible_mask(new: int, past: int, device: torch.device) -> Tensor:
    return torch.ones(new, past + new, dtype=torch.bool, device=device).tril(past)


def _check_heads(width: int, heads: int, kv_heads: int, head_size: int | None) -> None:
    if head_size is None and width % heads:
        raise ValueError(f"heads={heads} does not divide width={width}; try heads={_suggest(heads, width)}")
    if heads % kv_heads:
        raise ValueError(
            f"kv_heads={kv_heads} does not divide heads={heads}; try kv_heads={_suggest(kv_heads, heads)}"
        )


def _suggest(wanted: int, whole: int) -> str:
    """The divisors of `whole` next below and above the wanted number."""
    below = [n for n in range(1, wanted) if whole % n == 0][-1:]
    above = [n for n in range(wanted, whole + 1) if whole % n == 0][:1]
    return " or ".join(map(str, below + above))
