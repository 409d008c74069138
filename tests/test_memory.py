"""A translation memory finds what a scan of all its entries finds."""

import random
from pathlib import Path

import pytest

from triad.data.translation_memory import TranslationMemory, cut_ngrams

rapidfuzz = pytest.importorskip("rapidfuzz", reason="of the extra `eval`")

THINGS = ["man", "woman", "dog", "child", "street", "water", "people", "ball", "grass", "mountain", "guitar"]
OTHERS = [
    "red",
    "blue",
    "young",
    "old",
    "running",
    "standing",
    "playing",
    "with",
    "near",
    "under",
    "the",
    "a",
]
WORDS = [
    *THINGS,
    *OTHERS,
    "a",
    "of",
    "two",
    "three",
    "wearing",
    "holding",
    "looking",
    "at",
    "camera",
    "bicycle",
]


def write_sentences(number: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(5, 15))) for _ in range(number)]


def edit(sentence: str, draw: random.Random) -> str:
    """One word in five replaced, dropped or doubled."""
    words = sentence.split()
    for _ in range(max(1, len(words) // 5)):
        at = draw.randrange(len(words))
        words[at : at + 1] = draw.choice(([draw.choice(WORDS)], [], [words[at], draw.choice(WORDS)]))
    return " ".join(words)


@pytest.fixture
def made(tmp_path: Path) -> TranslationMemory:
    return TranslationMemory(tmp_path / "memory.sqlite", make=True)


def test_a_look_up_finds_what_a_scan_of_all_entries_finds(made: TranslationMemory) -> None:
    sources = write_sentences(4000, seed=0)
    made.add((source, source.upper()) for source in sources)
    draw = random.Random(1)
    queries = [edit(source, draw) for source in draw.sample(sources, 300)]
    score = rapidfuzz.distance.Levenshtein.normalized_similarity
    found = 0
    for query in queries:
        best = max(score(query, source) for source in sources)
        matches = made.find_similar(query, least=0.6)
        assert not matches or matches[0].score <= best
        assert not matches or matches[0].target == matches[0].source.upper()
        found += (matches[0].score if matches else 0.0) == (best if best >= 0.6 else 0.0)
    assert found / len(queries) >= 0.99


def test_entries_come_best_first_and_none_below_the_least_score(made: TranslationMemory) -> None:
    made.add(
        [("the red ball", "der rote Ball"), ("the red balls", "die roten Bälle"), ("a cat", "eine Katze")]
    )
    matches = made.find_similar("the red ball", least=0.6, most=5)
    assert [(match.source, match.target) for match in matches] == [
        ("the red ball", "der rote Ball"),
        ("the red balls", "die roten Bälle"),
    ]
    assert [match.score for match in matches] == [1.0, pytest.approx(1 - 1 / 13)]
    assert [match.source for match in made.find_similar("the red ball", identical=False)] == ["the red balls"]
    assert made.find_similar("zzzz") == []
    assert made.find_similar("") == []


def test_the_most_frequent_target_of_a_source_comes_first_whenever_it_was_added(
    made: TranslationMemory,
) -> None:
    made.add([("bank", "Ufer"), ("bank", "Bank")])
    made.add([("bank", "Bank"), ("tank", "Panzer")])
    assert made.find_exact("bank") == ["Bank", "Ufer"]
    assert made.find_exact("Bank") == []
    assert [match.source for match in made.find_similar("bank", 0.6, 5)] == ["bank", "tank"]
    assert len(made) == 2
    made.close()
    again = TranslationMemory(made.path)
    again.add([("tanks", "Panzer")])
    assert [match.source for match in again.find_similar("tanks", 0.6, 5)] == ["tanks", "tank"]


def test_a_failure_while_pairs_are_added_adds_none(made: TranslationMemory) -> None:
    def pairs():
        yield "one", "eins"
        raise OSError("broken off")

    with pytest.raises(OSError, match="broken off"):
        made.add(pairs())
    assert len(made) == 0
    assert made.find_exact("one") == []


def test_texts_shorter_than_an_n_gram_are_found(made: TranslationMemory) -> None:
    made.add([("no", "nein"), ("", "leer")])
    assert made.find_exact("") == ["leer"]
    assert made.find_similar("no")[0].target == "nein"
    assert cut_ngrams("ab") == {"   a", "  ab", " ab ", "ab  ", "b   "}


def test_the_command_fills_a_memory_from_training_pairs_asks_it_and_augments_a_file(
    python, tmp_path: Path
) -> None:
    sentences = write_sentences(40, seed=2)
    (tmp_path / "a.en").write_text("".join(f"{line}\n" for line in sentences))
    (tmp_path / "a.de").write_text("".join(f"{line.upper()}\n" for line in sentences))
    (tmp_path / "b.en").write_text("a mountain under water\n")
    (tmp_path / "b.de").write_text("ein Berg unter Wasser\n")
    data = ("data=parallel", "data.source=a.en", "data.target=a.de", "data.val_source=b.en")
    words = ("-m", "triad.memory", "path=m.sqlite")
    assert "40 sources, 40 of them new" in python(*words, *data, "data.val_target=b.de").stdout
    assert sentences[3].upper()[:20] in " ".join(python(*words, f"query={sentences[3]}").stdout.split())
    assert "nothing of score" in python(*words, "query=a mountain under water").stdout  # of validation
    near = f"{sentences[0]} dog"
    (tmp_path / "sources").write_text(f"{near}\n{sentences[1]}\nqqqqqq\n")
    done = python(*words, "augment=sources", "out=augmented", "least=0.8").stdout
    assert "3 sources, 1 of them with a match of 0.8 or more" in done
    lines = (tmp_path / "augmented").read_text().splitlines()
    assert lines == [f"{near} @@@ {sentences[0].upper()}", sentences[1], "qqqqqq"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["query=x"], "m.sqlite: no translation memory is there"),
        ([], "nothing to do: add pairs by data=parallel"),
        (["augment=x"], "augment=FILE and out=FILE go together"),
        (["model=moe"], "model=moe: a memory takes path="),
        (["data=letters"], "it has no translations; use data=parallel"),
        (["query=x", "least=2"], "least=2.0 most=5: a score from 0 to 1"),
    ],
)
def test_mistakes_get_one_sentence_and_make_no_file(
    python, words: list[str], sentence: str, tmp_path
) -> None:
    done = python("-m", "triad.memory", "path=m.sqlite", *words, code=2)
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "m.sqlite").exists()


def test_a_file_that_is_no_memory_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no database at all, but long enough to look at\n" * 40)
    with pytest.raises(ValueError, match=r"notes.txt: it is no translation memory"):
        TranslationMemory(tmp_path / "notes.txt")
