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
        "strategy=fsdp optimizer=sgd optimizer.fused=true trainer.devices=2 trainer.accelerator=cpu",
        lambda c: (
            "data_shard" in c["strategy"]
            and c["optimizer"]["_target_"] == "torch.optim.SGD"
            and c["optimizer"].get("fused")
        ),
        "optimizer.fused=true of sgd does not know split weights: use optimizer.fused=null here",
    ),
    Impossible(
        "torch's fused SGD for CPUs leaves 16-bit weights as they are",
        "optimizer=sgd optimizer.fused=true precision=bf16-true trainer.accelerator=cpu",
        lambda c: (
            c["optimizer"]["_target_"] == "torch.optim.SGD"
            and c["optimizer"].get("fused")
            and c["precision"].get("name") == "bf16-true"
            and c["trainer"]["accelerator"] == "cpu"
        ),
        "optimizer.fused=true of sgd does not update bf16 weights on a CPU (torch 2.13): use "
        "optimizer.fused=null",
    ),
]
