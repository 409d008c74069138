"""The role of each parameter, on which weight decay, learning rates by role, Muon and muP are based."""

from collections.abc import Callable, Collection

from torch import nn

from triad.layers.parameters import Role, read_declarations

DECAYING = ("matrix", "embedding", "head", "router", "expert", "convolution")


def roles(model: nn.Module) -> dict[str, Role]:
    """The role of every parameter, by name, in the order of `named_parameters`."""
    return {name: said.role for name, said in read_declarations(model).items()}


def decay_groups(
    model: nn.Module,
    weight_decay: float,
    decaying: Collection[str] = DECAYING,
    rate: Callable[[str], float] | None = None,
    multiplier: Callable[[str], float] | None = None,
) -> list[dict]:
    """Groups for a torch optimizer: weights of the `decaying` roles decay, the others do not.

    The default is all but vectors and states, as in nanoGPT, after Radford et al. 2019: decay should shrink
    neither norm gains and biases nor the rates by which a state decays (Mamba's A and D, by its published
    code). `rate(name)` is the factor of a parameter's learning rate; it is the group's `rate`, and the
    group's decay is divided by it, so that rate x decay, the share a weight loses in a step, is the same
    for all; `multiplier(name)` is a further factor of the rate, with which the decay changes. Each group
    holds one class of tensor, because fused updates do not take whole and sharded ones (DTensor) together.
    Its `roles` are the roles of its parameters, for optimizers that use them.
    """
    kind = roles(model)
    groups: dict[tuple, dict] = {}
    for decays, decay in ((True, weight_decay), (False, 0.0)):
        for name, p in model.named_parameters():
            if p.requires_grad and (kind[name] in decaying) == decays:
                scale = 1.0 if rate is None else rate(name)
                factor = scale * (1.0 if multiplier is None else multiplier(name))
                fresh = {"params": [], "roles": [], "weight_decay": decay / scale, "rate": factor}
                group = groups.setdefault((decays, scale, factor, type(p)), fresh)
                group["params"].append(p)
                group["roles"].append(kind[name])
    return list(groups.values())
