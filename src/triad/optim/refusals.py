"""Updates that cannot work, and what torch's own optimizers offer."""

from triad.config.refusals import Impossible
from triad.config.schema import read_constant

ROLES = read_constant("triad.layers.parameters.Role")
# by_element: each number is updated by itself; adaptive: the gradient is divided by its size
OFFERS = {
    "torch.optim.AdamW": {"by_element": True, "adaptive": True},
    "torch.optim.Adam": {"by_element": True, "adaptive": True},
    "torch.optim.Adagrad": {"adaptive": True},
    "torch.optim.SGD": {"by_element": True},
    "torch.optim.RMSprop": {"by_element": True},
}


def strange_roles(config: dict) -> list[str]:
    """The names given as roles that are no role."""
    named = [*config["decay"], *config["regularizer"].get("roles", ())]
    return [role for role in named if role not in ROLES]


def facts(config: dict) -> dict:
    """What the sentences below name, beside the configuration itself."""
    return {"strange_roles": " and ".join(strange_roles(config)), "roles": ", ".join(ROLES)}


TABLE = [
    Impossible(
        "a role has a name",
        "decay=[matrices]",
        lambda c: bool(strange_roles(c)),
        "{strange_roles} is no role of parameters, for decay or regularizer.roles: use some of {roles}",
    ),
    Impossible(
        "torch's fused SGD knows whole weights only",
        "strategy=fsdp optimizer=sgd trainer.devices=2 trainer.accelerator=cpu",
        lambda c: (
            "data_shard" in c["strategy"]
            and c["optimizer"]["_target_"] == "torch.optim.SGD"
            and c["optimizer"].get("fused")
        ),
        "optimizer.fused=true of sgd does not know split weights: use optimizer.fused=false here",
    ),
]
