"""Softmax routing without limits. Shapes: B batch, T time, D width, E experts, k choices."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from triad.layers.ranges import NonNegativeFloat, PositiveInt
from triad.layers.routing import Routing, TokensChoose, entropy, length, load, local_sums, logits, mean, pool


class TopK(nn.Module):
    """Each token goes to its k most probable experts, and nothing is dropped.

        p = softmax(W_r x),   w_e = p_e / sum_{top-k} p
        Jiang et al. 2024 (Mixtral), arXiv:2401.04088, section 2.1
        w_e = p_e with `normalize: false`
        Dai et al. 2024 (DeepSeekMoE), arXiv:2401.06066, eq. 9-11
        auxiliary = balance E sum_e f_e P_e + z mean_t (log sum_e exp (W_r x_t)_e)^2

    P_e is a sequence's mean probability of expert e (the sequence as GShard's group, arXiv:2006.16668); z as
    in ST-MoE, arXiv:2202.08906, eq. 5. A coefficient belongs to one way of taking layers together, which
    `over_layers` names:

        sum     each layer has a loss, and they are added up, as Switch (arXiv:2101.03961) and DeepSeekMoE do;
                f_e is the share of a sequence's choices that went to e: balance x L when uniform
        pool    one loss, whose means are over the tokens of all L layers, as load_balancing_loss_func of
                transformers (Mixtral, OLMoE, Qwen3-MoE, DBRX); f_e is the number of a token's choices that
                went to e: balance x k when uniform. Deviates: by sequence, theirs over a micro-batch.

    Raises ValueError unless 1 <= top_k <= experts and for another `over_layers`.
    """

    splits = ("tensor", "context", "pipeline", "expert", "documents")
    roles = {"weight": "router"}

    def __init__(
        self,
        width: PositiveInt,
        experts: PositiveInt,
        top_k: PositiveInt,
        normalize: bool,
        balance: NonNegativeFloat,
        z: NonNegativeFloat,
        over_layers: Literal["sum", "pool"],
    ) -> None:
        super().__init__()
        if not 1 <= top_k <= experts:
            raise ValueError(f"router.top_k={top_k} must lie between 1 and experts={experts}")
        if over_layers not in ("sum", "pool"):
            raise ValueError(f"router.over_layers={over_layers} is not known: use sum or pool")
        self.top_k, self.normalize, self.balance, self.z = top_k, normalize, balance, z
        self.pools = over_layers == "pool"
        self.weight = nn.Parameter(torch.empty(experts, width))
        self.sequence_sums: Callable[..., tuple[Tensor, ...]] = local_sums

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
            asked_BE, length_B1 = self.sequence_sums(load_BE, length(probability_BTE, real_BT))
            choices_BE = self.balance * experts * asked_BE / length_B1.clamp_min(1)
            mean_BE = mean(probability_BTE, real_BT, length_B1)
            z_B = self.z * mean(logits_BTE.logsumexp(-1).square(), real_BT, length_B1)
            entropy_B, nothing_B = entropy(probability_BTE, real_BT, length_B1), torch.zeros_like(z_B)
            if self.pools:
                return Routing(nothing_B, load_BE, entropy_B, nothing_B, pool(choices_BE, mean_BE, z_B))
            auxiliary_B = (choices_BE * mean_BE).sum(-1) / self.top_k + z_B
            return Routing(auxiliary_B, load_BE, entropy_B, nothing_B)

        return TokensChoose(expert_BTk, weight_BTk, experts), make_routing
