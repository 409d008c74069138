"""The contracts of CONTRIBUTING.md are those that the shipped parts keep."""

import re
import sys
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import REPOSITORY
from triad.callbacks.ema import Ema
from triad.checkpoints.trained import make_task
from triad.config.build import build, supply
from triad.config.compose import compose
from triad.config.offers import read_choices as choices
from triad.data.tokenizers.byte import Byte
from triad.data.tokenizers.char import Char
from triad.data.tokenizers.word import Word
from triad.layers.cross_entropy import cross_entropy_sum
from triad.tasks.module import directions

PAGE = (REPOSITORY / "CONTRIBUTING.md").read_text()
KINDS = (
    "Model",
    "Layer",
    "Decoding",
    "Router",
    "Task",
    "Metric",
    "Source",
    "Tokenizer",
    "Optimizer",
    "Schedule",
    "Strategy",
    "Callback",
)
SMALL = ("debug=tiny", "trainer.accelerator=cpu")


def contract(kind: str) -> list[str]:
    """The names above the line of a contract."""
    block = PAGE.partition(f"### {kind}:")[2].partition("\n### ")[0].partition("    ---")[0]
    lines = [line[4:].partition("  ")[0] for line in block.splitlines() if line.startswith("    ")]
    bare = [re.sub(r"\(.*|\s=.*", "", line) for line in lines]
    return [name.strip() for line in bare for name in line.split(",")]


def missing(part: object, *kinds: str) -> list[str]:
    """What a part does not have of its contract."""
    return [name for kind in kinds for name in contract(kind) if not hasattr(part, name)]


def model(*words: str) -> Any:
    return build(compose([*SMALL, *words])["model"])(vocab_size=20)


def test_every_kind_has_a_contract_of_about_ten_lines() -> None:
    for kind in KINDS:
        block = PAGE.partition(f"### {kind}:")[2].partition("\n### ")[0]
        assert 2 <= len([line for line in block.splitlines() if line.startswith("    ")]) <= 12, kind


WORDS = {
    "encoder": "task=masked_lm",
    "encoder_moe": "task=masked_lm model.pooler=null",
    "encoder_decoder": "task=copy",
}


@pytest.mark.parametrize("name", ["decoder", "moe", "lstm", "mlp", "hybrid", *WORDS])
def test_models_keep_their_contract(name: str) -> None:
    one = model(f"model={name}", *WORDS.get(name, "").split())
    assert not missing(one, "Model")
    tokens, given = torch.randint(20, (2, 8)), [torch.randint(20, (2, 5))] if one.sees == "source" else []
    logits, routings = one(*given, tokens)
    assert logits.shape == (2, 8, one.vocab_size)
    total, _ = one(
        *given, tokens, loss=lambda *args, **rest: cross_entropy_sum(*args, targets_BT=tokens, **rest)
    )
    assert total.ndim == 0
    for layer in one.modules():
        assert not missing(layer, "Layer")
    assert one.initial(role="matrix", part="inner", shape=(4, 4), depth=one.depth) >= 0
    assert all(routing.load_BE.ndim == 2 for routing in routings)


@pytest.mark.parametrize("name", choices("decoding"))
def test_decodings_keep_their_contract(name: str) -> None:
    one = build(choices("decoding")[name])
    assert len(missing(one, "Decoding")) == 1  # it chooses or searches


@pytest.mark.parametrize("name", choices("router"))
def test_routers_keep_their_contract(name: str) -> None:
    router = build(choices("router")[name])(16, 4)
    assert not missing(router, "Router")
    choice, routing = router(
        torch.randn(2, 6, 16), torch.randint(20, (2, 6)), torch.ones(2, 6, dtype=torch.bool)
    )
    assert routing().load_BE.shape == (2, 4)
    assert hasattr(choice, "dispatch")


@pytest.mark.parametrize("name", choices("task"))
def test_tasks_keep_their_contract(name: str) -> None:
    part = {"task": build(choices("task")[name]), "model": None}
    task = make_task(part, {"vocab_size": 20, "bytes_per_token": 1.0, "labels": ("0", "1")}, Byte(), 8)
    assert not missing(task, "Task")
    assert directions(task)["val/loss"] == "lower"


@pytest.mark.parametrize("name", choices("metrics"))
def test_metrics_keep_their_contract(name: str) -> None:
    for part in build(choices("metrics")[name]).values():
        metric = supply(part, {"labels": ("a", "b", "c")})
        assert not missing(metric, "Metric")
        named = {*getattr(metric, "higher_is_better", ()), *getattr(metric, "lower_is_better", ())}
        assert metric.compute(np.zeros(metric.size)).keys() == named


@pytest.mark.parametrize("name", choices("optimizer"))
def test_optimizers_keep_their_contract(name: str) -> None:
    node = compose([*SMALL, f"optimizer={name}"])["optimizer"]
    parameters = {"params": [torch.nn.Parameter(torch.ones(4, 4))], "roles": ["matrix"], "rate": 1.0}
    optimizer = build(node)([parameters])
    assert not missing(optimizer, "Optimizer")
    optimizer.param_groups[0]["params"][0].grad = torch.ones(4, 4)
    assert optimizer.step() is None


@pytest.mark.parametrize("name", choices("scheduler"))
def test_schedules_keep_their_contract(name: str) -> None:
    schedule = build(compose([*SMALL, f"scheduler={name}"])["scheduler"])
    assert 0 <= schedule(3) <= 1


@pytest.mark.parametrize("name", ["single", "ddp", "mesh"])
def test_strategies_keep_their_contract(name: str) -> None:
    node = compose([*SMALL, f"strategy={name}"])["strategy"]
    assert {*missing(type(build(node)), "Strategy")} <= {"pipeline"}  # of a mesh until it cuts a model


def test_sources_and_callbacks_keep_their_contract() -> None:
    for name in ("stdlib", "packages", "letters"):
        source = build(choices("data")[name])
        assert not missing(source, "Source"), name
    assert not missing(Ema, "Callback")


def test_tokenizers_keep_their_contract() -> None:
    for tokenizer in (Byte(), Char("ab"), Word(["a"], [], False)):
        assert not missing(tokenizer, "Tokenizer"), tokenizer.kind
        module = sys.modules[type(tokenizer).__module__]
        assert module.__name__.endswith(f".{tokenizer.kind}")
        loaded = module.load(REPOSITORY, **tokenizer.settings())
        assert loaded.fingerprint == tokenizer.fingerprint
