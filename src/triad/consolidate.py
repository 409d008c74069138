"""All weights in one file: `python -m triad.consolidate run=outputs/<run_id>`."""

import os
from pathlib import Path


def consolidate(run: str, step: int | None = None) -> None:
    """Write the weights of a run's newest checkpoint, or of a given `step`, to <run>/model.pt.

    A dict of fp32 tensors by name, for torch.load(..., weights_only=True), whatever layout and precision the
    run had.
    """
    import torch

    from triad.callbacks.checkpoint import find, load, weights

    directory = Path(run)
    path = find(directory / "checkpoints", step)
    model = weights(path)
    load(path, {"model": model})
    beside = directory / "model.pt.tmp"
    torch.save(model, beside)
    os.replace(beside, directory / "model.pt")
    print(f"{directory / 'model.pt'}: {sum(map(torch.numel, model.values())):,} numbers of {path.name}")


if __name__ == "__main__":
    from triad.verbs import verb

    verb(consolidate)
