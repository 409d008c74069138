"""What a parity of training runs cannot see of tensor parallelism."""

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.warm import WarmProcess
from triad.layers.attention import Attention
from triad.layers.feedforward import GELU
from triad.layers.latent_attention import LatentAttention
from triad.layers.norm import AllHeadsRMSNorm
from triad.strategies.tensor import check_divisible


def test_a_cut_model_holds_halves_sends_two_messages_a_block_and_gives_the_whole_models_logits(
    warm: WarmProcess,
) -> None:
    assert warm.launch([str(Path(__file__).parent / "sliced.py")], ranks=2) == 0


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (lambda: Attention(12, 3, None, None, False, 0.0, None, None, None, None), "heads=3"),
        (lambda: Attention(16, 4, 1, None, False, 0.0, None, None, None, None), "kv_heads=1"),
        (lambda: GELU(8, 9, True, 0.0, "none"), "hidden=9"),
        (lambda: AllHeadsRMSNorm(8, 4, 1e-5), "AllHeadsRMSNorm"),
        (lambda: LatentAttention(8, 3, None, 4, 4, 2, 4, 0.0, nn.RMSNorm, nn.Identity), "heads=3"),
        (lambda: nn.LSTM(4, 4), "LSTM"),
        (lambda: nn.Embedding(1, 4), "1 words"),
    ],
)
def test_what_cannot_be_cut_is_refused_by_name(layer, words: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=words):
        check_divisible(nn.ModuleDict({"layer": layer()}), 2)
