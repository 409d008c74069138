"""`train.py -m` writes outputs/<sweep>/<trial>, both named by the words, so that the same line goes on."""

import re
from pathlib import Path

import pytest
import yaml

from triad.analysis.settings import find_directories
from triad.config.errors import Refusal
from triad.config.locations import TRAIN
from triad.launch.multirun import refuse_other
from triad.runs.directory import Run

# a start whose ranks do nothing but finish
STUB = f"""
import runpy, sys
from triad.launch import command
from triad.runs.directory import Run

def launch(script, run, ranks, threads, grace_s):
    print("trained", run)
    Run(run).finish({{"val/loss": 1.0}})
    return 0

command.launch_ranks = launch
sys.argv = [{str(TRAIN)!r}, *sys.argv[1:]]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
WORDS = ("debug=tiny", "logger=wandb", "trainer.accelerator=cpu")


@pytest.fixture
def start(python):
    """Start it; the runs that it trained."""

    def run(*words: str, code: int = 0) -> tuple[list[str], str]:
        done = python("-c", STUB, *words, *WORDS, code=code)
        return re.findall(r"^trained (.*)$", done.stdout, re.MULTILINE), done.stdout + done.stderr

    return run


def test_a_sweep_is_a_folder_of_trials_that_are_named_by_what_differs(start, tmp_path: Path) -> None:
    trained, _ = start("-m", "optimizer=adamw,muon", "seed=0,1")
    (sweep,) = (tmp_path / "outputs").glob("[!.]*")
    assert re.fullmatch(r"optimizer-seed-\w{8}", sweep.name)
    trials = [f"optimizer-{name}-seed-{seed}" for name in ("adamw", "muon") for seed in (0, 1)]
    assert trained == [f"outputs/{sweep.name}/{trial}" for trial in trials]
    config = yaml.safe_load((sweep / trials[0] / "config.yaml").read_text())
    assert (config["run_id"], config["output_dir"]) == (trials[0], f"outputs/{sweep.name}")
    assert config["logger"]["wandb"]["group"] == sweep.name
    assert f"logger.wandb.group={sweep.name}" in Run(sweep / trials[0]).overrides()

    paths = [sweep / trial for trial in trials]
    for folder in (tmp_path, tmp_path / "outputs", sweep):  # of outputs, of sweeps, of trials
        assert find_directories([str(folder)], []) == paths

    trained, said = start("-m", "optimizer=adamw,muon", "seed=0,1")
    assert trained == []
    assert said.count("finished before, skipped") == 4
    trained, _ = start("-m", "optimizer=adamw,muon", "seed=0,1,2")
    assert trained == [f"outputs/{sweep.name}/optimizer-{name}-seed-2" for name in ("adamw", "muon")]
    (sweep / trials[1] / "result.json").unlink()  # it was killed
    assert start("-m", "optimizer=adamw,muon", "seed=0,1")[0] == [f"outputs/{sweep.name}/{trials[1]}"]


def test_run_id_names_the_sweep_which_other_words_do_not_continue(start) -> None:
    assert start("-m", "run_id=x", "seed=0,1")[0] == ["outputs/x/seed-0", "outputs/x/seed-1"]
    for word in ("trainer.max_steps=7", "strategy=fsdp"):
        trained, said = start("-m", "run_id=x", "seed=0,1", word, code=2)
        assert trained == []
        assert said.count(f"{word.partition('=')[0]}") >= 2
        assert said.count("is not what this trial was started with") == 2
    assert "a sweep is one folder" in start("-m", "run_id=x,y", code=2)[1]
    assert "holds runs, such as seed-0" in start("run_id=x", code=2)[1]
    assert "name one, such as outputs/x/seed-0" in start("resume=outputs/x", code=2)[1]
    assert start("run_id=single")[0] == ["outputs/single"]
    assert "outputs/single is a run" in start("-m", "run_id=single", "seed=0,1", code=2)[1]


def test_values_that_no_file_name_holds_are_trials_of_their_own(start, tmp_path: Path) -> None:
    values = ["['a/b']", "['A/b']", "['$(x); é']", f"[{'long' * 75}]", f"[{'long' * 75}er]"]
    trained, _ = start("-m", "run_id=x", f"tags={','.join(values)}")
    names = [Path(run).name for run in trained]
    assert len({name.casefold() for name in names}) == len(values)
    assert all(re.fullmatch(r"tags-[A-Za-z0-9_.-]{1,90}", name) for name in names)
    tags = [Run(tmp_path / run).config()["tags"] for run in trained]
    assert tags == [["a/b"], ["A/b"], ["$(x); é"], ["long" * 75], ["long" * 75 + "er"]]
    assert start("-m", "run_id=x", f"tags={','.join(values)}")[0] == []


def test_a_trial_goes_on_from_the_checkpoint_whose_run_is_asked_for(tmp_path: Path) -> None:
    run = Run(tmp_path / "outputs/x/seed-0")
    run.path.mkdir(parents=True)
    run.passport_file.write_text("{}")
    checkpoint = "outputs/a/checkpoints/step-00000001"
    config = {"task": {}, "callbacks": {}, "trainer": {}, "seed": 0, "weights": checkpoint}
    run.config_file.write_text(yaml.safe_dump(config))
    refuse_other(run, config | {"seed": 1, "weights": None}, ["seed=1"])  # nothing was trained
    run.finish({"val/loss": 1.0})
    for asked in ("outputs/a", checkpoint):
        refuse_other(run, config | {"weights": asked}, ["seed=0", f"weights={asked}"])
    for asked in ("outputs/b", None):
        with pytest.raises(Refusal, match="weights is not what this trial was started with"):
            refuse_other(run, config | {"weights": asked}, ["seed=0"])
