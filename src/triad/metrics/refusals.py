"""Metrics that this machine cannot compute."""

from triad.config.offers import get_declared, walk_parts
from triad.config.refusals import Impossible
from triad.metrics import confinement


def is_unconfined(config: dict) -> bool:
    """Whether a metric runs programs and this machine cannot confine them."""
    parts = walk_parts(config.get("metrics"), "metrics")
    return any(get_declared(part, "confines") for _, part in parts) and bool(confinement.find_missing())


def facts(config: dict) -> dict:
    """What the sentence below names."""
    return {"lacks": confinement.find_missing()} if is_unconfined(config) else {}


TABLE = [
    Impossible(
        "programs that a model wrote run only where the kernel confines them",
        "metrics=[pass_at_k]",
        is_unconfined,
        "metrics=pass_at_k runs programs of a model, which takes {lacks}: leave it out here, or compute it "
        "where there is that",
    ),
]
