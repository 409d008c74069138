"""A configuration reaches parts, and nothing beside them: every way in that was found is closed."""

import ast
import importlib
import inspect
import json
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.warm import REPOSITORY
from triad.config.build import build
from triad.config.compose import compose
from triad.config.errors import Refusal
from triad.config.schema import find_faults, read_signature
from triad.config.targets import COMPUTING, find_part, read_called

HARMLESS = {  # what folders that compute may import, beside torch and each other
    *("abc", "collections", "contextlib", "dataclasses", "fnmatch", "fractions", "functools", "hashlib"),
    *("itertools", "lightning", "math", "re", "torch", "triad", "typing"),
}
BYPASSES = {
    "torch.nn.attention._fa4._fa4_import_module": "private",
    "torch.nn.utils._deprecation_utils.lazy_deprecated_import": "private",
    "triad.data.cache._build": "private",
    "triad.callbacks.checkpoint._to_json": "private",
    "triad.layers.attention.__loader__.load_module": "private",
    "triad.callbacks.checkpoint.Saver": "only imported there, from triad.checkpoints.saving",
    "triad.callbacks.summary.Run": "only imported",
    "triad.callbacks.early_stopping.EarlyStopping.setup": "does not exist",
    "torch.nn.modules.rnn.Module": "only imported there, from torch.nn.modules.module",
    "torch.nn.modules.linear.Parameter": "only imported",
    "torch.optim.sgd.Optimizer": "only imported",
    "torch.nn.Parameter": "no part",
    "torch.nn.parallel.DistributedDataParallel": "no part",
    "torch.nn.utils.clip_grad_norm_": "no part",
    "torch.nn.functional.linear": "does not exist",
    "torch.nn.init.normal_": "no part",
    "torch.nn.modules.module.register_module_forward_hook": "no part",
    "torch.optim.adamw.adamw": "no part",
    "torch.optim.swa_utils.update_bn": "no part",
    "torch.serialization.load": "no part",
    "torch.hub.load": "no part",
    "torch": "another package",
    "lightning.pytorch.callbacks.ModelCheckpoint": "no part",
    "lightning.pytorch.callbacks.EarlyStopping": "no part",
    "lightning.pytorch.loggers.CSVLogger": "no part",
    "torchmetrics.Accuracy": "another package",
    "triad.storage.durable.write": "no part",
    "triad.checkpoints.saving.Saver": "no part",
    "triad.launch.supervisor.launch": "no part",
    "triad.runs.directory.Run": "no part",
    "triad.data.token_files.prepare_tokens": "no part",
    "triad.data.token_files.TokenFile": "no part",
    "triad.data.sources.reading.read_text": "no part",
    "triad.data.tokenizers.tokenizer.load_tokenizer": "no part",
    "triad.callbacks.ema.replace_weights": "no part",
    "triad.strategies.deepspeed.import_deepspeed": "no part",
    "triad.hardware.energy_meters.open_rapl": "no part",
    "triad.hardware.autotune.Measured": "no part",
    "triad.optim.refusals.facts": "no part",
    "triad.layers./etc/hostname.x": "does not exist",
    "triad.layers.../storage/durable.write": "does not exist",
    "triad.layers.attention.": "does not exist",
    "os.system": "another package",
    "": "another package",
}


def faults(**node: object) -> list[str]:
    return [*find_faults({"model": node})]


@pytest.mark.parametrize("target", BYPASSES)
def test_a_target_that_is_no_part_is_refused_by_the_allow_rule_in_one_sentence(target: str) -> None:
    (sentence,) = faults(_target_=target)
    assert sentence.startswith(f"model._target_: {target or '(nothing)'} ")
    assert BYPASSES[target] in sentence
    assert "\n" not in sentence
    with pytest.raises(Refusal):
        build({"_target_": target})


def test_nothing_but_parts_is_reachable_by_the_allow_rule_in_folders_that_reach_files() -> None:
    """Of all public names of our modules, those of one part a file, and those that conf/ calls."""
    reachable = {name for name in _public_names() if _is_reachable(name)}
    helpers = {name for name in reachable if not name.startswith(COMPUTING)} - read_called()
    one_part_a_file = {"tasks", "metrics", "strategies", "callbacks", "loggers", "data"}
    for name in helpers:
        *_, module, part = name.split(".")
        assert name.split(".")[1] in one_part_a_file
        assert module.replace("_", "") == part.lower()
    assert "triad.callbacks.stop.Stop" in helpers
    assert reachable >= {name for name in read_called() if name.startswith("triad.")}


def test_folders_of_which_the_allow_rule_takes_every_name_import_nothing_that_reaches_a_file() -> None:
    for folder in COMPUTING:
        for path in (REPOSITORY / "src" / folder.replace(".", "/")).rglob("*.py"):
            if path.name == "refusals.py":
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                assert {name.partition(".")[0] for name in names} <= HARMLESS, path
                ours = {name for name in names if name.startswith("triad.")}
                assert all(name.startswith(COMPUTING) for name in ours), path
                called = (
                    node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
                )
                assert called not in ("open", "eval", "exec", "__import__", "compile"), path


def test_the_allow_rule_takes_every_public_class_of_torch_by_its_usual_name_and_by_its_own() -> None:
    classes = [getattr(package, name) for package in (torch.nn, torch.optim) for name in dir(package)]
    classes = [
        cls
        for cls in classes
        if inspect.isclass(cls)
        and cls.__module__.startswith(("torch.nn.modules.", "torch.optim."))
        and not cls.__name__.startswith("_")
    ]
    assert len(classes) > 150
    for cls in classes:
        usual = "torch.optim" if issubclass(cls, torch.optim.Optimizer) else "torch.nn"
        assert find_part(f"{usual}.{cls.__name__}").node.name == cls.__name__
        own = f"{cls.__module__}.{cls.__name__}"
        if "._" not in own:
            assert find_part(own).module == cls.__module__
    assert read_signature("torch.nn.Linear").parameters["bias"].default == "True"
    assert isinstance(build({"_target_": "torch.nn.GELU", "approximate": "tanh"}), torch.nn.GELU)
    assert build({"_target_": "torch.optim.Muon", "_partial_": True}).func is torch.optim.Muon


def test_a_part_of_ours_that_no_file_of_conf_calls_passes_the_allow_rule() -> None:
    for target in ["layers.pooling.first", "layers.position.PartialRotary", "callbacks.pace.Pace"]:
        assert find_part(f"triad.{target}")


@pytest.mark.parametrize("given", [5, None, ["x"], {"a": 1}, True, 1.5])
def test_a_target_that_is_no_name_is_a_sentence_of_the_allow_rule(given: object) -> None:
    (sentence,) = faults(_target_=given)
    assert sentence.startswith(f"model._target_={json.dumps(given)}: the dotted name of a part")


@pytest.mark.parametrize("word", ["5", "null", "[x]"])
def test_a_typed_target_that_is_no_name_is_a_sentence_of_the_allow_rule(word: str) -> None:
    with pytest.raises(Refusal, match=r"_target_"):
        compose([f"model.norm._target_={word}"])


def test_what_is_no_truth_value_does_not_make_a_factory_and_the_allow_rule_says_so() -> None:
    with pytest.raises(Refusal, match=r"model\.norm\._partial_=\"maybe\": true or false"):
        compose(["model.norm._partial_=maybe"])


def test_a_key_that_is_no_word_and_hydra_s_own_keys_are_no_arguments_to_the_allow_rule() -> None:
    said = faults(_target_="torch.nn.GELU", **{"_args_": ["tanh"], "_recursive_": False})
    assert [sentence.partition(" of ")[0] for sentence in said] == [
        "model._args_ is not an argument",
        "model._recursive_ is not an argument",
    ]
    assert find_faults({"_target_": "torch.nn.Identity", 3: 4})
    assert [*find_faults({"m": {"_target_": "torch.nn.Identity", 3: 4}})] == [
        "m.3 is not an argument of torch.nn.Identity"
    ]


def test_a_dotted_name_among_the_arguments_is_data_to_the_allow_rule() -> None:
    assert build({"_target_": "torch.nn.Identity", "hook": "os.system"}) is not None
    assert build({"hook": "os.system"}) == {"hook": "os.system"}


def test_a_call_deep_within_lists_and_tables_meets_the_allow_rule() -> None:
    node = {"a": [{"b": [[{"_target_": "os.system", "command": "true"}]]}]}
    with pytest.raises(Refusal, match=r"a\[0\]\.b\[0\]\[0\]\._target_: os\.system is not allowed"):
        build(node)


def test_names_that_were_refused_by_the_allow_rule_are_not_imported() -> None:
    import sys

    before = {*sys.modules}
    for target in BYPASSES:
        faults(_target_=target)
    assert {*sys.modules} == before


def _public_names() -> Iterator[str]:
    package = importlib.import_module("triad")
    for module in pkgutil.walk_packages(package.__path__, "triad."):
        if not module.ispkg:
            path = REPOSITORY / "src" / Path(*module.name.split("."))
            for node in ast.parse(path.with_suffix(".py").read_text()).body:
                if isinstance(node, ast.ClassDef | ast.FunctionDef):
                    yield f"{module.name}.{node.name}"


def _is_reachable(name: str) -> bool:
    try:
        return bool(find_part(name))
    except LookupError:
        return False
