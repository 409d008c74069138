"""The weights that a model with a new head starts from."""

from pathlib import Path

from torch import nn

from triad.checkpoints.tensors import read_entries, read_shapes, start_from, start_part_from

# parts of a model of another task that a body lacks
HEADS = ("head.", "token_head.", "readout.", "transform.", "pooler.", "next_sentence.")


def start_body(path: Path, model: nn.Module, bare: nn.Module) -> None:
    """Load all weights of a run whose model has the same, else those of its body: the head stays as it is.

    `path` is a checkpoint of any task, `bare` the model of a single device. Raises ValueError where the body
    is another.
    """
    held = {name: shape for name, (shape, _) in read_entries(path).items()}
    if held == read_shapes(bare):
        start_from(path, model, bare)
    else:
        start_part_from(
            path, model.get_submodule("body"), bare.get_submodule("body"), absent=("pooler.",), unused=HEADS
        )
