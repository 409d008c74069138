"""Each YAML file is a named call: it composes, and it binds to its Python signature."""

import ast
import importlib
import inspect
from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from triad.config import compose as composing
from triad.config import overrides
from triad.config.compose import top_level_keys
from triad.config.locations import CONF, TRAIN
from triad.config.offers import list_groups
from triad.config.schema import find_faults, read_signature

OF_PAPERS = {*(CONF / "experiment").glob("*/*.yaml")}  # tests/test_papers.py composes them
FILES = sorted({*CONF.rglob("*/*.yaml")} - OF_PAPERS)
GROUPS = sorted({path.parent.name for path in FILES} - {"callbacks", "experiment", "debug", "logger"})
ROUTERS = [path.stem for path in FILES if path.parent.name == "router"]  # of models that have experts
WITH_PATH = (
    *("html", "huggingface", "labelled", "text", "tokenized", "wikipedia"),
    *("choices", "dialogues", "labelled_pairs", "programs", "questions", "tags"),
)
EXTRA = {"speedrun_gpu": ["data.path=somewhere"]}
EXTRA |= {"data": {name: ["data.path=somewhere"] for name in WITH_PATH}}
EXTRA["data"] |= {name: ["data.source=somewhere"] for name in ("drafts", "parallel")}
EXTRA |= {"data/clean": {"parallel": ["data=parallel", "data.source=somewhere"]}}
EXTRA |= {"data/contamination": {"check": ["contamination.path=somewhere"]}}
EXTRA |= {"data/synthetic": {"back_translation": ["synthetic.run=some", "synthetic.path=somewhere"]}}
EXTRA |= {"tokenizer": {name: ["tokenizer.path=somewhere"] for name in ("huggingface", "saved")}}
EXTRA |= {name: ["model=moe"] for name in ROUTERS}


def composed(*overrides: str) -> dict:
    """The checked configuration, also of a choice that this machine could not run."""
    return deepcopy(_composed(overrides))


@cache
def _composed(overrides: tuple[str, ...]) -> dict:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("triad.config.compose.refusals", lambda *_: [])
        return composing.compose([*overrides])


def calls(node: object, path: str = ""):
    """Every named call in a composed configuration."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield path, node
        for key, value in node.items():
            yield from calls(value, f"{path}.{key}".strip("."))


def words(path: Path) -> list[str]:
    value = f"[default,{path.stem}]" if path.parent.name == "callbacks" else path.stem
    group = path.parent.relative_to(CONF).as_posix()
    return [f"{group}={value}", *EXTRA.get(group, EXTRA).get(path.stem, [])]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_yaml_composes_and_binds_to_its_signature(path: Path) -> None:
    config = composed(*words(path))
    assert set(config) <= top_level_keys().keys() | {*list_groups().values()}


def test_a_new_dial_is_an_argument_of_train_and_has_its_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "train.py"
    source = TRAIN.read_text()
    script.write_text(source.replace("    tags: list[str],\n", "    tags: list[str],\n    warmth: float,\n"))
    with pytest.raises(ValueError, match="warmth is not a key"):
        composing.compose(["+warmth=3"])
    monkeypatch.setattr(overrides, "TRAIN", script)
    assert composing.compose(["+warmth=3"])["warmth"] == 3.0
    with pytest.raises(ValueError, match="warmth=hot"):
        composing.compose(["+warmth=hot"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_first_line_of_every_yaml_says_what_it_is(path: Path) -> None:
    lines = path.read_text().splitlines()
    first = lines[1] if lines[0].startswith("# @package ") else lines[0]
    assert first.startswith("# ")
    assert len(first) > 10


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_signature_read_from_source_is_the_one_python_has(path: Path) -> None:
    for _, node in calls(composed(*words(path))):
        module, _, name = node["_target_"].rpartition(".")
        target = getattr(importlib.import_module(module), name)
        real = inspect.signature(target).parameters
        named = {n: p for n, p in real.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
        read = read_signature(node["_target_"])
        named = {{"from_": "from"}.get(n, n): p for n, p in named.items()}
        assert list(read.parameters) == list(named)
        assert read.open == any(p.kind == p.VAR_KEYWORD for p in real.values())
        assert {n: p.required for n, p in read.parameters.items()} == {
            n: p.default is p.empty for n, p in named.items()
        }


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_no_value_is_defaulted_both_in_yaml_and_in_python(path: Path) -> None:
    for where, node in calls(composed(*words(path))):
        if node["_target_"].startswith("triad."):
            parameters = read_signature(node["_target_"]).parameters
            twice = [key for key in node if key in parameters and not parameters[key].required]
            assert not twice, f"{where}: {twice} have a default in {node['_target_']} and in YAML"


def test_a_call_outside_the_allowed_packages_is_refused() -> None:
    targets = (
        "os.system builtins.eval torch.load triad.launch.supervisor.launch"
        " triad.runs.directory.subprocess.run triad.launch.command.compose_and_launch"
        " triad.storage.cache.os.system"
        " triad.hardware.execution.json.loads lightning.pytorch.callbacks.timer.os.system"
    )
    for target in targets.split():
        faults = list(find_faults({"model": {"_target_": target}}))
        assert len(faults) == 1, target
        assert "model._target_" in faults[0]


def test_a_missing_an_unknown_and_a_mistyped_argument_are_each_named() -> None:
    node = {
        "_target_": "triad.schedules.learning_rate.linear",
        "step": 0,
        "steps": 9,
        "warmpu": 1,
        "final": "low",
    }
    faults = " | ".join(find_faults({"scheduler": node}))
    assert "scheduler.warmpu is not an argument" in faults
    assert "did you mean warmup" in faults
    assert "scheduler.warmup is required" in faults
    assert "scheduler.final=low" in faults


def test_numbers_are_converted_as_the_signature_asks_and_truth_values_are_not_numbers() -> None:
    node = {"_target_": "lightning.pytorch.Trainer", "max_steps": 1e3, "max_epochs": True}
    assert [*find_faults({"trainer": node})] == ["trainer.max_epochs=True: is a truth value"]
    assert node["max_steps"] == 1000
    assert isinstance(node["max_steps"], int)


def test_targets_read_from_source_are_what_they_say() -> None:
    tree = ast.parse(Path(inspect.getfile(find_faults)).read_text())
    assert not [
        n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") in ("eval", "exec")
    ]


def test_the_resolved_configuration_is_plain_data() -> None:
    config = composed()
    assert OmegaConf.to_container(OmegaConf.create(config)) == config


def test_a_class_takes_the_arguments_of_a_base_that_it_imports() -> None:
    task = read_signature("triad.tasks.target_sentiment.TargetSentiment")
    assert task == read_signature("triad.tasks.classification.Classification")
    assert {"smoothing", "dropout", "labels"} <= task.parameters.keys()
    faults = [*find_faults({"metrics": {"_target_": "triad.metrics.f1.F1", "only": 3, "lables": ["a"]}})]
    assert [fault.partition(":")[0] for fault in faults][:1] == [
        "metrics.lables is not an argument of triad.metrics.f1.F1; did you mean labels?"
    ]
    assert faults[1].startswith("metrics.only=3: ")
    assert not read_signature("torch.nn.Tanh").open  # torch's Module takes anything
