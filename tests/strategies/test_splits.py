"""Over which axes a layer may be split is said by its class, and asked by the strategies."""

import ast
from pathlib import Path

import pytest
import torch
from torch import nn

import triad.layers
from triad.layers.attention import Attention
from triad.layers.full_attention import FullAttention
from triad.layers.position import Learned
from triad.layers.recurrent import Recurrent
from triad.strategies.splits import check_splits

AXES = {"tensor", "context", "pipeline", "expert"}
PARTS = [Path(triad.layers.__path__[0]), Path(triad.layers.__path__[0]).parent / "models"]


def test_splits_are_literals_that_name_axes() -> None:
    """So that a configuration is refused before torch is imported."""
    said = [
        ast.literal_eval(statement.value)
        for part in PARTS
        for path in part.rglob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
        for statement in node.body
        if isinstance(statement, ast.Assign) and getattr(statement.targets[0], "id", "") == "splits"
    ]
    assert len(said) > 30
    assert all(isinstance(axes, tuple) and set(axes) <= AXES | {"documents"} for axes in said)


class Silent(nn.Module):
    """A layer that says nothing."""


@pytest.mark.parametrize(
    ("layer", "refused"),
    [
        (lambda: Attention(8, 2, None, None, False, 0.0, None, None, None, None), set()),
        (lambda: Learned(4, 8), set()),
        (lambda: nn.LayerNorm(8), set()),
        (lambda: FullAttention(8, 2, False, 0.0, None), {"tensor", "context", "pipeline"}),
        (lambda: Recurrent(8, 0.0), {"tensor", "context"}),
        (lambda: nn.LSTM(8, 8), {"tensor", "context"}),
        (Silent, AXES),
    ],
)
def test_a_layer_is_split_over_what_it_says_and_torchs_own_where_each_token_is_alone(layer, refused) -> None:
    with torch.device("meta"):
        model = nn.Sequential(layer())
    for axis in AXES:
        if axis in refused:
            with pytest.raises(ValueError, match=rf"strategy\.{axis}=2 cannot cut 0"):
                check_splits(model, axis, 2)
        else:
            check_splits(model, axis, 2)
