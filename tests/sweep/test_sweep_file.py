"""Sweep files: every key of W&B's is understood or refused with its line, before anything is started."""

from pathlib import Path

import pytest

from triad.config.errors import Refusal
from triad.config.locations import REPOSITORY
from triad.sweep import trial_command as words
from triad.sweep.controller import _set_up
from triad.sweep.sweep_file import read_sweep

SHIPPED = sorted((REPOSITORY / "sweeps").glob("*.yaml"))
LR = """program: train.py
method: grid
metric:
  name: val/loss
parameters:
  optimizer.lr:
    values: [1e-3, 2e-3]
  model:
    parameters:
      width: {values: [64, 128]}
command: ["${env}", "${interpreter}", "${program}", "${args_no_hyphens}", debug=tiny]
"""
MISTAKES = {
    ("program: train.py\n", ""): "1: program is missing",
    ("method: grid", "method: gird"): "2: method gird is not known; did you mean grid",
    ("method: grid", "methd: grid"): "2: methd is not a key of a sweep; did you mean method",
    ("  name: val/loss", "  nme: val/loss"): "4: metric.nme is not known; did you mean name",
    (
        "  name: val/loss",
        "  name: val/loss\n  goal: minimise",
    ): "5: goal minimise is not known; did you mean min",
    (
        "name: val/loss",
        "name: val/loss\n  goal: maximize",
    ): "3: metric val/loss: lower is better; say",
    ("name: val/loss", "name: val/los"): "3: metric val/los: no run records .*; did you mean val/loss",
    ("name: val/loss", "name: train/lr"): "3: metric train/lr: .* needs a goal: minimize or maximize",
    ("values: [64, 128]", "valeus: [64]"): "10: width: valeus is not a key",
    ("values: [64, 128]", "min: 1.0, max: 2.0"): "10: width: a grid needs values to go through",
    ("debug=tiny", '"${argz}"'): r"11: \$\{argz\} is not known",
    ('"${program}"', "train.py"): r"11: command has no \$\{program\}",
    ("${args_no_hyphens}", "${args}"): "takes its words without hyphens",
    ("program: train.py", "program: tain.py"): "program tain.py is not there",
    ("optimizer.lr", "optimizer.lrr"): "6: parameter optimizer.lrr does not exist; did you mean optimizer.lr",
    ("[1e-3, 2e-3]", "[fast, slow]"): "optimizer.lr=fast",
    ("method: grid", "method: grid\nrun_cap: many"): "3: run_cap: 'many' is not a number",
    ("method: grid", "method: grid\ncontroller: 1"): "3: controller is a matter of W&B's service",
    ("method: grid", "early_terminate: {type: hyperband}\nmethod: grid"): "2: hyperband needs min_iter",
    ("method: grid", "early_terminate: {type: asha}\nmethod: grid"): "2: type asha is not known",
    ("method: grid", "method: [grid"): "line",
}


@pytest.mark.parametrize("change", MISTAKES)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, change: tuple[str, str]) -> None:
    assert change[0] in LR
    (tmp_path / "lr.yaml").write_text(LR.replace(*change))
    with pytest.raises(Refusal, match=MISTAKES[change]):
        _set_up(read_sweep(tmp_path / "lr.yaml"), [], None, None)


def test_the_goal_is_that_of_the_metric_and_of_a_foreign_one_as_written(tmp_path: Path) -> None:
    def goal(metric: str, *beside: str) -> str:
        (tmp_path / "lr.yaml").write_text(LR.replace("name: val/loss", metric))
        return _set_up(read_sweep(tmp_path / "lr.yaml"), [*beside], None, None).sweep.goal

    assert goal("name: val/loss") == "minimize"
    assert goal("name: perf/mfu") == "maximize"
    assert goal("name: train/lr\n  goal: maximize") == "maximize"
    labelled = ("task=classification", "data=packages", "model=lstm")
    assert goal("name: val/accuracy", *labelled) == goal("name: val/accuracy\n  goal: maximize", *labelled)


def test_a_random_search_needs_an_end_and_a_grid_has_one(tmp_path: Path) -> None:
    (tmp_path / "lr.yaml").write_text(LR.replace("grid", "random"))
    with pytest.raises(Refusal, match="add a line run_cap"):
        read_sweep(tmp_path / "lr.yaml").count_points(0)
    assert read_sweep(tmp_path / "lr.yaml").count_points(3) == 3
    (tmp_path / "lr.yaml").write_text(LR)
    assert read_sweep(tmp_path / "lr.yaml").count_points(0) == 4
    with pytest.raises(Refusal, match="a grid ends with its last combination"):
        read_sweep(tmp_path / "lr.yaml").count_points(3)


def test_hyperbands_rungs_are_wandbs(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(LR + "early_terminate: {type: hyperband, min_iter: 3}\n")
    (tmp_path / "b.yaml").write_text(LR + "early_terminate: {type: hyperband, max_iter: 27, s: 2}\n")
    assert read_sweep(tmp_path / "a.yaml").rungs.values[:4] == (3, 9, 27, 81)
    assert read_sweep(tmp_path / "b.yaml").rungs.values == (3, 9)


def test_the_command_is_filled_in_and_resuming_keeps_only_its_beginning(tmp_path: Path) -> None:
    (tmp_path / "lr.yaml").write_text(LR)
    sweep = read_sweep(tmp_path / "lr.yaml")
    started = words.make_start_command(sweep, Path("train.py"), ["a=1"], ["run_id=x"])
    assert started[0] == "/usr/bin/env"
    assert started[2:] == ["train.py", "a=1", "debug=tiny", "run_id=x"]
    assert words.make_resume_command(sweep, Path("train.py"), Path("o/x"))[2:] == ["train.py", "resume=o/x"]
    flags = sweep._replace(command=["${program}", "${args_no_boolean_flags}"])
    assert words.make_start_command(flags, Path("p"), ["a=1", "b=true", "c=false"], []) == [
        "p",
        "--a=1",
        "--b",
    ]


def test_trials_are_wandb_runs_in_the_sweeps_group(tmp_path: Path) -> None:
    (tmp_path / "lr.yaml").write_text(LR + "project: rates\n")
    tiny = read_sweep(tmp_path / "lr.yaml")  # whose command says debug=tiny, which has no W&B
    sweep = tiny._replace(command=tiny.command[:-1])
    setup = _set_up(sweep, [f"output_dir={tmp_path}"], None, None)
    assert setup.beside == ["logger.wandb.group=lr", "logger.wandb.project=rates"]
    assert _set_up(tiny, [f"output_dir={tmp_path}"], None, None).beside == []
    assert setup.directory == tmp_path / "lr"
    assert _set_up(sweep, ["logger=csv"], None, "other").beside == ["logger=csv"]


def test_what_the_sweep_sets_itself_is_not_for_others_to_set(tmp_path: Path) -> None:
    (tmp_path / "lr.yaml").write_text(LR)
    for given in ("run_id=a", "optimizer.lr=1", "resume=outputs/a"):
        with pytest.raises(Refusal, match="the sweep sets"):
            _set_up(read_sweep(tmp_path / "lr.yaml"), [given], None, None)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_sweep_is_understood_and_its_head_has_question_answer_and_time(path: Path) -> None:
    sweep = read_sweep(path)
    assert sweep.count_points(0) > 1
    _set_up(sweep, ["debug=tiny"], None, None)
    head = [line.removeprefix("# ") for line in path.read_text().splitlines() if line.startswith("#")]
    assert head[0].endswith("?"), "the question"
    kinds = [line.split()[0] for line in head[1:] if not line.startswith(" ")]
    assert kinds == ["command", "answer", "measured"], head


def test_only_a_whole_word_is_a_macro(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATE", "3")
    asked = ["${program}", "x=${y:1}", "lr=${envvar:RATE}e-3", "${envvar:RATE}"]
    (tmp_path / "lr.yaml").write_text(LR)
    sweep = read_sweep(tmp_path / "lr.yaml")._replace(command=asked)
    words.check_macros(sweep, True)
    assert words.make_start_command(sweep, Path("train.py"), [], []) == [
        "train.py",
        "x=${y:1}",
        "lr=3e-3",
        "3",
    ]
