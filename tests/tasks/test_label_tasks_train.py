"""Tasks that give labels train as a user runs them, on as many processes as asked, and from other runs."""

import json
from pathlib import Path

import pytest

from triad.runs.metrics import read_metrics

SLOW = pytest.mark.slow
SIZES = "model.width=48 debug=tiny context=64 precision=fp32 trainer.accelerator=cpu "
SIZES += "trainer.limit_val_batches=null"


def write(folder: Path) -> dict[str, str]:
    """Files of each kind of examples, and the words that read them."""
    places = ("Rome", "Bonn", "Ulm")
    pairs, grades, tags, articles = [], [], [], []
    for n in range(90):
        word, place = ("good", "bad")[n % 2], places[n % 3]
        pairs.append(f"{place} is {word} {n}\t{place}\t{word}\n")
        grades.append(f"{'so ' * (n % 4)}glad {n}\t{n % 4}\n")
        tags.append(f"Ada B-PER\nByron I-PER\nsaw O\n{place} B-LOC\n{n} O\n\n")
        text = f"Person {n} was born in {place} in the year {1800 + n}, it is said, far away from home."
        answers = [{"text": place, "answer_start": text.index(place)}]
        asked = [{"id": f"{n}", "question": "Where?", "answers": answers if n % 5 else []}]
        articles.append({"title": f"{n}", "paragraphs": [{"context": text, "qas": asked}]})
    for name, lines in (("pairs.tsv", pairs), ("grades.tsv", grades), ("tags.conll", tags)):
        (folder / name).write_text("".join(lines))
    (folder / "squad.json").write_text(json.dumps({"version": "v2.0", "data": articles}))
    (folder / "texts").mkdir()
    for n in range(40):
        (folder / "texts" / f"{n}.txt").write_text("".join(f"{n} times {m} is {n * m}. " for m in range(20)))
    return {
        "classification": f"data=labelled_pairs data.path={folder}/pairs.tsv",
        "target_sentiment": f"data=labelled_pairs data.path={folder}/pairs.tsv",
        "ordinal": f"data=labelled data.columns=[text,label] data.path={folder}/grades.tsv",
        "tagging": f"data=tags data.path={folder}/tags.conll",
        "extractive_qa": f"data=questions data.path={folder}/squad.json task.no_answer_threshold=0",
        "bert_pretraining": f"data=text data.path={folder}/texts task.whole_words=true",
    }


@pytest.mark.parametrize(
    "words",
    [
        pytest.param("task=classification model=lstm strategy=ddp hardware.micro_batch_size=1", marks=SLOW),
        pytest.param("task=ordinal model=decoder strategy=fsdp", marks=SLOW),
        pytest.param("task=target_sentiment model=encoder strategy=ddp", marks=SLOW),
        pytest.param("task=tagging model=moe strategy=fsdp hardware.micro_batch_size=1", marks=SLOW),
        # its norms have no bias, which would change no softmax over tokens: a gradient of rounding only
        "task=extractive_qa model=decoder strategy=ddp hardware.micro_batch_size=1",
        pytest.param("task=extractive_qa model=moe strategy=expert", marks=SLOW),
        pytest.param(
            "task=bert_pretraining model=encoder strategy=fsdp hardware.micro_batch_size=1", marks=SLOW
        ),
    ],
)
def test_two_processes_compute_what_one_computes(python, tmp_path: Path, words: str) -> None:
    data = write(tmp_path)[words.partition("task=")[2].split()[0]]
    done = python("-m", "triad.verify", *words.split(), *data.split(), "trainer.devices=2", "model.width=48")
    assert "1 compared, 0 depart" in done.stdout


def test_a_tagger_starts_from_pre_training_and_a_run_says_its_metrics(train, tmp_path: Path) -> None:
    data = write(tmp_path)
    before = (
        f"task=bert_pretraining model=encoder {data['bert_pretraining']} {SIZES} run_id=a trainer.max_steps=2"
    )
    train(*before.split())
    found = read_metrics(tmp_path / "outputs" / "a" / "metrics.csv")[-1]
    assert {"val/loss", "val/perplexity", "val/next_sentence_accuracy"} <= found.keys()
    after = f"task=tagging model=encoder {data['tagging']} {SIZES} run_id=b weights=outputs/a batch.size=16"
    done = train(*after.split(), "trainer.max_steps=40", "optimizer.lr=1e-2")
    rows = read_metrics(tmp_path / "outputs" / "b" / "metrics.csv")
    scores = [row["val/span_f1"] for row in rows if "val/span_f1" in row]
    assert scores[-1] > 0.5
    assert "tags: B-PER I-PER O B-LOC O" in done.stdout
    told = json.loads((tmp_path / "outputs" / "b" / "metrics.json").read_text())
    assert (told["val/span_f1"], told["val/loss"]) == ("higher", "lower")


def test_labels_that_are_no_numbers_are_told_in_one_sentence(train, tmp_path: Path) -> None:
    words = f"task=ordinal model=lstm {write(tmp_path)['classification']} {SIZES}"
    done = train(*words.split(), code=None)
    assert done.returncode
    assert "label 'bad': task=ordinal orders labels as numbers" in done.stderr
    assert "Traceback" not in done.stderr
