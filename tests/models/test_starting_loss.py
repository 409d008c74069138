"""Before training a model gives all words about the same chance, whether its embedding is its head or not."""

import math
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from triad.config.build import build
from triad.config.locations import CONF
from triad.layers.cross_entropy import cross_entropy_sum
from triad.optim.initialise import initialise

HEADS, EXPERTS = 8, 8
WIDTHS = {"bloom_7b1": 1024}  # that of its smallest size: narrower ones would hide too large an embedding
MODELS = sorted((CONF / "model").glob("*.yaml"))
CHOICES = [(path, tied) for path in MODELS if "\ntied:" in path.read_text() for tied in (False, True)]
CHOICES += [(path, None) for path in MODELS if "\ntied:" not in path.read_text()]


def shrunk(path: Path) -> dict:
    """A model in its own proportions, of width 128, at most 6 layers, 8 heads and 8 experts."""
    router = OmegaConf.load(CONF / "router" / "mixtral.yaml")
    config = OmegaConf.create({"context": 64, "router": router, "model": OmegaConf.load(path)})
    model, width = config.model, WIDTHS.get(path.stem, 128)
    factor = width / model.width
    model.width, model.depth = width, min(model.depth, 2 if path.stem in WIDTHS else 6)
    if "attention" in model:
        model.attention.heads = HEADS
        if model.attention.get("kv_heads"):
            model.attention.kv_heads = HEADS // 2
    parts = (model.get("pattern") or {}).get("parts", {}).values()
    for part in (model, *parts):
        feedforward = part.get("feedforward", {})
        if feedforward.get("hidden"):
            feedforward.hidden = round(feedforward.hidden * factor)
        if "experts" in feedforward:
            feedforward.experts = EXPERTS
            small = {"top_k": 2, "groups": 4, "top_groups": 2}
            feedforward.router = {k: small.get(k, v) for k, v in feedforward.router.items()}
    resolved = OmegaConf.to_container(config, resolve=True)["model"]
    return {key: value for key, value in resolved.items() if key != "defaults"}


@torch.no_grad()
@pytest.mark.parametrize(("path", "tied"), CHOICES, ids=lambda value: getattr(value, "stem", value))
def test_the_loss_starts_near_that_of_a_uniform_guess(path: Path, tied: bool | None) -> None:
    words = 257 if OmegaConf.load(path).width < 256 else 32_000  # small models may have a byte's vocabulary
    model = build(shrunk(path) | ({} if tied is None else {"tied": tied}))(vocab_size=words)
    initialise(model, 0)
    tokens_BT = torch.randint(words, (4, 65), generator=torch.Generator().manual_seed(0))
    given_BT, targets_BT = tokens_BT[:, :-1], tokens_BT[:, 1:]

    def loss(hidden: torch.Tensor, weight: torch.Tensor, bias_V: torch.Tensor | None = None, **_):
        return cross_entropy_sum(hidden, weight, targets_BT, bias_V=bias_V)

    rows = (given_BT.flip(0), given_BT) if model.sees == "source" else (given_BT,)
    nll = model.eval()(*rows, loss=loss)[0] / targets_BT.numel()
    assert nll < math.log(words) + 0.6  # logits of T5 and of Vaswani et al. are N(0, 1): half a nat
