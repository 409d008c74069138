"""`triad generate`: what a run answers to prompts, and what it is asked in vain."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.made_run import make_run
from triad.checkpoints.trained import OF_TASK, make_task, trained
from triad.config.build import build
from triad.config.errors import Refusal
from triad.data.tokenizers.byte import Byte
from triad.data.tokenizers.char import Char
from triad.decoding.answers import Answers, Prompt
from triad.decoding.likelihood import Row, score_rows
from triad.generate import generate
from triad.runs.directory import Run

PROMPTS = ["12 squared is", "7", "", "Grüße"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs, named after what they are."""
    folder = tmp_path_factory.mktemp("runs")
    make_run(folder / "a")
    make_run(folder / "b", seed=1)
    make_run(folder / "lstm", "model=lstm")
    make_run(folder / "hybrid", "model=hybrid")
    make_run(folder / "reverse", "task=reverse", "model=encoder_decoder")
    make_run(folder / "prefix", "task=reverse")
    make_run(folder / "dialogue", "task=dialogue", "data=dialogues", "data.path=.")
    make_run(folder / "code", "task=code")
    make_run(folder / "char", tokenizer=Char("0123456789 aeisquard"))
    make_run(folder / "labels", "task=classification", "data=packages")
    return folder


def answer(run: Path | str, folder: Path, prompts: list[str] = PROMPTS, **words: Any) -> list[dict]:
    """The lines that are written for a file of prompts."""
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in prompts))
    generate(str(run), prompts=str(folder / "prompts.jsonl"), out=str(folder / "out.jsonl"), **words)
    return [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]


def texts(lines: list[dict]) -> list[list[str]]:
    return [[text["text"] for text in line["texts"]] for line in lines]


@pytest.mark.parametrize("name", ["a", "lstm", "hybrid", "prefix", "reverse", "dialogue", "code", "char"])
def test_a_text_does_not_depend_on_its_batch_and_is_what_is_shown(
    runs: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture
) -> None:
    prompts = ["12 square", "7", "3 3"] if name == "char" else ["12 square", "7", "Grüße"]
    asked = {"tokens": 12, "temperature": 0.7, "seed": 3}
    one = answer(runs / name, tmp_path, prompts, batch_size=1, **asked)
    together = answer(runs / name, tmp_path, prompts, batch_size=3, **asked)
    assert texts(one) == texts(together)
    for line, other in zip(one, together, strict=True):
        nats = [found["texts"][0]["log_probability"] for found in (line, other)]
        assert nats[0] == pytest.approx(nats[1], abs=1e-4)
    assert len({text for (text,) in texts(one)}) == 3
    capsys.readouterr()
    generate(str(runs / name), prompt=prompts[0], **asked)
    echoed = prompts[0] if name in ("a", "lstm", "hybrid", "char") else ""
    assert capsys.readouterr().out == f"{echoed}{one[0]['texts'][0]['text']}\n"


def test_a_text_is_shown_as_it_comes(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def show(self: Answers, prompt: Prompt, seed: int) -> Iterator[str]:
        for piece in ("p", "one", "two"):
            yield piece
            assert capsys.readouterr().out.endswith(piece)

    monkeypatch.setattr(Answers, "show", show)
    generate(str(runs / "a"), prompt="p")
    assert capsys.readouterr().out == "\n"


def test_a_line_says_what_was_written_and_how(runs: Path, tmp_path: Path) -> None:
    lines = answer(runs / "a", tmp_path, n=3, temperature=1.5, top_k=40, tokens=9, seed=5)
    model, _ = trained(runs / "a")
    for line, prompt in zip(lines, PROMPTS, strict=True):
        assert line["prompt"] == prompt
        assert line["decoding"]["_target_"] == "triad.decoding.sampling.Sampling"
        assert (line["decoding"]["temperature"], line["decoding"]["top_k"], line["seed"]) == (1.5, 40, 5)
        assert [text["tokens"] for text in line["texts"]] == [9] * 3
        assert {text["finish_reason"] for text in line["texts"]} == {"length"}
    again = answer(runs / "a", tmp_path, ["12 squared is"], tokens=9, allow='["0","1"]')[0]["texts"][0]
    tokens = [*b"12 squared is", *again["text"].encode()]
    ((nats, _),) = score_rows(model, [Row(tokens, len(tokens) - 9)])
    assert again["log_probability"] == pytest.approx(sum(nats), abs=1e-4)


def test_what_is_typed_changes_the_recipe_of_the_run(runs: Path, tmp_path: Path) -> None:
    own = make_run(
        tmp_path / "own", "decoding=sampling", "decoding.top_k=7", "decoding.repetition_penalty=1.5"
    )
    node = answer(own, tmp_path, ["1"], tokens=2)[0]["decoding"]
    assert (node["top_k"], node["temperature"], node["repetition_penalty"]) == (7, 1.0, 1.5)
    node = answer(own, tmp_path, ["1"], tokens=2, top_k=3)[0]["decoding"]
    assert (node["top_k"], node["repetition_penalty"]) == (3, 1.5)
    node = answer(own, tmp_path, ["1"], tokens=2, beams=4)[0]["decoding"]
    assert (node["_target_"], node["beams"]) == ("triad.decoding.beam.Beam", 4)
    assert node["repetition_penalty"] == 1.5
    assert "greedy" in answer(runs / "a", tmp_path, ["1"], tokens=2)[0]["decoding"]["_target_"]


@pytest.mark.parametrize("name", ["a", "lstm", "char", "prefix", "reverse"])
@pytest.mark.parametrize("asked", [{"temperature": 2.0, "n": 60}, {"beams": 4, "n": 4}])
def test_an_expression_is_matched_whatever_is_drawn(
    runs: Path, tmp_path: Path, name: str, asked: dict
) -> None:
    pattern = r" (square|is) \d{1,4}(a|e)*"
    lines = answer(runs / name, tmp_path, ["12"], regex=pattern, ban="is 1", tokens=16, **asked)
    assert len({*texts(lines)[0]}) > 1
    for text in texts(lines)[0]:
        assert re.fullmatch(pattern, text), text
        assert "is 1" not in text
    for text in lines[0]["texts"]:
        assert (text["finish_reason"] == "length") == (text["tokens"] == 16)


def test_a_text_ends_before_the_first_stop_string_of_its_own(runs: Path, tmp_path: Path) -> None:
    asked = {"temperature": 1.0, "n": 8, "tokens": 30, "allow": "[48, 49, 50, 32]"}
    whole = answer(runs / "a", tmp_path, ["01 2"], **asked)[0]["texts"]
    lines = answer(runs / "a", tmp_path, ["01 2"], **asked, stop='["01", "2 "]')[0]["texts"]
    for before, line in zip(whole, lines, strict=True):
        cut = re.split("01|2 ", before["text"], maxsplit=1)[0]
        assert line["text"] == cut
        assert line["finish_reason"] == (before["finish_reason"] if cut == before["text"] else "stop")
    assert any(line["finish_reason"] == "stop" for line in lines)


@pytest.mark.parametrize(
    ("run", "asked", "reason"),
    [
        ("a", {"ban": '[256, "zz"]'}, "length"),
        ("a", {"regex": "ab"}, "complete"),
        ("a", {"regex": "ab|abc", "ban": "c"}, "complete"),
        ("a", {"regex": "(ab)*x?", "ban": '["x", 256]'}, "length"),
        ("char", {"regex": "(as)+"}, "length"),
        ("a", {"allow": "[256]"}, "end"),
    ],
)
def test_a_line_says_why_a_text_has_ended(
    runs: Path, tmp_path: Path, run: str, asked: dict, reason: str
) -> None:
    (text,) = answer(runs / run, tmp_path, ["1"], tokens=9, **asked)[0]["texts"]
    assert text["finish_reason"] == reason


def test_what_is_said_in_a_dialogue_is_followed_by_the_word_of_who_answers(runs: Path) -> None:
    config = Run(runs / "dialogue").config()
    part = build({name: config[name] for name in OF_TASK})
    task = make_task(part, Run(runs / "dialogue").pinned()["facts"], Byte(), config["context"])
    end, _, _, user, assistant, _ = range(257, 263)  # with system, slots and tool
    assert task.make_prompt("hi") == ([user, *b"hi", end, assistant], None)
    assert task.ends == [end]


def test_an_ensemble_of_equal_runs_is_that_run_and_of_others_is_another(runs: Path, tmp_path: Path) -> None:
    asked = {"tokens": 8, "beams": 2}
    alone = answer(runs / "a", tmp_path, **asked)
    assert texts(answer(f"{runs / 'a'},{runs / 'a'}", tmp_path, **asked)) == texts(alone)
    both = answer(f"{runs / 'a'},{runs / 'b'}", tmp_path, **asked)
    assert texts(both) != texts(alone)
    assert both[0]["runs"] == [str(runs / "a"), str(runs / "b")]


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("a", "64-true"),
        ("a", "bf16-mixed"),
        ("a", "bf16-true"),
        ("lstm", "bf16-mixed"),
        ("reverse", "bf16-mixed"),
    ],
)
def test_a_run_is_computed_in_the_precision_that_is_asked_for(
    runs: Path, tmp_path: Path, name: str, precision: Any
) -> None:
    found = answer(runs / name, tmp_path, ["12"], tokens=4, regex="abcd", precision=precision)
    exact = answer(runs / name, tmp_path, ["12"], tokens=4, regex="abcd")
    low, high = (line[0]["texts"][0]["log_probability"] for line in (found, exact))
    assert low == pytest.approx(high, rel=1e-5 if precision == "64-true" else 0.02)
    assert low != high


REFUSED = {
    "prompt=... or prompts": {},
    "not both": {"prompt": "a", "prompts": "p.jsonl"},
    "no such file": {"prompts": "p.jsonl"},
    "folder does not exist": {"prompt": "a", "out": "nowhere/out.jsonl"},
    "prompt: 40 tokens, where this context leaves 32; shorten it": {"prompt": "x" * 40},
    "temperature, beams: no decoding has all": {"prompt": "a", "temperature": 1, "beams": 2},
    "repetition_penalty: several decodings have this": {"prompt": "a", "repetition_penalty": 1.1},
    "type temperature=1 to draw so many": {"prompt": "a", "n": 2},
    "no JSON list": {"prompt": "a", "stop": "[a]"},
    "13 stands in a list of strings": {"prompt": "a", "stop": "[13]"},
    "true stands in a list of strings or ids": {"prompt": "a", "ban": "[true]"},
    "999 is no token": {"prompt": "a", "ban": "[999]"},
    "no regular expression": {"prompt": "a", "regex": "("},
    "drop one": {"prompt": "a", "regex": "a", "stop": "b"},
    "raise tokens": {"prompt": "a", "regex": "a{9}", "tokens": 8},
    "decoding.top_p=1.5": {"prompt": "a", "top_p": 1.5},
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_is_asked_in_vain_is_one_sentence(
    runs: Path, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=fault):
        generate(str(runs / "a"), **REFUSED[fault])
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("run", "words", "fault"),
    [
        ("labels", {}, "its task answers no prompt; use a run of task=causal_lm"),
        ("a,reverse", {}, "an ensemble needs one task"),
        ("a,char", {}, "an ensemble needs one tokenizer"),
        ("char", {"prompt": ""}, "no separator to start from"),
        ("reverse", {"prompt": ""}, "an empty source has no answer"),
        ("reverse", {"tokens": 40}, "holds answers of 32 at most"),
        ("reverse", {"prompt": "x" * 40}, "where this context leaves"),
        ("char", {"prompt": "z"}, "'z'"),
        ("dialogue", {"prompt": "x" * 20}, "does not fit into the 16 tokens of a prompt; shorten it"),
        ("code", {"prompt": "x" * 20}, "does not fit into the 16 tokens of a prompt; shorten it"),
    ],
)
def test_a_run_that_does_not_fit_is_one_sentence(runs: Path, run: str, words: dict, fault: str) -> None:
    paths = ",".join(str(runs / name) for name in run.split(","))
    with pytest.raises(ValueError, match=fault):
        generate(paths, **{"prompt": "a"} | words)


@pytest.mark.parametrize(
    ("second", "fault"),
    [
        ("{", "not JSON"),
        ('{"text": "a"}', "no text under 'prompt'"),
        ('{"prompt": "' + "x" * 40 + '"}', "40 tokens, where"),
    ],
)
def test_a_fault_of_a_file_is_named_by_its_line_and_nothing_is_written(
    runs: Path, tmp_path: Path, second: str, fault: str
) -> None:
    (tmp_path / "p.jsonl").write_text(f'{{"prompt": "a"}}\n{second}\n')
    (tmp_path / "out.jsonl").write_text("before")
    with pytest.raises(ValueError, match=f"p.jsonl, line 2: .*{fault}"):
        generate(str(runs / "a"), prompts=str(tmp_path / "p.jsonl"), out=str(tmp_path / "out.jsonl"))
    assert (tmp_path / "out.jsonl").read_text() == "before"


def test_an_empty_file_and_one_that_would_be_overwritten_are_refused(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text("\n")
    file = str(tmp_path / "p.jsonl")
    with pytest.raises(Refusal, match="no prompt is in it"):
        generate(str(runs / "a"), prompts=file)
    with pytest.raises(Refusal, match="the prompts themselves"):
        generate(str(runs / "a"), prompts=file, out=file)
