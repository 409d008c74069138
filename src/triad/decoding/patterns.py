"""Regular expressions and forbidden strings as automata that read a text's UTF-8 byte by byte.

Each has the state `start`; step(state, byte) gives the state behind one more byte, or None where no text goes
on with it; accepts(state) says whether the text may end there. Bytes for which `classify` gives the same lead
from each state to the same one.
"""

import re
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

# what Python's own `re` makes of an expression: parts of CPython that have no public name
parser, compiler = import_module("re._parser"), import_module("re._compiler")
kinds = import_module("re._constants")

MOST_PLACES = 1 << 14  # in an expression whose repetitions are written out
CODES = 0x110000
CHARACTERS = (kinds.LITERAL, kinds.NOT_LITERAL, kinds.ANY, kinds.IN)
BEGINNINGS, ENDINGS = (kinds.AT_BEGINNING, kinds.AT_BEGINNING_STRING), (kinds.AT_END, kinds.AT_END_STRING)
LEAF = 0  # behind the last byte of a character


class RegularExpression:
    """The texts that a regular expression, in the syntax of Python's `re`, matches as a whole.

    A state is the set of places in the expression where a text may have come to, each with the bytes that may
    follow (Thompson 1968, "Regular expression search algorithm"). Characters, sets, alternatives, groups,
    repetitions and inline flags are known, and `^` at the beginning and `$` at the end. What depends on other
    places of the text (references, looking around, word boundaries, atomic groups) is refused by a
    ValueError, as is what `re` does not parse, and what is longer than MOST_PLACES written out.
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.free: list[list[int]] = []  # of each place those that it leads to without a character
        self.taken: list[tuple[int, int] | None] = []  # and the characters that lead on from it, and where
        self.nodes: list[dict[int, int]] = [{}]  # bytes that follow inside a character, and the node behind
        self.known: dict[Any, int] = {}  # nodes by what they hold
        try:
            parsed = parser.parse(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(f"regex={pattern}: no regular expression ({error})") from None
        parts = [*parsed]
        while parts and parts[0][0] is kinds.AT and parts[0][1] in BEGINNINGS:
            del parts[0]
        while parts and parts[-1][0] is kinds.AT and parts[-1][1] in ENDINGS:
            del parts[-1]
        self.end = self._add_place()
        self.start = self._enter(self._add_parts(parts, parsed.state.flags, self.end))

    def step(self, state: Any, byte: int) -> Any:
        found: set[tuple[int, int]] = set()
        for node, target in state:
            behind = self.nodes[node].get(byte)
            if behind == LEAF:
                found |= self._enter(target)
            elif behind is not None:
                found.add((behind, target))
        return frozenset(found) or None

    def accepts(self, state: Any) -> bool:
        return (LEAF, self.end) in state

    def classify(self, byte: int) -> Any:
        return tuple(follows.get(byte) for follows in self.nodes)

    def _enter(self, place: int) -> frozenset[tuple[int, int]]:
        """What may follow at a place, and at those that it leads to without a character."""
        found, unread = {place}, [place]
        while unread:
            new = {*self.free[unread.pop()]} - found
            found |= new
            unread += new
        moves = {move for other in found if (move := self.taken[other]) is not None}
        return frozenset(moves | ({(LEAF, self.end)} if self.end in found else set()))

    def _add_place(self, free: Sequence[int] = (), taken: tuple[int, int] | None = None) -> int:
        if len(self.free) == MOST_PLACES:
            raise ValueError(f"regex={self.pattern[:60]}: too long written out; shorten its repetitions")
        self.free.append([*free])
        self.taken.append(taken)
        return len(self.free) - 1

    def _add_parts(self, parts: Sequence, flags: int, target: int) -> int:
        """The place from which the parts, one after the other, lead to the target."""
        for kind, argument in reversed(parts):
            target = self._add_part(kind, argument, flags, target)
        return target

    def _add_part(self, kind: Any, argument: Any, flags: int, target: int) -> int:
        if kind in CHARACTERS:
            return self._add_place(taken=(self._find_characters(kind, argument, flags), target))
        if kind is kinds.SUBPATTERN:
            _, added, removed, parts = argument
            return self._add_parts([*parts], (flags | added) & ~removed, target)
        if kind is kinds.BRANCH:
            return self._add_place([self._add_parts([*parts], flags, target) for parts in argument[1]])
        if kind in (kinds.MAX_REPEAT, kinds.MIN_REPEAT):
            return self._add_repetition(*argument, flags, target)
        raise ValueError(
            f"regex={self.pattern}: {str(kind).lower().replace('_', ' ')} depends on other places of the"
            " text, which constrained decoding does not follow; write the expression without it"
        )

    def _add_repetition(self, least: int, most: int, parts: Any, flags: int, target: int) -> int:
        first = target
        if most is kinds.MAXREPEAT:
            first = self._add_place()
            self.free[first] += [self._add_parts([*parts], flags, first), target]
        else:
            for _ in range(most - least):
                first = self._add_place([self._add_parts([*parts], flags, first), target])
        for _ in range(least):
            before = first
            first = self._add_parts([*parts], flags, before)
            if first == before:  # parts without a character, however often
                break
        return first

    def _find_characters(self, kind: Any, argument: Any, flags: int) -> int:
        """The node of the first bytes of the characters that a part matches."""
        key = kind, repr(argument), flags
        if key not in self.known:
            members = np.zeros(CODES, bool)
            if kind is kinds.LITERAL and not flags & re.IGNORECASE:
                members[argument] = True
            else:
                state = parser.State()
                state.flags = flags
                one = parser.SubPattern(state, [(kind, argument)])
                runs = parser.SubPattern(state, [(kinds.MAX_REPEAT, (1, kinds.MAXREPEAT, one))])
                for run in compiler.compile(runs).finditer(_list_characters()):
                    members[run.start() : run.end()] = True
            self.known[key] = self._add_characters(members)
        return self.known[key]

    def _add_characters(self, members: np.ndarray) -> int:
        """UTF-8 (RFC 3629): of one byte, or a first one with the length and further ones of six bits each."""
        members[0xD800:0xE000] = False  # half a surrogate pair is no character
        firsts = dict.fromkeys(np.flatnonzero(members[:0x80]).tolist(), LEAF)
        begin = 0x80
        for length, mark, end in ((2, 0xC0, 0x800), (3, 0xE0, 0x10000), (4, 0xF0, CODES)):
            size = 64 ** (length - 1)
            held = np.zeros(-(-end // size) * size, bool)
            held[begin:end] = members[begin:end]
            blocks = held.reshape(-1, *[64] * (length - 1))
            places = np.flatnonzero(blocks.reshape(len(blocks), -1).any(1)).tolist()
            firsts |= {mark | i: self._add_block(blocks[i]) for i in places}
            begin = end
        return self._add_node(firsts)

    def _add_block(self, block: np.ndarray) -> int:
        """The node of characters that begin alike: of 64, of 64 times 64, .."""
        key = block.ndim, block.tobytes()
        if key not in self.known:
            places = np.flatnonzero(block.reshape(64, -1).any(1)).tolist()
            behind = {i: LEAF if block.ndim == 1 else self._add_block(block[i]) for i in places}
            self.known[key] = self._add_node({0x80 | i: node for i, node in behind.items()})
        return self.known[key]

    def _add_node(self, follows: dict[int, int]) -> int:
        self.nodes.append(follows)
        return len(self.nodes) - 1


@cache
def _list_characters() -> str:
    return "".join(map(chr, range(CODES)))


class Without:
    """The texts in which none of some strings occurs.

    A state is the longest end of the text that one of them begins with (Aho and Corasick 1975).
    """

    start = b""

    def __init__(self, strings: Sequence[str]) -> None:
        self.strings = [string.encode() for string in strings]

    def step(self, state: Any, byte: int) -> Any:
        text = state + bytes([byte])
        if text.endswith((*self.strings,)):
            return None
        ends = (text[place:] for place in range(len(text) + 1))
        return next(end for end in ends if any(string.startswith(end) for string in self.strings))

    def accepts(self, state: Any) -> bool:
        return True

    def classify(self, byte: int) -> Any:
        return byte if any(byte in string for string in self.strings) else None


Automaton = RegularExpression | Without
