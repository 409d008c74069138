"""Implementations of other authors, set to what conf/optimizer says. Each takes one matrix or vector."""

from collections.abc import Callable
from functools import partial

import pytorch_optimizer
import schedulefree
import torch
import transformers.optimization
from pytorch_optimizer.optimizer.muon import base as muon_base
from pytorch_optimizer.optimizer.utils.matrix import zero_power_via_newton_schulz_5
from torch import Tensor
from torch.optim import Optimizer

newton_schulz = partial(zero_power_via_newton_schulz_5, dtype=torch.float64)
muon_base.zero_power_via_newton_schulz_5 = newton_schulz  # its default is bf16


def adamw(p: Tensor, lr: float, decay: float, betas: list, eps: float) -> Optimizer:
    return torch.optim.AdamW([p], lr=lr, weight_decay=decay, betas=tuple(betas), eps=eps)


def lion(p: Tensor, node: dict, decay: float) -> Optimizer:
    return pytorch_optimizer.Lion([p], node["lr"], tuple(node["betas"]), weight_decay=decay)


def adafactor(p: Tensor, node: dict, decay: float) -> Optimizer:
    assert not decay  # theirs multiplies it by the size of the weights
    how = {"scale_parameter": True, "relative_step": False, "decay_rate": -node["decay_exponent"]}
    made = transformers.optimization.Adafactor
    return made([p], node["lr"], eps=tuple(node["eps"]), clip_threshold=node["clip"], **how)


def muon(p: Tensor, node: dict, decay: float) -> Optimizer:
    how = {
        "momentum": node["momentum"],
        "nesterov": node["nesterov"],
        "ns_steps": node["newton_schulz_steps"],
    }
    group = {"params": [p], "use_muon": True, "use_adjusted_lr": node["scale"] == "match_rms_adamw"}
    return pytorch_optimizer.Muon([group], lr=node["lr"], weight_decay=decay, **how)


def soap(p: Tensor, node: dict, decay: float) -> Optimizer:
    sizes = {"precondition_frequency": node["frequency"], "max_precondition_dim": node["largest"]}
    how = {"shampoo_beta": node["basis_beta"], "eps": node["eps"]} | sizes
    return pytorch_optimizer.SOAP([p], node["lr"], tuple(node["betas"]), weight_decay=decay, **how)


def schedule_free(p: Tensor, node: dict, decay: float) -> Optimizer:
    package = {"package": schedulefree.AdamWScheduleFree, "paper": schedulefree.AdamWScheduleFreePaper}
    made = package[node["algorithm"]]([p], node["lr"], tuple(node["betas"]), node["eps"], weight_decay=decay)
    made.train()
    return made


class Lamb(Optimizer):
    """Torch's AdamW has the direction and no size; the size is the rate times that of the weights."""

    def __init__(self, p: Tensor, node: dict, decay: float) -> None:
        super().__init__([p], {"lr": node["lr"]})
        self.p, self.adamw = p, adamw(p, 1.0, decay, node["betas"], node["eps"])

    def step(self, closure: Callable | None = None) -> None:  # type: ignore[override]
        before = self.p.detach().clone()
        self.adamw.step()
        step, lr = self.p.detach() - before, self.param_groups[0]["lr"]
        size = before.norm() / step.norm() if before.ndim > 1 else 1.0
        self.p.data = before + lr * size * step


lamb = Lamb


def train(made: Optimizer, gradients: list[Tensor], lrs: list[float]) -> None:
    """Take some steps at the rates given."""
    (p,) = made.param_groups[0]["params"]
    for gradient, lr in zip(gradients, lrs, strict=True):
        made.param_groups[0]["lr"] = lr
        p.grad = gradient.clone()  # some write into it
        made.step()
