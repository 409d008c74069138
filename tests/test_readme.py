"""Commands of README and pages are understood: each word composes, each file that is linked is there."""

import re
import shlex
import subprocess
import sys
from itertools import pairwise

import pytest

from tests.conftest import REPOSITORY
from triad.config.compose import compose
from triad.config.processes import count_gpus

README = (REPOSITORY / "README.md").read_text()
NAMES = ("commands", "first_run", "own_data", "compare_fairly", "reproduce_a_paper", "cluster")
PAGES = "\n".join([README, *((REPOSITORY / "docs" / f"{name}.md").read_text() for name in NAMES)])
LINES = [line for line in PAGES.splitlines() if line.strip()]
REFUSED = [line.strip() for line, answer in pairwise(LINES) if answer.strip().startswith("error: ")]
COMMANDS = [line.strip() for line in LINES if line.startswith("    ") and line.strip() not in REFUSED]
ELSEWHERE = ("resume=", "--config-dir")  # a run, a folder that is not here
TRAINS = [
    command
    for command in COMMANDS
    if "train.py" in command and not any(word in command for word in ELSEWHERE)
]


@pytest.mark.parametrize("command", TRAINS)
def test_every_training_command_composes(command: str) -> None:
    words = shlex.split(command, comments=True)
    words = words[words.index("train.py") + 1 :]
    first = [word.partition(",")[0] for word in words] if "-m" in words else words  # one run of a sweep
    assert compose([*(word for word in first if not word.startswith("-")), "trainer.accelerator=cpu"])


def test_every_linked_page_is_there() -> None:
    for page in re.findall(r"\]\(((?:docs/|[A-Z]+\.md)[^)]*)\)", README):
        assert (REPOSITORY / page).is_file(), page
    for file in (REPOSITORY / "docs").glob("*.md"):
        for page in re.findall(r"\]\((?!http)([^)#]+)[^)]*\)", file.read_text()):
            assert (file.parent / page).is_file(), f"{file.name}: {page}"


def test_the_tables_are_what_the_code_says() -> None:
    command = [sys.executable, str(REPOSITORY / "docs" / "generate.py"), "check=true"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_make_has_the_two_commands() -> None:
    targets = re.findall(r"^([a-z-]+):.*## ", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    assert {"train", "test", "test-slow", "lint", "help"} <= set(targets)
    assert isinstance(count_gpus(), int)
