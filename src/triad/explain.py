"""Trace where a configuration value comes from

python -m triad.explain optimizer.lr [run=outputs/<run_id>] [words]
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from triad.config import provenance
from triad.config.errors import Refusal
from triad.config.identity import is_mathematics, leaves
from triad.config.schema import read_docstrings, suggest

GROUP = "Look before training"

SENTENCE = re.compile(r"(?<=[.;])\s+")


def explain(overrides: list[str], run: str | None = None) -> None:
    """Show the values of keys, where they come from, what they replace, and what they are for.

    Keys are words without `=`, such as optimizer.lr, or optimizer for all of its keys; the other words are
    those of train.py, whose configuration is explained. With `run=` that of a run is, as it was started.
    """
    keys = [word for word in overrides if "=" not in word and not word.startswith("~")]
    words = [word for word in overrides if word not in keys]
    if not keys:
        raise Refusal("name a key to explain, such as optimizer.lr")
    config, chains = read_run(Path(run), words) if run else _compose(words)
    for number, key in enumerate(find_keys(keys, chains)):
        print("\n" * bool(number) + "\n".join(describe_key(key, config, chains)))


def read_run(run: Path, words: list[str]) -> tuple[dict, provenance.Chains]:
    """The configuration of a run and where its values come from. Raises Refusal if it does not say."""
    from triad.runs.directory import Run

    config, path = Run(run).config(), Run(run).origins_file
    if words:
        raise Refusal(f"{words[0]}: run={run} has its own words; leave out one of the two")
    if not path.is_file():
        raise Refusal(f"run={run}: it has no {path.name}: it was not started by this version's train.py")
    return config, provenance.read_chains(path)


def find_keys(keys: list[str], chains: provenance.Chains) -> list[str]:
    """The keys that hold values, of keys and of nodes. Raises Refusal with the nearest of an unknown one."""
    found = []
    for key in keys:
        inner = [known for known in chains if known == key or known.startswith(f"{key}.")]
        if not inner:
            leaf = [known for known in chains if known.rpartition(".")[2] == key.rpartition(".")[2]]
            near = f"; did you mean {' or '.join(leaf[:3])}?" if leaf else suggest(key, list(chains))
            raise Refusal(f"{key} does not exist{near}")
        found += [known for known in inner if known == key or not known.endswith("._partial_")]
    return list(dict.fromkeys(found))


def describe_key(key: str, config: dict, chains: provenance.Chains) -> Iterator[str]:
    """What is said of one key."""
    held = dict(leaves(config))
    value = held[key] if key in held else chains[key][0].text
    part = "mathematics" if key.startswith("router.") or is_mathematics(key, config) else "system"
    yield f"{key} = {'null' if value is None else value}   ({part})"
    yield from describe_chain(key, chains)
    if target := _find_target(key, config):
        for said in find_sentences(target, key.rpartition(".")[2]):
            yield f"    {target}: {said}"


def describe_chain(key: str, chains: provenance.Chains, indent: str = "    ") -> Iterator[str]:
    """The origins of a key, what holds first; a reference is followed."""
    for number, origin in enumerate(chains.get(key, ())):
        over = "over " if number else ""
        said = "" if origin.where.startswith(provenance.WORD) else f"   {origin.text}"
        remark = f"   # {origin.remark}" if origin.remark else ""
        yield f"{indent}{over}{origin.where}{said}{remark}"
        if origin.refers:
            yield f"{indent}  that is {origin.refers}"
            yield from describe_chain(origin.refers, chains, indent + "    ")


def find_sentences(target: str, argument: str) -> list[str]:
    """Sentences of a target's docstring about an argument: with `argument` in them, or "argument: ..."."""
    paragraphs = read_docstrings(target).split("\n\n")
    sentences = [" ".join(one.split()) for text in paragraphs for one in SENTENCE.split(text)]
    listed = re.compile(rf"{re.escape(argument)}\s*(\([^)]*\))?:\s")
    return [one for one in sentences if f"`{argument}`" in one or listed.match(one)]


def _find_target(key: str, config: dict) -> str | None:
    """What is called with a key as its argument, if it is one."""
    node: Any = config
    for part in key.split(".")[:-1]:
        node = node.get(part, {}) if isinstance(node, dict) else {}
    return node.get("_target_") if isinstance(node, dict) and not key.endswith("_") else None


def _compose(overrides: list[str]) -> tuple[dict, provenance.Chains]:
    from triad.config.compose import compose_with_origins

    return compose_with_origins(overrides)


if __name__ == "__main__":
    from triad.config.command_line import run_command

    run_command(explain)
