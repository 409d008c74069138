"""Whether a model's layers may be split over an axis of processes, as their classes declare in `splits`."""

from torch import nn

TOKENWISE = (nn.Linear, nn.Embedding, nn.LayerNorm, nn.RMSNorm)  # torch's layers that act on single tokens
WHOLE = ("pipeline", "expert")  # axes that do not split layers other than experts


def check_splits(model: nn.Module, axis: str, size: int) -> None:
    """Raise ValueError, naming it, for a layer that does not declare that the axis may split it."""
    for name, layer in model.named_modules():
        if type(layer).__module__.startswith("torch."):
            alone = type(layer) in TOKENWISE or next(layer.parameters(recurse=False), None) is None
            fits = alone or axis in WHOLE
        else:
            fits = axis in getattr(layer, "splits", ())
        if not fits:
            raise ValueError(f"strategy.{axis}={size} cannot cut {name}, a {type(layer).__name__}")
