"""Texts that a model answers prompts with: what ends them, and why each has ended."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from torch import nn

from triad.data.tokenizers.tokenizer import Tokenizer
from triad.decoding.constraints import Constraint
from triad.decoding.decode import decode, stream
from triad.decoding.hypothesis import Hypothesis
from triad.decoding.stopping import NewText, decode_text, make_stopped

TOKENS = 300  # of an answer that nothing else bounds


class Prompt(NamedTuple):
    """A text, the tokens that are continued, and the source, where a model reads one."""

    text: str
    tokens: list[int]
    source: list[int] | None


class Answer(NamedTuple):
    """A text, log p of its tokens, how many they are, and what ended it.

    "end": the model did; "stop": a stop string; "complete": nothing may follow; "length": `tokens` ran out.
    """

    text: str
    log_probability: float
    tokens: int
    finish_reason: str


class Answers:
    """Decode the answers to prompts with a model, or an ensemble, of a task that takes prompts.

    They have `tokens` at most (null: as many as the task bounds, or TOKENS), and end before the first of the
    strings `stop`; `regex`, `allow` and `ban` restrict them, see Constraint. Raises ValueError for more
    tokens than the task's answers have, and for a stop string where a text has to match as a whole.
    """

    def __init__(
        self,
        models: Sequence[nn.Module],
        tokenizer: Tokenizer,
        task: Any,
        decoding: Any,
        context: int,
        tokens: int | None = None,
        stop: Sequence[str] = (),
        allow: Sequence[int | str] = (),
        ban: Sequence[int | str] = (),
        regex: str | None = None,
    ) -> None:
        longest = task.longest_answer
        if tokens is not None and longest is not None and tokens > longest:
            raise ValueError(f"tokens={tokens}: this context holds answers of {longest} at most; lower it")
        if stop and (regex is not None or any(isinstance(item, str) for item in allow)):
            raise ValueError("stop= cuts a text, which then is not what regex= or allow= asks for: drop one")
        self.models, self.tokenizer, self.task, self.decoding = models, tokenizer, task, decoding
        self.tokens, self.stop = tokens or min(TOKENS, longest or TOKENS), stop
        self.stopped = make_stopped(tokenizer, stop)
        vocab_size = max([tokenizer.vocab_size - 1, *task.ends]) + 1
        asked = {"ends": task.ends, "vocab_size": vocab_size, "max_tokens": self.tokens}
        restricted = allow or ban or regex is not None
        self.constraint = (
            Constraint(tokenizer, **asked, regex=regex, allow=allow, ban=ban) if restricted else None
        )
        self.request = asked | {"context": context, "stopped": self._is_over, "constraint": self.constraint}

    def read(self, text: str, where: str) -> Prompt:
        """The prompt of a text. Raises ValueError, naming the place of the text, for one that is too long."""
        try:
            tokens, source = self.task.make_prompt(text)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        length, longest = len(tokens if source is None else source), self.task.longest_prompt
        if length > longest:
            raise ValueError(f"{where}: {length:,} tokens, where this context leaves {longest:,}; shorten it")
        return Prompt(text, tokens, source)

    def show(self, prompt: Prompt, seed: int) -> Iterator[str]:
        """The text of one answer, piece by piece, as it becomes certain."""
        text = NewText(self.tokenizer, self.stop)
        asked: Any = self.request | {"source": prompt.source, "seed": seed}
        for token in stream(self.models, prompt.tokens, self.decoding, **asked):
            yield text.add(token)
        yield text.finish()

    def decode(self, prompts: Sequence[Prompt], seeds: Sequence[int], n: int = 1) -> list[list[Answer]]:
        """The n best answers to each prompt of a batch, or n that are drawn."""
        sources = [prompt.source for prompt in prompts if prompt.source is not None]
        asked: Any = self.request | {"sources": sources or None, "seeds": seeds, "n": n}
        found = decode(self.models, [prompt.tokens for prompt in prompts], self.decoding, **asked)
        return [[self._describe(hypothesis) for hypothesis in hypotheses] for hypotheses in found]

    def _is_over(self, tokens: list[int]) -> bool:
        return self.stopped(tokens) or (self.constraint is not None and self.constraint.stopped(tokens))

    def _describe(self, found: Hypothesis) -> Answer:
        tokens = found.tokens
        if tokens and self.stopped(tokens):
            reason = "stop"
        elif self.constraint is not None and self.constraint.is_complete(tokens):
            reason = "complete"
        else:
            reason = "end" if found.finished and not self._is_over(tokens) else "length"
        return Answer(
            decode_text(self.tokenizer, tokens, self.stop), found.log_probability, len(tokens), reason
        )
