"""Which parameters of a model are trained, and how fast each learns."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.warm import WarmProcess
from triad.checkpoints.folder import list_complete
from triad.checkpoints.tensors import read_weights
from triad.config.build import build
from triad.config.compose import compose
from triad.data.tokenizers.tokenizer import load_tokenizer
from triad.models.classifier import Classifier
from triad.optim.clip import Norm
from triad.optim.fine_tuning import FineTuning
from triad.optim.parametrisation import Standard
from triad.optim.regularizers import Unpenalized
from triad.optim.update import Update
from triad.runs.directory import Run
from triad.verify.runner import run_own

BASE = 1e-2


@cache
def make_factory(choice: str):
    task = TASKS.get(choice, "causal_lm")
    return build(compose([f"model={choice}", "debug=tiny", f"task={task}"])["model"])


TASKS = {"encoder": "masked_lm", "encoder_decoder": "copy"}


def make(choice: str, classes: int = 0) -> nn.Module:
    torch.manual_seed(0)
    model = make_factory(choice)(vocab_size=19)
    return Classifier(model, classes, None, 0.0) if classes else model


def groups(model: nn.Module, **changes) -> dict[str, tuple[float, float]]:
    """The learning rate and weight decay of each parameter that an optimizer would get."""
    chosen = {"freeze": [], "multipliers": [], "layer_decay": 1.0} | changes
    update = Update(Unpenalized(), Norm(None), Standard(), ["matrix"], FineTuning(**chosen))
    update.fit(model, lambda: None)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(parameter)]: (BASE * group["rate"], group["weight_decay"])
        for group in update.groups(model, 0.1)
        for parameter in group["params"]
    }


def test_rates_fall_by_layer_from_the_head_to_the_embedding() -> None:
    rates = groups(make("decoder", classes=3), layer_decay=0.5)  # of two blocks
    expected = {"body.embedding.weight": 1 / 8, "body.blocks.0.attention.q.weight": 1 / 4}
    expected |= {"body.blocks.1.feedforward.up.weight": 1 / 2, "body.norm.weight": 1, "head.weight": 1}
    assert {name: rates[name][0] / BASE for name in expected} == pytest.approx(expected)


def test_layers_are_those_of_each_stack_and_of_a_recurrent_model() -> None:
    rates = groups(make("encoder_decoder"), layer_decay=0.5)
    stacks = [
        (rates[f"{stack}.blocks.0.{part}"][0] / BASE, rates[f"{stack}.blocks.1.{part}"][0] / BASE)
        for stack, part in (("encoder", "attention.q.weight"), ("decoder", "attention.q.weight"))
        if f"{stack}.blocks.0.{part}" in rates
    ]
    assert stacks
    assert set(stacks) == {(1 / 4, 1 / 2)}
    rates = groups(make("lstm"), layer_decay=0.5)
    assert rates["recurrent.weight_hh_l0"][0] == pytest.approx(BASE / 4)
    assert rates["recurrent.weight_hh_l1"][0] == pytest.approx(BASE / 2)
    assert rates["embedding.weight"][0] == pytest.approx(BASE / 8)


def test_the_last_multiplier_that_names_a_parameter_counts_and_decay_stays_as_it_is() -> None:
    chosen = [("body", 0.1), ("blocks.1", 0.5), ("*.norm.*", 4.0), ("vector", 2.0), ("head", 10.0)]
    rates = groups(make("decoder", classes=3), multipliers=chosen)
    assert rates["body.blocks.0.attention.q.weight"] == pytest.approx((BASE * 0.1, 0.1))
    assert rates["body.blocks.1.attention.q.weight"] == pytest.approx((BASE * 0.5, 0.1))
    assert rates["body.norm.weight"] == pytest.approx((BASE * 2, 0.0))
    assert rates["head.weight"] == pytest.approx((BASE * 10, 0.0))


def test_steps_are_those_of_an_optimizer_to_which_each_parameter_was_given_by_hand() -> None:
    ours, theirs = make("decoder", classes=3), make("decoder", classes=3)
    tuning = FineTuning(["embedding", "blocks.0"], [("head", 10.0)], 1.0)
    update = Update(Unpenalized(), Norm(None), Standard(), ["matrix"], tuning)
    update.fit(ours, lambda: None)
    optimizer = torch.optim.SGD(update.groups(ours, 0.1), lr=BASE, momentum=0.9)
    for group in optimizer.param_groups:
        group["lr"] *= group["rate"]
    trained = {
        name: parameter
        for name, parameter in theirs.named_parameters()
        if not name.startswith(("body.embedding", "body.blocks.0."))
    }
    reference = torch.optim.SGD(
        [
            {
                "params": [parameter],
                "lr": BASE * (10 if name.startswith("head.") else 1),
                "weight_decay": 0.1 if parameter.ndim == 2 and not name.startswith("head.") else 0.0,
            }
            for name, parameter in trained.items()
        ],
        momentum=0.9,
    )
    tokens = torch.randint(19, (4, 9), generator=torch.Generator().manual_seed(1))
    for model, chosen in ((ours, optimizer), (theirs, reference)):
        for _ in range(3):
            chosen.zero_grad()
            model(tokens)[0].log_softmax(-1)[:, 0].sum().neg().backward()
            chosen.step()
    start = dict(make("decoder", classes=3).named_parameters())
    for (name, parameter), expected in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.equal(parameter, start[name]) == (name not in trained), name
        assert torch.allclose(
            parameter, expected if name in trained else start[name], rtol=1e-4, atol=1e-6
        ), name
    assert len(optimizer.state) == len(trained)  # frozen weights have no optimizer state


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"freeze": ["encoder"]},
            r"freeze: encoder names no parameter of this model; use a role",
        ),
        ({"multipliers": [("blocks.7", 2.0)]}, r"multipliers: blocks.7 names no .*\(blocks, embedding, .*\)"),
        ({"freeze": ["*"]}, "leaves nothing to train"),
    ],
)
def test_names_that_no_parameter_has_are_told_with_those_there_are(changes: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        groups(make("decoder"), **changes)


def test_what_is_frozen_keeps_its_weights_in_a_run_and_that_goes_on(
    train: Callable, text: Path, tmp_path: Path
) -> None:
    small = [f"data.path={text}", "data=text", "debug=tiny", "logger=csv"]
    train(*small, "run_id=base", "trainer.max_steps=2")
    words = [*small, "run_id=tuned", "weights=outputs/base", "finetuning.freeze=[embedding,blocks.0]"]
    done = train(*words, "trainer.max_steps=2")
    assert "loss" in done.stdout
    before, after = (
        read_weights(list_complete(Run(tmp_path / "outputs" / name).checkpoints)[-1])
        for name in ("base", "tuned")
    )
    for name, weight in before.items():
        kept = name.startswith(("embedding.", "blocks.0."))
        assert torch.equal(weight, after[name]) == kept, name
    train("resume=outputs/tuned", "trainer.max_steps=4")


SHARDED = {
    "tensor": ["strategy=tensor", "finetuning.freeze=[embedding,blocks.0]"],
    "fsdp": ["strategy=fsdp", "finetuning.freeze=[embedding,blocks.1]"],
    "pipeline": ["strategy=pipeline", "finetuning.freeze=[embedding,blocks.1]"],
    "expert": ["strategy=expert", "model=moe", "finetuning.freeze=[expert]"],
    "zero_2": ["strategy=deepspeed", "finetuning.freeze=[embedding,blocks.0]"],
    "zero_3": ["strategy=deepspeed", "strategy.stage=3", "finetuning.freeze=[embedding,blocks.0]"],
}


@pytest.mark.parametrize(
    "layout", [pytest.param(name, marks=[] if name == "tensor" else pytest.mark.slow) for name in SHARDED]
)
def test_a_layout_does_not_change_what_is_frozen(
    layout: str, warm: WarmProcess, tmp_path: Path, text: Path
) -> None:
    words = [*SHARDED[layout], "finetuning.multipliers=[[vector,0.5]]", "data=text", f"data.path={text}"]
    words += ["trainer.devices=2", "trainer.accelerator=cpu", "optimizer=sgd"]
    [result] = warm.call(run_own, words, tmp_path / "runs", "cpu")
    assert result.verdict == "equal", result


def test_weights_are_for_the_tokens_that_they_know(train: Callable, text: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("All other words, of which there are many more or less.\n" * 2000)
    small = ["data=text", "debug=tiny", "logger=csv", "trainer.max_steps=1", "tokenizer=bpe"]
    small += ["tokenizer.vocab_size=300", "tokenizer.hard_vocab_limit=false"]
    train(*small, f"data.path={text}", "run_id=base")
    size = load_tokenizer(tmp_path / "outputs" / "base" / "tokenizer").vocab_size
    small[-2:] = [f"tokenizer.vocab_size={size}"]
    words = [f"data.path={other}", "run_id=tuned", "weights=outputs/base"]
    refused = train(*small, *words, code=2)
    assert "another tokenizer" in refused.stderr
    remedy = re.search(r"use (tokenizer=saved) (tokenizer.path=\S+)", refused.stderr)
    assert remedy
    small = [word for word in small if not word.startswith("tokenizer")]
    train(*small, *words[:1], "run_id=again", words[2], *remedy.groups())
