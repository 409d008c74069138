"""Whether a model's layers may be split over an axis of processes: each says so in its class as `splits`."""

from torch import nn

TOKENWISE = (nn.Linear, nn.Embedding, nn.LayerNorm, nn.RMSNorm)  # torch's own that see one token at a time
WHOLE = ("pipeline", "expert")  # axes over which a layer is in one process, or in each


def check_splits(model: nn.Module, axis: str, size: int) -> None:
    """Raise ValueError, naming it, for a layer that does not say that the axis may split it."""
    for name, layer in model.named_modules():
        if type(layer).__module__.startswith("torch."):
            alone = type(layer) in TOKENWISE or next(layer.parameters(recurse=False), None) is None
            fits = alone or axis in WHOLE
        else:
            fits = axis in getattr(layer, "splits", ())
        if not fits:
            raise ValueError(f"strategy.{axis}={size} cannot cut {name}, a {type(layer).__name__}")
