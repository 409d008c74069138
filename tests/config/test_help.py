"""`--help` at 80 columns: by axis, every choice with a line, and no names that only the code uses."""

import re
from pathlib import Path

import pytest

from triad.config.commands import list_commands
from triad.config.compose import compose_written
from triad.config.help import format_command_help, format_keys, format_train_help, list_by_axis
from triad.config.locations import CONF, TRAIN
from triad.config.messages import CUT
from triad.config.offers import list_groups

AXES = {"algorithm": "model", "software": "tokenizer", "hardware": "strategy", "overlays": "debug"}
COMMANDS = """
import sys
from triad.__main__ import main
from triad.config.commands import list_commands

for name in list_commands():
    print("COMMAND", name)
    sys.argv = ["triad", name, "--help"]
    main()
"""


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_every_group_has_an_axis_and_a_router_stands_beside_the_models() -> None:
    groups = list_by_axis()
    assert {group.name for group in groups} == list_groups().keys()
    assert list(dict.fromkeys(group.axis for group in groups)) == [*AXES]
    assert {group.axis: group.name for group in groups if group.name in AXES.values()} == AXES
    names = [group.name for group in groups]
    assert names.index("router") == names.index("model") + 1


def test_every_choice_has_a_line_of_80_columns_with_what_its_file_says() -> None:
    shown = format_train_help()
    assert max(map(len, shown.splitlines())) <= 80
    for group in list_by_axis():
        section = shown.partition(f"\n{group.name}=")[2].partition("\n\n")[0]
        lines = dict(re.findall(r"^ {4}([\w-]+) +(\S.{8,})$", section, re.MULTILINE))
        assert lines.keys() == {file.stem for file in (CONF / group.name).glob("*.yaml")}
        assert not [name for name, said in lines.items() if "@package" in said or "- override" in said]
    assert "\nmodel=decoder\n" in shown
    assert re.search(r"^ {4}fsdp +Parameters, gradients and optimizer state sharded", shown, re.MULTILINE)


def test_the_keys_are_those_that_are_typed_with_their_values() -> None:
    shown = format_keys(compose_written(["model=lstm", "model.width=96", "seed=3"])[0])
    assert max(map(len, shown.splitlines())) <= 80
    words = shown.split()
    assert {"model.width=96", "seed=3", "optimizer.betas=[0.9,0.95]", "weights=null"} <= {*words}
    assert "scheduler.steps=${trainer.max_steps}" in words
    assert not re.search(r"_target_|_partial_|triad\.", shown)
    assert "none: one document a row, padded" in " ".join(words)  # a remark of two lines


def test_every_commands_help_fits_80_columns_and_names_its_arguments(python) -> None:
    shown = python("-c", COMMANDS, COLUMNS="80").stdout
    assert [line for line in shown.splitlines() if len(line) > 80] == []
    sections = dict(re.findall(r"^COMMAND (\w+)\n(.*?)(?=^COMMAND|\Z)", shown, re.MULTILINE | re.DOTALL))
    assert sections.keys() == list_commands().keys()
    for name, section in sections.items():
        assert "None" not in section
        assert "_target_" not in section, name
        assert name == "train" or f"\nusage: triad {name}" in section


def test_lines_that_are_set_in_stay_lines_and_others_are_filled() -> None:
    def show(overrides: list[str], path: Path | None = None, twice: bool = False) -> None:
        """A sentence that is broken
        in the source.

            an example          of its own
            another             one
        """

    assert format_command_help(show, "triad show").splitlines() == [
        "A sentence that is broken in the source.",
        "",
        "    an example          of its own",
        "    another             one",
        "",
        "usage: triad show [word ...] [path=null] [twice=false] [packages=[mypkg]]",
        "       [--config-dir DIR]",
    ]


def test_a_shell_completes_groups_choices_and_keys(python) -> None:
    for line, completed in (
        ("optimizer=mu", "optimizer=muon"),
        ("strat", "strategy. strategy="),
        ("model=moe model.feedforward.exp", "model.feedforward.expert= model.feedforward.experts="),
    ):
        line = f"python train.py {line}"
        done = python(str(TRAIN), "-sc", "query=bash", COMP_LINE=line, COMP_POINT=str(len(line)))
        assert (done.stdout.strip(), done.stderr) == (completed, "")


def test_an_output_that_nobody_reads_to_its_end_is_no_error(python) -> None:
    code = f"""
import os, runpy, sys
reading, writing = os.pipe()
os.close(reading)
os.dup2(writing, 1)
sys.argv = [{str(TRAIN)!r}, "--help"]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
    assert python("-c", code, code=CUT).stderr == ""
