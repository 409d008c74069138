"""What is wrong with labels: spelling, balance, equal texts that differ in them, labels that are unlikely."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from triad.data.dedup.dropped import DocumentTable, digest_text, read_key
from triad.data.dedup.sorted_runs import SortedRuns, map_records
from triad.data.sources.source import Split
from triad.data.word_hashes import batch_texts, classify_letters, fold, hash_words

FOLDS = 5
FEATURES = 1 << 16  # words are counted by their hashes modulo this
SMOOTHING = 0.1
SHOWN = 100
AT_ONCE = 1 << 14  # documents
Labelled = tuple[Split, str, str, str]  # split, name, text, label
Described = tuple[Split, str, str, tuple[int, int]]  # split, name, label, 128 bits of a hash of the text


class Suspicion(NamedTuple):
    """A document whose words speak for another label, and by how much: the difference of probabilities."""

    split: str
    name: str
    label: str
    likely: str
    margin: float


class Conflict(NamedTuple):
    """Documents with the same text that have different labels."""

    names: list[str]
    labels: list[str]


class LabelReport(NamedTuple):
    """What a check of labels found, the most suspicious first, and facts for a manifest."""

    conflicts: list[Conflict]
    suspicious: list[Suspicion]
    facts: dict[str, Any]


def check_labels(
    documents: Callable[[], Iterable[Labelled]], workspace: Path, expected: list[str] | None = None
) -> LabelReport:
    """Balance of classes, labels that are misspelt or not `expected`, conflicts, and suspicious labels.

    Reads the documents twice. Memory holds 1.3 MB for each label (two tables of that), and what was found.
    """
    model, table = NaiveBayes(), DocumentTable(workspace)
    texts = SortedRuns(workspace / "texts", [("key", "u8"), ("rest", "u8"), ("label", "u4"), ("row", "u8")])
    balance: dict[str, Counter[str]] = {"train": Counter(), "val": Counter()}
    for batch, words, counts in _hash(documents()):
        labels = np.array([model.number(label) for _, _, label, _ in batch])
        digests = np.array([digest for *_, digest in batch], np.uint64)
        texts.add(
            key=digests[:, 0],
            rest=digests[:, 1],
            label=labels,
            row=np.arange(table.size, table.size + len(batch)),
        )
        table.add([(split, name) for split, name, *_ in batch], digests[:, 0].tolist())
        model.count(words, counts, labels, digests[:, 0])
        for split, _, label, _ in batch:
            balance[split][label] += 1
    conflicts = list(_find_conflicts(texts, table, model.labels))
    suspicious = sorted(_find_suspicious(model, documents, table), key=lambda one: -one.margin)
    facts = {
        "documents": table.size,
        "balance": {split: dict(sorted(counts.items())) for split, counts in balance.items()},
        "largest_to_smallest": _compare_sizes(balance["train"]),
        "faults": find_label_faults(balance, expected),
        "conflicts": len(conflicts),
        "conflicting": [one._asdict() for one in conflicts[:SHOWN]],
        "suspicious": len(suspicious),
        "most_suspicious": [one._asdict() for one in suspicious[:SHOWN]],
    }
    return LabelReport(conflicts, suspicious, facts)


def find_label_faults(balance: dict[str, Counter[str]], expected: list[str] | None) -> list[str]:
    """A sentence for each label that is not as it should be."""
    everywhere = balance["train"] + balance["val"]
    faults, spellings = [], dict[str, str]()
    for label, count in sorted(everywhere.items()):
        shape = " ".join(label.casefold().split())
        if expected is not None and label not in expected:
            faults.append(f"{label!r} ({count} documents) is not among the expected labels")
        if not shape:
            faults.append(f"{count} documents have no label")
        elif (other := spellings.setdefault(shape, label)) != label:
            faults.append(f"{other!r} and {label!r} differ in case or blanks only")
        if count == 1:
            faults.append(f"{label!r} has one document only")
        if label not in balance["train"]:
            faults.append(f"{label!r} is in validation only")
    return faults + [
        f"{label!r} is expected and has no document" for label in expected or () if not everywhere[label]
    ]


class NaiveBayes:
    """Multinomial naive Bayes of hashed words; each document is judged by the folds that it is not in.

        log p(c | d) = log p(c) + (1 / sqrt(m)) sum_{i=1}^m log p(w_i | c) + const,
        p(w | c) = (n_cw + a) / (n_c + a V)                          McCallum & Nigam 1998; Rennie et al. 2003

    "A comparison of event models for naive Bayes text classification"; "Tackling the poor assumptions of
    naive Bayes". Words of a text are not independent, so the likelihood of m words counts as that of sqrt(m).
    The fold follows from the text: copies are in the same.
    """

    def __init__(self) -> None:
        self.labels: list[str] = []
        self.numbers: dict[str, int] = {}
        self.counts = np.zeros((FOLDS, 0, FEATURES), np.float32)
        self.documents = np.zeros((FOLDS, 0))

    def number(self, label: str) -> int:
        if label not in self.numbers:
            self.numbers[label] = len(self.labels)
            self.labels.append(label)
            self.counts = np.concatenate([self.counts, np.zeros((FOLDS, 1, FEATURES), np.float32)], 1)
            self.documents = np.concatenate([self.documents, np.zeros((FOLDS, 1))], 1)
        return self.numbers[label]

    def count(self, words: np.ndarray, counts: np.ndarray, labels: np.ndarray, hashes: np.ndarray) -> None:
        folds = hashes % np.uint64(FOLDS)
        np.add.at(self.documents, (folds, labels), 1)
        np.add.at(
            self.counts, (np.repeat(folds, counts), np.repeat(labels, counts), words % np.uint64(FEATURES)), 1
        )

    def fit(self) -> tuple[np.ndarray, np.ndarray]:
        """Logarithms, for each fold from all others: of p(c), (folds, labels), and p(w | c)."""
        documents = self.documents.sum(0) - self.documents
        prior = np.log((documents + 1) / (documents + 1).sum(1, keepdims=True))
        counts = self.counts.sum(0) - self.counts + SMOOTHING
        return prior, np.log(counts / counts.sum(2, keepdims=True))


def predict(
    fitted: tuple[np.ndarray, np.ndarray], words: np.ndarray, counts: np.ndarray, hashes: np.ndarray
) -> np.ndarray:
    """Probabilities of the labels, (documents, labels)."""
    prior, likelihood = fitted
    folds = hashes % np.uint64(FOLDS)
    logarithms = likelihood[np.repeat(folds, counts), :, words % np.uint64(FEATURES)].astype(np.float64)
    sums = np.concatenate([np.zeros((1, prior.shape[1])), logarithms.cumsum(0)])
    ends = np.cumsum(counts)
    scores = prior[folds] + (sums[ends] - sums[ends - counts]) / np.sqrt(np.maximum(counts, 1))[:, None]
    odds = np.exp(scores - scores.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True)


def _hash(documents: Iterable[Labelled]) -> Iterator[tuple[list[Described], np.ndarray, np.ndarray]]:
    """The documents of a batch, the hashes of their words, and how many words each has."""
    described = (((split, name, label, _digest(text)), fold(text)) for split, name, text, label in documents)
    for batch, texts in batch_texts(described):
        yield batch, *hash_words(texts, classify_letters())


def _digest(text: str) -> tuple[int, int]:
    digest = digest_text(text)
    return int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big")


def _find_conflicts(texts: SortedRuns, table: DocumentTable, labels: list[str]) -> Iterator[Conflict]:
    for piece in texts.read():
        order = np.lexsort((piece["row"], piece["rest"], piece["key"]))
        piece = piece[order]
        new = (piece["key"][1:] != piece["key"][:-1]) | (piece["rest"][1:] != piece["rest"][:-1])
        bounds = np.concatenate([[0], np.flatnonzero(new) + 1, [len(piece)]])
        for group in (piece[begin:end] for begin, end in pairwise(bounds) if end - begin > 1):
            if (group["label"] != group["label"][0]).any():
                names = [read_key(table.read_name(int(row)))[1] for row in group["row"]]
                yield Conflict(names, [labels[number] for number in group["label"]])


def _find_suspicious(
    model: NaiveBayes, documents: Callable[[], Iterable[Labelled]], table: DocumentTable
) -> Iterator[Suspicion]:
    """Confident learning: another label j is as probable as it is, on average, for documents that have it.

        p(j | x) >= t_j = mean of p(j | x) over documents labelled j             Northcutt et al. 2021, eq. 2

    "Confident learning", arXiv:1911.00068, with the p(j | x) of folds that x is not in.
    """
    fitted, size = model.fit(), len(model.labels)
    path = table.workspace / "probabilities"
    record = [("label", "u4"), ("probability", "f4", (size,))]
    totals, numbers = np.zeros(size), np.zeros(size)
    with path.open("wb") as file:
        for batch, words, counts in _hash(documents()):
            records: Any = np.empty(len(batch), record)
            hashes = np.array([digest[0] for *_, digest in batch], np.uint64)
            records["label"] = [model.numbers[label] for _, _, label, _ in batch]
            records["probability"] = predict(fitted, words, counts, hashes)
            records.tofile(file)
            own = records["probability"][np.arange(len(batch)), records["label"]]
            totals += np.bincount(records["label"], own, size)
            numbers += np.bincount(records["label"], minlength=size)
    thresholds = totals / numbers
    rows = map_records(path, record)
    for begin in range(0, len(rows), AT_ONCE):
        labels, probability = (
            rows["label"][begin : begin + AT_ONCE],
            rows["probability"][begin : begin + AT_ONCE],
        )
        confident = np.where(probability >= thresholds, probability, 0)
        likely = confident.argmax(1)
        for k in np.flatnonzero((likely != labels) & (confident.max(1) > 0)):
            split, name = read_key(table.read_name(begin + int(k)))
            margin = float(probability[k, likely[k]] - probability[k, labels[k]])
            yield Suspicion(split, name, model.labels[labels[k]], model.labels[likely[k]], round(margin, 4))


def _compare_sizes(counts: Counter[str]) -> float | None:
    return round(max(counts.values()) / min(counts.values()), 2) if counts else None
