"""Every kind of decoder, small: what must hold of each, whatever its parts."""

import pytest
import torch

from tests.models.decoding import (
    a_cache_gives_the_logits_of_the_whole,
    changing_a_token_changes_no_logit_before_it,
    tokens,
)
from triad.config.build import build
from triad.config.compose import compose
from triad.layers.attention import Attention
from triad.layers.cross_entropy import cross_entropy_sum
from triad.layers.feedforward import GELU, SwiGLU
from triad.layers.mask import Window
from triad.layers.moe import MixtureOfExperts
from triad.models.count import count
from triad.models.pattern import Pattern
from triad.optim.initialise import initialise

NORM = {"_target_": "triad.layers.norm.RMSNorm", "_partial_": True, "eps": 1e-6}
LATENT = {
    "_target_": "triad.layers.latent_attention.LatentAttention",
    "_partial_": True,
    "heads": 4,
    "query_rank": 12,
    "key_value_rank": 8,
    "content_size": 8,
    "rotary_size": 4,
    "value_size": 6,
    "dropout": 0.0,
    "norm": NORM,
    "rotary": {"_target_": "triad.layers.position.Rotary", "_partial_": True, "base": 10000.0},
}
ALL_HEADS = {"_target_": "triad.layers.norm.AllHeadsRMSNorm", "_partial_": True, "heads": 4, "eps": 1e-5}
FEW = "model.attention.kv_heads=2 model.feedforward.hidden=48"

# name: our YAML, changes on the command line
KINDS = {
    "post-norm": ("gpt1", ""),
    "learned positions behind padding": ("opt_6_7b", ""),
    "parallel, partly rotated": ("pythia_70m", "model.attention.heads=2"),
    "alibi": ("bloom_7b1", ""),
    "window": ("mistral_7b", f"{FEW} model.attention.mask.size=5"),
    "wide heads, normalised": ("qwen3_8b", f"{FEW} model.attention.head_size=16"),
    "all heads normalised": ("llama_7b", "model.feedforward.hidden=48"),
    "lengthened": ("llama3_2_1b", f"{FEW} model.attention.rotary.original=64"),
    "latent": ("llama_7b", "model.feedforward.hidden=48"),
}


def configured(kind: str) -> dict:
    name, changes = KINDS[kind]
    words = ["context=16", "model.width=32", "model.depth=2", "model.attention.heads=4", *changes.split()]
    node = compose([f"model={name}", *words])["model"]
    if kind == "latent":
        node["attention"] = LATENT
    if kind == "all heads normalised":
        node["attention"]["query_key_norm"] = ALL_HEADS
    return node


@pytest.fixture(scope="module", params=KINDS)
def factory(request: pytest.FixtureRequest):
    return build(configured(request.param))


def small(factory):
    model = factory(vocab_size=17)
    initialise(model, 0)
    return model


def test_changing_a_token_changes_no_logit_before_it(factory):
    changing_a_token_changes_no_logit_before_it(small(factory))


@pytest.mark.parametrize("pieces", [[1] * 12, [5, 1, 4, 2]])
def test_a_cache_gives_the_logits_of_the_whole(factory, pieces):
    a_cache_gives_the_logits_of_the_whole(small(factory), pieces)


def test_one_batch_can_be_learned_by_heart(factory):
    model, x = small(factory), tokens(4, 13)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(80):
        loss, _ = model(
            x[:, :-1], loss=lambda hidden, weight, **_: cross_entropy_sum(hidden, weight, x[:, 1:])
        )
        (loss / 48).backward()
        optimizer.step()
        optimizer.zero_grad()
    # the first tokens cannot be told apart by what comes before them
    assert loss.item() / 48 < 0.2


def test_a_model_made_on_the_meta_device_is_the_same_model_and_all_of_it_learns(factory):
    with torch.device("meta"):
        hollow = small(factory)
        assert hollow(torch.zeros(2, 12, dtype=torch.long))[0].shape == (2, 12, 17)
    hollow.to_empty(device="cpu")
    initialise(hollow, 0)
    logits = hollow(tokens())[0]
    torch.testing.assert_close(logits, small(factory)(tokens())[0], rtol=0, atol=0)
    logits.square().sum().backward()
    assert [name for name, p in hollow.named_parameters() if p.grad is None] == []
    assert dict(hollow.named_buffers()) == {}


def test_bfloat16_autocast_is_near_fp32(factory):
    model = small(factory)
    exact = model(tokens())[0]
    with torch.autocast("cpu", torch.bfloat16):
        low = model(tokens())[0]
    assert (low - exact).norm() < 0.03 * exact.norm()


def test_a_post_norm_model_has_no_norm_behind_its_blocks():
    model = build(configured("post-norm"))(vocab_size=17)
    assert [name for name, _ in model.named_parameters() if name.startswith("norm")] == []


def test_a_pattern_leads_and_then_repeats():
    pattern = Pattern(["a", "b"], ["c", "a"], {"a": {"norm": "A"}, "b": {}, "c": {"norm": "C"}})
    assert [pattern(layer).get("norm") for layer in range(6)] == ["A", None, "C", "A", "C", "A"]


@pytest.mark.parametrize("repeated", [["dense"], []])
def test_a_kind_of_layer_that_nobody_describes_is_refused(repeated):
    with pytest.raises(ValueError, match=r"pattern\.leading=\['sparse'\]"):
        Pattern(["sparse"], repeated, {"sparse": {}})


def test_dense_layers_may_lead_before_experts():
    """The form of DeepSeek-V3: layers of its own kind first, then experts."""
    dense = {"_target_": "triad.layers.feedforward.SwiGLU", "_partial_": True, "hidden": 64, "bias": False}
    node = compose(
        ["model=moe", "context=16", "model.width=32", "model.feedforward.hidden=24", "model.depth=3"]
    )["model"]
    node["pattern"] = {
        "_target_": "triad.models.pattern.Pattern",
        "leading": ["dense"],
        "repeated": ["sparse"],
        "parts": {"dense": {"feedforward": dense | {"dropout": 0.0}}, "sparse": {}},
    }
    model = small(build(node))
    kinds = [type(block.feedforward) for block in model.blocks]
    assert kinds == [SwiGLU, MixtureOfExperts, MixtureOfExperts]
    assert len(model(tokens())[1]) == 2
    idle = 2 * 6 * 3 * 32 * 24  # two layers, 6 of 8 experts
    assert count(model).total - count(model).active == idle


def test_dense_and_banded_attention_may_alternate():
    """The form of GPT-3."""
    node = compose(
        ["model=gpt2", "context=16", "model.width=32", "model.depth=4", "model.attention.heads=4"]
    )["model"]
    window = {"_target_": "triad.layers.mask.Window", "_partial_": True, "size": 4}
    node["pattern"] = {
        "_target_": "triad.models.pattern.Pattern",
        "leading": [],
        "repeated": ["dense", "banded"],
        "parts": {"dense": {}, "banded": {"attention": node["attention"] | {"mask": window}}},
    }
    model = small(build(node))
    attentions = [block.attention for block in model.blocks]
    assert [isinstance(attention.mask, Window) for attention in attentions] == [False, True, False, True]
    assert all(type(attention) is Attention for attention in attentions)
    assert all(type(block.feedforward) is GELU for block in model.blocks)
    assert model(tokens())[0].isfinite().all()


class Forgetful(torch.nn.Module):
    """The mean of the tokens so far, of this call alone."""

    def __init__(self, width: int) -> None:
        super().__init__()

    def forward(self, x_BTD: torch.Tensor, cache: object = None) -> torch.Tensor:
        return x_BTD.cumsum(1) / torch.arange(1, x_BTD.shape[1] + 1)[:, None]


def test_a_layer_that_ignores_its_cache_decodes_no_text_and_is_named() -> None:
    model = build(configured("wide heads, normalised") | {"attention": Forgetful})(vocab_size=17)
    assert model(tokens())[0].shape == (2, 12, 17)
    with pytest.raises(ValueError, match=r"Forgetful ignores the cache .* run triad verify"):
        model(tokens(), cache=model.empty_cache(2))
