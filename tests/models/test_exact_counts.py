"""Published models have their published size, to the last parameter: on the meta device, in milliseconds."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch

from triad.door import build, compose
from triad.layers.attention import Attention
from triad.layers.latent_attention import LatentAttention
from triad.layers.norm import AllHeadsRMSNorm, RMSNorm
from triad.layers.position import Rotary
from triad.models.count import count

SHARED = Path(__file__).parents[3] / "shared" / "papers" / "exact_param_counts.json"

GPT2 = "model.width={} model.depth={} model.attention.heads={}"
SMALL_QWEN = (
    "model.width=1024 model.depth=28 model.attention.heads=16 model.feedforward.hidden=3072 model.tied=true"
)
SMALL_OPT = "model.width=768 model.depth=12 model.attention.heads=12"
SMALL_BLOOM = "model.width=1024 model.depth=24 model.attention.heads=16"

# name in the list of counts: our YAML, vocabulary, context, changes, parameters
PUBLISHED = {
    "openai-gpt(GPT-1)": ("gpt1", 40478, 512, "", 116_534_784),
    "gpt2": ("gpt2", 50257, 1024, "", 124_439_808),
    "gpt2-medium": ("gpt2", 50257, 1024, GPT2.format(1024, 24, 16), 354_823_168),
    "gpt2-large": ("gpt2", 50257, 1024, GPT2.format(1280, 36, 20), 774_030_080),
    "gpt2-xl": ("gpt2", 50257, 1024, GPT2.format(1600, 48, 25), 1_557_611_200),
    "gpt3": ("gpt3", 50257, 2048, "", 174_604_259_328),
    "opt-125m": ("opt_6_7b", 50272, 2048, SMALL_OPT, 125_239_296),
    "opt-6.7b": ("opt_6_7b", 50272, 2048, "", 6_658_473_984),
    "pythia-70m": ("pythia_70m", 50304, 2048, "", 70_426_624),
    "bloom-560m": ("bloom_7b1", 250880, 2048, SMALL_BLOOM, 559_214_592),
    "bloom-7b1": ("bloom_7b1", 250880, 2048, "", 7_069_016_064),
    "llama-7b": ("llama_7b", 32000, 2048, "", 6_738_415_616),
    "llama2-70b": ("llama2_70b", 32000, 4096, "", 68_976_648_192),
    "llama3-8b": ("llama3_8b", 128256, 8192, "", 8_030_261_248),
    "llama3.2-1b": ("llama3_2_1b", 128256, 8192, "", 1_235_814_400),
    "mistral-7b": ("mistral_7b", 32000, 8192, "", 7_241_732_096),
    "qwen3-8b": ("qwen3_8b", 151936, 8192, "", 8_190_735_360),
    "qwen3-0.6b": ("qwen3_8b", 151936, 8192, SMALL_QWEN, 596_049_920),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_exact_counts_of_decoders(name: str) -> None:
    file, vocab_size, context, changes, parameters = PUBLISHED[name]
    with torch.device("meta"):
        model = build(compose([f"model={file}", f"context={context}", *changes.split()])["model"])(
            vocab_size=vocab_size
        )
    assert count(model)[:2] == (parameters, parameters)


def test_exact_counts_are_those_of_the_published_list() -> None:
    if not SHARED.exists():
        pytest.skip("the list of published counts is not on this machine")
    listed = json.loads(SHARED.read_text())["counts"]
    common = PUBLISHED.keys() & listed.keys()
    assert {name: PUBLISHED[name][-1] for name in common} == {name: listed[name] for name in common}
    assert len(common) == 11


def test_exact_counts_of_attention_are_known_for_experts_that_share_it() -> None:
    """OLMoE's normalises all heads together, DBRX's has 8 key-value heads, DeepSeek-V3's keeps latents."""

    def normalised(head_size: int) -> AllHeadsRMSNorm:
        return AllHeadsRMSNorm(head_size, 16, 1e-5)

    with torch.device("meta"):
        olmoe = Attention(2048, 16, None, None, False, 0.0, None, None, normalised)
        dbrx = Attention(6144, 48, 8, None, False, 0.0, None, None, None)
        sizes = {"key_value_rank": 512, "content_size": 128, "rotary_size": 64, "value_size": 128}
        norm, rotary = partial(RMSNorm, eps=1e-6), partial(Rotary, base=1e4)
        deepseek = LatentAttention(7168, 128, 1536, **sizes, dropout=0.0, norm=norm, rotary=rotary)
    size = lambda layer: sum(p.numel() for p in layer.parameters())  # noqa: E731
    assert size(olmoe) == 4 * 2048**2 + 2 * 2048
    assert size(dbrx) == 2 * 6144**2 + 2 * 6144 * 8 * 128
    experts = 16 * (64 * 3 * 2048 * 1024 + 64 * 2048)
    assert 16 * size(olmoe) + experts + 2 * 50304 * 2048 + (2 * 16 + 1) * 2048 == 6_919_161_856
    experts = 40 * (16 * 3 * 6144 * 10752 + 16 * 6144)
    assert 40 * size(dbrx) + experts + 2 * 100352 * 6144 + (2 * 40 + 1) * 6144 == 131_596_523_520
    experts = 58 * (257 * 3 * 7168 * 2048 + 256 * 7168) + 3 * 3 * 7168 * 18432
    assert 61 * size(deepseek) + experts + 2 * 129280 * 7168 + (2 * 61 + 1) * 7168 == 671_026_404_352
