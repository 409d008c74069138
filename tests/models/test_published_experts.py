"""Published mixtures of experts, small: what must hold of each, whatever its router and attention."""

from functools import reduce

import pytest
import torch

from tests.models.decoding import (
    a_cache_gives_the_logits_of_the_whole,
    changing_a_token_changes_no_logit_before_it,
    tokens,
)
from triad.config.build import build
from triad.config.compose import compose
from triad.layers.cross_entropy import cross_entropy_sum
from triad.layers.feedforward import SwiGLU
from triad.layers.latent_attention import LatentAttention
from triad.layers.moe import MixtureOfExperts
from triad.layers.routing import add_terms, auxiliary_loss
from triad.optim.initialise import initialise

SMALL = "context=16 model.width=32 model.depth=2 model.attention.heads=4 model.feedforward.hidden=24"
FEW = "model.feedforward.experts=8 model.feedforward.router.top_k=3 model.initial.std=0.1"
LEADING = "model.pattern.leading=[dense] model.pattern.parts.dense.feedforward.hidden=48"
LATENT = " ".join(
    f"model.attention.{word}"
    for word in ("query_rank=12", "key_value_rank=8", "content_size=8", "rotary_size=4", "value_size=6")
)
GROUPS = "model.feedforward.router.groups=4 model.feedforward.router.top_groups=2"

# our YAML: what makes it small beside the above
PUBLISHED = {
    "mixtral_8x7b": "model.attention.kv_heads=2",
    "dbrx": "model.attention.kv_heads=2",
    "olmoe_1b_7b": "",
    "qwen3_30b_a3b": "model.attention.kv_heads=2 model.attention.head_size=16",
    "deepseek_moe_16b": LEADING,
    "deepseek_v3": f"{LEADING} {LATENT} {GROUPS}",
}


@pytest.fixture(scope="module", params=PUBLISHED)
def factory(request: pytest.FixtureRequest):
    return made_small(request.param)


def made_small(name):
    words = f"model={name} {SMALL} {FEW} {PUBLISHED[name]}".split()
    return build(compose(words)["model"])


def small(factory):
    model = factory(vocab_size=17)
    initialise(model, 0)
    # biases that matter, or leaving them out would not be seen
    generator = torch.Generator().manual_seed(1)
    for buffer in model.buffers():
        buffer.copy_(torch.rand(buffer.shape, generator=generator) / 10)
    return model


def test_changing_a_token_changes_no_logit_before_it(factory):
    changing_a_token_changes_no_logit_before_it(small(factory))


@pytest.mark.parametrize("pieces", [[1] * 12, [5, 1, 4, 2]])
def test_a_cache_gives_the_logits_of_the_whole(factory, pieces):
    a_cache_gives_the_logits_of_the_whole(small(factory), pieces)


def test_one_batch_can_be_learned_by_heart_by_all_parameters(factory):
    model, x = small(factory), tokens(4, 13)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(50):
        loss, routings = model(
            x[:, :-1], loss=lambda hidden, weight, **_: cross_entropy_sum(hidden, weight, x[:, 1:])
        )
        auxiliary_B = auxiliary_loss(reduce(add_terms, (routing.terms_BA for routing in routings)))
        (loss / 48 + auxiliary_B.mean()).backward()
        assert [name for name, p in model.named_parameters() if p.grad is None] == []
        optimizer.step()
        optimizer.zero_grad()
    # the first tokens cannot be told apart by what comes before them
    assert loss.item() / 48 < 0.1


def test_a_model_made_on_the_meta_device_is_the_same_model(factory):
    with torch.device("meta"):
        hollow = factory(vocab_size=17)
        assert hollow(torch.zeros(2, 12, dtype=torch.long))[0].shape == (2, 12, 17)
    hollow.to_empty(device="cpu")
    initialise(hollow, 0)
    whole = factory(vocab_size=17)
    initialise(whole, 0)
    torch.testing.assert_close(hollow(tokens())[0], whole(tokens())[0], rtol=0, atol=0)


def test_deepseek_v3_leads_with_dense_layers_and_keeps_latents_in_all():
    model = small(made_small("deepseek_v3"))
    assert [type(block.feedforward) for block in model.blocks] == [SwiGLU, MixtureOfExperts]
    assert {type(block.attention) for block in model.blocks} == {LatentAttention}
    cache = model.empty_cache(2)
    assert len(model(tokens(), cache=cache)[1]) == 1
    assert [(c.k.shape[-1], c.v.shape[-1]) for c in cache] == [(8, 4)] * 2
