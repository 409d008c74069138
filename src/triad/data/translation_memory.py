"""A translation memory: segments and their translations in SQLite, found again exactly or by likeness.

sources    id from 0 on, text, number of its n-grams
targets    source, text, uses: how often the pair was added
ngrams     n characters, holders: the ids of the sources that have them, ascending, as little-endian uint32
"""

import sqlite3
from array import array
from collections import defaultdict
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

N = 4  # characters of an n-gram
PADDING = " " * (N - 1)
SCHEMA = """
create table if not exists sources (
    id integer primary key, text text unique not null, ngrams integer not null
);
create table if not exists targets (
    source integer not null references sources, text text not null, uses integer not null,
    primary key (source, text)
) without rowid;
create table if not exists ngrams (ngram text unique not null, holders blob not null);
"""
CHUNK = 50_000  # pairs added at once: what their index takes in memory before it is written
HOLDERS = 150_000  # ids read from the index for one query, those of its rarest n-grams first
CANDIDATES = 400  # sources compared with a query


class Match(NamedTuple):
    """An entry that is like a query; a score of 1 is the query itself."""

    score: float
    source: str
    target: str


class TranslationMemory:
    """Translations of segments seen before, looked up exactly or by edit distance.

        score(s, t) = 1 - d(s, t) / max(|s|, |t|),   d the edit distance in characters      Levenshtein 1966

    The sources that share most of a query's n-grams, as a share of the larger set of the two, are candidates
    (Ukkonen 1992, Theoretical Computer Science 92:191-211: few edits leave most n-grams whole); rapidfuzz
    compares those. So a look-up does not read the other sources, and may miss one: benchmarks/memory.py
    measures how often. Raises FileNotFoundError for a memory that is not there, unless it is to be made, and
    ValueError for a file that is none.
    """

    packages = ("rapidfuzz",)

    def __init__(self, path: Path, make: bool = False) -> None:
        if not make and not path.is_file():
            raise FileNotFoundError(f"{path}: no translation memory is there; `triad memory` makes one")
        self.path, self._sizes = path, np.empty(0)
        self.database = sqlite3.connect(path)
        try:
            self.database.executescript(SCHEMA)
        except sqlite3.DatabaseError as error:
            self.database.close()
            raise ValueError(f"{path}: it is no translation memory, a file of SQLite: {error}") from error

    def close(self) -> None:
        self.database.close()

    def __len__(self) -> int:
        """The number of different sources."""
        return self.database.execute("select coalesce(max(id) + 1, 0) from sources").fetchone()[0]

    def add(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Add sources with their targets; all of them or, where that fails, none."""
        pairs = iter(pairs)
        with self.database:
            while chunk := list(islice(pairs, CHUNK)):
                self._add(chunk)

    def _add(self, pairs: list[tuple[str, str]]) -> None:
        run, last = self.database.execute, len(self)
        holders: dict[str, array] = defaultdict(lambda: array("I"))
        for source, target in pairs:
            known = run("select id from sources where text = ?", (source,)).fetchone()
            number = known[0] if known else last
            if not known:
                ngrams = cut_ngrams(source)
                run("insert into sources values (?, ?, ?)", (number, source, len(ngrams)))
                for ngram in ngrams:
                    holders[ngram].append(number)
                last += 1
            run(
                "insert into targets values (?, ?, 1) on conflict do update set uses = uses + 1",
                (number, target),
            )
        for ngram, numbers in sorted(holders.items()):
            before = run("select holders from ngrams where ngram = ?", (ngram,)).fetchone()
            blob = (before[0] if before else b"") + np.asarray(numbers, "<u4").tobytes()
            run("insert into ngrams values (?, ?) on conflict do update set holders = ?", (ngram, blob, blob))

    def find_exact(self, source: str) -> list[str]:
        """The targets of a source that is there, the most frequent first."""
        found = self.database.execute(
            "select targets.text from targets join sources on source = id where sources.text = ?"
            " order by uses desc, targets.text",
            (source,),
        )
        return [target for (target,) in found]

    def find_similar(
        self, query: str, least: float = 0.6, most: int = 1, identical: bool = True
    ) -> list[Match]:
        """The entries most like a query, best first, with a score of `least` or more.

        With identical=False the query itself, if it is there, is none of them.
        """
        from rapidfuzz.distance import Levenshtein
        from rapidfuzz.process import extract

        texts = [text for text in self._find_candidates(query) if identical or text != query]
        scorer = Levenshtein.normalized_similarity
        best = extract(query, texts, scorer=scorer, limit=most, score_cutoff=least, processor=None)
        return [Match(score, text, self.find_exact(text)[0]) for text, score, _ in best]

    def _find_candidates(self, query: str) -> list[str]:
        """The sources that share most n-grams with a query."""
        ngrams = cut_ngrams(query)
        shared = np.bincount(self._read_holders(ngrams))
        some = np.flatnonzero(shared > len(ngrams) // 16)  # the others are unlike it; saves 1 ms of 100,000
        likeness = shared[some] / np.maximum(self._read_sizes()[some], len(ngrams))
        best = some[np.argsort(-likeness, kind="stable")[:CANDIDATES]].tolist()
        read = f"select text from sources where id in ({','.join('?' * len(best))})"
        return [text for (text,) in self.database.execute(read, best)]

    def _read_holders(self, ngrams: set[str]) -> np.ndarray:
        """Ids of the sources that have the rarest of some n-grams, an id once for each."""
        places = ",".join("?" * len(ngrams))
        rows = self.database.execute(
            f"select length(holders), rowid from ngrams where ngram in ({places}) order by 1", [*ngrams]
        ).fetchall()
        total = np.cumsum([size // 4 for size, _ in rows])
        taken = rows[: max(1, int(np.searchsorted(total, HOLDERS, "right")))]
        read = "select holders from ngrams where rowid = ?"
        blobs = [self.database.execute(read, (row,)).fetchone()[0] for _, row in taken]
        return np.frombuffer(b"".join(blobs), "<u4").astype(np.int64)

    def _read_sizes(self) -> np.ndarray:
        """The number of n-grams of each source, by its id."""
        if len(self._sizes) != (size := len(self)):
            rows = self.database.execute("select ngrams from sources order by id")
            self._sizes = np.fromiter((count for (count,) in rows), np.int64, size)
        return self._sizes


def cut_ngrams(text: str) -> set[str]:
    """The different runs of N characters of a text between blanks, which short texts have in common."""
    padded = f"{PADDING}{text}{PADDING}"
    return {padded[start : start + N] for start in range(len(padded) - N + 1)}
