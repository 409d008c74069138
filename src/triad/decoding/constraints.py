"""Which tokens may follow, so that the text of the new tokens is an allowed one. Shapes: V words."""

import re
from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from triad.data.tokenizers.tokenizer import Tokenizer
from triad.decoding.patterns import Automaton, RegularExpression, Without

MOST_STATES = 1 << 14
DEAD = np.iinfo(np.int32).max  # tokens to the end from where there is none


class Constraint:
    """What `decode` and `stream` take as `constraint` and `stopped`, for texts that are restricted.

    regex: the text matches it as a whole. allow: it is made of these strings, or of these tokens, alone.
    ban: none of these strings occurs in it, nor is any of these tokens drawn.

    A token may follow if, behind it, the text can be completed by tokens of this vocabulary before
    `max_tokens` are reached: whatever is drawn, the text is allowed and comes to an end. The end may be drawn
    where the text is complete; where nothing may follow but an end, the text ends without one. All states
    that texts can come to are found beforehand, each with the number of tokens that complete it at least.
    Raises ValueError where there is no such text, or too many states, for ids that are no tokens, and for
    strings where a tokenizer's pieces are not its text.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        ends: Sequence[int],
        vocab_size: int,
        max_tokens: int,
        regex: str | None = None,
        allow: Sequence[int | str] = (),
        ban: Sequence[int | str] = (),
    ) -> None:
        self.pieces, self.max_tokens = tokenizer.pieces, max_tokens
        self.asked = _name(regex=regex, allow=allow, ban=ban)
        allowed, permitted = _divide(allow, tokenizer.vocab_size, "allow")
        banned, forbidden = _divide(ban, tokenizer.vocab_size, "ban")
        if allowed and permitted:
            raise ValueError(f"{_name(allow=allow)}: a list of tokens or one of strings, not of both")
        usable_V = np.ones(vocab_size, bool)
        if allowed:
            usable_V[:] = False
            usable_V[allowed] = True
        usable_V[[*ends]] = True
        usable_V[banned] = False
        self.ends = [end for end in ends if usable_V[end]]
        self.usable = torch.from_numpy(usable_V)
        automata: list[Automaton] = [] if regex is None else [RegularExpression(regex)]
        if permitted:
            automata.append(RegularExpression(f"(?:{'|'.join(map(re.escape, permitted))})*"))
        if forbidden:
            automata.append(Without(forbidden))
        self.automata = automata
        if automata:
            if not tokenizer.joins:
                raise ValueError(
                    f"{self.asked}: tokenizer={tokenizer.kind} does not spell a text token by token, so that"
                    " strings cannot be watched; constrain it by the ids of tokens"
                )
            self._tabulate(automata)
            self._sort_tokens(usable_V)
            self._step = lru_cache(256)(self._compute_step)
            self._measure_distances()

    def __call__(self, tokens: list[int]) -> Tensor | None:
        """The words that may follow the new tokens; None where all may."""
        if not self.automata:
            return self.usable
        state = self._find_state(tokens)
        allowed_V = self._find_followers(state, self.max_tokens - len(tokens))
        allowed_V[self.ends] = self.complete[state]
        return torch.from_numpy(allowed_V) if allowed_V.any() else None

    def stopped(self, tokens: list[int]) -> bool:
        """Whether a text is complete and no token may follow within `max_tokens`."""
        return not self._has_followers(tokens, self.max_tokens - len(tokens))

    def is_complete(self, tokens: list[int]) -> bool:
        """Whether a text is complete and no token may follow, however many there were room for."""
        return not self._has_followers(tokens, DEAD)

    def _has_followers(self, tokens: list[int], left: int) -> bool:
        return not self.automata or bool(self._find_followers(self._find_state(tokens), left).any())

    def _find_state(self, tokens: list[int]) -> int:
        state = 0
        for byte in b"".join(self.pieces[token] for token in tokens):
            state = self.table[state, byte]
        return int(state)

    def _find_followers(self, state: int, left: int) -> np.ndarray:
        """The tokens behind which the text can be completed by fewer than `left`."""
        allowed_V = np.zeros(len(self.usable), bool)
        allowed_V[self.tokens] = self.distances[self._step(state)] < left
        return allowed_V

    def _tabulate(self, automata: list[Automaton]) -> None:
        """The states of all automata together: `table` of state and byte, where the last row is dead."""
        start = tuple(automaton.start for automaton in automata)
        alike: dict[Any, list[int]] = {}
        for byte in range(256):
            alike.setdefault(tuple(one.classify(byte) for one in automata), []).append(byte)
        numbers: dict[Any, int] = {start: 0}
        rows, unread = [], deque(numbers)
        while unread:
            state = unread.popleft()
            rows.append(np.full(256, -1, np.int32))
            for equal in alike.values():
                behind = tuple(one.step(at, equal[0]) for one, at in zip(automata, state, strict=True))
                if None in behind:
                    continue
                if behind not in numbers:
                    numbers[behind] = len(numbers)
                    unread.append(behind)
                    if len(numbers) > MOST_STATES:
                        raise ValueError(
                            f"{self.asked}: more than {MOST_STATES:,} states; shorten its repetitions"
                        )
                rows[-1][equal] = numbers[behind]
        self.table = np.stack([*rows, np.full(256, -1, np.int32)])
        accepting = [
            all(one.accepts(at) for one, at in zip(automata, state, strict=True)) for state in numbers
        ]
        self.complete = np.array([*accepting, False])

    def _sort_tokens(self, usable_V: np.ndarray) -> None:
        """The usable tokens that have a text, the longest first, their bytes, and how many have an n-th."""
        found = [i for i, piece in enumerate(self.pieces) if piece and usable_V[i] and i not in self.ends]
        self.tokens = np.array(sorted(found, key=lambda i: -len(self.pieces[i])), np.int64)
        lengths = np.array([len(self.pieces[i]) for i in self.tokens])
        longest = int(lengths.max(initial=0))
        padded = b"".join(self.pieces[i].ljust(longest, b"\0") for i in self.tokens)
        self.bytes = np.frombuffer(padded, np.uint8).reshape(len(found), longest)
        self.having = [int((lengths > place).sum()) for place in range(longest)]

    def _compute_step(self, state: int) -> np.ndarray:
        """The state behind each usable token."""
        states = np.full(len(self.tokens), state, np.int32)
        for place, number in enumerate(self.having):
            states[:number] = self.table[states[:number], self.bytes[:number, place]]
        return states

    def _measure_distances(self) -> None:
        """Of each state the number of tokens that complete its text at least, DEAD where none do."""
        before: dict[int, list[int]] = {}
        found, unread = {0}, deque([0])
        while unread:
            state = unread.popleft()
            for behind in {*self._compute_step(state).tolist()} - {-1}:
                before.setdefault(behind, []).append(state)
                if behind not in found:
                    found.add(behind)
                    unread.append(behind)
        self.distances = np.full(len(self.table), DEAD, np.int64)
        unread = deque(state for state in found if self.complete[state])
        self.distances[[*unread]] = 0
        while unread:
            state = unread.popleft()
            for other in before.get(state, []):
                if self.distances[other] == DEAD:
                    self.distances[other] = self.distances[state] + 1
                    unread.append(other)
        if self.distances[0] == DEAD:
            raise ValueError(f"{self.asked}: no text of this vocabulary's tokens is allowed")
        if not self._find_followers(0, DEAD).any():
            raise ValueError(f"{self.asked}: only the empty text is allowed")
        if self.distances[0] > self.max_tokens:
            raise ValueError(
                f"tokens={self.max_tokens}: {self.asked} asks for {self.distances[0]} at least; raise tokens"
            )


def _divide(items: Sequence[int | str], vocab_size: int, key: str) -> tuple[list[int], list[str]]:
    """The ids and the strings of a list."""
    tokens = [item for item in items if isinstance(item, int)]
    if others := [token for token in tokens if not 0 <= token < vocab_size]:
        raise ValueError(f"{key}={[*items]}: {others[0]} is no token of this vocabulary of {vocab_size:,}")
    strings = [item for item in items if isinstance(item, str)]
    if "" in strings:
        raise ValueError(f"{key}={[*items]}: an empty string stands everywhere; leave it out")
    return tokens, strings


def _name(**asked: Any) -> str:
    """What was asked for, as it is typed."""
    words = {key: value if isinstance(value, str) else [*value] for key, value in asked.items() if value}
    return " ".join(f"{key}={value}" for key, value in words.items())
