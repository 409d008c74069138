"""References of a run's configuration: `${trainer.max_steps}` stands for the value of that key.

config.yaml keeps them, so that a resumed run whose length is changed changes its schedule with it. A file of
a run may come from a stranger: known are references to keys, as OmegaConf writes them (absolute, or
`${.name}` beside the key itself, each further dot one level above), and `${steps_of:N}`. Every
other resolver, such as `${oc.env:NAME}`, is refused. Nothing here imports OmegaConf.
"""

import re
from collections.abc import Iterator
from typing import Any

from triad.config.errors import Refusal

REFERENCE = re.compile(r"(\\*)\$\{(?:([^{}]*)\})?")  # behind an odd number of backslashes: text
KEY = re.compile(r"(\.*)([^\s.:\[\]'\"$\\]+(?:\.[^\s.:\[\]'\"$\\]+)*)")
STEPS = re.compile(r"steps_of:\s*(.*?)\s*")
WHOLE = re.compile(r"\d[\d_]*")
VALUES, LEVELS = 100_000, 60  # of a configuration: more is a file that is made to take all memory

Place = tuple[Any, ...]  # keys and indices that lead to a value


def count_steps(tokens: Any, batch: Any, context: Any) -> int:
    """The steps that train on so many tokens, rounded up. Raises Refusal for a batch whose size changes."""
    if not isinstance(tokens, int):
        raise Refusal(f"${{steps_of:{tokens}}}: a whole number of tokens, such as 409_600")
    if changes_size(batch) or not isinstance(batch.get("size"), int) or batch["size"] * context < 1:
        raise Refusal(f"${{steps_of:{tokens}}} needs a batch of one size: use batch=fixed")
    return -(-tokens // (batch["size"] * context))


def changes_size(batch: Any) -> bool:
    """Whether the batches of a run have several sizes."""
    return bool({"then", "start"} & batch.keys())


def refuse_resolvers(config: Any) -> None:
    """Raise Refusal where a value is computed by anything but a reference to a key or `${steps_of:N}`."""
    for path, text in _walk_texts(config):
        if not all(map(_is_known, REFERENCE.finditer(text))):
            raise Refusal(
                f"{_name(path)}={text}: only a key, such as ${{trainer.max_steps}}, and ${{steps_of:N}} may"
                " be referred to; type the value"
            )


def resolve(config: dict) -> dict:
    """The configuration with each reference replaced by what it refers to. Raises Refusal."""
    refuse_resolvers(config)
    return _Resolution(config).fill(config, (), ())


def keep_references(written: dict, config: dict) -> dict:
    """A configuration with the references of `written`, of which it was resolved; text is escaped.

    A reference stays where it comes to the very value, which checks may have converted. A node that is none
    of the configuration's but is referred to, such as `router`, comes first.
    """
    kept = _lay_over(written, config)
    for text in [text for _, text in _walk_texts(kept)]:
        for found in REFERENCE.finditer(text):
            key = (found[2] or "").partition(".")[0]
            if key and key in written and key not in config:
                kept = {key: written[key]} | kept
    while True:
        resolved = _Resolution(kept).fill(kept, (), ())
        wrong = [path for path, _ in _walk_texts(kept) if not _is_equal(resolved, config, path)]
        if not wrong:
            return kept
        for path in wrong:
            _set(kept, path, _escape(_find(config, path)))


def find_references(config: Any) -> set[str]:
    """Keys whose value is a reference to another key: they change when that one does."""
    return {
        _name(path)
        for path, text in _walk_texts(config)
        if any(len(found[1]) % 2 == 0 for found in REFERENCE.finditer(text))
    }


class _Resolution:
    """One pass over a configuration, which counts the values it makes."""

    def __init__(self, root: dict) -> None:
        self.root, self.values = root, 0

    def fill(self, node: Any, at: Place, through: tuple[Place, ...]) -> Any:
        """A node with its references filled in; `through` are the places whose references led here."""
        self.values += 1
        if self.values > VALUES or len(at) > LEVELS:
            raise Refusal(f"{_name(at[:5])}: the configuration refers to itself without end")
        if isinstance(node, dict):
            return {key: self.fill(value, (*at, key), through) for key, value in node.items()}
        if isinstance(node, list):
            return [self.fill(value, (*at, index), through) for index, value in enumerate(node)]
        if not isinstance(node, str) or "${" not in node:
            return node
        if at in through:
            raise Refusal(f"{_name(at)}={node}: it refers to itself")
        through = (*through, at)
        if (whole := REFERENCE.fullmatch(node)) and not whole[1]:
            return self._look_up(whole[2], node, at, through)
        return REFERENCE.sub(lambda found: self._fill_text(found, node, at, through), node)

    def _fill_text(self, found: re.Match, node: str, at: Place, through: tuple[Place, ...]) -> str:
        before = found[1][: len(found[1]) // 2]
        if len(found[1]) % 2:
            return before + found[0].removeprefix(found[1])
        return f"{before}{self._look_up(found[2], node, at, through)}"

    def _look_up(self, inner: str, node: str, at: Place, through: tuple[Place, ...]) -> Any:
        if tokens := STEPS.fullmatch(inner):
            batch, context = (self.fill(self.root.get(key), (key,), through) for key in ("batch", "context"))
            number = int(tokens[1]) if WHOLE.fullmatch(tokens[1]) else tokens[1]
            return count_steps(number, batch, context)
        dots, name = KEY.fullmatch(inner).groups()
        place = at[: -len(dots)] if dots else ()
        found, where, filled = self.root, (), False
        try:
            for step in (*place, *name.split(".")):
                if isinstance(found, str):  # a reference to a node
                    found, filled = self.fill(found, where, through), True
                found = found[int(step)] if isinstance(found, list) else found[step]
                where = (*where, step)
        except (KeyError, IndexError, TypeError, ValueError):
            raise Refusal(f"{_name(at)}={node}: {inner.lstrip('.')} does not exist") from None
        return found if filled else self.fill(found, where, through)


def _is_known(found: re.Match) -> bool:
    inner = found[2] or ""
    return bool(len(found[1]) % 2 or KEY.fullmatch(inner) or STEPS.fullmatch(inner))


def _walk_texts(node: Any, at: Place = ()) -> Iterator[tuple[Place, str]]:
    """Every text with a `${`, and its place."""
    if len(at) > LEVELS:
        raise Refusal(f"{_name(at[:5])}: the configuration refers to itself without end")
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _walk_texts(value, (*at, key))
    elif isinstance(node, str) and "${" in node:
        yield at, node


def _lay_over(written: Any, value: Any) -> Any:
    """A value with the references that stand in its place, without asking what they come to."""
    if isinstance(written, str) and "${" in written:
        return written
    if isinstance(value, dict):
        given = written if isinstance(written, dict) else {}
        return {key: _lay_over(given.get(key), inner) for key, inner in value.items()}
    if isinstance(value, list):
        same = isinstance(written, list) and len(written) == len(value)
        return [_lay_over(written[at] if same else None, inner) for at, inner in enumerate(value)]
    return _escape(value)


def _escape(value: Any) -> Any:
    """Values whose text resolves to itself."""
    if isinstance(value, dict):
        return {key: _escape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_escape(inner) for inner in value]
    return escape(value) if isinstance(value, str) else value


def escape(text: str) -> str:
    """Text in which `${` stands for itself."""
    return re.sub(r"(\\*)\$\{", lambda found: rf"{2 * found[1]}\${{", text)


def _name(place: Place) -> str:
    return ".".join(map(str, place))


def _find(node: Any, path: Place) -> Any:
    for step in path:
        node = node[step]
    return node


def _set(node: Any, path: Place, value: Any) -> None:
    _find(node, path[:-1])[path[-1]] = value


def _is_equal(resolved: dict, config: dict, path: Place) -> bool:
    """Whether both have the same value of the same type there; of a node that is referred to, always."""
    return path[0] not in config or repr(_find(resolved, path)) == repr(_find(config, path))
