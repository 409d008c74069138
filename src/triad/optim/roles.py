"""What each parameter is: the one seam for weight decay, per-role learning rates, Muon and muP."""

from collections.abc import Callable, Collection
from typing import Literal, get_args

from torch import nn

Role = Literal["matrix", "embedding", "head", "vector", "router", "expert"]
ROLES: tuple[Role, ...] = get_args(Role)
DECAYING = ("matrix", "embedding", "head", "router", "expert")


def roles(model: nn.Module) -> dict[str, Role]:
    """The role of every parameter, by name, in the order of `named_parameters`."""
    owners = dict(model.named_modules(remove_duplicate=False))
    return {name: _role(name, owners[name.rpartition(".")[0]], p) for name, p in model.named_parameters()}


def decay_groups(
    model: nn.Module,
    weight_decay: float,
    decaying: Collection[str] = DECAYING,
    rate: Callable[[str], float] | None = None,
) -> list[dict]:
    """Groups for a torch optimizer: weights of the `decaying` roles decay, the others do not.

    Unless said otherwise those of two and more dimensions: so nanoGPT, after Radford et al. 2019; norm gains
    and biases have no scale that decay should shrink. `rate` gives what multiplies a parameter's learning
    rate, by its name; a group says it as `rate`, and its decay is divided by it, so that rate x decay, what
    a weight loses in a step, is the same for all. Each group holds one class of tensor: fused updates do not
    take whole and sliced ones (DTensor) together. Its `roles` say what each of its parameters is, to an
    optimizer that asks.
    """
    kind = roles(model)
    groups: dict[tuple, dict] = {}
    for decays, decay in ((True, weight_decay), (False, 0.0)):
        for name, p in model.named_parameters():
            if p.requires_grad and (kind[name] in decaying) == decays:
                factor = 1.0 if rate is None else rate(name)
                fresh = {"params": [], "roles": [], "weight_decay": decay / factor, "rate": factor}
                group = groups.setdefault((decays, factor, type(p)), fresh)
                group["params"].append(p)
                group["roles"].append(kind[name])
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


def plain_name(name: str) -> str:
    """The name without what checkpointing and compilation put around a module."""
    return name.replace("_checkpoint_wrapped_module.", "").replace("_orig_mod.", "")
