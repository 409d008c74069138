"""Near-duplicates: MinHash proposes pairs, the Jaccard similarity of their shingles decides."""

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from triad.data.dedup.dropped import DocumentTable, Dropped, Duplicates, hash_text
from triad.data.dedup.forest import Forest
from triad.data.dedup.minhash import MinHash, shingle
from triad.data.dedup.sorted_runs import SortedRuns, map_records
from triad.data.sources.source import Split
from triad.data.word_hashes import batch_texts, classify_spaced, hash_words

CENTRES = 32  # documents of a bucket that each of its others is compared with at most
REMEMBERED = 1 << 16  # pairs known to differ, sets of shingles: bounds of tables in memory
SIMILARITIES = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9)
AT_ONCE = 1 << 16


class NearDuplicates:
    """Of documents whose word n-grams are nearly the same, keep one.

        J(A, B) = |S_A & S_B| / |S_A | S_B| >= threshold,   S: the set of n-grams of `words` words
        P(a pair is found) = 1 - (1 - J^rows)^bands      Broder 1997; Lee et al. 2022, arXiv:2107.06499

    Words stand between blanks; a character of a script without spaces is a word; a text of fewer words is
    one n-gram. A cluster is a connected component of pairs that share a band and have that similarity, so
    its ends may be less similar. It keeps the document whose text has the smallest hash: neither the order
    of documents nor how they are cut into files changes which texts stay. Validation keeps one document of
    each cluster of its own, whatever training has; training keeps none of a cluster that reaches into
    validation.

    A bucket of more than CENTRES documents is compared with CENTRES of them, so the work grows with the
    number of documents. Memory holds a batch, a run of records and the largest document; the shingles
    (8 bytes for each word), band keys (16 bytes for each band of a document) and tables lie in the workspace.
    """

    def __init__(self, words: int, bands: int, rows: int, threshold: float) -> None:
        for name, number in (("words", words), ("bands", bands), ("rows", rows)):
            if number < 1:
                raise ValueError(f"dedup.{name}={number}: must be 1 or more")
        if not 0 < threshold <= 1:
            raise ValueError(
                f"dedup.threshold={threshold}: a Jaccard similarity above 0, 1 at most, such as 0.8"
            )
        self.words, self.bands, self.rows, self.threshold = words, bands, rows, threshold

    def find_dropped(
        self, documents: Callable[[], Iterable[tuple[Split, str, str]]], workspace: Path
    ) -> Duplicates:
        table, minhash = DocumentTable(workspace), MinHash(self.bands, self.rows)
        keys = SortedRuns(workspace / "bands", [("key", "u8"), ("row", "u8")])
        with (workspace / "shingles").open("wb") as shingles, (workspace / "ends").open("wb") as ends:
            end = 0
            for names, texts in batch_texts(((split, name), text) for split, name, text in documents()):
                found, counts = shingle(*hash_words(texts, classify_spaced()), self.words)
                found.tofile(shingles)
                (end + np.cumsum(counts)).astype(np.uint64).tofile(ends)
                end += len(found)
                bands = minhash.hash_bands(minhash.sign(found, counts))
                train = np.array([split == "train" for split, _ in names], np.uint64)
                rows = np.broadcast_to(np.arange(table.size, table.size + len(names)), bands.shape)
                # the lowest bit says the split, so that validation comes first
                keys.add(key=(bands & ~np.uint64(1) | train).ravel(), row=rows.ravel())
                table.add(names, [hash_text(text) for text in texts])
        pairs = Pairs(table, workspace, self.threshold)
        for bucket in read_buckets(keys):
            pairs.join_bucket(bucket)
        disk = sum(path.stat().st_size for path in workspace.iterdir())
        dropped = Dropped(table, pairs.find_dropped())
        for name in ("bands", "shingles", "ends", "forest", "val_forest"):
            (workspace / name).unlink()
        facts = {
            "documents": table.size,
            "dropped": dropped.counts,
            "clusters": dropped.clusters,
            "compared": pairs.compared,
            "false_positive_share": round(pairs.different / max(1, pairs.compared), 4),
            "cut_buckets": pairs.cut_buckets,
            "probability": {f"{s:.2f}": round(minhash.probability(s), 4) for s in SIMILARITIES},
            "disk_bytes": disk,
        }
        return Duplicates(dropped, facts)


class Pairs:
    """What is similar among the documents of buckets: two forests, one of which has validation alone."""

    def __init__(self, table: DocumentTable, workspace: Path, threshold: float) -> None:
        self.rows, self.threshold = table.rows, threshold
        self.shingles = workspace / "shingles"
        self.ends = map_records(workspace / "ends", np.uint64)
        self.all, self.val = (
            Forest(workspace / name, table.size, self._order) for name in ("forest", "val_forest")
        )
        self.compared = self.different = self.cut_buckets = 0
        self.unlike: set[tuple[int, int]] = set()
        self.read_set = lru_cache(CENTRES)(self._read_set)

    def join_bucket(self, bucket: np.ndarray) -> None:
        """Unite the similar documents of a bucket, which come with validation's first."""
        rows = self.rows[bucket]
        members = bucket[np.lexsort((bucket, rows["hash"], rows["train"]))]
        val = members[: np.count_nonzero(rows["train"] == 0)]
        if len(val) > 1:
            self._join(val, (self.val, self.all))
        self._join(members, (self.all,))

    def find_dropped(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Rows of documents that have a survivor, and the hash of the first of their cluster."""
        size = len(self.rows)
        for begin in range(0, size, AT_ONCE):
            rows = np.arange(begin, min(begin + AT_ONCE, size), dtype=np.uint64)
            roots = self.all.roots(begin, begin + AT_ONCE)
            own = np.where(self.rows["train"][rows] == 1, roots, self.val.roots(begin, begin + AT_ONCE))
            lost = own != rows
            yield rows[lost], self.rows["hash"][roots[lost]]

    def _join(self, members: np.ndarray, forests: tuple[Forest, ...]) -> None:
        """Reach members one from another: each centre is compared with those that are not yet reached."""
        ahead, reached = self._unite_equal(members, forests), []
        for _ in range(CENTRES):
            if not ahead:
                return
            centre = reached.pop(0) if reached else ahead.pop(0)
            beyond = []
            for document in ahead:
                if forests[0].find(document) == forests[0].find(centre):
                    reached.append(document)
                elif self._are_similar(centre, document):
                    unite(centre, document, forests)
                    reached.append(document)
                else:
                    beyond.append(document)
            ahead = beyond
        self.cut_buckets += bool(ahead)

    def _unite_equal(self, members: np.ndarray, forests: tuple[Forest, ...]) -> list[int]:
        """One document of each text, in the order of members; equal texts are united without a comparison."""
        hashes = self.rows["hash"][members]
        _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
        firsts = members[first[inverse]]
        apart = (firsts != members) & (forests[0].parents[members] != firsts)
        for document, other in zip(members[apart].tolist(), firsts[apart].tolist(), strict=True):
            unite(document, other, forests)
        return members[np.sort(first)].tolist()

    def _are_similar(self, a: int, b: int) -> bool:
        pair = (min(a, b), max(a, b))
        if pair in self.unlike:
            return False
        self.compared += 1
        one, other = self.read_set(a), self.read_set(b)
        common = np.intersect1d(one, other, assume_unique=True).size
        if common / (len(one) + len(other) - common) >= self.threshold:
            return True
        self.different += 1
        if len(self.unlike) == REMEMBERED:
            self.unlike.clear()
        self.unlike.add(pair)
        return False

    def _read_set(self, document: int) -> np.ndarray:
        begin = int(self.ends[document - 1]) if document else 0
        count = int(self.ends[document]) - begin
        return np.unique(np.fromfile(self.shingles, np.uint64, count, offset=8 * begin))

    def _order(self, document: int) -> tuple[int, int, int]:
        return int(self.rows["train"][document]), int(self.rows["hash"][document]), document


def unite(a: int, b: int, forests: tuple[Forest, ...]) -> None:
    for forest in forests:
        forest.unite(a, b)


def read_buckets(keys: SortedRuns) -> Iterator[np.ndarray]:
    """The documents that share a band, where there are two or more.

    Of a bucket that is larger than a piece of the sorted records the parts have one document in common.
    """
    last, common = -1, np.empty(0, np.uint64)
    for piece in keys.read():
        bands, rows = piece["key"] >> np.uint64(1), piece["row"]
        begins = np.concatenate([[0], np.flatnonzero(bands[1:] != bands[:-1]) + 1])
        ends = np.append(begins[1:], len(bands))
        if bands[0] == last:
            yield np.concatenate([common, rows[: ends[0]]])
        else:
            common = rows[:1]
        several = (ends - begins > 1) & (bands[begins] != last)
        for begin, end in zip(begins[several], ends[several], strict=True):
            yield rows[begin:end]
        if len(begins) > 1:
            common = rows[begins[-1] :][:1]
        last = bands[-1]
