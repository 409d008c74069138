"""Padding behind the end of a row changes nothing for a model of the past, whatever its router."""

import pytest
import torch

from triad.config.build import build
from triad.config.compose import compose
from triad.layers.moe import MixtureOfExperts
from triad.models.classifier import Classifier
from triad.optim.initialise import initialise

LENGTHS = (12, 3, 1)
SMALL = "context=16 model.width=32 model.depth=2"
MODELS = {
    router: f"model=moe router={router} {SMALL}"
    for router in ("mixtral", "deepseek_moe", "switch", "gshard", "deepseek_v3", "hash")
} | {
    "decoder": f"model=decoder {SMALL}",
    "hybrid": f"model=hybrid {SMALL} model.depth=4",
    "lstm": "model=lstm context=16 model.width=32",
    "mlp": "model=mlp context=16 model.width=32",
}


def made(words: str):
    model = build(compose(words.split())["model"])(vocab_size=17, initial=lambda **_: 0.3)
    initialise(model, 0)
    return model.double().train()


def rows() -> torch.Tensor:
    tokens_BT = torch.randint(17, (3, 12), generator=torch.Generator().manual_seed(0))
    return tokens_BT.where(torch.arange(12) < torch.tensor(LENGTHS)[:, None], -1)


@pytest.mark.parametrize("name", MODELS)
def test_a_padded_row_is_the_row_without_its_padding(name: str) -> None:
    model, tokens_BT = made(MODELS[name]), rows()
    logits_BTV, routings = model(tokens_BT)
    layers = [layer for layer in model.modules() if isinstance(layer, MixtureOfExperts)]
    assert len(routings) == len(layers)
    for row, length in enumerate(LENGTHS):
        alone_1TV, expected = model(tokens_BT[row : row + 1, :length])
        torch.testing.assert_close(logits_BTV[row, :length], alone_1TV[0])
        for layer, found, wanted in zip(layers, routings, expected, strict=True):
            torch.testing.assert_close(found.terms_BA[row : row + 1], wanted.terms_BA)
            torch.testing.assert_close(found.statistics_BS[row : row + 1], wanted.statistics_BS)
            asked = found.load_BE[row].sum()
            assert length <= asked <= length * layer.router.top_k


def test_a_classifier_of_a_mixture_does_not_route_padding() -> None:
    model = Classifier(made(MODELS["switch"]), 3, None, 0.0)
    initialise(model.double(), 0)
    loads = torch.stack([routing.load_BE.sum(1) for routing in model(rows())[1]])
    assert loads.tolist() == [[float(length) for length in LENGTHS]] * 2
