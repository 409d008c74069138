"""The command of a trial: a sweep file's `command:` with its ${macros} filled in."""

import os
import re
import sys
from pathlib import Path

from triad.config.errors import Refusal
from triad.config.locations import REPOSITORY
from triad.config.own_code import KEY, is_permission
from triad.config.schema import suggest
from triad.sweep.sweep_file import Sweep

PROGRAM = "${program}"
ARGUMENTS = ("${args}", "${args_no_hyphens}", "${args_no_boolean_flags}")
MACROS = ("${env}", "${interpreter}", PROGRAM, *ARGUMENTS)
MACRO = re.compile(r"\$\{[^}]*\}")
VARIABLE = re.compile(r"\$\{envvar:([^}]*)\}")  # the one that W&B fills in amid a word, too


def find_program(sweep: Sweep) -> Path:
    """The program of a sweep: seen from the current directory, else from the repository's root."""
    for place in (Path(sweep.program), REPOSITORY / sweep.program):
        if place.is_file():
            return place
    raise Refusal(f"{sweep.path}:{_find_line(sweep)}: program {sweep.program} is not there")


def check_macros(sweep: Sweep, ours: bool) -> None:
    """Refuse what cannot be filled in; `ours`: the program is train.py, whose words have no hyphens."""
    for item in sweep.command:
        if MACRO.fullmatch(item) and item not in MACROS and not VARIABLE.fullmatch(item):
            raise Refusal(f"{sweep.path}:{_find_line(sweep)}: {item} is not known{suggest(item, [*MACROS])}")
    for key in filter(is_permission, [*sweep.space, *sweep.command]):
        line = sweep.lines.get(key, _find_line(sweep))
        raise Refusal(f"{sweep.path}:{line}: {key}: no file permits code; type {KEY}=... beside the file")
    if PROGRAM not in sweep.command:
        raise Refusal(f"{sweep.path}:{_find_line(sweep)}: command has no {PROGRAM}")
    if ours and {"${args}", "${args_no_boolean_flags}"} & {*sweep.command}:
        raise Refusal(
            f"{sweep.path}:{_find_line(sweep)}: {sweep.program} takes its words without hyphens: command:"
            ' ["${env}", "${interpreter}", "${program}", "${args_no_hyphens}"]'
        )


def make_start_command(sweep: Sweep, script: Path, words: list[str], beside: list[str]) -> list[str]:
    """The command that starts a trial: its parameters where the file wants them, `beside` at the end."""
    return [part for item in sweep.command for part in _fill_macro(item, script, words)] + beside


def make_resume_command(sweep: Sweep, script: Path, directory: Path) -> list[str]:
    """The command that continues a trial: its words come back out of its directory."""
    start = sweep.command[: sweep.command.index(PROGRAM) + 1]
    return [part for item in start for part in _fill_macro(item, script, [])] + [f"resume={directory}"]


def _fill_macro(item: str, script: Path, words: list[str]) -> list[str]:
    match item:
        case "${env}":
            return ["/usr/bin/env"]
        case "${interpreter}":
            return [sys.executable]
        case "${program}":
            return [str(script)]
        case "${args_no_hyphens}":
            return words
        case "${args}":
            return [f"--{word}" for word in words]
        case "${args_no_boolean_flags}":
            flags = (word.removesuffix("=true") for word in words if not word.endswith("=false"))
            return [f"--{word}" for word in flags]
    return [VARIABLE.sub(_read_variable, item)]


def _read_variable(found: re.Match) -> str:
    if found[1] not in os.environ:
        raise Refusal(f"{found[0]}: the environment has no {found[1]}")
    return os.environ[found[1]]


def _find_line(sweep: Sweep) -> int:
    lines = sweep.text.splitlines()
    return next((at for at, line in enumerate(lines, 1) if line.startswith("command")), 1)
