"""The README's commands are understood: every word of theirs composes, every file it links is there."""

import re
import shlex
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from triad.config.compose import compose
from triad.config.processes import count_gpus

README = (REPOSITORY / "README.md").read_text()
PAGES = README + (REPOSITORY / "docs" / "commands.md").read_text()
COMMANDS = [line.strip() for line in PAGES.splitlines() if line.startswith("    ")]
TRAINS = [command for command in COMMANDS if "train.py" in command and "resume=" not in command]


@pytest.mark.parametrize("command", TRAINS)
def test_every_training_command_composes(command: str) -> None:
    words = shlex.split(command, comments=True)
    words = words[words.index("train.py") + 1 :]
    first = [word.partition(",")[0] for word in words] if "-m" in words else words  # one run of a sweep
    assert compose([*(word for word in first if not word.startswith("-")), "trainer.accelerator=cpu"])


def test_every_linked_page_is_there() -> None:
    for page in re.findall(r"\]\(((?:docs/|[A-Z]+\.md)[^)]*)\)", README):
        assert (REPOSITORY / page).is_file(), page


def test_the_tables_are_what_the_code_says() -> None:
    command = [sys.executable, str(REPOSITORY / "docs" / "generate.py"), "check=true"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_make_has_the_two_commands() -> None:
    targets = re.findall(r"^([a-z-]+):.*## ", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    assert {"train", "test", "test-slow", "lint", "help"} <= set(targets)
    assert isinstance(count_gpus(), int)
