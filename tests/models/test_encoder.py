"""Encoders: what they see, what they do not, how large they are."""

import json
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from tests.conftest import REPOSITORY
from triad.config.build import build as built
from triad.layers.cross_entropy import cross_entropy_sum
from triad.layers.full_attention import PADDING
from triad.models.count import count
from triad.optim.initialise import initialise

CONF = REPOSITORY / "conf" / "model"
COUNTS = REPOSITORY.parent / "shared" / "papers" / "exact_param_counts.json"
POOLER = {"_target_": "triad.layers.bert_head.Pooler", "_partial_": True}
TRUNK = {"transform": None, "pooler": POOLER}
PAIRS = {"pooler": {"_target_": "triad.layers.bert_head.NextSentence", "_partial_": True}}
NAMES = ["encoder", "bert_base", "roberta_base"]
every_encoder = pytest.mark.parametrize("name", NAMES)


def build(name: str, vocab_size: int, context: int = 512, **changes):
    node = OmegaConf.create({"context": context, "model": OmegaConf.load(CONF / f"{name}.yaml")})
    for key, value in changes.items():
        OmegaConf.update(node, f"model.{key.replace('__', '.')}", value, merge=False)
    return built(OmegaConf.to_container(node.model, resolve=True))(vocab_size=vocab_size)


def small(name: str, **changes):
    changes = {"width": 32, "depth": 2, "dropout": 0.0, "attention__heads": 4} | changes
    model = build(name, 17, 16, attention__dropout=0.0, feedforward__dropout=0.0, **changes)
    initialise(model, 0)
    return model


def tokens(batch: int = 2, length: int = 12) -> torch.Tensor:
    return torch.randint(17, (batch, length), generator=torch.Generator().manual_seed(0))


@every_encoder
def test_every_token_changes_the_logits_before_and_behind_it(name: str) -> None:
    model, x = (
        small(
            name, initial={"_target_": "triad.layers.initialisation.glorot", "_partial_": True, "tied": None}
        ),
        tokens(),
    )
    changed = x.clone()
    changed[:, 6] = (x[:, 6] + 1) % 17
    apart = (model(x)[0] - model(changed)[0]).abs().amax(-1)
    assert (apart > 1e-4).all()


@every_encoder
def test_padding_changes_no_logit(name: str) -> None:
    model, x = small(name).double(), tokens()
    padded = torch.nn.functional.pad(x, (0, 4), value=PADDING)
    torch.testing.assert_close(model(padded)[0][:, :12], model(x)[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("router", ["switch", "gshard", "hash", "sinkhorn", "expert_choice", "base"])
def test_padding_changes_no_logit_of_an_encoder_with_experts_in_training(router: str) -> None:
    node = OmegaConf.to_container(OmegaConf.load(CONF.parent / "router" / f"{router}.yaml"))
    experts = {"_target_": "triad.layers.moe.MixtureOfExperts", "_partial_": True, "hidden": 8, "experts": 4}
    model = build(
        "encoder", 17, 40, width=32, feedforward=experts | {"shared": 0, "expert": None, "router": node}
    )
    initialise(model.double(), 0)
    x = torch.randint(3, (2, 12), generator=torch.Generator().manual_seed(0))  # few words: full experts
    padded = torch.nn.functional.pad(x, (0, 20), value=PADDING)
    (alone, routings), (found, others) = model.train()(x), model(padded)
    torch.testing.assert_close(found[:, :12], alone, rtol=1e-10, atol=1e-10)
    for one, other in zip(routings, others, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-10, atol=1e-10)
    if router == "switch":
        assert sum(routing.dropped_B.sum() for routing in routings) > 0, "nothing was dropped"


@every_encoder
def test_rows_of_padding_alone_spoil_no_gradient(name: str) -> None:
    model = small(name)
    x = torch.cat((tokens(1), torch.full((1, 12), PADDING)))
    targets = x.where(x >= 0, -100)
    model(x, loss=lambda h, w, vocabulary, **b: cross_entropy_sum(h, w, targets, **b))[0].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@every_encoder
def test_one_batch_of_hidden_words_can_be_learned_by_heart(name: str) -> None:
    model, x = small(name), tokens(4)
    hidden = torch.zeros_like(x, dtype=torch.bool)
    hidden[:, ::4] = True
    shown, targets = x.masked_fill(hidden, 16), x.where(hidden, -100)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(80):
        loss = model(shown, loss=lambda h, w, vocabulary, **b: cross_entropy_sum(h, w, targets, **b))[0] / 12
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss.item() < 0.1


@every_encoder
def test_the_loss_inside_is_the_loss_of_the_logits(name: str) -> None:
    model, x = small(name).double(), tokens()
    torch.nn.init.normal_(model.readout.bias)
    inside = model(x, loss=lambda h, w, vocabulary, **b: cross_entropy_sum(h, w, x, **b))[0]
    outside = torch.nn.functional.cross_entropy(model(x)[0].flatten(0, 1), x.flatten(), reduction="sum")
    torch.testing.assert_close(inside, outside)
    inside.backward()
    expected = torch.autograd.grad(outside, model.readout.bias)[0]
    torch.testing.assert_close(model.readout.bias.grad, expected)


def test_segments_tell_two_sentences_apart_and_the_first_is_the_default() -> None:
    model, x = small("bert_base"), tokens()
    plain = model(x)[0]
    torch.testing.assert_close(model(x, segments_BT=torch.zeros_like(x))[0], plain)
    assert not torch.allclose(model(x, segments_BT=torch.ones_like(x))[0], plain)


def test_a_pooler_gives_a_vector_for_each_sequence_and_its_absence_is_named() -> None:
    assert small("bert_base", **TRUNK).pool(tokens()).shape == (2, 32)
    with pytest.raises(ValueError, match="pooler=null"):
        small("bert_base").pool(tokens())


def test_more_tokens_than_the_context_are_refused() -> None:
    with pytest.raises(ValueError, match="17 tokens do not fit into context=16"):
        small("encoder")(tokens(1, 17))


def test_bfloat16_autocast_is_near_fp32() -> None:
    model = small("encoder")
    exact = model(tokens())[0]
    with torch.autocast("cpu", torch.bfloat16):
        low = model(tokens())[0]
    assert (low - exact).norm() < 0.03 * exact.norm()


LARGE = {"width": 1024, "depth": 24, "attention__heads": 16}
TINY = {"width": 128, "depth": 2, "attention__heads": 2}
PUBLISHED = {
    "bert-base-uncased BertModel": (109_482_240, "bert_base", 30522, TRUNK),
    "bert-base-uncased BertForPreTraining": (110_106_428, "bert_base", 30522, PAIRS),
    "bert-base-uncased BertForMaskedLM": (109_514_298, "bert_base", 30522, {}),
    "bert-large-uncased BertForMaskedLM": (335_174_458, "bert_base", 30522, LARGE),
    "bert-tiny BertModel": (4_385_920, "bert_base", 30522, TINY | TRUNK),
    "roberta-base": (124_697_433, "roberta_base", 50265, {}),
}


@pytest.mark.parametrize("published", PUBLISHED)
def test_exact_counts_of_encoders(published: str) -> None:
    size, name, words, changes = PUBLISHED[published]
    with torch.device("meta"):
        model = build(name, words, **changes)
    assert count(model).total == size


def test_exact_counts_of_encoders_are_those_on_record() -> None:
    if not Path(COUNTS).exists():
        pytest.skip("the papers' figures are not on this machine")
    known = json.loads(COUNTS.read_text())["counts"]
    for published in PUBLISHED.keys() & known.keys():
        assert known[published] == PUBLISHED[published][0]
    assert len(PUBLISHED.keys() & known.keys()) == 5
