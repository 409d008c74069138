"""What a user types: a mistake gets one sentence with a remedy and exit code 2, before torch is imported."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.warm import drop_stages
from triad.config.compose import compose
from triad.config.errors import Refusal
from triad.config.identity import find_changed_mathematics
from triad.config.locations import TRAIN
from triad.config.messages import MISTAKE
from triad.launch.rank import run_rank
from triad.runs.start import prepare_run

MISTAKES = {
    "modle=moe": "did you mean model?",
    "model=mo": "did you mean moe?",
    "router=switch": "this model has no experts",
    "model.widht=3": "did you mean model.width",
    "widht=3": "did you mean model.width",
    "optimizer.lr=fast": "optimizer.lr=fast: input should be a valid number",
    "trainer.max_steps=1.5": "trainer.max_steps=1.5",
    "trainer.devices=true": "trainer.devices=True: is a truth value",
    "seed=abc": "seed=abc",
    "+experimnt=tiny": "did you mean experiment?",
    "data=text": "data.path",
    "hardware.attention=fast": "'auto', 'flash' or 'plain'",
    "+model._target_=os.system": "model._target_",
    "model._target_=os.system": "os.system is not allowed",
    "trainer.devices=2": "use strategy=ddp or strategy=fsdp",
    "batch.size=0": "at least one sequence",
    "trainer.devices=0": "give a number of processes",
    "trainer.devices=[1]": "CUDA_VISIBLE_DEVICES",
    "trainer.accelerator=tpu": "use cpu or gpu",
    "trainer.max_steps=-1": "needs a number of steps",
    "+trainer.limit_train_batches=3": "use epochs=..., or trainer.max_steps",
    "trainer.num_nodes=2": "needs torchrun or srun",
    "context=0": "context=0: must be at least 1",
    "scheduler.warmup=5000": "longer than trainer.max_steps",
    "resume=outputs/nowhere": "no run is there",
    "model=(": "error:",
    "precision=fp8": "needs a GPU with fp8 units",
    "trainer.max_steps=${steps_of:many}": "${steps_of:many}: a whole number of tokens",
    "strategy=hsdp": "do not multiply to the 1 processes",
}


@pytest.mark.parametrize("word", MISTAKES)
def test_a_mistake_is_answered_with_one_sentence(train, tmp_path: Path, word: str) -> None:
    done = train(word, code=2)
    sentences = drop_stages(done.stderr)
    assert len(sentences) == 1
    assert MISTAKES[word] in sentences[0]
    assert not list((tmp_path / "outputs").glob("*"))


@pytest.mark.parametrize("size", [4, 8, 48])
def test_steps_follow_from_tokens_where_they_are_asked_for(size: int) -> None:
    config = compose([f"batch.size={size}", "context=128", "trainer.max_steps=${steps_of:409_600}"])
    steps = config["trainer"]["max_steps"]
    assert (steps - 1) * size * 128 < 409_600 <= steps * size * 128
    assert config["scheduler"]["steps"] == steps


@pytest.mark.parametrize("batch", ["batch=ramp", "batch=full", "batch.size=0"])
def test_steps_do_not_follow_from_tokens_where_batches_grow(batch: str) -> None:
    with pytest.raises(Refusal, match="needs a batch of one size: use batch=fixed"):
        compose([batch, "trainer.max_steps=${steps_of:409_600}"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["strategy=ddp", "trainer.devices=3", "batch.size=16"], "the nearest that does is 15"),
        (
            ["strategy=ddp", "trainer.devices=99", "trainer.accelerator=gpu", "batch.size=99"],
            "trainer.accelerator=cpu",
        ),
    ],
)
def test_an_impossible_layout_is_refused_with_the_nearest_that_works(
    train, words: list[str], sentence: str
) -> None:
    assert sentence in train(*words, code=2).stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["data=text", "data.path=missing.txt"], "missing.txt"),
        (["data=text", "data.path={empty}"], "no text"),
        (["data=text", "data.path={latin}"], "byte 3"),
        (["data=text", "data.path={short}", "context=4000"], "context"),
        (["model=moe", "router.top_k=9"], "top_k=9"),
    ],
)
def test_a_mistake_found_while_building_is_one_sentence_of_the_rank(
    tmp_path: Path, cache: Path, monkeypatch, capsys, words, sentence: str
) -> None:
    from train import train

    monkeypatch.setenv("TRIAD_CACHE", str(cache))
    files = {"empty": b"", "latin": b"abc\xff", "short": b"a short text\n" * 40}
    for name, content in files.items():
        (tmp_path / f"{name}.txt").write_bytes(content)
    paths = {name: str(tmp_path / f"{name}.txt") for name in files}
    words = ["debug=tiny", "run_id=a", f"output_dir={tmp_path}", *(word.format(**paths) for word in words)]
    assert run_rank(train, prepare_run(compose(words), words)) == MISTAKE
    said = capsys.readouterr().err
    assert sentence in said
    assert "Traceback" not in said
    assert said.count("error: ") == 1


def test_a_mistake_found_while_building_ends_the_run_with_its_sentence_alone(train) -> None:
    done = train("debug=tiny", "model=mlp", "model.order=1", code=2)
    assert "at least order=2" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error: ") == 1


def test_the_parent_starts_its_ranks_without_torch(tmp_path: Path, environment: dict[str, str]) -> None:
    code = f"""
import runpy, sys
from triad.launch import command

def launch(script, run, ranks, threads, grace_s):
    print(ranks, script, run, grace_s)
    return 3 if {{"torch", "lightning"}} & {{*sys.modules}} else 4

command.launch_ranks = launch
sys.argv = [{str(TRAIN)!r}, "debug=tiny", "strategy=ddp", "trainer.devices=2", "run_id=a"]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["2", str(TRAIN), "outputs/a", "30.0"], done.stderr
    assert done.returncode == 4
    assert (tmp_path / "outputs" / "a" / "run.json").exists()


def test_the_configuration_can_be_shown_resolved(train) -> None:
    assert "max_steps: 7" in train("--cfg", "job", "--resolve", "trainer.max_steps=7").stdout


def test_the_hardware_axis_is_not_mathematics_and_the_rest_is() -> None:
    old = {
        "strategy": {"a": 1},
        "hardware": {"m": 1},
        "model": {"width": 1},
        "trainer": {"devices": 1, "max_steps": 5},
    }
    new = {
        "strategy": {"a": 2},
        "hardware": {"m": 2},
        "model": {"width": 2},
        "trainer": {"devices": 2, "max_steps": 5},
    }
    assert find_changed_mathematics(old, new) == ["model.width"]


WRONG_PATHS = {
    "data=text data.path=nowhere": "data.path: 'nowhere' is no file",
    "data=text data.path=. data.val_path=nowhere": "data.val_path: 'nowhere' is no file",
    "task=translation data=parallel data.source=nowhere data.target=nowhere": "data.source: 'nowhere'",
    "data=huggingface data.path=/nowhere": "data.path=/nowhere: no such folder, and no name",
    "data=tokenized data.path=nowhere tokenizer=byte": "data.path: 'nowhere' is no file",
}


@pytest.mark.parametrize("words", WRONG_PATHS)
def test_a_path_of_data_that_is_not_there_is_told_before_a_run_is_begun(
    train, tmp_path: Path, words: str
) -> None:
    (tmp_path / "a.txt").write_text("text\n" * 99)
    (said,) = drop_stages(train(*words.split(), "debug=tiny", code=MISTAKE).stderr)
    assert said.startswith("error: ")
    assert WRONG_PATHS[words] in said
    assert not (tmp_path / "outputs").exists()


def test_sources_which_are_built_before_torch_is_imported_import_none() -> None:
    code = """
import sys
from importlib import import_module
from pkgutil import iter_modules
import triad.data.sources as package
for module in iter_modules(package.__path__, "triad.data.sources."):
    import_module(module.name)
sys.exit("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
