"""Softmax routing without limits. Shapes: B batch, T time, D width, E experts, k choices."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from triad.layers.routing import Routing, TokensChoose, entropy, length, load, local_means, logits, mean


class TopK(nn.Module):
    """Each token goes to its k most probable experts, and nothing is dropped.

        p = softmax(W_r x),   w_e = p_e / sum_{top-k} p
        Jiang et al. 2024 (Mixtral), arXiv:2401.04088, section 2.1
        w_e = p_e with `normalize: false`
        Dai et al. 2024 (DeepSeekMoE), arXiv:2401.06066, eq. 9-11
        auxiliary = balance E sum_e f_e P_e + z mean_t (log sum_e exp (W_r x_t)_e)^2

    f_e is the share of a sequence's choices that went to expert e and P_e its mean probability there (the
    sequence as GShard's group, arXiv:2006.16668; balance x 1 when uniform); z as in ST-MoE, arXiv:2202.08906,
    eq. 5. Raises ValueError unless 1 <= top_k <= experts.
    """

    splits = ("tensor", "context", "pipeline", "expert")
    roles = {"weight": "router"}

    def __init__(
        self, width: int, experts: int, top_k: int, normalize: bool, balance: float, z: float
    ) -> None:
        super().__init__()
        if not 1 <= top_k <= experts:
            raise ValueError(f"router.top_k={top_k} must lie between 1 and experts={experts}")
        self.top_k, self.normalize, self.balance, self.z = top_k, normalize, balance, z
        self.weight = nn.Parameter(torch.empty(experts, width))
        self.sequence_means: Callable[..., tuple[Tensor, ...]] = local_means

    def forward(
        self, x_BTD: Tensor, tokens_BT: Tensor | None = None, real_BT: Tensor | None = None
    ) -> tuple[TokensChoose, Callable[[], Routing]]:
        logits_BTE = logits(x_BTD, self.weight)
        probability_BTE = logits_BTE.softmax(-1)
        weight_BTk, expert_BTk = probability_BTE.topk(self.top_k, dim=-1)
        if self.normalize:
            weight_BTk = weight_BTk / weight_BTk.sum(-1, keepdim=True)
        experts = logits_BTE.shape[-1]

        def make_routing() -> Routing:
            load_BE = load(expert_BTk, probability_BTE, real_BT)
            share_BE, mean_BE, z_B = self.sequence_means(
                load_BE / (self.top_k * length(probability_BTE, real_BT)),
                mean(probability_BTE, real_BT),
                mean(logits_BTE.logsumexp(-1).square(), real_BT),
            )
            balance_B = (share_BE * mean_BE).sum(-1) * experts
            auxiliary_B = self.balance * balance_B + self.z * z_B
            return Routing(auxiliary_B, load_BE, entropy(probability_BTE, real_BT), torch.zeros_like(z_B))

        return TokensChoose(expert_BTk, weight_BTk, experts), make_routing
