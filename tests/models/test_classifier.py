"""Classifiers: any family for a body, one vector a row, and padding that nothing sees."""

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tests.conftest import REPOSITORY
from triad.config.build import build as built
from triad.layers.pooling import first, last, mean
from triad.models.classifier import Classifier
from triad.models.count import count
from triad.optim.initialise import initialise
from triad.optim.roles import roles

WORDS, LABELS = 17, 5
POOLER = {"_target_": "triad.layers.bert_head.Pooler", "_partial_": True}
NORMAL = {"_target_": "triad.layers.initialisation.plain_normal", "_partial_": True, "std": 0.2}
BODIES = {
    "lstm": {},
    "decoder": {"attention.heads": 4},
    "gpt2": {"attention.heads": 4},
    "moe": {"attention.heads": 4, "feedforward.hidden": 48},
    "hybrid": {"depth": 3, "attention.heads": 4},
    "encoder": {"attention.heads": 4},
    "encoder, pooler": {"attention.heads": 4, "pooler": POOLER},
}
every_body = pytest.mark.parametrize("name", BODIES)


def build(name: str, pool=None, dropout: float = 0.0, **changes) -> Classifier:
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        config = compose("train", [f"model={name.partition(',')[0]}", "context=16"])
    for key, value in ({"width": 32, "depth": 2, "initial": NORMAL} | BODIES[name] | changes).items():
        OmegaConf.update(config.model, key, value, merge=False)
    made = built(OmegaConf.to_container(config, resolve=True)["model"])  # type: ignore[index]
    return Classifier(made(vocab_size=WORDS), LABELS, pool, dropout)


def small(name: str, pool=None) -> Classifier:
    """One of which nothing starts at zero, or a test of logits would have no power."""
    model = build(name, pool)
    initialise(model, 0)
    return model.double().eval()


def rows(*lengths: int) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return [torch.randint(WORDS, (length,), generator=draw) for length in lengths]


def padded(parts: list[torch.Tensor], width: int) -> torch.Tensor:
    return torch.stack([torch.nn.functional.pad(row, (0, width - len(row)), value=-1) for row in parts])


@pytest.mark.parametrize("pool", [None, last, first, mean])
@every_body
def test_padding_changes_no_logit(name: str, pool) -> None:
    model, parts = small(name, None if "pooler" in name else pool), rows(7, 1, 12, 4)
    alone = torch.cat([model(row[None])[0] for row in parts])
    for width in (12, 16):
        torch.testing.assert_close(model(padded(parts, width))[0], alone, rtol=1e-9, atol=1e-12)
    assert (alone[0] - alone[2]).abs().max() > 1e-3  # it tells rows apart


@every_body
def test_the_logits_are_of_one_vector_made_of_the_body_s_hidden_states(name: str) -> None:
    model, (row,) = small(name), rows(9)
    h = model.body(row[None])[0][0]
    if "pooler" in name:
        dense = model.body.pooler.dense
        vector = (dense.weight @ h[0] + dense.bias).tanh()
    else:
        vector = sum(h) / 9 if name == "encoder" else h[8]
    expected = model.head.weight @ vector + model.head.bias
    torch.testing.assert_close(model(row[None])[0][0], expected, rtol=1e-9, atol=1e-12)


def test_each_pooling_sees_real_states_only() -> None:
    hidden = torch.arange(24.0).reshape(2, 4, 3)
    real = torch.tensor([[True, True, True, False], [False] * 4])
    assert last(hidden, real)[0].tolist() == [6, 7, 8]
    assert first(hidden, real)[0].tolist() == [0, 1, 2]
    assert mean(hidden, real).tolist() == [[3, 4, 5], [0, 0, 0]]


@every_body
def test_every_parameter_of_a_classifier_learns(name: str) -> None:
    model = small(name).train()
    result, routings = model(
        padded(rows(7, 3), 8), lambda pooled, weight, bias_V: pooled @ weight.mT + bias_V
    )
    (result.square().sum() + sum(r.auxiliary_B.sum() for r in routings)).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    assert result.shape == (2, LABELS)
    kinds = roles(model)
    assert (kinds["head.weight"], kinds["body.embedding.weight"]) == ("head", "embedding")


@every_body
def test_a_classifier_made_without_storage_is_the_same_and_is_counted(name: str) -> None:
    with torch.device("meta"):
        hollow = build(name)
    assert count(hollow).total == sum(p.numel() for p in small(name).parameters())
    hollow.to_empty(device="cpu")
    initialise(hollow, 0)
    x = padded(rows(5, 3), 6)
    torch.testing.assert_close(hollow.double().eval()(x)[0], small(name)(x)[0], rtol=0, atol=0)


@pytest.mark.parametrize("name", ["lstm", "decoder", "encoder"])
def test_a_planted_rule_is_learned_and_holds_for_rows_never_seen(name: str) -> None:
    """The label is whether a row has the word 3."""
    model = build(name, width=16, depth=1)
    initialise(model, 0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    draw = torch.Generator().manual_seed(1)

    def batch() -> tuple[torch.Tensor, torch.Tensor]:
        tokens = torch.randint(WORDS, (128, 8), generator=draw)
        lengths = torch.randint(3, 9, (128, 1), generator=draw)
        tokens = tokens.where(torch.arange(8) < lengths, -1)
        return tokens, (tokens == 3).any(-1).long()

    for _ in range(120):
        tokens, labels = batch()
        torch.nn.functional.cross_entropy(model(tokens)[0], labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    tokens, labels = batch()
    assert 20 < labels.sum() < 108
    assert (model.eval()(tokens)[0].argmax(-1) == labels).all()
