"""What each parameter is: the one seam for weight decay, per-role learning rates, Muon and muP."""

from typing import Literal

from torch import nn

Role = Literal["matrix", "embedding", "head", "vector", "router", "expert"]


def roles(model: nn.Module) -> dict[str, Role]:
    """The role of every parameter, by name, in the order of `named_parameters`."""
    owners = dict(model.named_modules(remove_duplicate=False))
    return {name: _role(name, owners[name.rpartition(".")[0]], p) for name, p in model.named_parameters()}


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Groups for a torch optimizer: weights of two and more dimensions decay, vectors do not.

    So nanoGPT, after Radford et al. 2019; norm gains and biases have no scale that decay should shrink. Each
    group holds one class of tensor: fused updates do not take whole and sliced ones (DTensor) together.
    """
    kind = roles(model)
    groups: dict[tuple, dict] = {}
    for decays, decay in ((True, weight_decay), (False, 0.0)):
        for name, p in model.named_parameters():
            if p.requires_grad and (kind[name] != "vector") == decays:
                groups.setdefault((decays, type(p)), {"params": [], "weight_decay": decay})["params"].append(
                    p
                )
    return list(groups.values())


def _role(name: str, owner: nn.Module, parameter: nn.Parameter) -> Role:
    module = name.split(".")[-2] if "." in name else ""
    if parameter.ndim < 2:
        return "vector"
    if parameter.ndim == 3:
        return "expert"
    if isinstance(owner, nn.Embedding):
        return "embedding"
    if module == "router":
        return "router"
    return "head" if module == "head" else "matrix"
