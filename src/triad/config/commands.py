"""The commands: what lies directly in the package, and folders that can be run. Each says its group."""

import ast
import re
import shutil
import textwrap
from functools import cache
from pathlib import Path

from triad.config.locations import PACKAGE, TRAIN

# what a command's own GROUP may be, in the order in which they are listed
GROUPS = ("Train", "Look before training", "Use a trained model", "Compare runs", "Prove")
TYPED = "(?:python|triad) "  # how an example begins
WIDEST = 100  # columns of a help text


def list_commands() -> dict[str, Path]:
    """The file of each command, by name."""
    files = {file.stem: file for file in PACKAGE.glob("*.py") if not file.stem.startswith("__")}
    folders = {file.parent.name: file for file in PACKAGE.glob("*/__main__.py")}
    return {"train": TRAIN, **dict(sorted((files | folders).items()))}


def format_commands() -> str:
    """All commands with a line for each, by group."""
    commands = list_commands()
    width, parts = max(map(len, commands)), []
    for group in GROUPS:
        said = {name: read_purpose(file) for name, file in commands.items() if read_group(file) == group}
        parts.append("\n".join([group, *format_lines(said, 2, width)]))
    return "\n\n".join(parts)


def read_purpose(file: Path) -> str:
    """The first line of a command's docstring, without its example."""
    line = (ast.get_docstring(_parse(file)) or "").partition("\n")[0]
    return re.sub(rf":? ?`{TYPED}[^`]*`[:.]? ?", "", line)


def read_examples(file: Path) -> list[str]:
    """The commands that a command's docstring has as examples, with what stands beside them."""
    first, _, others = (ast.get_docstring(_parse(file)) or "").partition("\n")
    lines = [*re.findall(rf"`({TYPED}[^`]*)`", first), *others.strip().splitlines()]
    return [line.replace("python -m triad.", "triad ") for line in lines if re.match(TYPED, line)]


def read_group(file: Path) -> str:
    """What a command declares as its GROUP, such as "Compare runs"."""
    for statement in _parse(file).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="GROUP")], value=ast.Constant(value=str(group))):
                return group
    return ""


def format_lines(said: dict[str, str], indent: int, names: int = 0) -> list[str]:
    """Names, in so many columns, and what they are, a line of the terminal each.

    What is too long goes without its citations, and if need be with its beginning alone.
    """
    names, lines = names or max(map(len, said), default=0), []
    for name, text in said.items():
        head = f"{'':{indent}}{name:<{names}}  "
        width = max(measure_width() - len(head), 20)
        short = text if len(text) <= width else re.sub(r" \([^()]*\d{4}[^()]*\)", "", text)
        lines.append(head + textwrap.shorten(short, width, placeholder=" ..."))
    return lines


def measure_width() -> int:
    """The columns of the terminal, as far as they serve to read a text."""
    return min(shutil.get_terminal_size().columns, WIDEST)


@cache
def _parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))
