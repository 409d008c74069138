"""Experiments of papers at full size: parameters to the last digit, batches, rates and lengths."""

import math
from functools import cache

import pytest
import torch

from triad.config.build import build
from triad.config.compose import compose
from triad.config.locations import CONF
from triad.models.count import count

PUBLISHED = sorted(
    path.relative_to(CONF / "experiment").with_suffix("").as_posix()
    for path in (CONF / "experiment").glob("*/*.yaml")
)
PARAMETERS = {
    "gpt1/pretraining": 116_534_784,
    "gpt2/small": 124_439_808,
    "gpt2/medium": 354_823_168,
    "gpt2/large": 774_030_080,
    "gpt2/xl": 1_557_611_200,
    "llama1/7b": 6_738_415_616,
    "llama1/13b": 13_015_864_320,
    "llama1/33b": 32_528_943_616,
    "llama1/65b": 65_285_660_672,
    "llama2/7b": 6_738_415_616,
    "llama2/13b": 13_015_864_320,
    "llama2/70b": 68_976_648_192,
    "llama3/8b": 8_030_261_248,
    "llama3/70b": 70_553_706_496,
    "llama3/405b": 405_853_388_800,
    "mixtral/8x7b": 46_702_792_704,
    "deepseek_moe/16b": 16_375_728_128,
    "deepseek_v3/671b": 671_026_404_352,
}
# width, depth and the millions of parameters of GPT-3's tables 2.1 and D.1
GPT3 = {
    "small": (768, 12, 125),
    "medium": (1024, 24, 356),
    "large": (1536, 24, 760),
    "xl": (2048, 24, 1320),
    "2_7b": (2560, 32, 2650),
    "6_7b": (4096, 32, 6660),
    "13b": (5120, 40, 12850),
    "175b": (12288, 96, 174600),
}
# layers, width and billions of parameters of table 1 of Narayanan et al. 2021
MEGATRON = {
    "1_7b": (24, 2304, 1.7),
    "3_6b": (30, 3072, 3.6),
    "7_5b": (36, 4096, 7.5),
    "18b": (40, 6144, 18.4),
    "39b": (48, 8192, 39.1),
    "76b": (60, 10240, 76.1),
    "145b": (80, 12288, 145.6),
    "310b": (96, 16384, 310.1),
    "530b": (105, 20480, 529.6),
    "1t": (128, 25600, 1008.0),
}
# millions of parameters by table 3 of Vaswani et al. 2017, which has 65 for `base`: no vocabulary gives that
VASWANI = {"depth_2": 36, "depth_4": 50, "depth_8": 80, "hidden_1024": 53, "hidden_4096": 90}
VASWANI |= {"key_size_16": 58, "key_size_32": 60}


@cache
def compose_published(name: str) -> dict:
    return compose([f"experiment={name}", "logger=csv", "strategy=single"])


def count_parameters(name: str, vocab_size: int | None = None) -> int:
    config = compose_published(name)
    with torch.device("meta"):
        model = build(config["model"])(vocab_size=vocab_size or config["tokenizer"]["vocab_size"])
    return count(model)[0]


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_one_composes_and_says_what_it_is(name: str) -> None:
    assert compose_published(name)["model"]
    head = (CONF / "experiment" / f"{name}.yaml").read_text().partition("\n\n")[0].splitlines()
    assert head[0] == "# @package _global_"
    assert f"experiment={name}" in "".join(line for line in head if line.startswith("# command"))


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_the_published_ones(name: str) -> None:
    assert count_parameters(name) == PARAMETERS[name]


@pytest.mark.parametrize(
    ("name", "rows", "parameters"),
    [
        ("small", 32128, 60_506_624),
        ("base", 32128, 222_903_552),
        ("large", 32128, 737_668_096),
        ("3b", 32128, 2_851_598_336),
        ("11b", 32128, 11_307_321_344),
    ],
)
def test_t5_has_the_rows_of_its_padded_vocabulary(name: str, rows: int, parameters: int) -> None:
    config = compose_published(f"t5/{name}")
    words = config["tokenizer"]["vocab_size"] + 1 + config["task"]["sentinels"]
    unit = config["pad_vocab_to_multiple_of"]
    assert math.ceil(words / unit) * unit == rows
    assert count_parameters(f"t5/{name}", rows) == parameters


@pytest.mark.parametrize("name", GPT3)
def test_gpt3_has_the_parameters_of_its_tables(name: str) -> None:
    width, depth, millions = GPT3[name]
    exact = 12 * depth * width**2 + 13 * depth * width + (50257 + 2048) * width + 2 * width
    assert count_parameters(f"gpt3/{name}") == exact
    assert exact / 1e6 == pytest.approx(millions, rel=4e-3)


@pytest.mark.parametrize("name", GPT3)
def test_gpt3_reads_300_billion_tokens_at_the_rates_of_the_paper(name: str) -> None:
    config = compose_published(f"gpt3/{name}")
    rows, schedule = build(config["batch"]), config["scheduler"]
    assert rows(config["trainer"]["max_steps"]) * 2048 == pytest.approx(300e9, rel=1e-4)
    assert rows(schedule["warmup"]) * 2048 == pytest.approx(375e6, rel=1e-3)
    assert rows(schedule["steps"]) * 2048 == pytest.approx(260e9, rel=1e-4)
    rate = build(schedule)
    assert rate(schedule["warmup"] - 1) == 1
    assert rate(schedule["steps"]) == pytest.approx(0.1) == rate(config["trainer"]["max_steps"])


@pytest.mark.parametrize("name", MEGATRON)
def test_megatron_has_the_parameters_of_its_formula(name: str) -> None:
    layers, width, billions = MEGATRON[name]
    found = count_parameters(f"megatron2021/{name}")
    formula = 12 * layers * width**2 * (1 + 13 / (12 * width) + (51200 + 2048) / (12 * layers * width))
    assert found == round(formula) + 2 * width  # which leaves out the last norm
    assert round(found / 1e9, 1) == billions


def test_the_transformer_differs_between_rows_as_in_table_3() -> None:
    base = count_parameters("vaswani2017/base")
    for name, millions in VASWANI.items():
        assert (count_parameters(f"vaswani2017/{name}") - base) / 1e6 == pytest.approx(millions - 65, abs=0.8)


@pytest.mark.parametrize(("name", "width"), [("base", 512), ("big", 1024), ("width_256", 256)])
def test_the_transformers_rate_is_that_of_its_formula(name: str, width: int) -> None:
    config = compose_published(f"vaswani2017/{name}")
    rate = build(config["scheduler"])
    for step in (1, 1000, 4000, 50_000):
        formula = width**-0.5 * min(step**-0.5, step * 4000**-1.5)
        assert config["optimizer"]["lr"] * rate(step - 1) == pytest.approx(formula, rel=1e-6)


def test_llama3_has_read_as_much_as_told_when_its_batch_grows() -> None:
    config = compose_published("llama3/405b")
    rows = build(config["batch"])
    assert [begin * 8192 for begin, _ in rows.stages] == pytest.approx([0, 252e6, 2.87e12], rel=1e-4)
    assert [size * 8192 / 2**20 for size in rows.sizes] == [4, 8, 16]
    assert rows(config["trainer"]["max_steps"]) * 8192 == pytest.approx(15.6e12, rel=1e-2)


def test_another_optimizer_takes_nothing_of_what_a_paper_sets_for_its_own() -> None:
    found = compose(["experiment=gpt3/small", "optimizer=sgd", "logger=csv"])["optimizer"]
    assert found == compose(["optimizer=sgd", "logger=csv"])["optimizer"]


def test_switch_c_has_the_1571_billion_parameters_of_table_9() -> None:
    assert count_parameters("switch2021/c", 32128) / 1e9 == pytest.approx(1571, abs=0.5)


@pytest.mark.parametrize(("name", "trillions"), [("chinchilla", 1.4), ("gopher", 0.3)])
def test_chinchilla_and_gopher_read_as_much_as_told(name: str, trillions: float) -> None:
    config = compose_published(f"chinchilla2022/{name}")
    assert build(config["batch"])(config["trainer"]["max_steps"]) * 2048 == pytest.approx(
        trillions * 1e12, rel=2e-3
    )


def test_deepseek_v3_changes_its_rate_after_as_many_tokens_as_told() -> None:
    config = compose_published("deepseek_v3/671b")
    rows, rate = build(config["batch"]), build(config["scheduler"])
    steps = config["trainer"]["max_steps"]
    assert rows(steps) * 4096 == pytest.approx(14.8e12, rel=1e-4)
    falls = next(step for step in range(2000, steps) if rate(step) < 1)
    assert rows(falls) * 4096 == pytest.approx(10e12, rel=1e-3)
    assert rate(config["scheduler"]["steps"]) == pytest.approx(0.1)
