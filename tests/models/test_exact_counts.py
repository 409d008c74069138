"""Published models have their published size, to the last parameter: on the meta device, in milliseconds."""

import json
from pathlib import Path

import pytest
import torch

from triad.config.build import build
from triad.config.compose import compose
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


# name: our YAML, vocabulary, all parameters, those that one token meets
SPARSE = {
    "mixtral-8x7b": ("mixtral_8x7b", 32000, 46_702_792_704, 12_879_925_248),
    "olmoe-1b-7b": ("olmoe_1b_7b", 50304, 6_919_161_856, 1_282_017_280),
    "dbrx": ("dbrx", 100352, 131_596_523_520, 36_469_708_800),
    "deepseek-moe-16b": ("deepseek_moe_16b", 102400, 16_375_728_128, 2_828_650_496),
    "qwen3-30b-a3b": ("qwen3_30b_a3b", 151936, 30_532_122_624, 3_353_032_704),
    "deepseek-v3": ("deepseek_v3", 129280, 671_026_404_352, 37_552_282_624),
}


@pytest.mark.parametrize("name", SPARSE)
def test_exact_counts_of_experts_in_all_and_in_use(name: str) -> None:
    file, vocab_size, *parameters = SPARSE[name]
    with torch.device("meta"):
        model = build(compose([f"model={file}"])["model"])(vocab_size=vocab_size)
    assert list(count(model)[:2]) == parameters


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
    listed = json.loads(SHARED.read_text())["moe_total_and_active"]
    assert {name: list(SPARSE[name][2:]) for name in SPARSE.keys() & listed.keys()} == {
        name: [row["total"], row["active_formula"]] for name, row in listed.items()
    }
