"""Source code as rows: with a part from the middle at the end, or as prompts and completions."""

import re
from collections.abc import Iterator
from random import Random
from typing import Any

from triad.layers.ranges import PositiveInt, UnitInterval
from triad.tasks.prefixes import make_row


class Code:
    """Texts, some of them rearranged so that a model learns to fill a gap, and programs to be completed.

        <pre> prefix <suf> suffix <mid> middle <end>          PSM, prefix-suffix-middle
        <pre> <suf> suffix <mid> prefix middle <end>          SPM, suffix-prefix-middle
        Bavarian et al. 2022, arXiv:2207.14255, section 3; both: Joint-PSM+SPM there

    A text is cut into parts that fit the context, at ends of lines where it has some, and each part ends with
    <end>. A share `rate` of the parts is rearranged, of these the share `spm` in the order SPM. The gap
    begins and ends at characters drawn uniformly. All tokens are asked. Deviates: what is drawn follows from
    the text and is the same in every epoch.

    Of a program the completion is asked, whose prompt keeps its last tokens. A prediction ends before the
    first of the strings `stop` (Chen et al. 2021, arXiv:2107.03374, section 3.2). The special words <end>,
    <pre>, <suf> and <mid> stand behind the tokenizer's.
    """

    needs = {"data.yields": ("text", "programs")}
    special_tokens = 4

    def __init__(
        self,
        rate: UnitInterval,
        spm: UnitInterval,
        stop: list[str],
        tokenizer: Any,
        context: int,
        longest: PositiveInt,
    ) -> None:
        self.rate, self.spm, self.tokenizer = rate, spm, tokenizer
        self.end, self.pre, self.suf, self.mid = range(tokenizer.vocab_size, tokenizer.vocab_size + 4)
        self.stop = re.compile("|".join(map(re.escape, stop))) if stop else None
        self.context, self.longest = context, longest
        self.words = context - 3  # of a text, beside four special words, the last of which is not read
        if self.words < 1:
            raise ValueError(f"context={context}: a row with a gap needs more than 3 tokens; raise it")

    def encode(self, example: dict) -> list[dict]:
        if "prompt" in example:
            return [self._encode_program(example["prompt"], example["canonical_solution"])]
        return [self._encode_part(part) for part in self._cut(example["text"])]

    def _encode_program(self, prompt: str, completion: str) -> dict:
        given, asked = self._encode(prompt), self._encode(completion)
        left_out = max(len(given) - (self.context - self.longest), 0)
        kept = given[left_out:] or [self.end]
        cut = left_out + len(asked[self.longest :])
        return make_row([(kept, False), ([*asked[: self.longest], self.end], True)]) | {"cut": cut}

    def _encode_part(self, text: str) -> dict:
        draw = Random(text)
        if draw.random() >= self.rate:
            return make_row([([*self._encode(text), self.end], True)]) | {"cut": 0}
        is_spm = draw.random() < self.spm
        begin, end = sorted(draw.randint(0, len(text)) for _ in range(2))
        prefix, middle, suffix = map(self._encode, (text[:begin], text[begin:end], text[end:]))
        over = max(len(prefix) + len(middle) + len(suffix) - self.words, 0)  # tokens that ended at a cut
        suffix, left = suffix[: max(len(suffix) - over, 0)], max(over - len(suffix), 0)
        prefix = prefix[min(left, len(prefix)) :]
        middle = middle[: self.words - len(prefix) - len(suffix)]
        if is_spm:
            row = [self.pre, self.suf, *suffix, self.mid, *prefix, *middle, self.end]
        else:
            row = [self.pre, *prefix, self.suf, *suffix, self.mid, *middle, self.end]
        return make_row([(row, True)]) | {"cut": over}

    def _cut(self, text: str) -> Iterator[str]:
        """Parts of a text that have `words` tokens at most."""
        begin, size = 0, 4 * self.words
        while begin < len(text):
            while len(ids := self._encode(text[begin : begin + size])) > self.words and size > 1:
                size = max(1, min(size - 1, size * self.words // len(ids)))
            end = begin + size
            end = text.rfind("\n", begin, end) + 1 or end if end < len(text) else len(text)
            yield text[begin:end]
            begin, size = end, max(size, size * self.words // max(len(ids), 1))

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text).tolist()

    def make_example(self, prompt: str) -> dict:
        """A program whose completion is not known."""
        return {"prompt": prompt, "canonical_solution": ""}

    def references(self, example: dict) -> list[Any]:
        """The tests of a program; a text has none."""
        return (
            [{name: example[name] for name in ("prompt", "test", "entry_point")}] if "test" in example else []
        )

    def trim(self, text: str) -> str:
        """What stands before the first string that ends a completion."""
        found = self.stop.search(text) if self.stop else None
        return text[: found.start()] if found else text
