"""Sparse experts.

Shapes: B batch, T time, D width, F hidden, E experts, R rows of tokens sorted by expert.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triad.layers.autocast import to_autocast_dtype
from triad.layers.feedforward import SwiGLU, gated_hidden
from triad.layers.flops import Rows
from triad.layers.parameters import identity
from triad.layers.ranges import NonNegativeInt, PositiveInt
from triad.layers.routing import Routing


class MixtureOfExperts(nn.Module):
    """Send each token to some experts and add their answers, weighted.

        y = sum_e w_e E_e(x) + shared(x)      Shazeer et al. 2017, arXiv:1701.06538, eq. 1

    The router, made by `router(width, experts)` (layers/routers), chooses the experts and their weights.
    x_BTD and tokens_BT (below 0: padding, which the router leaves out of account; null: there is none) ->
    y_BTD and, in training, the Routing of these tokens. `shared`: the hidden size, in experts, of a SwiGLU
    that every token goes through (DeepSeekMoE, arXiv:2401.06066, eq. 9). `hidden` null: the experts of a
    token, shared ones included, are together as wide as a dense SwiGLU (in multiples of 8), so that routers
    compare at equal FLOPs. `expert(width, hidden, experts)` makes all experts; null: Experts, below. The
    router works in fp32.
    """

    splits = ("tensor", "context", "pipeline", "expert", "documents")

    def __init__(
        self,
        width: PositiveInt,
        hidden: PositiveInt | None,
        experts: PositiveInt,
        shared: NonNegativeInt,
        router: Callable,
        expert: Callable | None,
    ) -> None:
        super().__init__()
        self.router = router(width, experts)
        size: int = hidden or 8 * round(gated_hidden(width) / (self.router.top_k + shared) / 8)
        self.experts = (expert or Experts)(width, size, experts)
        self.expert_size = sum(weight[0].numel() for weight in self.experts.parameters())
        self.shared = SwiGLU(width, shared * size, bias=False, dropout=0.0) if shared else None

    def forward(self, x_BTD: Tensor, tokens_BT: Tensor | None = None) -> tuple[Tensor, Routing | None]:
        real_BT = None if tokens_BT is None else tokens_BT >= 0
        choice, make_routing = self.router(x_BTD, tokens_BT, real_BT)
        statistics = make_routing() if self.training else None
        x_BTD = to_autocast_dtype(x_BTD)
        y_BTD = choice.dispatch(self.experts, x_BTD)
        if self.shared is not None:
            y_BTD = y_BTD + self.shared(x_BTD)
        return y_BTD, statistics

    def idle_parameters(self) -> int:
        """How many parameters a token does not use, on average: those of the experts it is not sent to."""
        weights, met = list(self.experts.parameters()), self.router.top_k
        return sum(round(weight[0].numel() * (len(weight) - met)) for weight in weights)

    def weight_flops(self, rows: Rows) -> Tensor:
        """FLOPs of experts, forward and backward; rows that were dropped are computed and multiplied by 0."""
        rows_of = getattr(self.router, "expert_rows", lambda tokens_R: self.router.top_k * tokens_R)
        return 6 * self.expert_size * rows_of(rows.tokens_R)


class Experts(nn.Module):
    """E SwiGLU networks, their weights stacked; each expert computes its own range of the rows.

    x_RD sorted by expert and end_E (the row after each expert's last) -> y_RD. The attribute `to_local` may
    be replaced from outside: it returns the part of a weight in this process.
    """

    splits = ("tensor", "context", "pipeline", "expert", "documents")
    roles = {"gate_EDF": "expert", "up_EDF": "expert", "down_EFD": "expert"}
    starts = {"down_EFD": "residual"}
    cuts = {"gate_EDF": 2, "up_EDF": 2, "down_EFD": 1}

    def __init__(self, width: int, hidden: int, experts: int):
        super().__init__()
        self.gate_EDF = nn.Parameter(torch.empty(experts, width, hidden))
        self.up_EDF = nn.Parameter(torch.empty(experts, width, hidden))
        self.down_EFD = nn.Parameter(torch.empty(experts, hidden, width))
        self.to_local: Callable[[Tensor], Tensor] = identity

    def forward(self, x_RD: Tensor, end_E: Tensor) -> Tensor:
        weights = (
            to_autocast_dtype(self.to_local(weight)) for weight in (self.gate_EDF, self.up_EDF, self.down_EFD)
        )
        return (compute_in_turn if runs_on_cpu(x_RD) else compute_grouped)(x_RD, end_E, *weights)

    def pieces(self) -> dict[str, int]:
        """What slices must divide."""
        return {"hidden": self.gate_EDF.shape[-1]}


def compute_grouped(
    x_RD: Tensor, end_E: Tensor, gate_EDF: Tensor, up_EDF: Tensor, down_EFD: Tensor
) -> Tensor:
    """All experts in one call of torch's grouped product."""
    hidden_RF = F.silu(grouped_product(x_RD, gate_EDF, end_E)) * grouped_product(x_RD, up_EDF, end_E)
    return grouped_product(hidden_RF, down_EFD, end_E)


@torch.compiler.disable
def compute_in_turn(
    x_RD: Tensor, end_E: Tensor, gate_EDF: Tensor, up_EDF: Tensor, down_EFD: Tensor
) -> Tensor:
    """One expert after another; needs the counts on the host, for which a GPU would have to synchronise.

    Forward and backward of a layer, width 256, 8 experts of 352, top 2, 4,096 tokens, EPYC, 2 threads
    (grouped in brackets): fp32 100 ms (119), bf16 autocast 66 ms (70).
    """
    rows = iterate_experts(x_RD, end_E, gate_EDF, up_EDF, down_EFD)
    return torch.cat([(F.silu(x @ gate) * (x @ up)) @ down for x, gate, up, down in rows])


def iterate_experts(x_RD: Tensor, end_E: Tensor, *weights: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The rows and weights of each expert; experts without rows are skipped, unless none has rows.

    One token, width 256, Xeon, 1 thread, on a loaded machine: skipping them and the inverse sort, a layer
    with 2 of 8 experts takes 0.80 of the time, with 8 of 64 it takes 0.58 (2026-11-24).
    """
    counts = end_E.diff(prepend=end_E.new_zeros(1)).tolist()
    met = [expert for expert, count in enumerate(counts) if count] or list(range(len(counts)))
    # with gradients unbind, whose backward writes a weight's gradient once and not once an expert
    each = [weight.unbind() if torch.is_grad_enabled() else weight for weight in weights]
    for x, expert in zip(x_RD.split([counts[expert] for expert in met]), met, strict=True):
        yield x, *(weight[expert] for weight in each)


def runs_on_cpu(x: Tensor) -> bool:
    """Whether x is a plain CPU tensor with data (not meta or fake): there the loop is faster."""
    return type(x) is Tensor and x.is_cpu


def grouped_product(x_RD: Tensor, weight_EDF: Tensor, end_E: Tensor) -> Tensor:
    """x_e W_e for the rows of each expert e -> y_RF, in any dtype.

    torch (2.11 to 2.13) infers the shape of a grouped product in bf16 only. Meta and fake tensors are cast,
    which loses nothing without data; a compiled model calls the product of another dtype as it is.
    """
    if x_RD.dtype == torch.bfloat16:
        return F.grouped_mm(x_RD, weight_EDF, offs=end_E)
    if x_RD.is_meta or type(x_RD) is not Tensor:
        return F.grouped_mm(x_RD.bfloat16(), weight_EDF.bfloat16(), offs=end_E).to(x_RD.dtype)
    return uncompiled_grouped_product(x_RD, weight_EDF, end_E)


@torch.compiler.disable
def uncompiled_grouped_product(x_RD: Tensor, weight_EDF: Tensor, end_E: Tensor) -> Tensor:
    """A grouped product that torch.compile does not look into."""
    return F.grouped_mm(x_RD, weight_EDF, offs=end_E)
