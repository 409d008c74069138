"""How `python -m triad.<command>` starts: key=value words become the arguments of one function."""

import shlex
import sys
from collections.abc import Callable, Sequence
from inspect import Parameter, signature
from typing import Any

from triad.config.errors import Refusal
from triad.config.messages import report_error, report_interrupt
from triad.config.neighbours import find_argument
from triad.config.own_code import take_own_code
from triad.config.schema import convert, suggest
from triad.config.slow_imports import hasten_imports


def run_command(function: Callable) -> None:
    """Call a command's function with the words of the command line; answer mistakes in one sentence."""
    if {"-h", "--help"} & {*sys.argv[1:]}:
        from triad.config.help import format_command_help  # reads conf/

        print(format_command_help(function, _name_command()))
        return
    hasten_imports()
    try:
        function(**_parse_arguments(function, take_own_code(sys.argv[1:])))
    except KeyboardInterrupt:
        sys.exit(report_interrupt())
    except Exception as error:
        sys.exit(report_error(error))


def _parse_arguments(function: Callable, words: list[str]) -> dict[str, Any]:
    """Arguments from key=value words; words with other keys go to `overrides`, if the function takes them."""
    arguments: dict[str, Any] = {}
    parameters = signature(function).parameters
    rest = []
    for word in words:
        key, sign, value = word.partition("=")
        if not sign or key not in parameters or key == "overrides":
            if word.startswith("--") or (sign and "overrides" not in parameters):
                raise Refusal(_explain_unknown(key, value, [*parameters]))
            rest.append(word)
            continue
        arguments[key], fault = convert(None if value == "null" else value, parameters[key].annotation)
        if fault:
            raise Refusal(f"{word}: {fault}")
    if "overrides" in parameters:
        arguments["overrides"] = rest
    needed = [name for name, one in parameters.items() if one.default is Parameter.empty]
    missing = [name for name in needed if name not in arguments]
    bare = next((word for word in rest if "=" not in word), "")
    if bare and (missing or "overrides" not in parameters):
        free = [*missing, *(name for name in parameters if name not in arguments), "key"][0]
        raise Refusal(f"{bare}: a word is key=value: {shlex.quote(f'{free}={bare}')}")
    if missing:
        raise Refusal(f"{missing[0]}=... is needed")
    return arguments


def _explain_unknown(key: str, value: str, known: list[str]) -> str:
    """What to write in the place of a key, or a flag, that a command does not have."""
    name = key.lstrip("-").replace("-", "_")
    ours = name if name in known else find_argument(name, known)
    if ours:
        return f"{key}{value and f'={value}'}: here that is {ours}={value or '...'}"
    return f"{key} is not understood{suggest(name, known)}"


def _name_command() -> str:
    """How the command that is running is typed."""
    module = sys.modules["__main__"].__spec__
    return module.name.removesuffix(".__main__").replace(".", " ") if module else f"python {sys.argv[0]}"


def split_words(words: Sequence[str] | str) -> list[str]:
    """Words as a list: also those of one text, as a shell would split it."""
    return shlex.split(words) if isinstance(words, str) else [*words]


def key_of(word: str) -> str:
    """The key that an override sets: `+model.width=8` sets model.width."""
    return word.lstrip("+~").partition("=")[0].partition("@")[0]
