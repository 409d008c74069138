"""Attention whose keys and values are computed from one small latent vector per token.

Shapes: B batch, T new tokens, S all tokens so far, D width, N heads, Q rank of queries, C rank of keys and
values, P content part of a head, R rotated part, V values of a head.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from triad.layers.attention import KernelInputs, KeyValueCache, flash
from triad.layers.autocast import to_autocast_dtype
from triad.layers.documents import find_offset
from triad.layers.flops import Rows
from triad.layers.parameters import identity
from triad.layers.ranges import PositiveInt, UnitInterval


class LatentAttention(nn.Module):
    """Keep a compressed latent instead of keys and values: multi-head latent attention.

        c_t = norm(W_DKV x_t),   k_t = W_UK c_t,   v_t = W_UV c_t,   r_t = RoPE(W_KR x_t), shared by all heads
        q_t = W_UQ norm(W_DQ x_t), its last R components rotated
        o_t = sum_j softmax_j(q_t^T [k_j; r_j] / sqrt(P + R)) v_j
        DeepSeek-V2, arXiv:2405.04434, eq. 9-19; DeepSeek-V3, arXiv:2412.19437, eq. 1-11

    x_BTD (and the cache of earlier tokens, or starts_BT of documents) -> y_BTD. `query_rank` null: queries
    without compression, as in DeepSeek-V2-Lite. `norm(n)` and `rotary(head_size=R)` make the parts. The cache
    holds c and r only. A single new token is compared with the latents themselves: W_UK and W_UV are absorbed
    into queries and output (section 2.1.2), so that no old key is computed again. Two attributes may be
    replaced from outside: `kernel`, as in Attention, and `to_local`, which returns the part of a weight in
    this process. Deviates: rotates halves, not neighbours, see Rotary; no scaling of long contexts.
    """

    splits = ("tensor", "context", "pipeline", "expert", "documents")
    starts = {"q.weight": "query", "out.weight": "residual"}
    # the latents are small: every process computes them whole, for its own heads
    cuts = {"q": "outputs", "kv": "outputs", "out": "inputs"}

    def __init__(
        self,
        width: PositiveInt,
        heads: PositiveInt,
        query_rank: PositiveInt | None,
        key_value_rank: PositiveInt,
        content_size: PositiveInt,
        rotary_size: PositiveInt,
        value_size: PositiveInt,
        dropout: UnitInterval,
        norm: Callable,
        rotary: Callable,
    ):
        super().__init__()
        self.heads, self.rank = heads, key_value_rank
        self.content_size, self.rotary_size, self.value_size = content_size, rotary_size, value_size
        self.q_latent = nn.Linear(width, query_rank, bias=False) if query_rank else nn.Identity()
        self.q_norm = norm(query_rank) if query_rank else nn.Identity()
        self.q = nn.Linear(query_rank or width, heads * (content_size + rotary_size), bias=False)
        self.kv_latent = nn.Linear(width, key_value_rank + rotary_size, bias=False)
        self.kv_norm = norm(key_value_rank)
        self.kv = nn.Linear(key_value_rank, heads * (content_size + value_size), bias=False)
        self.out = nn.Linear(heads * value_size, width, bias=False)
        self.rotary = rotary(head_size=rotary_size)
        self.dropout = nn.Dropout(dropout)
        self.kernel: Callable = flash
        self.to_local: Callable[[Tensor], Tensor] = identity

    def pieces(self) -> dict[str, int]:
        """The sizes that the number of slices must divide."""
        return {"heads": self.heads}

    def find_queries(self) -> tuple[str, int]:
        """The submodule in which attention scores are linear, and the size of a head."""
        return "q", self.content_size + self.rotary_size

    def kernel_inputs(self) -> KernelInputs:
        """What the kernel is called with for more than one token."""
        size = self.content_size + self.rotary_size
        return KernelInputs(self.heads, self.heads, size, self.value_size, self.dropout.p, None)

    def mixing_flops(self, rows: Rows) -> Tensor:
        """FLOPs of the products of queries with keys (P + R) and of weights with values (V), both ways."""
        sizes = self.content_size + self.rotary_size + self.value_size
        return 6 * self.heads * sizes * rows.count_past()

    def forward(
        self, x_BTD: Tensor, cache: KeyValueCache | None = None, starts_BT: Tensor | None = None
    ) -> Tensor:
        x_BTD = to_autocast_dtype(x_BTD)
        # the number of heads is inferred: under tensor parallelism only some of them live here
        head = (-1, self.content_size + self.rotary_size)
        q_BNTH = self.q(self.q_norm(self.q_latent(x_BTD))).unflatten(-1, head).transpose(1, 2)
        content_BNTP, turning_BNTR = q_BNTH.split((self.content_size, self.rotary_size), -1)
        c_BTC, r_BTR = self.kv_latent(x_BTD).split((self.rank, self.rotary_size), -1)
        c_B1SC, r_B1SR = self.kv_norm(c_BTC)[:, None], r_BTR[:, None]
        offset = find_offset(cache.offset(x_BTD.shape[1]) if cache else 0, starts_BT)
        turning_BNTR, r_B1SR = self.rotary(turning_BNTR, r_B1SR, offset)
        if cache is not None:
            c_B1SC, r_B1SR = cache.extend(c_B1SC, r_B1SR)
        absorbs = cache is not None and x_BTD.shape[1] == 1
        attend = self._attend_absorbed if absorbs else self._attend_expanded
        dropout = self.dropout.p if self.training else 0.0
        mask = cache.hide_padding(None) if cache else None

        def kernel(q_BNTH: Tensor, k_BKSH: Tensor, v_BKSV: Tensor) -> Tensor:
            return self.kernel(q_BNTH, k_BKSH, v_BKSV, dropout, mask, starts_BT)

        y_BNTV = attend(content_BNTP, turning_BNTR, c_B1SC, r_B1SR, kernel)
        return self.dropout(self.out(y_BNTV.transpose(1, 2).flatten(-2)))

    def _attend_expanded(
        self,
        content_BNTP: Tensor,
        turning_BNTR: Tensor,
        c_B1SC: Tensor,
        r_B1SR: Tensor,
        kernel: Callable,
    ) -> Tensor:
        """Every head with keys and values of its own."""
        head = (-1, self.content_size + self.value_size)
        kv_BNSH = self.kv(c_B1SC[:, 0]).unflatten(-1, head).transpose(1, 2)
        k_BNSP, v_BNSV = kv_BNSH.split((self.content_size, self.value_size), -1)
        k_BNSH = torch.cat((k_BNSP, r_B1SR.expand(-1, k_BNSP.shape[1], -1, -1)), -1)
        return kernel(torch.cat((content_BNTP, turning_BNTR), -1), k_BNSH, v_BNSV)

    def _attend_absorbed(
        self,
        content_BNTP: Tensor,
        turning_BNTR: Tensor,
        c_B1SC: Tensor,
        r_B1SR: Tensor,
        kernel: Callable,
    ) -> Tensor:
        """All heads share one key, the latent: q^T W_UK c = (W_UK^T q)^T c."""
        head = (-1, self.content_size + self.value_size)
        weight_NHC = self.to_local(self.kv.weight).unflatten(0, head).to(c_B1SC.dtype)
        key_NPC, value_NVC = weight_NHC.split((self.content_size, self.value_size), 1)
        q_BNTH = torch.cat((content_BNTP @ key_NPC, turning_BNTR), -1)
        # the kernels divide by the root of the size they see
        scale = (q_BNTH.shape[-1] / (self.content_size + self.rotary_size)) ** 0.5
        y_BNTC = kernel(q_BNTH * scale, torch.cat((c_B1SC, r_B1SR), -1), c_B1SC)
        return y_BNTC @ value_NVC.mT
