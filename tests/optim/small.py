"""A model with a parameter of every role, and its optimizer as conf/optimizer says."""

from functools import partial

import torch
from torch import Tensor, nn

from triad.config.build import build
from triad.config.compose import compose
from triad.config.locations import CONF
from triad.layers.moe import MixtureOfExperts
from triad.layers.routers.top_k import TopK
from triad.optim.roles import decay_groups

NAMES = sorted(path.stem for path in (CONF / "optimizer").glob("*.yaml"))
OF_MATRICES = ("muon", "soap")


def model() -> nn.Module:
    """In double precision; sizes do not divide by two; a matrix of each shape, and one shape twice."""
    router = partial(TopK, top_k=2, normalize=True, balance=0.0, z=0.0, over_layers="sum")
    parts = {
        "embedding": nn.Embedding(7, 6),
        "wide": nn.Linear(9, 5),
        "tall": nn.Linear(3, 11, bias=False),
        "again": nn.Linear(9, 5, bias=False),
        "third": nn.Linear(9, 5, bias=False),
        "norm": nn.LayerNorm(6),
        "mixture": MixtureOfExperts(5, 9, experts=4, shared=0, router=router, expert=None),
        "head": nn.Linear(6, 7, bias=False),
    }
    made = nn.ModuleDict(parts).double()
    made.roles = {"head.weight": "head"}
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in made.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64))
    return made


def gradients(step: int, of: nn.Module) -> dict[str, Tensor]:
    """Of one step, by name."""
    generator = torch.Generator().manual_seed(step + 1)
    return {
        name: torch.randn(p.shape, generator=generator, dtype=torch.float64)
        for name, p in of.named_parameters()
    }


def node(name: str, *words: str) -> dict:
    return compose([f"optimizer={name}", "strategy=ddp", *words])["optimizer"]


def optimizer(of: nn.Module, node: dict) -> torch.optim.Optimizer:
    made = build({"optimizer": node})["optimizer"](decay_groups(of, node["weight_decay"]))
    for group in made.param_groups:
        group["peak_lr"] = group["lr"]
    return made


def train(of: nn.Module, opt: torch.optim.Optimizer, steps: range, put=lambda p, g: g) -> None:
    """Some steps at a rate that changes."""
    named = dict(of.named_parameters())
    for step in steps:
        for name, g in gradients(step, of).items():
            named[name].grad = put(named[name], g)
        for group in opt.param_groups:
            group["lr"] = group["peak_lr"] * factor(step)
        opt.step()


def factor(step: int) -> float:
    return (step + 1) / 4 if step < 3 else 1.0
