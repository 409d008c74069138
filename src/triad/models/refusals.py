"""Models that no machine holds."""

from triad.config.refusals import Impossible

MOST_WEIGHTS = 10**13  # some ten times the largest models that have been trained


def count_least_weights(model: dict) -> int:
    """Weights of a model whose blocks have one square matrix each; ours have more."""
    width = model.get("width") or 1
    return (model.get("depth") or 1) * width * width


TABLE = [
    Impossible(
        "a model that no machine holds",
        "model=lstm model.depth=1000000000",
        lambda c: count_least_weights(c["model"]) > MOST_WEIGHTS,
        "model.depth={model[depth]} blocks of model.width={model[width]} have more than 10^13 weights: lower "
        "one of them",
    ),
]
