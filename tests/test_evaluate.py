"""`triad evaluate` measures what the metrics measure, on the split that is asked, and says so."""

import json
import random
import re
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from triad.evaluate import evaluate

GOOD, BAD = ["good", "great", "fine"], ["bad", "awful", "poor"]
FILLING = ["film", "was", "a", "story", "about", "two", "men", "one", "dog", "in", "town", "with", "people"]
TINY = ("debug=tiny", "trainer.accelerator=cpu", "trainer.max_steps=2")


def write_reviews(path: Path, number: int, seed: int, first: list[tuple[str, str]]) -> list[tuple[str, str]]:
    draw = random.Random(seed)
    rows = list(first)
    while len(rows) < number:
        label = draw.choice(["neg", "pos"])
        words = [*draw.choices(FILLING, k=draw.randint(3, 9)), draw.choice(GOOD if label == "pos" else BAD)]
        rows.append((label, " ".join(words)))
    path.write_text("".join(f"{label}\t{text}\n" for label, text in rows))
    return rows


@pytest.fixture
def reviews(tmp_path: Path) -> tuple[str, ...]:
    """Words for data with a test split whose first three rows stand in training, too."""
    rows = write_reviews(tmp_path / "train.tsv", 60, 0, [])
    write_reviews(tmp_path / "val.tsv", 12, 2, [])
    write_reviews(tmp_path / "test.tsv", 20, 1, rows[:3])
    names = ("data.path=train.tsv", "data.test_path=test.tsv", "data.columns=[label,text]")
    return ("data=labelled", *names, "data.val_path=val.tsv")


def read(folder: Path, name: str = "test") -> dict:
    return json.loads((folder / "evaluations" / f"{name}.json").read_text())


def test_a_classifier_is_measured_beside_baselines_and_compared_with_another(
    python, train, reviews: tuple[str, ...], tmp_path: Path
) -> None:
    small = (*TINY, "model=encoder", "task=classification", "tokenizer=word", *reviews)
    for seed in (0, 1):
        train(*small, f"run_id=r{seed}", f"seed={seed}", "optimizer.lr=0.1")
    words = ("-m", "triad.evaluate", "samples=4", "resamples=50")
    printed = python(*words, "run=outputs/r0,outputs/r1", "metrics=[accuracy]").stdout
    assert "3 examples stand word for word in the training split" in printed
    report = read(tmp_path / "outputs" / "r0")
    accuracy = report["figures"]["accuracy"]
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    assert report["data"] | {"fingerprint": ""} == {
        "name": "labelled",
        "fingerprint": "",
        "examples": 20,
        "left_out": 0,
        "seen": 3,
        "exclude_seen": False,
    }
    assert report["checkpoint"] == {"step": 2, "weights": "model"}
    assert set(report["baselines"]) == {"majority", "naive Bayes"}
    assert report["baselines"]["naive Bayes"]["accuracy"]["value"] == 1  # one word decides
    labels = {name: (tmp_path / f"{name}.tsv").read_text().split() for name in ("train", "test")}
    usual = max(("neg", "pos"), key=labels["train"].count)
    assert report["baselines"]["majority"]["accuracy"]["value"] == labels["test"].count(usual) / 20
    other = read(tmp_path / "outputs" / "r1")
    (compared,) = report["comparisons"]
    assert compared == other["comparisons"][0]
    assert (compared["first"], compared["second"]) == ("r0", "r1")
    difference = other["figures"]["accuracy"]["value"] - accuracy["value"]
    assert compared["value"] == pytest.approx(difference)
    assert 0 < compared["p_value"] <= 1
    assert len(report["samples"]) == 4
    assert {one["reference"] for one in report["worst"] + report["best"]} <= {"neg", "pos"}
    for kind in ("md", "tex"):
        text = (tmp_path / "outputs" / "r0" / "evaluations" / f"test.{kind}").read_text()
        assert f"{accuracy['value']:.4g} [" in text
    assert "\\toprule" in text

    words = (*words, "run=outputs/r0", "exclude_seen=true", "out=clean", "metrics=[accuracy]")
    python(*words, "checkpoint=last")
    clean = read(tmp_path / "outputs" / "r0", "clean")
    assert (clean["data"]["examples"], clean["data"]["seen"]) == (17, 3)
    _refuse_mistakes(python, tmp_path)


def _refuse_mistakes(python, tmp_path: Path) -> None:
    """Mistakes with a run that is there: one sentence each, and no report."""
    (tmp_path / "other.tsv").write_text("mixed\tthe film was so so\n")
    (tmp_path / "columns.tsv").write_text("one column only\n")
    (tmp_path / "outputs" / "r1" / "evaluations" / "test.json").unlink()
    for path in (tmp_path / "outputs" / "r1" / "checkpoints").iterdir():
        path.rename(path.with_name(f"{path.name}.gone"))
    for words, sentence in {
        ("run=outputs/r0", "data.test_path=null"): "has no test split",
        ("run=outputs/r0", "data.test_path=other.tsv"): "'mixed', which training never saw",
        ("run=outputs/r0", "data.test_path=columns.tsv"): "columns.tsv, line 1",
        ("run=outputs/r0", "metrics=[bleu]"): "metrics.bleu needs a task that predicts",
        ("run=outputs/r0", "shots=2"): "shots=2: data=labelled yields labels",
        ("run=outputs/r1",): "run=outputs/r1: no checkpoint is there",
    }.items():
        done = python("-m", "triad.evaluate", *words, code=2)
        assert sentence in done.stderr, (words, done.stderr)
        assert done.stderr.count("\n") == 1
    assert not list((tmp_path / "outputs" / "r1" / "evaluations").glob("test.json"))


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"split": "train"}, "split=train: a run is not judged by what it was trained on"),
        ({"overrides": ["model.width=8"]}, "model.width=8: evaluate takes"),
        ({"limit": 0}, "limit=0: must be at least 1"),
        ({"samples": -1}, "samples=-1: must be at least 0"),
        ({"out": "a/b"}, "out=a/b: a name of files"),
        ({"run": "a,a"}, "run=a,a: name each run once"),
        ({"run": "nowhere"}, "nowhere: no run is there"),
    ],
)
def test_words_that_mean_nothing_are_refused_at_once(asked: dict[str, Any], sentence: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(sentence)):
        evaluate(**{"overrides": [], "run": "nowhere"} | asked)


def test_translations_are_those_of_a_memory_where_it_has_them(python, train, tmp_path: Path) -> None:
    pytest.importorskip("sacrebleu", reason="of the extra `eval`")
    draw = random.Random(0)
    for name, number in (("train", 60), ("test", 12)):
        sources = [" ".join(draw.choices(FILLING, k=draw.randint(3, 8))) for _ in range(number)]
        (tmp_path / f"{name}.en").write_text("".join(f"{line}\n" for line in sources))
        (tmp_path / f"{name}.de").write_text("".join(f"{line.upper()}\n" for line in sources))
    data = ("data=parallel", "data.source=train.en", "data.target=train.de")
    tested = ("data.test_source=test.en", "data.test_target=test.de", "data.val_fraction=0.2")
    train(*TINY, "model=encoder_decoder", "task=translation", "tokenizer=word", *data, *tested, "run_id=mt")
    words = ("-m", "triad.evaluate", "run=outputs/mt", "resamples=20", "decoding=beam", "metrics=[bleu]")
    printed = python(*words, "samples=2", "limit=8").stdout
    report = read(tmp_path / "outputs" / "mt")
    assert report["data"]["examples"] == 8
    assert report["decoding"]["_target_"] == "triad.decoding.beam.Beam"
    assert report["signatures"]["bleu"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp")
    assert report["signatures"]["bleu"] in printed
    assert list(report["baselines"]) == ["copy"]  # a source of one sentence is its own lead
    from triad.data.translation_memory import TranslationMemory

    sources, targets = ((tmp_path / name).read_text().splitlines() for name in ("test.en", "test.de"))
    with closing(TranslationMemory(tmp_path / "memory.sqlite", make=True)) as with_all:
        with_all.add(zip(sources, targets, strict=True))
    python(*words, "memory=memory.sqlite", "out=remembered")
    remembered = read(tmp_path / "outputs" / "mt", "remembered")
    assert remembered["remembered"] == 12
    assert remembered["figures"]["bleu"]["value"] == pytest.approx(100)


def test_texts_and_choices_are_scored_by_a_language_model(python, train, tmp_path: Path) -> None:
    lines = [f"{n} squared is {n * n}; its half is {n // 2}.\n" for n in range(600)]
    (tmp_path / "train.txt").write_text("".join(lines[:500]))
    texts = "".join(f"{json.dumps({'text': line})}\n" for line in lines[500:510])
    (tmp_path / "test.jsonl").write_text(texts)
    for name, verb in (("shots", "by itself"), ("questions", "squared")):
        rows = [
            {"question": f"{n} {verb} is", "choices": [str(n * n), "a cat"], "answer": n % 2}
            for n in range(2, 12)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    data = ("data=text", "data.path=train.txt", "data.test_path=test.jsonl")
    train(*TINY, *data, "run_id=lm", "tokenizer=byte")
    words = ("-m", "triad.evaluate", "run=outputs/lm", "resamples=20")
    python(*words, "stride=8")
    report = read(tmp_path / "outputs" / "lm")
    figures, counted = report["figures"], report["baselines"]["5-grams"]
    assert 0 < counted["bits_per_byte"]["value"] < figures["bits_per_byte"]["value"] < 10
    assert report["worst"][0]["score"] >= report["best"][0]["score"]
    (tmp_path / "val.jsonl").write_text((tmp_path / "shots.jsonl").read_text().replace("by itself", "added"))
    choices = ("data=choices", "data.path=shots.jsonl", "data.val_path=val.jsonl")
    choices += ("data.test_path=questions.jsonl",)
    python(*words, *choices, "shots=2", "out=choices")
    report = read(tmp_path / "outputs" / "lm", "choices")
    assert report["baselines"]["chance"]["accuracy"]["value"] == 0.5
    assert report["baselines"]["chance"]["ties"]["value"] == 1
    ways = {"accuracy", "accuracy_per_token", "accuracy_per_character", "accuracy_per_byte"}
    assert ways < set(report["figures"])
    assert report["shots"] == 2
