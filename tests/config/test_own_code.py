"""One's own package is called where this start permits it, and nothing else permits it."""

import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_new_parts import PARTS, PLACES
from tests.warm import REPOSITORY
from triad.config import own_code
from triad.config.build import build
from triad.config.changes import change
from triad.config.compose import compose, validate
from triad.config.errors import Refusal, is_sentence
from triad.config.locations import own_packages
from triad.config.offers import get_declared
from triad.config.own_code import permitting, repeat_words
from triad.config.schema import read_signature
from triad.data.preparation import make_preparation
from triad.runs.directory import Run
from triad.runs.passport import Passport, same_code
from triad.sweep.sweep_file import read_sweep
from triad.sweep.trial_command import check_macros

PAGE = (REPOSITORY / "docs" / "own_code.md").read_text()
SMALL = ("debug=tiny", "trainer.accelerator=cpu")
NAMES = {  # that are no package of one's own, and what the sentence says
    "os": "of Python itself",
    "builtins": "of Python itself",
    "triad": "this program",
    "torch": "a library that Triad uses",
    "yaml": "a library that Triad uses",
    "../x": "without dots or a path",
    "mypkg.parts": "without dots or a path",
    "_private": "without dots or a path",
    "": "without dots or a path",
    "[mypkg],[os]": "without dots or a path",
    "lighthouse,os": "os is of Python itself",
    "absent": "neither the current folder nor what is installed",
    "lighthous": "did you mean lighthouse?",
    "triad.layers": "without dots or a path",
}
LIGHTHOUSE = """
from triad.layers.feedforward import GELU
from triad.layers.ranges import PositiveInt


class Wide(GELU):
    needs = {"model.sees": ("past",)}

    def __init__(self, width: PositiveInt, ratio: PositiveInt = 2):
        if ratio == 13:
            raise ValueError("ratio=13 brings bad luck; use 12")
        super().__init__(width, ratio * width, False, 0.0, "none")


class Pair:
    splits, sees = ("tensor",), "past"
    averages = adaptive = True


def system(command):
    raise AssertionError("called")
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a package `lighthouse` and configurations, in which a start is made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place not in ("", str(tmp_path))])
    package = tmp_path / "lighthouse"
    package.mkdir()
    (package / "__init__.py").write_text("from os import system as run\nfrom lighthouse.parts import Wide\n")
    (package / "parts.py").write_text(LIGHTHOUSE)
    (package / "fails.py").write_text("import absent_library\n\n\ndef part():\n    return 1\n")
    (package / "broken.py").write_text("class Part(:\n")
    for group in ("model", "experiment", "optimizer"):
        (tmp_path / "conf" / group).mkdir(parents=True)
    target = "feedforward:\n  _target_: lighthouse.Wide\n  _partial_: true\n"
    (tmp_path / "conf" / "model" / "wide.yaml").write_text(f"# wide\ndefaults: [decoder, _self_]\n{target}")
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "lighthouse"]:
        del sys.modules[name]
    own_code._find_installed.cache_clear()


OWN = ("--config-dir", "conf", "packages=[lighthouse]")


def refused(*words: str) -> str:
    with pytest.raises(Refusal) as error:
        compose([*words, *SMALL])
    return str(error.value)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_no_package_of_ones_own_is_refused_in_one_sentence(lab: Path, name: str) -> None:
    sentence = refused(f"packages={name}" if name.startswith("[") else f"packages=[{name}]")
    assert NAMES[name] in sentence
    assert sentence.startswith("packages=[")
    assert not own_packages


def test_a_part_of_ones_own_is_checked_and_built_like_ours_by_this_start_alone(lab: Path) -> None:
    config = compose([*OWN, "model=wide", "model.feedforward.ratio=3", *SMALL])
    node = config["model"]["feedforward"]
    assert "lighthouse" not in sys.modules  # read from source
    assert refused(*OWN, "model=wide", "model.feedforward.ratio=0").endswith("ratio=0: must be at least 1")
    assert "did you mean model.feedforward.ratio" in refused(*OWN, "model=wide", "model.feedforward.ratoi=3")
    word = "add packages=[lighthouse] if that code is yours or you trust it"
    assert word in refused("--config-dir", "conf", "model=wide")
    assert word in refused("--config-dir", "conf", "model=wide", "model.feedforward.ratio=3")
    with pytest.raises(Refusal, match=re.escape(word)):
        build(node)
    with permitting(["packages=lighthouse"]) as words:
        assert words == []
        assert repeat_words() == ["packages=[lighthouse]"]
        assert get_declared(node, "splits") == ("tensor", "context", "pipeline", "expert", "documents")
        pair = [get_declared({"_target_": "lighthouse.parts.Pair"}, name) for name in ("sees", "averages")]
        assert pair == ["past", True]
        assert get_declared(node, "needs") == {"model.sees": ("past",)}
        assert build(node)(8).up.out_features == 24
    with pytest.raises(LookupError, match="another package"):
        read_signature("lighthouse.Wide")
    assert repeat_words() == []


def test_what_a_part_of_ones_own_needs_and_raises_is_told_as_ours_is(lab: Path) -> None:
    words = (*OWN, "task=masked_lm", "model=encoder")
    part = "model.feedforward={_target_: lighthouse.Wide, _partial_: true}"
    assert "model.feedforward (Wide) needs a model that sees the past" in refused(*words, part)
    with permitting(["packages=[lighthouse]"]):
        with pytest.raises(ValueError, match="bad luck") as error:
            build({"_target_": "lighthouse.Wide", "width": 8, "ratio": 13})
        assert is_sentence(error.value)


def test_a_module_that_fails_is_named_with_its_error(lab: Path) -> None:
    with permitting(["packages=[lighthouse]"]):
        with pytest.raises(Refusal, match=r"lighthouse.fails cannot be imported: ModuleNotFoundError: No"):
            build({"_target_": "lighthouse.fails.part"})
        with pytest.raises(Refusal, match=r"lighthouse.broken cannot be read: invalid syntax"):
            build({"_target_": "lighthouse.broken.Part"})


@pytest.mark.parametrize(
    "target", ["lighthouse", "lighthouse.run", "lighthouse.os.system", "lighthouse.parts.GELU", "os.system"]
)
def test_of_a_permitted_package_only_what_it_defines_is_called(lab: Path, target: str) -> None:
    with permitting(["packages=[lighthouse]"]), pytest.raises(Refusal, match=re.escape(target)):
        build({"_target_": target, "command": "touch gone"})


def test_no_file_permits_a_package(lab: Path) -> None:
    overlay = lab / "conf" / "experiment" / "trojan.yaml"
    overlay.write_text("# @package _global_\n# theirs\npackages: [lighthouse]\n")
    typed = "it is typed at each start, and no file or run permits it"
    assert typed in refused("--config-dir", "conf", "experiment=trojan")
    assert typed in refused("+packages=[lighthouse]")
    overlay.write_text("# theirs\npackages: [lighthouse]\n")
    assert "add that line" in refused("--config-dir", "conf", "experiment=trojan")
    base = compose(list(SMALL)) | {"packages": ["lighthouse"]}
    base["model"] = base["model"] | {"feedforward": {"_target_": "lighthouse.Wide", "_partial_": True}}
    changed = change(base, {}, [])
    with pytest.raises(Refusal, match=typed):
        validate(changed.composed, changed.choices)
    assert not own_packages


@pytest.mark.parametrize("where", ["parameters", "command"])
def test_a_sweep_file_permits_no_package(lab: Path, where: str) -> None:
    inner = "packages: {value: '[lighthouse]'}" if where == "parameters" else "seed: {value: 1}"
    more = ', "packages=[lighthouse]"' if where == "command" else ""
    command = f'command: ["${{interpreter}}", "${{program}}", "${{args_no_hyphens}}"{more}]'
    head = "program: train.py\nmethod: grid\nmetric: {name: val/loss}\n"
    (lab / "sweep.yaml").write_text(f"{head}parameters:\n  {inner}\n{command}\n")
    with pytest.raises(Refusal, match="no file permits code; type packages="):
        check_macros(read_sweep(lab / "sweep.yaml"), True)


def test_an_entry_point_of_an_installed_package_permits_it(lab: Path, monkeypatch) -> None:
    site = lab / "site"
    info = site / "lighthouse-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lighthouse\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[triad.parts]\nlighthouse = lighthouse\nsneaky = os\n")
    (lab / "lighthouse").rename(site / "lighthouse")
    monkeypatch.syspath_prepend(site)
    own_code._find_installed.cache_clear()
    config = compose(["--config-dir", "conf", "model=wide", *SMALL])
    assert build(config["model"]["feedforward"])(8).up.out_features == 16
    assert "another package" in refused("model.feedforward._target_=os.system")
    own_packages.clear()


def test_a_name_that_is_installed_and_in_the_current_folder_is_refused(lab: Path, monkeypatch) -> None:
    (lab / "site" / "lighthouse").mkdir(parents=True)
    (lab / "site" / "lighthouse" / "__init__.py").touch()
    monkeypatch.syspath_prepend(lab / "site")
    assert "rename yours" in refused("packages=[lighthouse]")
    (lab / "torch.py").write_text("raise AssertionError")
    assert "a library that Triad uses" in refused("packages=[torch]")
    (lab / "random.py").write_text("raise AssertionError")
    (lab / "site" / "lighthouse" / "__init__.py").unlink()
    (lab / "site" / "lighthouse").rmdir()
    compose(["packages=[lighthouse]", *SMALL])
    assert sys.path[-1] == str(lab)  # nothing else in the folder shadows a library


def test_a_file_that_ours_hides_is_refused(lab: Path) -> None:
    (lab / "conf" / "optimizer" / "adamw.yaml").write_text("# mine\n_target_: torch.optim.AdamW\n")
    assert "optimizer/adamw.yaml is hidden by Triad's own" in refused("--config-dir", "conf")
    assert "no folder is there" in refused("--config-dir", "absent")


@pytest.mark.slow
def test_the_example_of_the_page_runs_as_it_is_written(python, tmp_path: Path) -> None:
    blocks = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
    for _, text in (block for block in blocks if block[1].startswith("# ")):
        file = tmp_path / text.splitlines()[0].removeprefix("# ")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (commands,) = [text for language, text in blocks if language == "sh"]
    for words in map(shlex.split, commands.splitlines()):
        place = [str(REPOSITORY / "train.py")] if words[0] == "python" else ["-m", f"triad.{words[1]}"]
        here = ["trainer.accelerator=cpu"] if words[0] == "python" else []
        done = python(*place, *words[2:], *here)
    first = tmp_path / "outputs" / "first"
    assert "lab/model/swish.yaml" in (first / "origins.json").read_text()
    assert [*json.loads((first / "run.json").read_text())["packages"]] == ["mypkg"]
    assert "resume=outputs/first 'packages=[mypkg]'" in done.stdout
    assert json.loads((first / "result.json").read_text())["steps"] == 24
    for words in (
        [str(REPOSITORY / "train.py"), "resume=outputs/first", "trainer.max_steps=30"],
        ["-m", "triad.replay", "run=outputs/first", "steps=1:2"],
        ["-m", "triad.generate", "run=outputs/first", "prompt=a"],
    ):
        done = python(*words, code=2)
        (said,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert "add packages=[mypkg] if that code is yours" in said


WORDS = {  # that choose a part of tests/new_parts, together with what it needs
    "two_way": "model=two_way task=masked_lm",
    "state_space": "model=state_space",
    "loudest": "model=encoder_moe model.pooler=null task=masked_lm router=loudest",
    "next_token_accuracy": "task=next_token_accuracy",
    "first_word": "task=copy model=encoder_decoder data=letters tokenizer=char metrics=[first_word]",
    "parity": "task=classification model=lstm data=parity",
    "arithmetic": "task=arithmetic data=equations tokenizer=byte context=16",
    "polyak": "optimizer=polyak",
    "alone": "strategy=alone",
    "gradient_signs": "callbacks=[default,gradient_signs]",
    "stairs": "scheduler=stairs",
    "truncation": "task=classification model=lstm data=parity data/augment=truncation",
}


def test_parts_of_every_kind_may_be_ones_own(lab: Path) -> None:
    for name, (folder, group) in PLACES.items():
        own = f"lighthouse.{name}"
        theirs = f"triad.{folder.replace('/', '.')}.{name}"
        (lab / "lighthouse" / f"{name}.py").write_text((PARTS / f"{name}.py").read_text())
        (lab / "conf" / group).mkdir(parents=True, exist_ok=True)
        (lab / "conf" / group / f"{name}.yaml").write_text(
            (PARTS / f"{name}.yaml").read_text().replace(theirs, own)
        )
    assert WORDS.keys() | {"equations"} == PLACES.keys()
    for name, words in WORDS.items():
        assert f"lighthouse.{name}." in str(compose([*OWN, *words.split(), *SMALL])), name
    refused_words = (*OWN, "model=state_space", "strategy=tensor", "trainer.devices=2", *SMALL)
    assert 'if it can, add "tensor" to its splits and run triad verify' in refused(*refused_words)


def test_what_was_made_with_other_source_of_ones_own_is_known_by_it(lab: Path) -> None:
    def describe() -> dict:
        node = {"filters": {"mine": {"_target_": "lighthouse.parts.system", "_partial_": True}}}
        with permitting(["packages=[lighthouse]"]):
            built = build({"clean": node})
            return make_preparation({"clean": node}, built).describe()

    def passport(source: str) -> Passport:
        record = {"code": "ours", "packages": {"lighthouse": {"version": None, "code": source}}}
        return Passport(Run("a"), {}, record, {}, None, {}, "")

    before = describe()
    assert describe() == before
    (lab / "lighthouse" / "parts.py").write_text(LIGHTHOUSE + "\n# changed\n")
    assert describe() != before
    assert same_code(passport("one"), passport("one"))
    assert not same_code(passport("one"), passport("other"))
