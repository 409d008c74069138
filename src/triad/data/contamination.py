"""Training text that holds items of evaluation sets."""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from triad.data.sources.finding import find
from triad.data.sources.opening import Quota
from triad.data.sources.reading import read_lines
from triad.data.sources.records import JSON, Record, get_text, read_json
from triad.data.sources.source import Split
from triad.data.word_hashes import (
    batch_texts,
    classify_letters,
    fold,
    hash_ngrams,
    hash_ngrams_at,
    hash_words,
)
from triad.storage.manifest import checksum

SHORTEST = 5  # words: what is shorter ("A.", "none of the above") stands in any text
SHORTEST_QUESTION = 8  # words of a question that are evidence without its options
FIRST_OPTION, SECOND_OPTION = (re.compile(rf"(?<!\w)\(?{letter}[.):]\s") for letter in "AB")
FILTER_BITS = 22
FILTERED = np.uint64(64 - FILTER_BITS)
NOTHING = np.empty(0, np.uint64)
SHOWN = 100  # hits and items that a manifest names


class Item(NamedTuple):
    """One example of an evaluation set: what it is called, all of it, and its question alone."""

    name: str
    text: str
    question: str


class Hit(NamedTuple):
    """An item, and a document that holds it."""

    item: str
    document: str
    split: Split


class Contamination(NamedTuple):
    """What a check found: hits, the item for each document to be dropped, and facts for a manifest."""

    hits: list[Hit]
    dropped: dict[tuple[Split, str], str]
    facts: dict[str, Any]


class ContaminationCheck:
    """Find the documents that share n consecutive words with an item of an evaluation set.

    A word is of letters, digits and marks, its case and compatibility forms folded (NFKC), without format
    characters, so that line wraps, quotes, tables and blanks hide nothing; in scripts without spaces each
    character is a word. One common n-gram is a hit, however long the document (Brown et al. 2020,
    arXiv:2005.14165, appendix C; n = 13).

    An item of fewer than n words matches whole, if it has SHORTEST words. So does a question of
    SHORTEST_QUESTION words, which stands before options "(A) ... (B) ..." or is the first of several fields.
    N-grams that other items have as well are no evidence. Items with the same words are one.

    `path` names files: of .jsonl each line is an item, whose `fields` (texts or lists of texts) are joined
    and whose `id`, if it has one, is its name; of other text each line is. Memory grows with the evaluation
    sets and the hits, not with the documents. With action=drop the documents that are hit are dropped.
    """

    def __init__(
        self, path: str | list[str], fields: list[str], id: str, words: int, action: Literal["report", "drop"]
    ) -> None:
        if words < SHORTEST:
            raise ValueError(f"contamination.words={words}: must be {SHORTEST} or more, such as 13")
        if action not in ("report", "drop"):
            raise ValueError(f"contamination.action={action}: must be report or drop")
        if not fields:
            raise ValueError("contamination.fields=[]: name what an item's text is called, such as [text]")
        self.files = find(path, "contamination.path", Quota())
        self.fields, self.id, self.words, self.action = fields, id, words, action

    @property
    def contents(self) -> list[list[str]]:
        """What the files hold, by their names: a product is another one when they change."""
        return [[file.name, checksum(file.path)] for file in self.files]

    def find_dropped(
        self, documents: Callable[[], Iterable[tuple[Split, str, str]]], workspace: Path
    ) -> Contamination:
        evidence = Evidence(self._read_items(), self.words)
        hits = list(dict.fromkeys(_find_hits(evidence, documents())))
        dropped = {(hit.split, hit.document): hit.item for hit in hits} if self.action == "drop" else {}
        facts = {
            "items": len(evidence.called),
            "unchecked_items": len(evidence.unchecked),
            "unchecked": evidence.unchecked[:SHOWN],
            "contaminated_items": len({hit.item for hit in hits}),
            "contaminated_documents": len({hit[1:] for hit in hits}),
            "hits": [list(hit) for hit in hits[:SHOWN]],
            "dropped": {split: sum(key[0] == split for key in dropped) for split in ("train", "val")},
        }
        return Contamination(hits, dropped, facts)

    def _read_items(self) -> Iterator[Item]:
        for file in self.files:
            if file.kind in JSON:
                for record in read_json(file):
                    yield self._make_item(record, f"{file.name}:{record.number}")
            else:
                for number, line in enumerate(read_lines(file), 1):
                    if line.strip():
                        yield Item(f"{file.name}:{number}", line, find_question(line))

    def _make_item(self, record: Record, name: str) -> Item:
        texts = [_join(record, field) for field in self.fields]
        named = record.fields.get(self.id)
        text = "\n".join(texts)
        return Item(
            name if named is None else str(named), text, texts[0] if texts[1:] else find_question(text)
        )


class Evidence:
    """The n-grams by which items are known: by length, sorted, with the item and the first words of each."""

    def __init__(self, items: Iterable[Item], n: int) -> None:
        self.n = n
        self.names: dict[bytes, list[str]] = {}  # of items that are the same, by the hashes of their words
        self.passages: list[tuple[int, np.ndarray]] = []  # a number of an item, and words that are evidence
        for item in items:
            self._add(item)
        self.wholes = [np.frombuffer(words, np.uint64) for words in self.names]
        lengths = sorted({min(len(words), n) for _, words in self.passages})
        found = {length: self._find_own(length) for length in lengths}
        self.by_length = {length: own for length, own in found.items() if len(own[0])}
        self.called = [" = ".join(names) for names in self.names.values()]
        known = {owner for _, owners, _ in self.by_length.values() for owner in owners.tolist()}
        self.unchecked = [name for owner, name in enumerate(self.called) if owner not in known]
        self.first = np.unique(np.concatenate([NOTHING, *(first for *_, first in self.by_length.values())]))
        self.filter = np.zeros(1 << FILTER_BITS, bool)  # fits a cache, which the sorted n-grams may not
        self.filter[self.first >> FILTERED] = True

    def find(self, words: np.ndarray, counts: np.ndarray) -> Iterator[tuple[int, str]]:
        """Documents, of which each has a number of the words, and items that they hold."""
        ends = np.cumsum(counts)
        first = hash_ngrams(words, SHORTEST)
        places = np.flatnonzero(self.filter[first >> FILTERED])
        places = places[np.isin(first[places], self.first)]
        documents = np.searchsorted(ends, places, "right")
        for length, (ngrams, owners, _) in self.by_length.items():
            within = places + length <= ends[documents]
            found = hash_ngrams_at(words, length, places[within])
            at = np.searchsorted(ngrams, found).clip(max=len(ngrams) - 1)
            for document, owner in np.unique(
                np.stack([documents[within], owners[at]], 1)[ngrams[at] == found], axis=0
            ).tolist():
                yield document, self.called[owner]

    def _add(self, item: Item) -> None:
        words, question = _hash_apart([item.text, item.question])
        names = self.names.setdefault(words.tobytes(), [])
        names.append(item.name)
        if len(names) == 1:
            number = len(self.names) - 1
            if len(words) >= SHORTEST:
                self.passages.append((number, words))
            if SHORTEST_QUESTION <= len(question) < min(self.n, len(words)):
                self.passages.append((number, question))

    def _find_own(self, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """N-grams that one item alone has."""
        everywhere, counts = np.unique(
            np.concatenate([np.unique(hash_ngrams(words, length)) for words in self.wholes]),
            return_counts=True,
        )
        some = [(k, words) for k, words in self.passages if min(len(words), self.n) == length]
        ngrams = np.concatenate([hash_ngrams(words, length) for _, words in some])
        first = np.concatenate(
            [hash_ngrams(words[: len(words) - length + SHORTEST], SHORTEST) for _, words in some]
        )
        owners = np.repeat([k for k, _ in some], [len(words) - length + 1 for _, words in some])
        ngrams, kept = np.unique(ngrams, return_index=True)
        own = counts[np.searchsorted(everywhere, ngrams)] == 1
        return ngrams[own], owners[kept[own]], first[kept[own]]


def find_question(text: str) -> str:
    """What stands before the options of a multiple choice; nothing where there are none."""
    if (first := FIRST_OPTION.search(text)) and SECOND_OPTION.search(text, first.end()):
        return text[: first.start()]
    return ""


def _find_hits(evidence: Evidence, documents: Iterable[tuple[Split, str, str]]) -> Iterator[Hit]:
    for names, texts in batch_texts(((split, name), fold(text)) for split, name, text in documents):
        for document, item in evidence.find(*hash_words(texts, classify_letters())):
            split, name = names[document]
            yield Hit(item, name, split)


def _hash_apart(texts: list[str]) -> list[np.ndarray]:
    words, counts = hash_words([fold(text) for text in texts], classify_letters())
    return np.split(words, np.cumsum(counts)[:-1])


def _join(record: Record, field: str) -> str:
    """A field's text; of a list of texts, such as options, all of them."""
    value = record.fields.get(field) if isinstance(record.fields, dict) else None
    if isinstance(value, list) and value and all(isinstance(text, str) for text in value):
        return "\n".join(value)
    return get_text(record, field, "contamination.fields")
