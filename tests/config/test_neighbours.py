"""What people of other programs type is answered by words that are words here."""

import re
import sys
from functools import cache

import pytest

from triad.__main__ import list_commands, main
from triad.config import command_line
from triad.config.compose import compose
from triad.config.errors import Refusal
from triad.config.locations import CONF, REPOSITORY
from triad.config.neighbours import ARGUMENTS, COMMANDS, KEYS, WORDS, answer, answer_flag, read_table
from triad.config.offers import list_groups, read_choices
from triad.config.overrides import top_level_keys
from triad.config.provenance import read_yaml_source
from triad.config.schema import read_script_signature
from triad.launch import resume

WORD = re.compile(r"(?<![\w/.-])[a-z_][a-z_.]*=(?:\[[^\]]*\]|[^\s,;)]+)")
COMMAND = re.compile(r"triad (\w+) ([^,]*)")
OPEN = re.compile(r"\{\}|\.\.\.|<.*>")  # a value that the person knows
FILLED = {"data": "data.path=a", "tokenizer": "tokenizer.path=a"}
ROWS = [*KEYS, *WORDS]


@cache
def keys_of(words: tuple[str, ...]) -> set[str]:
    """The keys of what some words are composed to."""
    groups = {word.partition("=")[0] for word in words}
    filled = [word for group, word in FILLED.items() if group in groups]
    found: set[str] = set()

    def walk(node: object, path: str) -> None:
        found.add(path)
        for key, inner in node.items() if isinstance(node, dict) else ():
            walk(inner, f"{path}.{key}".lstrip("."))

    config = compose([*words, *filled, "trainer.accelerator=cpu"])
    walk(config | {"router": read_choices("router")["mixtral"]}, "")
    return found


def arguments_of(command: str) -> set[str]:
    function = {"data": "show"}.get(command, command)
    file = list_commands()[command]
    return {*read_script_signature(file, function).parameters}


@pytest.mark.parametrize("row", ROWS)
def test_each_word_that_is_named_is_a_word_here(row: str) -> None:
    for command, rest in COMMAND.findall(row):
        for word in rest.split():
            key, sign, _ = word.partition("=")
            assert key in arguments_of(command) if sign else (REPOSITORY / word).is_file(), word
    words = [word for word in WORD.findall(COMMAND.sub("", row)) if word.partition("=")[0] not in resume.KEYS]
    whole = [word.split(",")[0] if "-m " in row else word for word in words]
    groups = list_groups()
    for word in words:
        key, _, value = word.partition("=")
        if key in groups and not (OPEN.search(value) or value.startswith("[")):
            assert value in read_choices(key), word
    closed = tuple(word for word in whole if not OPEN.search(word))
    alone = all(word.partition("=")[0] in groups for word in closed)
    known = keys_of(closed) if closed and not (alone and len(words) == 1) else keys_of(())
    for word in words:
        assert word.partition("=")[0] in known | groups.keys(), word


def test_each_row_names_a_word() -> None:
    for row in ROWS:
        assert "=" in row or row.startswith(("nothing to set", "perf/"))


def test_no_row_is_of_a_word_that_is_one_here() -> None:
    known = {*top_level_keys(), *list_groups()}
    words, keys = read_table()
    assert not known & (words.keys() | keys.keys())
    for word in words:
        group, sign, choice = word.partition("=")
        assert not (sign and choice in read_choices(group)), word
        assert sign or group not in keys_of(()), word


def test_no_word_of_theirs_has_two_answers() -> None:
    for table in (KEYS, WORDS, ARGUMENTS, COMMANDS):
        theirs = [word for row in table.values() for word in row.split()]
        if table is not ARGUMENTS:
            assert len(theirs) == len({*theirs})


def test_arguments_and_commands_that_are_named_are_there() -> None:
    commands = list_commands()
    assert COMMANDS.keys() <= commands.keys()
    assert not commands.keys() & {word for row in COMMANDS.values() for word in row.split()}
    offered = {name for command in commands.keys() - {"train"} for name in arguments_of(command)}
    assert offered >= ARGUMENTS.keys()


@pytest.mark.parametrize(
    ("typed", "ours"),
    {
        "ckpt_path=last.ckpt": "resume=outputs/<run_id>",
        "trainer=gpu": "trainer.accelerator=gpu",
        "debug=default": "debug=tiny",
        "hparams_search=mnist_optuna": "triad sweep sweeps/lr.yaml",
        "datamodule=mnist": "data=text",
        "data.batch_size=3": "batch.size=3",
        "precision=bf16": "precision=bf16-mixed",
        "precision=16": "precision=fp16-mixed",
        "precision=32": "precision=fp32",
        "n_layer=12": "model.depth=12",
        "name=first": "run_id=first",
        "logger=none": "logger=[]",
        "callbacks=[none]": "callbacks=[]",
        "learning_rate=3e-4": "optimizer.lr=3e-4",
        "training.seq_len=64": "context=64",
        "+model.n_embd=64": "model.width=64",
        "optimizer.name=muon": "optimizer=muon",
        "outputs/x": "resume=outputs/x",
        "fsdp": "strategy=fsdp",
        "debug": "debug=",
        "conf": "data.path=conf",
        "trainer.max_epochs=3": "epochs=",
    }.items(),
)
def test_a_word_of_theirs_is_answered_by_ours(typed: str, ours: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    with pytest.raises(Refusal) as caught:
        compose([typed])
    assert ours in str(caught.value)


def test_a_flag_is_answered_by_a_word() -> None:
    known = ["--cfg", "--multirun"]
    assert "batch.size=32" in answer_flag(["-m", "--cfg", "--global-batch-size", "32"], known)
    assert "optimizer.lr=1e-3" in answer_flag(["--lr=1e-3"], known)
    assert "new=..." in answer_flag(["--new", "context=3"], known)
    assert not answer_flag(["--cfg", "job", "--multi", "context=3"], known)
    assert not answer("context", "3")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["outputs/x"], "outputs/x: a word is key=value: run=outputs/x"),
        (["checkpoint=outputs/x"], "here that is run=outputs/x"),
        (["run=outputs/x", "max_new_tokens=3"], "here that is tokens=3"),
        (["run=outputs/x", "Once upon"], "'prompt=Once upon'"),
        (["--prompt", "Once"], "here that is prompt="),
    ],
)
def test_a_command_answers_words_of_others(words: list[str], said: str) -> None:
    def generate(run: str, prompt: str | None = None, tokens: int = 3) -> None: ...

    with pytest.raises(Refusal) as caught:
        command_line._parse_arguments(generate, words)
    assert said in str(caught.value)


def test_a_command_of_theirs_is_answered_by_ours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", ["triad", "eval", "outputs/x"])
    with pytest.raises(SystemExit):
        main()
    assert "triad evaluate" in capsys.readouterr().err


def test_each_value_that_a_file_leaves_open_has_an_example() -> None:
    left_open = [
        (file, origin)
        for file in CONF.rglob("*.yaml")
        for origin in read_yaml_source(file, "", set()).values()
        if origin.text == "???"
    ]
    assert left_open
    for file, origin in left_open:
        assert origin.remark.startswith("such as "), file


@pytest.mark.parametrize(
    ("words", "said"),
    {
        ("data=text",): "data.path=... is needed, such as books/",
        ("data/contamination=check",): "contamination.path=... is needed, such as",
        ("tokenizer=huggingface",): "tokenizer.path=... is needed, such as tokenizer.json",
    }.items(),
)
def test_a_value_that_is_left_open_is_asked_for_by_an_example(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(Refusal) as caught:
        compose([*words])
    assert said in str(caught.value)
