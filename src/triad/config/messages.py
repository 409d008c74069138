"""Errors as one sentence: what hydra.main, OmegaConf and our own parts raise at a user's mistake."""

import os
import sys
import time
from difflib import get_close_matches
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from triad.config.errors import Refusal, one_line
from triad.config.offers import list_groups
from triad.config.schema import suggest

MISTAKE = 2  # the exit code of a user's mistake, argparse's habit
DIVERGED = 33  # of a run that has diverged: a number that no shell or interpreter uses
PATIENCE_S = 30.0  # how long the other ranks wait while one reports a mistake


def report_error(error: Exception) -> int:
    """Print one sentence for a user's mistake and return the exit code; anything else keeps its traceback."""
    if (said := explain_error(error)) is None:
        raise error
    if os.environ.get("RANK", "0") != "0":  # under torchrun every rank finds the same mistake
        wait_to_be_ended()
    print(f"error: {said}", file=sys.stderr)
    return MISTAKE


def explain_error(error: Exception) -> str | None:
    """One sentence for a user's mistake; None if it is none."""
    from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException

    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, name = (error.missing_cfg_file or "").rpartition("/")
        return f"{group}={name} does not exist{suggest(name, list(error.options))}"
    if isinstance(error, ConfigCompositionException) and isinstance(error.__cause__, OmegaConfBaseException):
        return _explain_unknown_key(error.__cause__)
    if said := find_resolver_error(error):
        return said
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _explain_unknown_group(one_line(error))
    return one_line(error) if isinstance(error, ValueError | OSError | FloatingPointError) else None


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


def _explain_unknown_key(cause: OmegaConfBaseException) -> str:
    """Hydra says where the lookup stopped; name the whole key and the nearest that exist."""
    key, node = cause.full_key or cause.key, cause.parent_node
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
        found.append(f"{prefix}{key}")
        child = node._get_node(key)
        if OmegaConf.is_dict(child) and not child._is_none() and not child._is_interpolation():
            found += _walk_keys(child, f"{prefix}{key}.")
    return found
