"""References in a run's config.yaml mean what they mean to OmegaConf; anything that computes is refused."""

import random
from typing import Any

import pytest
from omegaconf import OmegaConf

from triad.config.compose import compose, compose_written
from triad.config.errors import Refusal
from triad.config.references import escape, find_references, keep_references, resolve

TREE: dict[str, Any] = {
    "a": 3,
    "b": {"c": 1.5, "d": "${.c}", "e": {"f": "${..c}", "g": "${...a}", "h": "${a}"}},
    "list": [1, "${b.c}", {"x": "${a}"}],
    "node": "${b}",
    "through": "${node.e.f}",
    "first": "${list.0}",
    "text": "w${a}-${b.c}, \\${a}, \\\\${a}, ${b.none}",
    "plain": "back\\slash $ {a}",
}
TREE["b"]["none"] = None


def test_references_come_to_what_omegaconf_makes_of_them() -> None:
    assert resolve(TREE) == OmegaConf.to_container(OmegaConf.create(TREE), resolve=True)


def test_escaped_text_resolves_to_itself_here_and_in_omegaconf() -> None:
    chosen = random.Random(3)
    pieces = ("${", "${a}", "\\", "}", "{", "'", " ", "x", "$", "\n")
    for _ in range(300):
        text = "".join(chosen.choices(pieces, k=6))
        written = {"a": 1, "x": escape(text)}
        assert resolve(written)["x"] == OmegaConf.create(written).x == text


def test_a_whole_configuration_is_resolved_as_it_was_composed() -> None:
    words = ["model=moe", "debug=tiny", "trainer.max_steps=${steps_of:1_000}", "tags=['a ${seed}']"]
    config, (written, _) = compose(words), compose_written(words)
    kept = keep_references(written, config)
    resolved = resolve(kept)
    resolved.pop("router")
    assert resolved == config
    assert kept["model"]["feedforward"]["router"] == "${router}"
    assert kept["scheduler"]["steps"] == "${trainer.max_steps}"
    assert {"model.context", "scheduler.steps", "trainer.max_steps"} <= find_references(kept)


def test_a_reference_that_checks_have_converted_is_written_as_its_value() -> None:
    kept = keep_references({"a": 1, "b": "${a}", "c": "${a}"}, {"a": 1, "b": 1.0, "c": 1})
    assert kept == {"a": 1, "b": 1.0, "c": "${a}"}


@pytest.mark.parametrize(
    "text",
    [
        "${oc.env:HOME}",
        "${oc.decode:${a}}",
        "x ${hydra:runtime.cwd}",
        "${a[0]}",
        "${a",
        "${}",
    ],
)
def test_every_other_resolver_is_refused(text: str) -> None:
    with pytest.raises(Refusal, match="type the value"):
        resolve({"a": 1, "tags": [text]})


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"a": "${b}", "b": "${a}"}, "it refers to itself"),
        ({"a": {"b": "${a}"}}, "refers to itself"),
        ({"a": "${steps_of:x}"}, "a whole number of tokens"),
        ({"a": "${nowhere.x}"}, "nowhere.x does not exist"),
        ({f"a{n}": [f"${{a{n + 1}}}"] * 10 for n in range(9)} | {"a9": 1}, "without end"),
    ],
)
def test_references_without_end_are_refused(config: dict, sentence: str) -> None:
    with pytest.raises(Refusal, match=sentence):
        resolve(config)


def test_a_secret_of_the_environment_is_refused_on_the_command_line(monkeypatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    with pytest.raises(Refusal, match="type the value") as caught:
        compose(["logger.wandb.project=${oc.env:SECRET}"])
    assert "hunter2" not in str(caught.value)
