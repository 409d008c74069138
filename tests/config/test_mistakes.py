"""Whether an error is a sentence follows from who raised it; ranges are those of signatures."""

import ast
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import yaml

from triad.config import build, messages
from triad.config.compose import compose
from triad.config.definitions import find_definition
from triad.config.errors import Refusal, is_sentence
from triad.config.locations import CONF
from triad.config.messages import FAULT, MISTAKE, explain_error, explain_failure
from triad.config.offers import walk_parts
from triad.config.processes import count_threads
from triad.config.provenance import LOADER
from triad.config.schema import PART, _find_init, convert, read_signature
from triad.runs import start
from triad.schedules.batch_size import staged
from triad.storage.cache import cache_home

MISTAKES = {
    "optimizer.betas=0.9": "optimizer.betas=0.9: input should be a valid tuple",
    "optimizer.betas=[0.9,1.0]": "at least 0 and below 1",
    "optimizer.betas=x": "optimizer.betas=x",
    "optimizer.lr=-1": "optimizer.lr=-1.0: at least 0",
    "model.width=0": "model.width=0: must be at least 1",
    "model.depth=0": "model.depth=0: must be at least 1",
    "model.width=1000000000": "more than 10^13 weights",
    "model.attention.heads=0": "model.attention.heads=0: must be at least 1",
    "model.attention.mask=inf": "a part stands here",
    "model.pattern=x": "a part stands here",
    "model.block=null": "a part stands here",
    "hardware.threads=-1": "hardware.threads=-1: must be at least 1",
    "hardware.threads=100000": "must be at most 1024",
    "callbacks.sample.temperature=-1": "must be at least 0",
    "callbacks.checkpoint.monitor=val_loss": "use one of val/loss",
    "callbacks.energy=3": "leave callbacks.energy out",
    "optimizer.weight_decay=inf": "a finite number",
    "optimizer.eps=nan": "a finite number",
    "tokenizer.vocab_size=-5": "must be at least 1",
    "batch.size=1000000000000": "lower batch.size or context",
    "seed=-1": "seed=-1: must be at least 0",
    "~model": "~model: a run needs it: model=decoder",
    "+packed=false": "packed is not a key of conf/train.yaml; did you mean packing?",
    "~packing": "~packing: a run needs it",
    "~model.width": "width is missing",
    "model=5": "model is chosen by name",
    "optimizer._target_=5": "the dotted name of a part",
    "optimizer._partial_=5": "true or false",
    "trainer.num_nodes=0": "a number of machines, at least 1",
}


@pytest.mark.parametrize("word", MISTAKES)
def test_a_mistake_is_refused_before_torch_is_imported(word: str) -> None:
    with pytest.raises(Refusal) as caught:
        compose([word])
    assert MISTAKES[word] in str(caught.value)


def test_early_stopping_by_an_unknown_metric_is_refused() -> None:
    with pytest.raises(Refusal, match=r"early_stopping.monitor=val_loss is no metric"):
        compose(["callbacks=[default,early_stopping]", "callbacks.early_stopping.monitor=val_loss"])


def test_a_polynomial_of_negative_power_is_refused() -> None:
    with pytest.raises(Refusal, match=r"scheduler.power=-1: must be above 0"):
        compose(["scheduler=polynomial", "scheduler.power=-1"])


@pytest.mark.parametrize("word", ["~logger", "logger=[]", "callbacks=[]", "~callbacks.sample"])
def test_groups_of_several_parts_may_be_empty(word: str) -> None:
    assert compose([word])["model"]


def test_a_choice_that_is_not_there_is_answered_with_those_that_are() -> None:
    for word in ("logger=nope", "callbacks=[default,nope]"):
        with pytest.raises(Exception, match="nope") as caught:
            compose([word])
        said = explain_error(caught.value)
        assert said is not None
        assert "nope does not exist" in said
        assert "Config search path" not in said


def list_calls() -> set[str]:
    nodes = [yaml.load(path.read_text(), Loader=LOADER) for path in CONF.glob("*/*.yaml")]
    found = {part["_target_"] for node in nodes for _, part in walk_parts(node)}
    return {target for target in found if target.startswith("triad.")}


# Of the run and the data, not of a person; or checked by a table of refusals, with a remedy
OWN_CHECK = {"step", "steps", "size", "start", "data_replicate", "data_shard", "context", "expert"}
OWN_CHECK |= {"tensor", "pipeline", "stage", "val_fraction", "weights"}
OWN_CHECK |= {"no_answer_threshold"}  # a difference of logits: any number


@pytest.mark.parametrize("target", sorted(list_calls()))
def test_every_number_of_a_signature_has_its_range(target: str) -> None:
    found = find_definition(target)
    call = _find_init(found) if isinstance(found.node, ast.ClassDef) else found
    for argument in call.node.args.args if call else ():
        spelled = {
            node.id for node in ast.walk(argument.annotation or ast.Constant(0)) if isinstance(node, ast.Name)
        }
        if {"int", "float"} & spelled and "Annotated" not in spelled:
            lists = {"list", "tuple"} & spelled
            assert argument.arg in OWN_CHECK or lists, f"{target}.{argument.arg} takes any number"


def test_bounds_are_read_through_names_of_other_modules() -> None:
    betas = read_signature("triad.optim.lamb.Lamb").parameters["betas"].type
    assert convert([0.9, 0.95], betas) == ([0.9, 0.95], None)
    assert convert([0.9, 1.0], betas)[1] == "must be below 1"
    assert convert([1], PART)[1] == convert(None, PART)[1] is not None


def raised(call, *arguments) -> Exception:
    try:
        call(*arguments)
    except Exception as error:
        return error
    raise AssertionError


def test_an_error_is_a_sentence_if_a_statement_of_ours_raised_it() -> None:
    ours = raised(staged, 10, 4, [[1, 2, 3]], "steps", "none", None)
    foreign = raised(staged, 10, 4, [["x", "y"]], "steps", "none", None)  # int("y") within our code
    assert type(ours) is type(foreign) is ValueError
    assert is_sentence(ours)
    assert not is_sentence(foreign)
    assert explain_error(foreign) is None


def test_an_error_of_a_file_names_the_file(tmp_path: Path) -> None:
    assert explain_error(raised(open, tmp_path / "none")) == f"{tmp_path}/none: No such file or directory"


def test_a_part_that_cannot_be_built_names_its_key() -> None:
    from torch import nn

    from triad.layers.norm import RMSNorm

    config = {"model": {"norm": {"_target_": "triad.layers.norm.RMSNorm"}}}
    for arguments, begin in (({"width": "x", "eps": 1e-5}, ": TypeError: "), ({"width": 8}, " lacks 'eps'")):
        said, code = explain_failure(raised(partial(RMSNorm, **arguments)), config)
        assert said.startswith(f"model.norm{begin}")
        assert code == MISTAKE
    fault = raised(lambda: nn.Linear(2, 2)(3))
    assert explain_failure(fault, config)[1] == FAULT


def test_a_fault_of_the_program_names_its_part_and_keeps_its_traceback(capsys, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(messages.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(build, "_build_node", lambda node: {}["lost"])
    error = raised(build.build, {"_target_": "triad.optim.clip.Norm", "largest": 1.0})
    assert messages.report_error(error) == FAULT
    said = capsys.readouterr().err
    kept = next(tmp_path.glob("triad-*-error.txt"))
    assert said.count("\n") == 1
    assert said.startswith("error: in config.")
    assert str(kept) in said
    assert "Traceback" in kept.read_text()


def test_interrupting_a_command_is_one_line_and_130() -> None:
    code = """
import os, signal
from triad.config.command_line import run_command

signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored where the tests run

def wait() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    signal.pause()

run_command(wait)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 130
    assert done.stderr == "interrupted\n"


@pytest.mark.parametrize("given", ["abc", "0", "-1", "100000", "2.5"])
def test_threads_of_the_environment_are_a_number(monkeypatch, given: str) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    with pytest.raises(Refusal, match=f"OMP_NUM_THREADS={given}: a number"):
        count_threads({"hardware": {"threads": None}, "trainer": {"devices": 1}})


def test_a_user_without_a_home_is_told_which_variable_to_set(monkeypatch) -> None:
    monkeypatch.delenv("TRIAD_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    error = raised(cache_home)
    assert is_sentence(error)
    assert "set TRIAD_CACHE" in str(error)


def test_changes_in_any_encoding_are_recorded(tmp_path: Path, monkeypatch) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "file").write_bytes(b"one\n")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], check=True)
    (tmp_path / "file").write_bytes(b"caf\xe9\n")
    monkeypatch.setattr(start, "REPOSITORY", tmp_path)
    monkeypatch.setattr(start, "INSTALLED", False)
    assert "+caf\\xe9" in (start._ask_git("diff", "HEAD") or "")


def test_a_command_raises_sentences_though_its_module_is_main(python, tmp_path: Path) -> None:
    run = tmp_path / "a"
    run.mkdir()
    (run / "config.yaml").write_text("task: {}\n")
    (run / "run.json").write_text("{}")
    done = python("-m", "triad.generate", f"run={run}", code=2)
    assert done.stderr == f"error: run={run}: no checkpoint is there\n"


def test_the_former_word_for_packing_is_answered_with_the_present_one() -> None:
    with pytest.raises(Exception, match="packed") as caught:
        compose(["packed=false"])
    assert explain_error(caught.value) == "packed does not exist; did you mean packing?"
