"""A stage of a pipeline: neighbouring units of [embed, block 0, block 1, ... read] of a model.

Shapes: B rows (sequences), T time, D width, S statistics of a router (Routing.statistics_BS), A terms
of the auxiliary loss (Routing.terms_BA).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from triad.layers.attention import KeyValueCache
from triad.layers.documents import find_offset
from triad.layers.routing import add_terms, auxiliary_loss


class Stage(nn.Module):
    """Units `start` to `stop` of a model that offers embed, blocks and read; unit i + 1 is block i.

    Its `before` and `behind` name the parts that embed and read use. The parts stay those of the model, which
    keeps their names. tokens_BT of the first stage, else (x_BTD, terms_BA of the auxiliary loss so far) ->
    (x_BTD, terms_BA), of the last (what its readout is asked for, terms_BA). The keyword tokens_BT is for the
    routers of every stage, starts_BT for what mixes tokens. With `targets_BT` their loss is asked for, the
    last stage's second result is the summed auxiliary loss, and `statistics` keeps what routers report: the
    last stage's two sums, and what each layer's router saw. `context` is entered around the forward pass.
    """

    def __init__(self, model: Any, units: range, objective: Callable, context: Callable) -> None:
        super().__init__()
        end = len(model.blocks) + 1
        first, last = 0 in units, end in units
        self.layers = [unit - 1 for unit in units if 0 < unit < end]
        self.blocks = nn.ModuleList(model.blocks[layer] for layer in self.layers)
        names = (model.before if first else ()) + (model.behind if last else ())
        if last and model.head is None:
            names += ("embedding",)
        parts = {name: getattr(model, name) for name in names}
        self.ends = nn.ModuleDict({name: part for name, part in parts.items() if part is not None})
        self.embed = model.embed if first else None  # bound methods: the model is not a submodule of a stage
        self.read = model.read if last else None
        self.objective, self.context = objective, context
        self.statistics: list[tuple[Tensor | None, dict[int, Tensor]]] = []

    def forward(
        self,
        x: Tensor,
        terms_BA: Tensor | None = None,
        tokens_BT: Tensor | None = None,
        starts_BT: Tensor | None = None,
        targets_BT: Tensor | None = None,
        loss: Callable | None = None,
        cache: list[KeyValueCache] | None = None,
    ) -> tuple[Any, Tensor]:
        with self.context():
            past = cache[0].offset(x.shape[1]) if cache else 0
            offset = find_offset(past, starts_BT)
            x_BTD = self.embed(x, offset) if self.embed else x
            starts = () if starts_BT is None else (starts_BT,)
            if terms_BA is None:
                exact = torch.promote_types(x_BTD.dtype, torch.float32)
                terms_BA = x_BTD.new_zeros(len(x_BTD), 1, dtype=exact)
            statistics = {}
            for layer, block in zip(self.layers, self.blocks, strict=True):
                x_BTD, routing = block(x_BTD, cache[layer] if cache else None, tokens_BT, *starts)
                if routing is not None:
                    terms_BA = add_terms(terms_BA, routing.terms_BA)
                    statistics[layer] = routing.statistics_BS.sum(0)
            if targets_BT is None:
                return (self.read(x_BTD, loss) if self.read else x_BTD), terms_BA
            if self.read is None:
                self.statistics.append((None, statistics))
                return x_BTD, terms_BA
            nll, auxiliary = self.read(x_BTD, self.objective(targets_BT)), auxiliary_loss(terms_BA).sum()
            self.statistics.append((torch.stack((nll.detach(), auxiliary.detach())), statistics))
            return nll, auxiliary


def check_stages(model: Any, stages: int) -> None:
    """Raise ValueError for a model that cannot be divided into so many stages."""
    missing = [name for name in ("embed", "blocks", "read") if not hasattr(model, name)]
    if missing:
        raise ValueError(
            f"pipeline: {type(model).__name__} has no `{missing[0]}` and cannot be cut into stages; "
            "use a Transformer, or strategy=ddp"
        )
    if (units := len(model.blocks) + 2) < stages:
        raise ValueError(
            f"pipeline: {stages} stages, but the embedding, {len(model.blocks)} blocks and the readout are "
            f"{units} units; set model.depth={stages - 2} or more, or a lower strategy.pipeline"
        )
    named = {name.partition(".")[0] for name, _ in model.named_parameters()}
    assert named <= {*model.before, "blocks", *model.behind}, named  # or a parameter would belong to no stage


def divide_units(units: int, stages: int) -> list[range]:
    """Divide units into `stages` ranges; the ends, whose embedding and readout are cheap, get more."""
    sizes = [units // stages] * stages
    for extra in range(units % stages):
        sizes[-1 if extra == 1 else extra - (extra > 1)] += 1
    starts = [sum(sizes[:stage]) for stage in range(stages)]
    return [range(start, start + size) for start, size in zip(starts, sizes, strict=True)]


def keep_stages(model: Any, stages: list[Stage]) -> None:
    """Remove from a model all modules but those of the given stages; these keep their names."""
    layers = {layer for stage in stages for layer in stage.layers}
    for layer in range(len(model.blocks)):
        if layer not in layers:
            model.blocks[layer] = nn.Identity()
    parts = {name for stage in stages for name in stage.ends}
    for name in (*model.before, *model.behind):
        if name not in parts:
            setattr(model, name, None)
