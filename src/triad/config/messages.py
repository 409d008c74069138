"""Errors as one sentence: what hydra.main, OmegaConf and our own parts raise at a user's mistake."""

import errno
import os
import re
import select
import sys
import tempfile
import time
import traceback
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from triad.config.errors import Diverged, Refusal, Unsaved, is_ours, is_sentence, one_line, walk_frames
from triad.config.locations import PACKAGE, conf_folders
from triad.config.neighbours import answer
from triad.config.offers import list_groups, read_choices, walk_parts
from triad.config.processes import ranks_are_here
from triad.config.schema import list_defaults, suggest
from triad.config.secrets import mask

FAULT = 1  # the exit code of a fault of the program, Python's habit
MISTAKE = 2  # the exit code of a user's mistake, argparse's habit
DIVERGED = 33  # of a run that has diverged: a number that no shell or interpreter uses
INTERRUPTED = 130  # of a command that Ctrl-C ended, 128 + SIGINT: the shell's habit
CUT = 141  # of a command whose output nobody reads any more, 128 + SIGPIPE: the shell's habit
DISK = 34  # of a run that could not write what it must keep, for a full disk most often
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
TO_APPEND = re.compile(r"use \+([^\s=]+)=(.*)")  # the word, as Hydra repeats it
MISSING = re.compile(r"missing \d+ required .* arguments?: (.*)")
STDOUT = 1  # its file descriptor
PATIENCE_S = 30.0  # how long the other ranks wait while one reports a mistake


def report_error(error: Exception) -> int:
    """Print one sentence for an error and return the exit code.

    A fault of the program names the part and the file that its traceback is kept in.
    """
    if ranks_are_here() and os.environ.get("RANK", "0") != "0":  # every rank finds the same mistake
        wait_to_be_ended()
    if isinstance(error, BrokenPipeError) and _is_output_cut():
        return CUT
    if said := explain_error(error):
        print(f"error: {mask(said)}", file=sys.stderr)
        return choose_exit_code(error)
    print(f"error: {describe_fault(error)}  (traceback: {_keep_traceback(error)})", file=sys.stderr)
    return choose_exit_code(error, FAULT)


def _is_output_cut() -> bool:
    """Whether nobody reads standard output any more, as behind `| head`; what is left for it is dropped."""
    watched = select.poll()
    watched.register(STDOUT)
    cut = any(event & select.POLLERR for _, event in watched.poll(0))
    if cut:
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)  # or Python complains when it ends
    return cut


def choose_exit_code(error: Exception, otherwise: int = MISTAKE) -> int:
    """The exit code of an error: that of divergence, that of a full disk, or another one."""
    if isinstance(error, Diverged):
        return DIVERGED
    full = isinstance(error, OSError) and error.errno in FULL
    return DISK if full or isinstance(error, Unsaved) else otherwise


def report_interrupt() -> int:
    """Say that Ctrl-C ended a command and return the exit code, 128 + the signal."""
    print("interrupted", file=sys.stderr)
    return INTERRUPTED


def explain_error(error: Exception) -> str | None:
    """One sentence for a user's mistake; None if it is none."""
    hydra = sys.modules.get("hydra.errors")  # else it is none of Hydra's, which takes long to import
    if hydra and isinstance(error, hydra.MissingConfigException):
        group, _, name = (error.missing_cfg_file or "").rpartition("/")
        choices = sorted(path.stem for place in conf_folders() for path in (place / group).glob("*.yaml"))
        if ours := answer(group, name):
            return f"{group}={name}: here that is {ours}"
        return f"{group}={name} does not exist{suggest(name, choices)}"
    composing = hydra and isinstance(error, hydra.ConfigCompositionException)
    if composing and isinstance(error.__cause__, OmegaConfBaseException):
        return _explain_unknown_key(str(error), error.__cause__)
    if hydra and isinstance(error, hydra.OverrideParseException) and "missing EQUAL" in str(error):
        return explain_bare(error.override)
    if said := find_resolver_error(error):
        return said
    if isinstance(error, OmegaConfBaseException) or (hydra and isinstance(error, hydra.HydraException)):
        return _explain_unknown_group(one_line(error))
    if is_sentence(error):
        return one_line(error)
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror or type(error).__name__}"
    return None


def explain_failure(error: Exception, config: dict) -> tuple[str, int]:
    """The sentence and the exit code of a run that fails: of a mistake the key of the part that was built."""
    said, key = explain_error(error), find_built_part(error, config)
    if said:
        named = isinstance(error, Refusal | Diverged) or not key or key.partition(".")[0] in said
        return mask(said if named else f"{key}: {said}"), choose_exit_code(error)
    if key and (missing := MISSING.search(str(error))):
        return f"{key} lacks {missing[1]}: it was left out, or another part there needs it", MISTAKE
    if key and isinstance(error, ValueError | TypeError | LookupError | ArithmeticError):
        return f"{key}: {type(error).__name__}: {one_line(error)}", MISTAKE
    return describe_fault(error), choose_exit_code(error, FAULT)


def find_built_part(error: Exception, config: dict) -> str | None:
    """The key of the part that was being built when an error was raised, the innermost, if any was."""
    keys: dict[tuple[str, str], str] = {}
    for key, node in walk_parts(config):
        package, _, name = node["_target_"].rpartition(".")
        keys.setdefault((package.partition(".")[0], name), key)
    for frame in walk_frames(error):
        made = type(frame.f_locals.get("self")) if frame.f_code.co_name == "__init__" else None
        module = made.__module__ if made else frame.f_globals.get("__name__", "")
        called = module.partition(".")[0], made.__name__ if made else frame.f_code.co_qualname
        if called in keys:
            return keys[called]
    called_with = str(error).partition("(")[0].removesuffix(".__init__")  # of a call with wrong arguments
    return next((key for (_, name), key in keys.items() if name == called_with), None)


def describe_fault(error: Exception) -> str:
    """A fault of the program: the innermost part of ours that it passed through, its class and its text."""
    ours = (Path(frame.f_code.co_filename) for frame in walk_frames(error) if is_ours(frame))
    innermost = next(ours, PACKAGE / "train.py")
    part = ".".join(innermost.relative_to(PACKAGE).with_suffix("").parts)
    return f"in {part}: {type(error).__name__}: {one_line(error)}"


def _keep_traceback(error: Exception) -> str:
    """Write a traceback to a file of its own, and return its name."""
    with tempfile.NamedTemporaryFile(
        "w", prefix="triad-", suffix="-error.txt", delete=False, encoding="utf-8"
    ) as file:
        file.write(mask("".join(traceback.format_exception(error))))
    return file.name


def find_resolver_error(error: BaseException | None) -> str | None:
    """What a resolver of ours refused: OmegaConf wraps it, more than once."""
    while isinstance(error, OmegaConfBaseException):
        error = error.__cause__ or error.__context__
    return str(error) if isinstance(error, Refusal) else None


def wait_to_be_ended() -> None:
    """Wait until another rank, which reports the error, has exited and so ended this one.

    The first rank to exit has the others killed: a silent rank that exits first would cut off the report. A
    rank that still runs after PATIENCE_S has an error of its own.
    """
    time.sleep(PATIENCE_S)


def explain_bare(word: str) -> str:
    """A word without a value, with the words that may have been meant."""
    groups = list_groups()
    if word in groups and (choices := [*read_choices(word)]):
        return f"{word}: a word is key=value: {word}={choices[0]}, say"
    if found := next((group for group in groups if word in read_choices(group)), None):
        return f"{word}: a word is key=value: {found}={word}"
    if Path(word).exists():
        return (
            f"{word}: a word is key=value: data=text data.path={word} reads it, resume={word} continues a run"
        )
    if "/" in word:
        return f"{word}: a word is key=value: resume={word} continues a run"
    return f"{word}: a word is key=value, such as model=moe or trainer.max_steps=200"


def _explain_unknown_key(said: str, cause: OmegaConfBaseException) -> str:
    """Hydra says where the lookup stopped; name the whole key and the nearest that exist."""
    key, node = cause.full_key or cause.key, cause.parent_node
    typed = TO_APPEND.search(said)
    if typed and (ours := answer(*typed.groups())):
        return f"{'='.join(typed.groups())}: here that is {ours}"
    while node is not None and node._get_parent() is not None:
        node = node._get_parent()
    known = [name for name in _walk_keys(node) if not name.startswith("hydra.")] if node is not None else []
    leaf = str(key).rpartition(".")[2]
    near = get_close_matches(str(key), known, 2, cutoff=0.75)
    leaves = get_close_matches(leaf, {name.rpartition(".")[2] for name in known}, 1)
    near = near or [name for name in known if name.rpartition(".")[2] in leaves]
    return f"{key} does not exist" + (f"; did you mean {' or '.join(near[:3])}?" if near else "")


def _explain_unknown_group(sentence: str) -> str:
    """Hydra's 'Could not override X. No match in the defaults list' with the nearest group."""
    groups = [*list_groups()]
    word = sentence.partition("'")[2].partition("'")[0].partition("=")[0]
    if word == "router":  # a group that only models with experts have
        return (
            "router=: this model has no experts, or its file has the router itself: use model=moe, or the "
            "key of the part, such as model.feedforward.router=switch"
        )
    return sentence + (suggest(word, groups) if "Could not override" in sentence else "")


def _walk_keys(node: Any, prefix: str = "") -> list[str]:
    found = []
    for key in node if OmegaConf.is_dict(node) else ():
        if key == "_target_":
            found += [f"{prefix}{name}" for name in list_defaults(node[key]) if name not in node]
        elif key != "_partial_":
            found.append(f"{prefix}{key}")
        child = node._get_node(key)
        if OmegaConf.is_dict(child) and not child._is_none() and not child._is_interpolation():
            found += _walk_keys(child, f"{prefix}{key}.")
    return found
