"""Sources of examples with parts: what each reads, what it refuses, and where an example goes."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from triad.config.build import build
from triad.config.compose import compose_parts
from triad.config.errors import Refusal
from triad.data.preparation import find_parts, make_preparation, prepare
from triad.data.sources.parallel import parallel
from triad.data.sources.source import Source
from triad.prepare import ROOTS

CONLL = """-DOCSTART- -X- O O

EU NNP I-NP B-ORG
rejects VBZ I-VP O

Peter NNP I-NP B-PER
Blackburn NNP I-NP I-PER
"""
CONTEXT = "Élan vital was named by Henri Bergson in 1907."
SQUAD = {"id": "q1", "question": "Who named it?", "answers": [{"text": "Henri Bergson", "answer_start": 24}]}
PROGRAM = {"task_id": "T/0", "prompt": "def f(a):\n", "canonical_solution": "    return a\n"}
PROGRAM |= {"test": "def check(candidate):\n    assert candidate(1) == 1\n", "entry_point": "f"}
MESSAGES = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
CHOICE = {"question": "2 + 2", "choices": ["3", "4"], "answer": 1}


def squad(*questions: dict, context: str = CONTEXT) -> str:
    paragraphs = [{"context": context, "qas": [*questions]}]
    return json.dumps({"version": "1.1", "data": [{"title": "a", "paragraphs": paragraphs}]})


def lines(*objects: Any) -> str:
    return "".join(json.dumps(one) + "\n" for one in objects)


@cache
def compose_source(name: str) -> dict:
    """conf/data/<name>.yaml"""
    key = "source" if name == "drafts" else "path"
    return compose_parts([f"data={name}", f"data.{key}=x"], ("data",))["data"]


def make(name: str, file: str, content: str, folder: Path, /, **changes: Any) -> Source:
    """The source of conf/data/<name>.yaml that reads one file for both of training and validation."""
    (folder / file).write_text(content, encoding="utf-8")
    key = "source" if name == "drafts" else "path"
    return build(compose_source(name) | {key: str(folder / file)} | changes)


def read(source: Source) -> list[dict]:
    """The examples of both splits, which a few may leave without any."""
    documents = [*source.stream("train"), *source.stream("val")]
    return [json.loads(document.label) for document in documents]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIAD_CACHE", str(tmp_path / "cache"))


READ: dict[str, tuple[str, str, str, dict[str, Any], list[dict]]] = {
    "labelled_pairs": (
        "labelled_pairs",
        "a.tsv",
        "A dog runs\tAn animal moves\tentails\nA dog runs\tA cat sits\t0\n",
        {},
        [
            {"text": "A dog runs", "second": "An animal moves", "label": "entails"},
            {"text": "A dog runs", "second": "A cat sits", "label": "0"},
        ],
    ),
    "a target's sentiment": (
        "labelled_pairs",
        "a.jsonl",
        lines({"sentence": "Great food, slow staff", "target": "staff", "stance": -1}),
        {
            "text": "sentence",
            "second": "target",
            "label": "stance",
            "columns": ["sentence", "target", "stance"],
        },
        [{"text": "Great food, slow staff", "second": "staff", "label": "-1"}],
    ),
    "tags": (
        "tags",
        "a.txt",
        CONLL,
        {},
        [
            {"words": ["EU", "rejects"], "tags": ["B-ORG", "O"]},
            {"words": ["Peter", "Blackburn"], "tags": ["B-PER", "I-PER"]},
        ],
    ),
    "another column": (
        "tags",
        "a.bio",
        CONLL.replace("\n", "\r\n"),
        {"tag": 1},
        [
            {"words": ["EU", "rejects"], "tags": ["NNP", "VBZ"]},
            {"words": ["Peter", "Blackburn"], "tags": ["NNP"] * 2},
        ],
    ),
    "conllu": (
        "tags",
        "a.conllu",
        "# text = I am\n1\tI\t_\tPRON\n2-3\ta m\t_\t_\n2\ta m\t_\tAUX\n\n",
        {"word": 1, "tag": 3},
        [{"words": ["I", "a m"], "tags": ["PRON", "AUX"]}],
    ),
    "questions": (
        "questions",
        "a.json",
        squad(
            SQUAD,
            {"id": "q2", "question": "Why?", "answers": [], "is_impossible": True, "plausible_answers": []},
        ),
        {},
        [
            SQUAD | {"context": CONTEXT},
            {"id": "q2", "question": "Why?", "context": CONTEXT, "answers": []},
        ],
    ),
    "dialogues": ("dialogues", "a.jsonl", lines({"messages": MESSAGES}), {}, [{"messages": MESSAGES}]),
    "weights": (
        "dialogues",
        "a.jsonl",
        lines({"messages": [MESSAGES[0] | {"weight": 1}, MESSAGES[1] | {"weight": 0}]}),
        {},
        [{"messages": [MESSAGES[0], MESSAGES[1] | {"weight": 0}]}],
    ),
    "slots": (
        "dialogues",
        "a.jsonl",
        lines({"messages": MESSAGES, "slots": {"food": "thai"}}),
        {},
        [{"messages": MESSAGES, "slots": {"food": "thai"}}],
    ),
    "sharegpt": (
        "dialogues",
        "a.json",
        json.dumps(
            [{"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}]
        ),
        {},
        [{"messages": MESSAGES}],
    ),
    "alpaca": (
        "dialogues",
        "a.jsonl",
        lines(
            {"instruction": "Hi", "input": "", "output": "Hello"},
            {"instruction": "Sort", "input": "b a", "output": "a b"},
        ),
        {},
        [
            {"messages": MESSAGES},
            {
                "messages": [
                    {"role": "user", "content": "Sort\n\nb a"},
                    {"role": "assistant", "content": "a b"},
                ]
            },
        ],
    ),
    "programs": ("programs", "a.jsonl", lines(PROGRAM | {"more": 1}), {}, [PROGRAM]),
    "choices": (
        "choices",
        "a.jsonl",
        lines(CHOICE, CHOICE | {"answer": "A"}),
        {},
        [CHOICE, CHOICE | {"answer": 0}],
    ),
    "choices with labels": (
        "choices",
        "a.jsonl",
        lines({"question": "2 + 2", "choices": {"text": ["3", "4"], "label": ["1", "2"]}, "answerKey": "2"}),
        {"answer": "answerKey"},
        [CHOICE],
    ),
    "drafts": (
        "drafts",
        "a.jsonl",
        lines({"source": "Hund", "draft": "a cat", "target": "a dog"}),
        {},
        [{"source": "Hund", "draft": "a cat", "target": "a dog"}],
    ),
    "drafts in columns": (
        "drafts",
        "a.tsv",
        "Hund\ta cat\ta dog\n\ta\tb\n",
        {"fields": ["src", "mt", "pe"]},
        [{"source": "Hund", "draft": "a cat", "target": "a dog"}],
    ),
}


@pytest.mark.parametrize("case", READ)
def test_files_become_examples_as_they_are_written(case: str, tmp_path: Path) -> None:
    name, file, text, changes, expected = READ[case]
    found = read(make(name, file, text, tmp_path, **changes))
    assert sorted(found, key=str) == sorted(expected, key=str)


REFUSED: dict[str, tuple[str, str, str, str]] = {
    "no second text": (
        "labelled_pairs",
        "a.csv",
        "text,label\na,b\n",
        r"a\.csv: no column 'second' .*data\.second",
    ),
    "no label": ("labelled_pairs", "a.tsv", "a\tb\t \n", r"a\.tsv, line 1: no label"),
    "too few columns": ("labelled_pairs", "a.tsv", "a\tb\tc\na\tb\n", r"a\.tsv, line 2: 2 columns where"),
    "no pairs": ("labelled_pairs", "a.txt", "a b c\n", r"a\.txt: labelled pairs come as \.tsv"),
    "a ragged sentence": (
        "tags",
        "a.txt",
        "EU X B-ORG\nsays O\n",
        r"a\.txt, line 2: 2 columns where .* began with 3",
    ),
    "no such column": ("tags", "a.txt", "EU\n", r"a\.txt, line 1: 1 columns, and none .*data\.tag=1"),
    "an offset that is not the answer's": (
        "questions",
        "a.json",
        squad(SQUAD | {"answers": [{"text": "Henri Bergson", "answer_start": 25}]}),
        r"a\.json, line 1, data\[0\], paragraphs\[0\], qas\[0\], answers\[0\] \(q1\): 'Henri Bergson' does "
        r"not stand at answer_start=25, .*'enri Bergson '",
    ),
    "no answers": (
        "questions",
        "a.json",
        squad({"id": "q", "question": "Who?"}),
        r"qas\[0\]: no list under 'answers'",
    ),
    "no question": ("questions", "a.json", json.dumps({"data": []}), r"a\.json: no question; SQuAD's layout"),
    "not SQuAD": ("questions", "a.json", json.dumps([1]), r"a\.json, line 1: no list under 'data'"),
    "nobody answers": (
        "dialogues",
        "a.jsonl",
        lines({"messages": MESSAGES[:1]}),
        r"a\.jsonl, line 1: nobody answers",
    ),
    "a role": (
        "dialogues",
        "a.jsonl",
        lines({"messages": MESSAGES}, {"messages": [{"role": "bot", "content": "Hi"}]}),
        r"a\.jsonl, line 2, messages\[0\]: role='bot': one of system, user, assistant",
    ),
    "a weight": (
        "dialogues",
        "a.jsonl",
        lines({"messages": [MESSAGES[0], MESSAGES[1] | {"weight": 0.5}]}),
        r"a\.jsonl, line 1, messages\[1\]: weight=0\.5: 1, or 0",
    ),
    "no dialogue": (
        "dialogues",
        "a.jsonl",
        lines({"text": "a"}),
        r"line 1: no text under 'instruction' \(it has: text",
    ),
    "a table": ("dialogues", "a.csv", "messages\na\n", r"a\.csv: dialogues come as \.jsonl or \.json"),
    "no tests": (
        "programs",
        "a.jsonl",
        lines({"task_id": "T/0", "prompt": "p"}),
        r"line 1: no text under 'canonical_",
    ),
    "no such choice": (
        "choices",
        "a.jsonl",
        lines(CHOICE, CHOICE | {"answer": 2}),
        r"line 2: answer=2 is no choice",
    ),
    "no such letter": (
        "choices",
        "a.jsonl",
        lines(CHOICE | {"answer": "C"}),
        r"answer='C' .*0 to 1 or A, B; .*data\.ans",
    ),
    "one choice": ("choices", "a.jsonl", lines(CHOICE | {"choices": ["3"]}), r"line 1: two choices at least"),
    "no draft": (
        "drafts",
        "a.jsonl",
        lines({"source": "a", "target": "b"}),
        r"line 1: no text under 'draft' .*data\.fie",
    ),
    "one text": ("drafts", "a.txt", "a\n", r"a\.txt: drafts come as records"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_malformed_is_named_with_file_and_line(case: str, tmp_path: Path) -> None:
    name, file, text, said = REFUSED[case]
    changes = {"tag": 1} if case == "no such column" else {}
    with pytest.raises(ValueError, match=said):
        read(make(name, file, text, tmp_path, **changes))


SKIPPED = {
    "tags": ("a.txt", "EU B-ORG\nsays\n\nPeter B-PER\n", {"ragged row": 1}),
    "questions": (
        "a.json",
        squad(SQUAD | {"answers": [{"text": "H", "answer_start": 0}]}, SQUAD, {"id": "q"}),
        {"answer elsewhere": 1, "no text": 1},
    ),
    "dialogues": ("a.jsonl", lines({"messages": 1}, {"messages": MESSAGES}), {"no text": 1}),
    "choices": ("a.jsonl", lines(CHOICE | {"answer": 9}, CHOICE), {"no answer": 1}),
}


@pytest.mark.parametrize("name", SKIPPED)
def test_what_is_skipped_is_counted_and_the_rest_stays(name: str, tmp_path: Path) -> None:
    file, text, reasons = SKIPPED[name]
    source = make(name, file, text, tmp_path, on_error="skip")
    assert len(read(source)) == 1
    assert source.skipped == reasons


def test_a_line_that_is_not_utf8_takes_its_sentence_with_it(tmp_path: Path) -> None:
    source = make("tags", "a.txt", "", tmp_path, on_error="skip")
    (tmp_path / "a.txt").write_bytes(b"EU B-ORG\nsa\xffys O\nso O\n\nPeter B-PER\n")
    assert read(source) == [{"words": ["Peter"], "tags": ["B-PER"]}]
    assert source.skipped == {"not UTF-8": 1}


def test_all_questions_of_a_context_are_in_one_split(tmp_path: Path) -> None:
    paragraphs = [
        {
            "context": f"{n} is {n}.",
            "qas": [{"id": f"{n}/{k}", "question": f"{k}?", "answers": []} for k in range(4)],
        }
        for n in range(60)
    ]
    text = json.dumps({"data": [{"title": "a", "paragraphs": paragraphs}]})
    source = make("questions", "a.json", text, tmp_path, val_fraction=0.3)
    contexts = {split: [one["context"] for one in source.examples(split)] for split in ("train", "val")}
    assert 5 < len({*contexts["val"]}) < 40
    assert not {*contexts["train"]} & {*contexts["val"]}
    assert len(contexts["train"]) + len(contexts["val"]) == 240


def test_tags_and_labels_are_known_from_training_and_others_are_refused(tmp_path: Path) -> None:
    (tmp_path / "val.txt").write_text("Peter B-PER\n")
    (tmp_path / "test.txt").write_text("EU B-ORG\n\nOslo B-LOC\n")
    places = {"val_path": str(tmp_path / "val.txt"), "test_path": str(tmp_path / "test.txt")}
    source = make("tags", "a.txt", "EU B-ORG\nand O\n\nPeter B-PER\n", tmp_path, **places)
    assert source.contents["train"].labels == ("B-ORG", "B-PER", "O")
    tested = source.examples("test")
    assert next(tested) == {"words": ["EU"], "tags": ["B-ORG"]}
    with pytest.raises(
        ValueError, match=r"test.txt:3 of the test split has the label 'B-LOC', .*it knows B-ORG, B-"
    ):
        next(tested)
    (tmp_path / "val.txt").write_text("Oslo B-LOC\n")
    source = make("tags", "a.txt", "EU B-ORG\n", tmp_path, val_path=places["val_path"])
    with pytest.raises(ValueError, match="'B-LOC' is in the val split only"):
        _ = source.contents


def test_a_tokenizer_learns_from_the_texts_of_examples_and_not_from_their_names(tmp_path: Path) -> None:
    texts = {
        "questions": ("a.json", squad(SQUAD), f"Who named it?\n{CONTEXT}"),
        "tags": ("a.txt", "EU B-ORG\nsays O\n", "EU says"),
        "programs": ("a.jsonl", lines(PROGRAM), "def f(a):\n\n    return a\n"),
        "choices": ("a.jsonl", lines(CHOICE), "2 + 2\n3\n4"),
        "dialogues": (
            "a.jsonl",
            lines({"messages": MESSAGES, "slots": {"food": "thai"}}),
            "Hi\nHello\nfood thai",
        ),
    }
    for name, (file, text, expected) in texts.items():
        source = make(name, file, text, tmp_path)
        (document,) = [*source.stream("train"), *source.stream("val")]
        assert document.text == expected


def test_drafts_come_in_three_aligned_files_and_have_a_test_split(tmp_path: Path) -> None:
    for split in ("", "test_"):
        for side, word in (("source", "Hund"), ("draft", "cat"), ("target", "dog")):
            (tmp_path / f"{split}{side}.txt").write_text("".join(f"{split}{word} {n}\n" for n in range(40)))
    sides = ["draft", "target", "test_source", "test_draft", "test_target"]
    changes: dict[str, Any] = {side: f"{tmp_path}/{side}.txt" for side in sides} | {"val_fraction": 0.3}
    text = (tmp_path / "source.txt").read_text()
    source = make("drafts", "source.txt", text, tmp_path, **changes)
    found = [*source.examples("train"), *source.examples("val")]
    assert sorted(one["target"] for one in found) == sorted(f"dog {n}" for n in range(40))
    assert all(one["draft"].split()[1] == one["source"].split()[1] for one in found)
    assert [one["draft"] for one in source.examples("test")] == [f"test_cat {n}" for n in range(40)]
    (tmp_path / "draft.txt").write_text("one\n")
    with pytest.raises(ValueError, match=r"source.txt has 40 lines, .*draft.txt 1"):
        list(make("drafts", "source.txt", text, tmp_path, **changes).examples("train"))
    with pytest.raises(ValueError, match=r"data.draft and data.target: two aligned files"):
        make("drafts", "source.txt", text, tmp_path, draft=changes["draft"])


def test_whole_examples_are_left_out_and_their_texts_stay_as_they_are(tmp_path: Path) -> None:
    sentences = [f"word{n % 40} X\nis O\n" for n in range(60)]
    (tmp_path / "test.txt").write_text("word1 X\n")
    test = str(tmp_path / "test.txt")
    source = make("tags", "a.txt", "\n".join(sentences), tmp_path, test_path=test, val_fraction=0.2)
    words = ["data=tags", "data.path=x"]
    config = compose_parts([*words, "data/dedup=exact"], ROOTS)
    product = prepare(source, make_preparation(config, build(find_parts(config)))).source
    found = [json.dumps(one) for split in ("train", "val") for one in product.examples(split)]
    assert len(found) == len({*found}) == 40
    assert {*found} == {json.dumps(one) for split in ("train", "val") for one in source.examples(split)}
    assert product.contents["train"].labels == ("O", "X")
    assert [*product.examples("test")] == [{"words": ["word1"], "tags": ["X"]}]
    for part in ("clean=basic", "privacy=mask"):
        with pytest.raises(
            Refusal, match=rf"data/{part.partition('=')[0]} changes texts, .*leave it out with"
        ):
            compose_parts([*words, f"data/{part}"], ROOTS)


def test_drafts_may_have_a_file_for_each_split(tmp_path: Path) -> None:
    drafts = {split: {"source": split, "draft": "a", "target": "b"} for split in ("train", "val", "test")}
    for split, draft in drafts.items():
        (tmp_path / f"{split}.jsonl").write_text(lines(*[draft] * 9))
    places = {f"{split}_source": f"{tmp_path}/{split}.jsonl" for split in ("val", "test")}
    source = make("drafts", "train.jsonl", lines(*[drafts["train"]] * 9), tmp_path, **places)
    for split, draft in drafts.items():
        assert [*source.examples(split)] == [draft] * 9
    with pytest.raises(ValueError, match=r"in two splits at once, by data\.val_source and data\.test_source"):
        make("drafts", "train.jsonl", "{}", tmp_path, **places | {"test_source": places["val_source"]})


PAIRS: dict[str, Any] = {
    "target": None,
    "fields": ["body", "subject"],
    "val_source": None,
    "val_target": None,
}
PAIRS |= {"val_fraction": 0.1, "test_target": None, "max_bytes": None, "on_error": "raise"}


def test_pairs_have_further_references_in_the_test_split_alone(tmp_path: Path) -> None:
    train, test = tmp_path / "train.jsonl", tmp_path / "test.jsonl"
    train.write_text(lines(*({"body": f"b{n}", "subject": f"s{n}"} for n in range(50))))
    test.write_text(lines({"body": "b", "subject": "s", "annotations": ["x", " ", "y"], "short": "z"}))
    options = PAIRS | {"source": str(train), "test_source": str(test)}
    source = parallel(**options, references=["annotations", "short"])
    assert [*source.examples("test")] == [{"source": "b", "target": "s", "references": ["x", "y", "z"]}]
    assert next(source.examples("train")) == {"source": "b0", "target": "s0"}
    assert source.contents == parallel(**options | {"test_source": None}, references=[]).contents
    with pytest.raises(ValueError, match=r"test.jsonl, line 1: no text under 'others' .*set data.references"):
        next(parallel(**options, references=["others"]).examples("test"))
    with pytest.raises(ValueError, match=r"data.references=\['a'\]: .*data.test_source"):
        parallel(**options | {"test_source": None}, references=["a"])


def test_further_references_may_be_aligned_files(tmp_path: Path) -> None:
    files = {"a": "1\n2\n", "b": "one\ntwo\n", "c": "eins\nzwei\n", "test": "3\n4\n", "t": "three\nfour\n"}
    files |= {"r": "drei\n\n"}
    places = {name: tmp_path / f"{name}.txt" for name in files}
    for name, text in files.items():
        places[name].write_text(text)
    options = PAIRS | {
        "source": str(places["a"]),
        "target": str(places["b"]),
        "test_source": str(places["test"]),
    }
    source = parallel(**options | {"test_target": str(places["t"])}, references=[str(places["r"])])
    assert [*source.examples("test")] == [
        {"source": "3", "target": "three", "references": ["drei"]},
        {"source": "4", "target": "four"},
    ]


def test_text_and_labels_have_a_test_split_that_training_does_not_look_at(tmp_path: Path) -> None:
    (tmp_path / "test.tsv").write_text("b\tnew\n")
    test = str(tmp_path / "test.tsv")
    rows = "".join(f"{'ab'[n % 2]}\trow {n}\n" for n in range(50))
    source = make("labelled", "a.tsv", rows, tmp_path, test_path=test)
    assert [*source.examples("test")] == [{"text": "new", "label": "b"}]
    assert source.contents == make("labelled", "a.tsv", rows, tmp_path).contents
    assert [name for name, _ in source.files] == ["a.tsv"]
    source = make("text", "a.tsv", rows, tmp_path, test_path=test)
    assert [*source.examples("test")] == [{"text": "new"}]
    (tmp_path / "test.tsv").write_text("c\tnew\n")
    with pytest.raises(ValueError, match=r"test.tsv:1 of the test split has the label 'c'"):
        next(make("labelled", "a.tsv", rows, tmp_path, test_path=test).examples("test"))
    with pytest.raises(ValueError, match=r"a.tsv is in two splits at once, by data.path and data.test_path"):
        make("text", "a.tsv", rows, tmp_path, test_path=str(tmp_path / "a.tsv"))
    with pytest.raises(ValueError, match=r"data=text has no test split"):
        next(make("text", "a.tsv", rows, tmp_path).examples("test"))
