"""Synthetic pairs: sentences of the target language and what a run of the other direction makes of them."""

from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from triad.checkpoints.folder import BEST, describe_checkpoint, find_checkpoint
from triad.checkpoints.trained import trained
from triad.data.progress import show_progress
from triad.data.sources.finding import find
from triad.data.sources.opening import Quota
from triad.data.sources.reading import read_lines
from triad.decoding.decode import decode
from triad.decoding.greedy import Greedy
from triad.layers.ranges import PositiveInt
from triad.runs.directory import Run
from triad.storage.manifest import MANIFEST, checksum

AT_ONCE = 64  # batches in memory, so that sentences of one length come together
LONGER, MORE = 2, 10  # a translation has at most LONGER x the tokens of the longest sentence + MORE


class BackTranslation:
    """Pairs for training whose targets are sentences of `path`, a line each, and whose sources a run made.

        x' = argmax p(x | y),   greedily, for each y of a monolingual text of the target language
        Sennrich et al. 2016, arXiv:1511.06709, section 3.2

    `run` translates from the target's language to the source's. `tag` stands before each such source, so that
    a model can tell them from real ones (Caswell et al. 2019, arXiv:1906.06442); null: nothing does.
    Sentences of more tokens than the run's context are passed over. Raises ValueError for a run that
    does not translate.
    """

    needs = {"data.yields": ("pairs",)}

    def __init__(self, run: str, path: str | list[str], tag: str | None, rows: PositiveInt) -> None:
        self.run, self.tag, self.rows = Run(run), tag, rows
        self.texts = find(path, "synthetic.path", Quota())
        config = self.run.config()
        if (reads := config["task"].get("pairs", {}).get("_target_")) != "triad.tasks.pairs.given":
            raise ValueError(f"synthetic.run={run}: its task is not to translate ({reads}): give another run")
        self.context = config["context"]
        self.checkpoint = find_checkpoint(self.run.path, BEST)

    @property
    def files(self) -> list[tuple[str, Path]]:
        """The files of sentences, with their names."""
        return [(text.name, text.path) for text in self.texts]

    @cached_property
    def contents(self) -> dict[str, Any]:
        """What the pairs follow from beside the arguments: weights, sentences and this code."""
        made_by = checksum(self.checkpoint / MANIFEST), checksum(self.run.tokenizer / "tokenizer.json")
        return {
            "weights": made_by,
            "sentences": [checksum(path) for _, path in self.files],
            "code": checksum(Path(__file__)),
        }

    def mark(self, source: str) -> str:
        """A synthetic source with the tag."""
        return source if self.tag is None else f"{self.tag} {source}"

    def read_pairs(self) -> Iterator[tuple[str, str]]:
        """Source and target of each pair, in the order of the sentences; blank ones have no pair."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model, tokenizer = trained(self.run, self.checkpoint, device=device)
        size = sum(path.stat().st_size for _, path in self.files)
        print(f"back-translating with {describe_checkpoint(self.checkpoint)}", flush=True)
        with show_progress("back-translating", size) as advance:
            lines = (line.strip() for text in self.texts for line in read_lines(text))
            full = filter(None, lines)
            while sentences := list(islice(full, AT_ONCE * self.rows)):
                yield from self._translate(model, tokenizer, sentences)
                advance(sum(len(sentence.encode()) + 1 for sentence in sentences))

    def _translate(self, model: Any, tokenizer: Any, sentences: list[str]) -> Iterator[tuple[str, str]]:
        encoded = [tokenizer.encode(sentence).tolist() for sentence in sentences]
        fitting = [at for at, tokens in enumerate(encoded) if len(tokens) < self.context]
        found: dict[int, str] = {}
        fitting.sort(key=lambda at: len(encoded[at]))
        for first in range(0, len(fitting), self.rows):
            places = fitting[first : first + self.rows]
            rows = [encoded[at] for at in places]
            length = min(LONGER * len(rows[-1]) + MORE, self.context)
            end = tokenizer.vocab_size  # behind it are no tokens
            decoded = decode(
                model,
                [[end]] * len(rows),
                Greedy(),
                ends=[end],
                max_tokens=length,
                context=self.context,
                vocab_size=end + 1,
                sources=rows,
            )
            for at, (best,) in zip(places, decoded, strict=True):
                found[at] = tokenizer.decode(best.tokens).strip()
        for at in sorted(found):
            if found[at]:
                yield found[at], sentences[at]
