"""What `--help` prints: of train.py the commands, choices and keys by axis, of a command its arguments."""

import re
import textwrap
from collections.abc import Callable, Iterator
from inspect import Parameter, getdoc, signature
from typing import Any, NamedTuple

from triad.config.commands import format_commands, format_lines, list_commands, measure_width, read_examples
from triad.config.identity import leaves
from triad.config.locations import CONF, conf_folders
from triad.config.offers import list_groups, read_choices
from triad.config.provenance import read_yaml_source

WAYS = {
    "python train.py [group=choice] [key=value] ...": "one run, in outputs/",
    "python train.py -m optimizer=adamw,muon seed=0,1": "a sweep of all combinations",
    "python train.py resume=outputs/<run_id> [...]": "continue a run",
    "python train.py run_id=x resume=auto [...]": "continue run x, or start it",
    "python train.py --config-dir lab packages=[mypkg]": "YAML and code of yours",
    "python train.py [...] --cfg job [--resolve]": "show the configuration",
    "python train.py [...] --help": "the keys of these choices",
}
AXIS = re.compile(r"  # (\w+)(: .*)?")
CHOICE = re.compile(r"  - ([\w/]+): (\S+)")


class Group(NamedTuple):
    """A group of conf/, by the word before `=`, its axis, and the choice of conf/train.yaml."""

    name: str
    axis: str
    usual: str


def list_by_axis() -> list[Group]:
    """All groups in the order of conf/train.yaml; those that only a choice takes, as a router, behind it."""
    found: list[Group] = []
    axis = ""
    for line in _read_defaults():
        if heading := AXIS.fullmatch(line):
            axis = heading[1]
        elif choice := CHOICE.match(line):
            found.append(Group(choice[1], axis, choice[2]))
    for name in sorted(list_groups().keys() - {group.name for group in found}):
        holder = next((group for group in found if _takes(group.name, name)), found[-1])
        found.insert(found.index(holder) + 1, Group(name, holder.axis, ""))
    return found


def format_train_help() -> str:
    """The ways to start, the commands, and every choice with a line, by axis."""
    width = max(map(len, WAYS)) + 2
    lines = ["Triad: train a language model.", "", *(f"{way:<{width}}{said}" for way, said in WAYS.items())]
    lines += ["", "COMMANDS  (triad <command> [key=value] ..., with --help for more)", "", format_commands()]
    axis = ""
    for group in list_by_axis():
        if group.axis != axis:
            axis = group.axis
            lines += ["", axis.upper()]
        lines += ["", f"{group.name}={group.usual or '...'}"]
        said = {name: read_first_line(group.name, name) for name in read_choices(group.name)}
        lines += format_lines(said, indent=4)
    return "\n".join(lines)


def format_keys(written: dict[str, Any]) -> str:
    """The keys of a configuration with references and their values: those of no group with their remark."""
    groups = {key: name for name, key in list_groups().items()}
    lines = ["KEYS  (key=value), with their present values", ""]
    sources = read_yaml_source(CONF / "train.yaml", "", set())
    for key in (key for key in written if key not in groups):
        lines += _wrap(f"{key}={_show(written[key])}   # {_read_remark(key, sources[key].remark)}", 4)
    for key, node in written.items():
        inner = [*leaves({key: node})] if key in groups and node else []
        words = [f"{name}={_show(one)}" for name, one in inner if not name.rpartition(".")[2].startswith("_")]
        lines += ["", *_wrap("  ".join(words), 2)] if words else []
    return "\n".join(lines)


def format_command_help(function: Callable, command: str) -> str:
    """What a command's function does, examples, and its arguments, as wide as the terminal."""
    words = [command]
    for key, parameter in signature(function).parameters.items():
        if key == "overrides":
            words.append("[word ...]")
        else:
            needed = parameter.default is Parameter.empty
            words.append(f"{key}=..." if needed else f"[{key}={_show(parameter.default)}]")
    words += ["[packages=[mypkg]]", "[--config-dir DIR]"]  # of every command
    file = list_commands().get(command.removeprefix("triad "))
    paragraphs = [_reflow(paragraph) for paragraph in (getdoc(function) or "").split("\n\n")]
    paragraphs.append(
        [one for line in (read_examples(file) if file else ()) for one in _wrap(f"  {line}", 6)]
    )
    paragraphs.append(_wrap(f"usage: {' '.join(words)}", 7))
    return "\n\n".join("\n".join(lines) for lines in paragraphs if lines)


def read_first_line(group: str, name: str) -> str:
    """What the first comment of a choice's file says, but for Hydra's own."""
    file = next(file for folder in conf_folders() if (file := folder / group / f"{name}.yaml").is_file())
    lines = file.read_text(encoding="utf-8").splitlines()
    comments = (line[2:] for line in lines if line.startswith("# ") and "@package" not in line)
    return next(comments, "")


def _read_defaults() -> Iterator[str]:
    """The lines of the defaults of conf/train.yaml."""
    text = (CONF / "train.yaml").read_text(encoding="utf-8").partition("\ndefaults:\n")[2]
    for line in text.splitlines():
        if not line.startswith("  "):
            return
        yield line


def _takes(group: str, other: str) -> bool:
    """Whether a choice of a group takes one of another."""
    return any(f"- /{other}" in file.read_text(encoding="utf-8") for file in (CONF / group).glob("*.yaml"))


def _read_remark(key: str, first: str) -> str:
    """The remark beside a key of conf/train.yaml, with the lines below that go on with it."""
    text = (CONF / "train.yaml").read_text(encoding="utf-8")
    below = re.search(rf"^{key}: .*\n((?: +# .*\n)*)", text, re.MULTILINE)
    return " ".join([first, *(line.strip(" #") for line in (below[1] if below else "").splitlines())])


def _show(value: Any) -> str:
    """A value as it is typed, references as they stand."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_show, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_show(one)}" for key, one in value.items()) + "}"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    text = str(value)
    return f"'{text}'" if text != text.strip() or " " in text else text


def _reflow(paragraph: str) -> list[str]:
    """A paragraph at the width of the terminal; lines that are set in, as examples are, stay lines."""
    lines = paragraph.splitlines()
    if any(line.startswith(" ") for line in lines):
        return [one for line in lines for one in _wrap(line, len(line) - len(line.lstrip()) + 4)]
    return _wrap(" ".join(lines), 0)


def _wrap(text: str, indent: int) -> list[str]:
    return textwrap.wrap(text, measure_width(), subsequent_indent=" " * indent, break_on_hyphens=False)
