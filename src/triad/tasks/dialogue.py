"""Dialogues as rows: turns between special words."""

from typing import Any

from triad.layers.ranges import PositiveInt
from triad.tasks.prefixes import Piece, make_row


class Dialogue:
    """The turns of a dialogue in one row, of which the answers are asked.

        row = <role 1> content 1 <end> <role 2> content 2 <end> ... <role of answers> answer <end>

    after ChatML. <end> is the first special word, <role> one of those behind it, in the order of `roles`. The
    row ends with the last answer. What a role of `stays` says, a system's turn, stands in front; so do the
    slots of the dialogue, lines "name: value" of the role slots. Of the other turns before the last answer
    the first are left out, whole, until its prompt leaves room for `longest` tokens of an answer; an answer
    whose question was left out is left out, too. A message with the weight 0 is not asked. No row is made of
    a dialogue without an answer, nor where even the turn before the answer does not fit. Raises ValueError
    for a role that is not among `roles`.
    """

    needs = {"data.yields": ("dialogues",)}

    def __init__(
        self,
        roles: list[str],
        answers: str,
        stays: list[str],
        tokenizer: Any,
        context: PositiveInt,
        longest: PositiveInt,
    ) -> None:
        if answers not in roles or not {*stays} < {*roles} - {answers}:
            raise ValueError(
                f"task.rows.answers={answers} stays={stays}: other ones of task.rows.roles={roles}"
            )
        self.end = tokenizer.vocab_size
        self.words = {role: self.end + 1 + place for place, role in enumerate(roles)}
        self.special_tokens = 1 + len(roles)
        self.answers, self.stays, self.tokenizer = answers, stays, tokenizer
        self.room, self.longest = context - longest, longest

    def encode(self, example: dict) -> list[dict]:
        messages = self._find_messages(example)
        if not messages:
            return []
        *before, last = messages
        first = [self._make_turn(message) for message in before if message["role"] in self.stays]
        others = [message for message in before if message["role"] not in self.stays]
        room = self.room - 1 - sum(map(count_tokens, first))  # 1: the word of the answer's role
        kept, cut = self._cut_history(others, room)
        if room < 0 or (others and not kept):
            return []
        answer = self.tokenizer.encode(last["content"]).tolist()
        asked = [*answer[: self.longest], self.end]
        turns = [*first, *kept, [([self.words[self.answers]], False), (asked, True)]]
        row = make_row([piece for turn in turns for piece in turn])
        return [row | {"cut": cut + len(answer[self.longest :])}]

    def _cut_history(self, messages: list[dict], room: int) -> tuple[list[list[Piece]], int]:
        """The last turns that fit, but no answer to one that does not, and the tokens of the others."""
        turns = [self._make_turn(message) for message in messages]
        sizes = [count_tokens(turn) for turn in turns]
        first, size = 0, sum(sizes)
        while size > room and first < len(turns):
            size, first = size - sizes[first], first + 1
            while first < len(turns) and messages[first]["role"] == self.answers:
                size, first = size - sizes[first], first + 1
        return turns[first:], sum(sizes[:first])

    def _find_messages(self, example: dict) -> list[dict]:
        """The messages up to the last answer that is asked, with the slots as one of them."""
        messages = example["messages"]
        asked = [place for place, message in enumerate(messages) if self._is_asked(message)]
        if not asked:
            return []
        slots = example.get("slots") or {}
        lines = "\n".join(f"{name}: {value}" for name, value in slots.items())
        return [*([{"role": "slots", "content": lines}] if slots else []), *messages[: asked[-1] + 1]]

    def _is_asked(self, message: dict) -> bool:
        return message["role"] == self.answers and bool(message.get("weight", 1))

    def _make_turn(self, message: dict) -> list[Piece]:
        if (role := message["role"]) not in self.words:
            raise ValueError(f"task.rows.roles={[*self.words]}: a dialogue has the role {role}, add it")
        content = self.tokenizer.encode(message["content"]).tolist()
        return [([self.words[role]], False), ([*content, self.end], self._is_asked(message))]

    def make_example(self, said: str) -> dict:
        """A dialogue of one turn, by the first role that neither answers nor stays, and an empty answer."""
        role = next(role for role in self.words if role not in (self.answers, *self.stays))
        turns = [{"role": role, "content": said}, {"role": self.answers, "content": ""}]
        return {"messages": turns}

    def references(self, example: dict) -> list[str]:
        """The last answer."""
        return [message["content"] for message in self._find_messages(example)[-1:]]

    def trim(self, text: str) -> str:
        return text


def count_tokens(turn: list[Piece]) -> int:
    return sum(len(tokens) for tokens, _ in turn)
