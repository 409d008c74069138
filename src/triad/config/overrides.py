"""Words of the command line, `key=value`, as Hydra reads them: how values are quoted, and what is text.

Whatever composes a word quotes its value by `quote`. What a person types for a text or a path is taken
literally, unless it is quoted, holds a reference `${...}`, or names several under -m.
"""

import re
from types import UnionType
from typing import Any, Union, get_args, get_origin

from triad.config.command_line import key_of
from triad.config.locations import TRAIN
from triad.config.offers import read_choices
from triad.config.references import escape
from triad.config.schema import read_script_signature, read_signature

PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:[./-][A-Za-z0-9_]+)*")  # text that Hydra reads as it stands
NOT_TEXT = ("true", "false", "null", "nan", "inf")
SWEPT = re.compile(r"(choice|range|interval|glob|tag|sort|shuffle)\(.*\)")
PLACE = {"run_id": str | None, "output_dir": str}  # the path of the run directory


def quote(value: Any) -> str:
    """A value as a word that Hydra reads back as the same value; nothing in a text has another meaning."""
    if isinstance(value, str):
        return value if _is_plain(value) else _quote_text(escape(value))
    if isinstance(value, list | tuple):
        return f"[{','.join(map(quote, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{quote(inner)}" for key, inner in value.items()) + "}"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)


def quote_typed(words: list[str], sweep: bool = False) -> list[str]:
    """Words as they were typed, with texts quoted where their key wants text; quoted ones stay."""
    return [_quote_word(word, sweep) for word in words]


def top_level_keys() -> dict[str, Any]:
    """The top-level keys of conf/train.yaml with their types: the arguments of `train`, and PLACE."""
    arguments = read_script_signature(TRAIN, "train").parameters
    return {name: argument.type for name, argument in arguments.items() if name != "run"} | PLACE


def replace_overrides(old: list[str], new: list[str]) -> list[str]:
    """Old words without those whose key, or whose group, a new word sets, and the new ones."""
    named = {key_of(word) for word in new}
    return [word for word in old if not {key_of(word), key_of(word).partition(".")[0]} & named] + new


def _is_plain(text: str) -> bool:
    return bool(PLAIN.fullmatch(text)) and text.lower() not in NOT_TEXT


def _quote_text(text: str) -> str:
    """Between single quotes; a backslash matters to Hydra only before a quote, also before the last one."""
    return "'" + re.sub(r"(\\*)('|\Z)", lambda found: 2 * found[1] + found[2].replace("'", r"\'"), text) + "'"


def _quote_word(word: str, sweep: bool) -> str:
    key, sign, value = word.partition("=")
    if not sign or key.startswith(("-", "~")) or not value or "${" in value or _is_quoted(value):
        return word
    kinds = _find_types(key_of(word))
    members = [one for kind in kinds for one in _list_members(kind)]
    if str not in members or any(
        one not in (str, type(None)) and get_origin(one) is not list for one in members
    ):
        return word
    if value == "null" and type(None) in members:
        return word
    if value.startswith("[") and any(get_origin(one) is list for one in members):
        return word
    if sweep and ("," in value or SWEPT.fullmatch(value)):
        pieces = [value] if SWEPT.fullmatch(value) else value.split(",")
        kept = (one if SWEPT.fullmatch(one) or _is_quoted(one) else quote(one) for one in pieces)
        return f"{key}={','.join(kept)}"
    return f"{key}={quote(value)}"


def _is_quoted(value: str) -> bool:
    return len(value) > 1 and value[0] == value[-1] and value[0] in "'\""


def _find_types(key: str) -> list[Any]:
    """The types of a key: of an argument of `train`, or of the calls that conf/ has at its place."""
    known = top_level_keys()
    if key in known:
        return [known[key]]
    group, *path = key.split(".")
    found = []
    for node in read_choices(group).values() if path else ():
        for step in path[:-1]:
            node = node.get(step) if isinstance(node, dict) else None
        if isinstance(node, dict) and isinstance(target := node.get("_target_"), str):
            try:
                parameters = read_signature(target).parameters
            except LookupError:  # of one's own file whose package this start does not permit
                continue
            found += [parameters[path[-1]].type] if path[-1] in parameters else []
    return found


def _list_members(kind: Any) -> tuple:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
