"""Every task that gives text trains, validates and is learned, with a decoder and with an encoder-decoder."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from triad.runs.metrics import read_metrics

WORDS = ["one", "two", "six", "ten"]
TINY = (
    "debug=tiny context=64 tokenizer=char precision=fp32 trainer.accelerator=cpu batch.size=16 logger=csv"
    " trainer.max_steps=4 trainer.val_check_interval=4 trainer.log_every_n_steps=1"
    " trainer.limit_val_batches=null callbacks.sample.length=10"
)
BOTH = ["decoder", "encoder_decoder"]


def write(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def name(n: int) -> str:
    return f"{WORDS[n % 4]} {WORDS[n // 4 % 4]} {WORDS[n // 16 % 4]}"


def pairs(folder: Path) -> str:
    path = write(folder / "p.jsonl", [{"source": name(n), "target": name(n).upper()} for n in range(70)])
    return f"data=parallel data.source={path} data.val_fraction=0.2"


def drafts(folder: Path) -> str:
    records = [{"source": name(n).upper(), "draft": name(n)[:-1], "target": name(n)} for n in range(70)]
    return f"data=drafts data.source={write(folder / 'd.jsonl', records)} data.val_fraction=0.2"


def questions(folder: Path) -> str:
    paragraphs = []
    for n in range(70):
        answer = {"text": WORDS[n % 4], "answer_start": 4}
        asked = {"id": str(n), "question": "How many?", "answers": [answer]}
        paragraphs.append({"context": f"The {WORDS[n % 4]} of row {n} are here.", "qas": [asked]})
    path = folder / "q.json"
    path.write_text(json.dumps({"version": "1.1", "data": [{"title": "t", "paragraphs": paragraphs}]}))
    return f"data=questions data.path={path} data.val_fraction=0.2"


def dialogues(folder: Path) -> str:
    talks = []
    for n in range(70):
        said = [("system", "echo: row"), ("user", WORDS[n % 4]), ("assistant", WORDS[n % 4].upper())]
        said += [("user", WORDS[n // 4 % 4]), ("assistant", WORDS[n // 4 % 4].upper())]
        messages = [{"role": role, "content": text} for role, text in said]
        talks.append({"messages": messages, "slots": {"row": WORDS[n % 3]}})
    return f"data=dialogues data.path={write(folder / 't.jsonl', talks)} data.val_fraction=0.2"


def texts(folder: Path) -> str:
    path = write(folder / "x.jsonl", [{"text": f"x{n} = {n}\ny = x{n} + 1\n" * 4} for n in range(40)])
    return f"data=text data.path={path}"


def programs(folder: Path) -> str:
    records = [
        {"task_id": str(n), "prompt": f"def f{n}():\n", "canonical_solution": f"    return {n}\n"}
        | {"test": "def check(f):\n    f()\n", "entry_point": f"f{n}"}
        for n in range(70)
    ]
    return f"data=programs data.path={write(folder / 'h.jsonl', records)} data.val_fraction=0.2"


CASES = [
    *(("translation", model, pairs) for model in BOTH),
    *(("summarization", model, pairs) for model in BOTH),
    *(("post_edit", model, drafts) for model in BOTH),
    *(("generative_qa", model, questions) for model in BOTH),
    ("reverse", "decoder", lambda _: "data=letters data.words=10"),
    ("dialogue", "decoder", dialogues),
    ("dialogue", "lstm", dialogues),
    ("code", "decoder", texts),
    ("code", "decoder", programs),
    ("causal_lm", "decoder", pairs),
]
QUICK = {("post_edit", "decoder")}
MARKED = [
    pytest.param(*case, marks=() if case[:2] in QUICK else pytest.mark.slow, id=f"{case[0]}-{case[1]}-{n}")
    for n, case in enumerate(CASES)
]


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("task", "model", "data"), MARKED)
def test_two_processes_train_and_measure_as_one_does(train, tmp_path, task, model, data: Callable) -> None:
    words = f"{TINY} task={task} model={model} {data(tmp_path)}".split()
    train(*words, "run_id=one")
    train(*words, "run_id=two", "strategy=ddp", "trainer.devices=2", "hardware.micro_batch_size=3")
    one, two = (read_metrics(tmp_path / "outputs" / run / "metrics.csv") for run in ("one", "two"))
    for key in {key for row in one for key in row if key.startswith(("train/loss", "val/"))}:
        values = [[row[key] for row in rows if key in row] for rows in (one, two)]
        assert values[0] == pytest.approx(values[1], rel=2e-5, abs=1e-7), key
    assert (tmp_path / "outputs" / "one" / "samples.txt").read_text().count("\n") >= 2


LEARNED = {
    ("translation", "decoder"): pairs,
    ("post_edit", "decoder"): drafts,
    ("generative_qa", "encoder_decoder"): questions,
    ("dialogue", "decoder"): dialogues,
    ("copy", "decoder"): lambda _: "data=letters data.words=10",
}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("task", "model"), LEARNED)
def test_a_toy_is_learned_without_a_fault(train, tmp_path, task: str, model: str) -> None:
    words = f"{TINY} task={task} model={model} {LEARNED[task, model](tmp_path)} metrics=[exact_match]"
    words += " model.width=64 optimizer.lr=3e-3 trainer.max_steps=600 trainer.val_check_interval=600"
    train(*words.split(), "run_id=a", timeout=280)
    last = read_metrics(tmp_path / "outputs" / "a" / "metrics.csv")[-1]
    assert last["val/exact_match"] == 1.0
