"""Exact and near duplicates: what stays depends on the texts alone."""

import gzip
import random
from collections import Counter, defaultdict
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pytest
import yaml

from triad.config.build import build
from triad.config.locations import CONF
from triad.data.dedup import exact, near, sorted_runs
from triad.data.dedup.dropped import Duplicates
from triad.data.dedup.exact import ExactDuplicates
from triad.data.dedup.minhash import MinHash, shingle
from triad.data.dedup.near import CENTRES, NearDuplicates
from triad.data.dedup.sorted_runs import SortedRuns
from triad.data.word_hashes import classify_spaced, hash_words

MESSY = Path(__file__).parents[4] / "shared" / "data" / "messy" / "sms_spam_collection.tsv.gz"
Documents = list[tuple[str, str, str]]
# finds any pair of a similarity that a test has: 1 - (1 - .5^2)^60 is 1 - 3e-8
THOROUGH = {"words": 3, "bands": 60, "rows": 2}


def find(part, documents: Documents, workspace: Path) -> Duplicates:
    return part.find_dropped(lambda: iter(documents), workspace)


def surviving(part, documents: Documents, workspace: Path) -> dict[str, list[str]]:
    """The texts that stay, by split."""
    dropped = find(part, documents, workspace).dropped
    stay: dict[str, list[str]] = {"train": [], "val": []}
    for split, name, text in documents:
        if (split, name) not in dropped:
            stay[split].append(text)
    return {split: sorted(texts) for split, texts in stay.items()}


def make_families(seed: int, families: int, size: int) -> Documents:
    """Documents of which each is some words away from the one before it in its family."""
    draw = random.Random(seed)
    documents = []
    for family in range(families):
        words = [f"w{draw.randrange(10**6)}" for _ in range(60)]
        for member in range(size):
            split = "val" if draw.random() < 0.3 else "train"
            documents.append((split, f"{family}-{member}", " ".join(words)))
            for _ in range(draw.randrange(4)):
                words[draw.randrange(len(words))] = f"w{draw.randrange(10**6)}"
    draw.shuffle(documents)
    return documents


def shingles(text: str, n: int) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[k : k + n]) for k in range(max(1, len(words) - n + 1))}


def find_components(texts: list[str], n: int, threshold: float) -> list[set[int]]:
    """Connected components by comparing all pairs."""
    sets = [shingles(text, n) for text in texts]
    neighbours = defaultdict(set)
    for i, j in combinations(range(len(texts)), 2):
        if len(sets[i] & sets[j]) / len(sets[i] | sets[j]) >= threshold:
            neighbours[i].add(j)
            neighbours[j].add(i)
    found, seen = [], set()
    for start in range(len(texts)):
        ahead, component = [start], set()
        while ahead:
            if (one := ahead.pop()) not in seen:
                seen.add(one)
                component.add(one)
                ahead += neighbours[one]
        found += [component] if component else []
    return found


def test_clusters_are_those_of_a_comparison_of_all_pairs(tmp_path: Path) -> None:
    documents = make_families(0, families=20, size=6)
    result = find(NearDuplicates(**THOROUGH, threshold=0.75), documents, tmp_path)
    components = find_components([text for _, _, text in documents], 3, 0.75)
    assert len([c for c in components if len(c) > 2]) > 5
    for component in components:
        keys = [documents[i][:2] for i in component]
        splits = {split for split, _ in keys}
        clusters = {result.dropped[key] for key in keys if key in result.dropped}
        assert len(clusters) == (len(keys) > 1 and bool(clusters))
        stay = [split for split, name in keys if (split, name) not in result.dropped]
        if splits == {"train"}:
            assert stay == ["train"]
        else:
            assert "train" not in stay
    own = [text for split, _, text in documents if split == "val"]
    assert len([key for key in result.dropped if key[0] == "val"]) == len(own) - len(
        find_components(own, 3, 0.75)
    )
    assert result.facts["clusters"] == len(set(result.dropped.values()))
    assert result.facts["dropped"] == Counter(split for split, _ in result.dropped)
    assert len(result.dropped) == sum(result.facts["dropped"].values())
    assert result.facts["false_positive_share"] > 0


@pytest.mark.parametrize("part", [ExactDuplicates("case"), NearDuplicates(**THOROUGH, threshold=0.75)])
def test_which_texts_stay_depends_on_neither_order_nor_names(part, tmp_path: Path) -> None:
    documents = make_families(1, families=15, size=5)
    documents += [(split, f"{name} again", text.upper()) for split, name, text in documents[:20]]
    stay = surviving(part, documents, tmp_path / "first")
    assert len(documents) - sum(map(len, stay.values())) >= 20
    for seed in range(4):
        random.Random(seed).shuffle(documents)
        renamed = [(split, f"{seed}:{n}", text) for n, (split, _, text) in enumerate(documents)]
        assert surviving(part, renamed, tmp_path / str(seed)) == stay


def test_what_stays_of_validation_does_not_depend_on_training(tmp_path: Path) -> None:
    part = NearDuplicates(**THOROUGH, threshold=0.75)
    documents = make_families(2, families=30, size=6)
    val = [document for document in documents if document[0] == "val"]
    both, alone = (surviving(part, some, tmp_path / str(len(some))) for some in (documents, val))
    assert both["val"] == alone["val"]
    assert len(both["val"]) < len(val)


def test_the_ends_of_a_chain_are_one_cluster_in_every_order(tmp_path: Path) -> None:
    words = [f"w{n}" for n in range(100)]
    texts = [" ".join([*(f"x{n}" for n in range(k)), *words[k:]]) for k in (0, 6, 12, 18)]
    first, last = shingles(texts[0], 3), shingles(texts[3], 3)
    assert len(first & last) / len(first | last) < 0.75
    stay = set()
    for turn, order in enumerate(permutations([*texts, "alone " * 9])):
        documents = [("train", str(n), text) for n, text in enumerate(order)]
        stay.add(
            tuple(
                surviving(NearDuplicates(**THOROUGH, threshold=0.8), documents, tmp_path / str(turn))["train"]
            )
        )
    assert len(stay) == 1
    assert len(stay.pop()) == 2


def test_one_band_is_enough_for_a_chain(tmp_path: Path) -> None:
    """A document that was reached reaches further in the same bucket."""
    documents = []
    for family in range(40):
        words = [f"{family}w{n}" for n in range(100)]
        for k in (0, 6, 12, 18):
            documents.append(
                ("train", f"{family}-{k}", " ".join([*(f"{family}x{n}" for n in range(k)), *words[k:]]))
            )
    clusters = find(NearDuplicates(words=3, bands=1, rows=1, threshold=0.8), documents, tmp_path).dropped
    assert max(Counter(clusters.values()).values()) == 3


def test_short_texts_and_texts_without_spaces_are_told_apart(tmp_path: Path) -> None:
    apart = ["ja", "nein", "vielen dank", "siehe bild 7", "siehe bild 8", "...", "???", "七八", "九十"]
    apart += ["湖边的小屋很安静", "森林里的路不好走", "ทะเลสวยมาก", "ภูเขาสูงมาก", " \n"]
    documents = [("train", str(n), text) for n, text in enumerate([*apart, "ja", "vielen dank", "七八"])]
    dropped = find(NearDuplicates(5, 14, 8, 0.8), documents, tmp_path).dropped
    assert {name for _, name in dropped} == {"14", "15", "16"}
    long = "湖边的小屋很安静，森林里的路不好走，但是每天早上都有人从山上下来，到市场去卖水果和蔬菜。" * 2
    pair = [("train", "a", long), ("train", "b", long.replace("水果", "鲜花"))]
    assert len(find(NearDuplicates(**THOROUGH, threshold=0.7), pair, tmp_path).dropped) == 1


def test_equal_texts_of_both_splits_leave_training(tmp_path: Path) -> None:
    documents = [("train", "a", "x  y"), ("train", "b", "x y"), ("val", "a", "x y"), ("val", "c", "x y")]
    documents += [("train", "d", "X y"), ("train", "e", "z"), ("train", "f", "z")]
    for part, names in (
        (ExactDuplicates("none"), ["train b", "train f", "val c"]),
        (ExactDuplicates("blanks"), ["train a", "train b", "train f", "val c"]),
        (ExactDuplicates("case"), ["train a", "train b", "train d", "train f", "val c"]),
    ):
        result = find(part, documents, tmp_path)
        assert sorted(map(" ".join, result.dropped)) == names
        assert result.facts["clusters"] == 2
        assert result.facts["documents"] == 7
        assert ("val", "b") not in result.dropped
        assert ("train", "c") not in result.dropped


def test_copies_beyond_what_memory_holds_are_one_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = [("val" if n % 50 == 49 else "train", str(n), f"text {n % 3}") for n in range(1000)]
    documents += make_families(3, families=20, size=4)
    parts = {"exact": ExactDuplicates("none"), "near": NearDuplicates(2, 8, 2, 0.7)}
    whole = {name: dict(find(part, documents, tmp_path / name).dropped) for name, part in parts.items()}
    monkeypatch.setattr(sorted_runs.SortedRuns.__init__, "__defaults__", (64,))
    for name, part in parts.items():
        assert dict(find(part, documents, tmp_path / f"{name} in parts").dropped) == whole[name]
    assert len(whole["exact"]) >= 997


def test_records_come_sorted_and_keys_stay_together(tmp_path: Path) -> None:
    runs = SortedRuns(tmp_path / "runs", [("key", "u8"), ("row", "u8")], at_once=100)
    draw = np.random.default_rng(0)
    keys = draw.integers(0, 2**64, 2000, dtype=np.uint64)
    keys[draw.permutation(2000)[:300]] = 2**64 - 1
    keys[draw.permutation(2000)[:40]] = 7
    for begin in range(0, 2000, 30):
        runs.add(key=keys[begin : begin + 30], row=np.arange(begin, min(begin + 30, 2000)))
    pieces = list(runs.read())
    order = np.argsort(keys, kind="stable")
    assert (np.concatenate([piece["row"] for piece in pieces]) == order).all()
    assert max(map(len, pieces)) <= 100
    several = [
        key for key, n in Counter(k for piece in pieces for k in set(piece["key"].tolist())).items() if n > 1
    ]
    assert several == [2**64 - 1]


def test_the_work_grows_with_the_documents_of_a_bucket_not_with_their_pairs(tmp_path: Path) -> None:
    words = [f"w{n}" for n in range(40)]
    copies = [("train", f"copy {n}", " ".join(words)) for n in range(3000)]
    facts = find(NearDuplicates(3, 14, 8, 0.8), copies, tmp_path / "copies").facts
    assert (facts["compared"], facts["dropped"]["train"]) == (0, 2999)
    # half of each document is the same in all: with one row, most bands have a bucket of most documents
    alike = [("train", str(n), " ".join([*words, *(f"{n}x{k}" for k in range(40))])) for n in range(300)]
    facts = find(NearDuplicates(3, 3, 1, 0.9), alike, tmp_path / "alike").facts
    assert facts["cut_buckets"] > 0
    assert facts["false_positive_share"] == 1
    assert facts["compared"] <= 3 * CENTRES * 300 < 300 * 299 / 2
    assert facts["dropped"] == {"train": 0, "val": 0}


@pytest.mark.parametrize(
    ("similarity", "probability"), [(0.7, 0.564), (0.75, 0.772), (0.8, 0.924), (0.85, 0.988)]
)
def test_pairs_are_found_as_often_as_the_equation_says(similarity: float, probability: float) -> None:
    minhash = MinHash(14, 8)
    assert minhash.probability(similarity) == pytest.approx(probability, abs=1e-3)
    pairs, union = 2000, 200
    drawn = np.random.default_rng(0).integers(0, 2**64, (pairs, union), dtype=np.uint64)
    common, own = round(similarity * union), round((1 - similarity) * union / 2)
    sides = drawn[:, : common + own], np.concatenate([drawn[:, :common], drawn[:, common + own :]], 1)
    keys = [minhash.hash_bands(minhash.sign(s.ravel(), np.full(pairs, s.shape[1]))) for s in sides]
    share = (keys[0] == keys[1]).any(0).mean()
    deviation = (probability * (1 - probability) / pairs) ** 0.5
    assert abs(share - probability) < 5 * deviation


def test_a_signature_is_the_least_of_each_permutation_and_knows_no_neighbour(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    minhash = MinHash(3, 2)
    draw = np.random.default_rng(1)
    counts = draw.integers(1, 40, 30)
    shingled = draw.integers(0, 2**64, counts.sum(), dtype=np.uint64)
    monkeypatch.setattr("triad.data.dedup.minhash.BLOCK", 16)
    signatures = minhash.sign(shingled, counts)
    for k, part in enumerate(np.split(shingled, np.cumsum(counts)[:-1])):
        upper = [int(x) >> 32 for x in part]
        for i, (a, b) in enumerate(zip(minhash.factors.tolist(), minhash.terms.tolist(), strict=True)):
            assert signatures[i, k] == min((a * x + b) % 2**32 for x in upper)


def test_a_text_of_fewer_words_than_an_ngram_is_one_shingle() -> None:
    texts = ["a b c d", "", "a", "a b", "a b c", "b a"]
    found, counts = shingle(*hash_words(texts, classify_spaced()), 3)
    assert counts.tolist() == [2, 1, 1, 1, 1, 1]
    assert len(set(found.tolist())) == 6
    assert found[0] == found[5]  # a b c


def test_planted_near_duplicates_are_those_that_datasketch_finds(tmp_path: Path) -> None:
    datasketch = pytest.importorskip("datasketch", reason="datasketch is a comparison, not a dependency")
    draw = random.Random(4)
    documents: Documents = []
    for n in range(150):
        words = [f"w{draw.randrange(3000)}" for _ in range(120)]
        documents.append(("train", f"{n}", " ".join(words)))
        if n < 60:
            at = draw.randrange(120)
            words[at : at + 1 + n % 3] = ["other"]
            documents.append(("train", f"{n} again", " ".join(words)))
    index = datasketch.MinHashLSH(num_perm=112, params=(14, 8))
    theirs = set()
    for _, name, text in documents:
        signature = datasketch.MinHash(num_perm=112)
        signature.update_batch([" ".join(each).encode() for each in shingles(text, 5)])
        theirs |= {frozenset(found.split()[:1]) for found in index.query(signature)}
        index.insert(name, signature)
    ours = {
        frozenset(name.split()[:1])
        for _, name in find(NearDuplicates(5, 14, 8, 0.8), documents, tmp_path).dropped
    }
    assert len(ours & theirs) >= 58


def test_a_name_that_two_documents_have_is_not_dropped_twice(tmp_path: Path) -> None:
    documents = [("train", "a.txt", "same"), ("train", "b.txt", "same"), ("train", "b.txt", "other")]
    for part in (ExactDuplicates("none"), NearDuplicates(5, 14, 8, 0.8)):
        with pytest.raises(ValueError, match=r"two documents of the train split are named '[ab].txt'"):
            find(part, [*documents, ("train", "a.txt", "third")], tmp_path)
    assert dict(find(ExactDuplicates("none"), [*documents[:2], ("val", "b.txt", "other")], tmp_path).dropped)


def test_arguments_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match=r"dedup\.bands=0"):
        NearDuplicates(5, 0, 8, 0.8)
    with pytest.raises(ValueError, match=r"dedup\.threshold=80"):
        NearDuplicates(5, 14, 8, 80)
    with pytest.raises(ValueError, match=r"dedup\.normalisation=lower: must be one of none, blanks, case"):
        ExactDuplicates("lower")


def test_the_choices_are_calls_of_these_parts() -> None:
    choices = {
        path.stem: yaml.safe_load(path.read_text()) for path in (CONF / "data" / "dedup").glob("*.yaml")
    }
    assert choices.pop("none") == {}
    made = {name: build(choice) for name, choice in choices.items()}
    assert isinstance(made["exact"], exact.ExactDuplicates)
    assert isinstance(made["near"], near.NearDuplicates)
    assert vars(made["near"]) == {"words": 5, "bands": 14, "rows": 8, "threshold": 0.8}


def test_the_copies_among_5574_messages_are_found(tmp_path: Path) -> None:
    if not MESSY.exists():
        pytest.skip("the messages are not on this machine")
    rows = [line.split("\t") for line in gzip.decompress(MESSY.read_bytes()).decode().split("\n") if line]
    documents = [("train", str(n), text) for n, (_, text) in enumerate(rows)]
    result = find(ExactDuplicates("none"), documents, tmp_path)
    assert (len(documents), len(result.dropped)) == (5574, 403)
