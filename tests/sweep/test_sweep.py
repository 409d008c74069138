"""A sweep at work: failures, retries, more trials, more seeds, more drivers, and a file that has changed."""

import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path
from statistics import fmean
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from triad.config.errors import Refusal
from triad.launch.trial_process import divide_machine
from triad.sweep.controller import run_sweep
from triad.sweep.slurm import STORAGE, submit
from triad.sweep.study import Study
from triad.sweep.sweep_file import read_sweep

TRIAL = Path(__file__).with_name("trial.py")
FILE = f"""program: {TRIAL}
method: random
run_cap: 3
metric: {{name: loss, goal: minimize}}
parameters:
  x: {{min: 0.0, max: 1.0}}
command: ["${{interpreter}}", -S, -E, "${{program}}", "${{args_no_hyphens}}", pause=0]
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("x.yaml").write_text(FILE)
    return tmp_path


def sweep(*words: str, jobs: int = 1, seeds: int | None = None, extend: int = 0, **rest: Any) -> int:
    return run_sweep(
        ["x.yaml", *words], jobs, seeds, extend, **{"retry": False, "fork": None, "storage": None} | rest
    )


def trials(name: str = "x") -> list[dict]:
    return json.loads(Path("outputs", name, "trials.json").read_text())


def starts(name: str = "x") -> list[str]:
    return [line for path in Path("outputs", name).glob("*/starts") for line in path.read_text().splitlines()]


def change(old: str, new: str) -> None:
    assert old in Path("x.yaml").read_text()
    Path("x.yaml").write_text(Path("x.yaml").read_text().replace(old, new))


def test_the_same_command_runs_each_trial_once_and_extend_adds_some() -> None:
    assert sweep() == 0
    first = trials()
    assert [trial["state"] for trial in first] == ["finished"] * 3
    assert first[0]["value"] == pytest.approx(abs(first[0]["parameters"]["x"] - 0.3) + 1 / 6)
    assert sweep() == 0
    assert len(starts()) == 3
    assert sweep(extend=2) == 0
    assert sweep(extend=2) == 0  # a repeated command asks for no more
    assert trials()[:3] == first
    assert len(trials()) == len(starts()) == 5


def test_a_failed_trial_keeps_its_log_and_is_tried_again_when_asked(capsys: pytest.CaptureFixture) -> None:
    assert sweep("fail=mended") == 1
    assert {trial["state"] for trial in trials()} == {"failed"}
    assert "code 3: something is wrong" in capsys.readouterr().err
    log = Path("outputs/x", trials()[0]["runs"][0], "log.txt")
    assert log.read_text() == "something is wrong\n"
    assert sweep("fail=mended") == 1
    assert len(starts()) == 3
    Path("mended").touch()
    assert sweep("fail=mended", retry=True) == 0
    assert [trial["state"] for trial in trials()] == ["finished"] * 3
    assert len(starts()) == 6


def test_a_trial_that_diverges_has_the_worst_value_and_is_no_failure(capsys: pytest.CaptureFixture) -> None:
    change("method: random\nrun_cap: 3", "method: grid")
    change("x: {min: 0.0, max: 1.0}", "x: {values: [0.3, 0.6, 0.9]}")
    for _ in range(2):  # the second finds nothing left to do
        assert sweep("diverge=0.5") == 0
        found = [(trial["state"], trial["value"], trial["why"]) for trial in trials()]
        (state, value, why), *others = found
        assert (state, value, why) == ("finished", pytest.approx(1 / 6), "")
        for state, value, why in others:
            assert (state, value) == ("diverged", None)
            assert why.endswith("error: step 3: the gradient is not finite")
    assert len(starts()) == 3
    assert "best: x=0.3  loss 0.16667" in capsys.readouterr().out


def test_the_search_is_told_the_mean_over_the_seeds() -> None:
    assert sweep(seeds=3) == 0
    for trial in trials():
        results = [json.loads(Path("outputs/x", name, "result.json").read_text()) for name in trial["runs"]]
        assert len({result["loss"] for result in results}) == 3
        assert trial["value"] == pytest.approx(fmean(result["loss"] for result in results))
    with pytest.raises(Refusal, match="the sweep sets seed itself"):
        sweep("seed=1", seeds=3)


def test_a_changed_file_is_refused_unless_the_sweep_is_forked_or_extended() -> None:
    assert sweep() == 0
    change("max: 1.0", "max: 2.0")
    with pytest.raises(Refusal, match=r"outputs/x was started with other parameters than now; fork="):
        sweep()
    with pytest.raises(Refusal, match="other parameters and overrides"):
        sweep("other=1", extend=1)
    assert sweep(fork="wide") == 0
    assert len(trials("wide")) == 3
    assert sweep(extend=1) == 0
    assert len(trials()) == 4


def test_a_metric_that_is_not_logged_is_named_and_nothing_is_lost_by_naming_it_right() -> None:
    change("name: loss", "name: los")
    with pytest.raises(Refusal, match=r"metric los is not logged by .* did you mean loss"):
        sweep()
    assert len(starts()) == 1
    change("name: los,", "name: loss,")
    assert sweep() == 0
    assert len(starts()) == 3


def test_a_full_disk_stops_the_sweep_and_fails_no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "free")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage(free=0))
        with pytest.raises(Refusal, match=r"outputs/x is full; free some space"):
            sweep("fail=mended")
    Path("mended").touch()
    assert sweep("fail=mended") == 0
    assert {trial["state"] for trial in trials()} == {"finished"}


def test_a_line_of_the_journal_that_was_cut_short_is_mended() -> None:
    assert sweep() == 0
    first = trials()
    with Path("outputs/x/study.journal").open("a") as file:
        file.write('{"op_code": 5, "tri')
    assert sweep(extend=1) == 0
    assert trials()[:3] == first
    assert len(trials()) == 4


def test_a_database_keeps_the_study_and_one_that_is_not_there_is_named(here: Path) -> None:
    assert sweep(storage=f"sqlite:///{here}/study.db") == 0
    assert not Path("outputs/x/study.journal").exists()
    assert sweep(storage=f"sqlite:///{here}/study.db", extend=1) == 0
    assert len(trials()) == len(starts()) == 4
    with pytest.raises(Refusal, match="storage=nowhere"):
        sweep(storage="nowhere", fork="y")


def test_machines_with_a_disk_each_share_a_database_and_leave_each_others_trials_alone(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{here}/study.db"
    monkeypatch.setattr("socket.gethostname", lambda: "one")
    study = Study(read_sweep(Path("x.yaml")), Path("outputs/x"), url)
    study.queue(3)
    assert study.begin(0)
    monkeypatch.setattr("socket.gethostname", lambda: "two")
    other = here / "two"
    other.mkdir()
    shutil.copy("x.yaml", other)
    monkeypatch.chdir(other)

    def end_when_two_are_done() -> None:  # it would wait for the other machine
        while len([*Path("outputs/x").glob("*/result.json")]) < 2:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    Thread(target=end_when_two_are_done, daemon=True).start()
    assert sweep(storage=url) == 130
    assert len(starts()) == 2
    assert sweep(storage=url, retry=True) == 0  # that machine is gone
    assert len(starts()) == 3


def test_a_loss_that_is_not_a_number_is_the_worst_and_no_failure() -> None:
    change("x: {min: 0.0, max: 1.0}", "x: {values: [nan]}")
    assert sweep() == 0
    assert [trial["value"] for trial in trials()] == [None] * 3  # JSON has no infinity


def test_a_cluster_without_submitit_or_without_slurm_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "submitit", None)
        with pytest.raises(Refusal, match="launcher=slurm needs submitit: pip install"):
            sweep(launcher="slurm")
    with pytest.raises(Refusal, match="for launcher=slurm"):
        sweep("slurm.partition=gpu")


def test_jobs_of_a_cluster_are_drivers_that_share_the_sweep(here: Path) -> None:
    pytest.importorskip("submitit")
    words = [str(here / "x.yaml"), f"output_dir={here / 'outputs'}"]
    jobs = submit(words, here / "outputs/x", 2, {"timeout_min": "5"}, cluster="local")
    assert [job.result() for job in jobs] == [0, 0]
    assert [trial["state"] for trial in trials()] == ["finished"] * 3
    assert len(starts()) == 3


def test_the_password_of_a_database_is_neither_printed_nor_written_for_a_cluster(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    url, written = "postgresql://ada:hunter2@localhost:1/none", []
    with pytest.raises(Refusal) as refused:
        sweep(storage=url)
    assert "hunter2" not in str(refused.value)
    assert "ada:***@localhost" in str(refused.value)

    class Executor:
        def __init__(self, folder: Path, cluster: str) -> None: ...

        def update_parameters(self, **given: Any) -> None: ...

        def submit(self, work: Any) -> SimpleNamespace:
            written.append(pickle.dumps(work))
            return SimpleNamespace(job_id=str(len(written)))

    monkeypatch.setenv(STORAGE, "")
    monkeypatch.setitem(sys.modules, "submitit", SimpleNamespace(AutoExecutor=Executor))
    database = f"sqlite:///{here / 'hunter2.db'}"
    assert sweep(storage=database, launcher="slurm", drivers=2) == 0
    assert len(written) == 2
    assert not [work for work in written if b"hunter2" in work]
    assert "hunter2" not in "".join(capsys.readouterr())
    assert os.environ[STORAGE] == database  # which SLURM passes on
    assert sweep() == 0  # such a job
    assert not (here / "outputs" / "x" / "study.journal").exists()


def test_files_of_a_sweep_that_are_symbolic_links_leave_their_targets_as_they_are(here: Path) -> None:
    target = here / "precious"
    target.write_text("precious")
    names = [".lock", "study.journal", "study.lock"]
    for name in names:
        (file := here / "outputs" / "x" / name).parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        file.symlink_to(target)
        with pytest.raises(OSError, match=f"{re.escape(name)}: is a symbolic link"):
            sweep()
        file.unlink()
    (here / "outputs" / "x" / "sweep.yaml").symlink_to(target)
    assert sweep() == 0
    assert target.read_text() == "precious"


def harness(folder: Path, *words: str) -> str:
    command = [sys.executable, "-m", "tests.sweep.kills", str(folder), *words]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr + (folder / "driver.log").read_text()
    return done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="pins processes, finds them in /proc")
def test_drivers_share_the_work_and_ctrl_c_ends_all(here: Path) -> None:
    Path("sweep.yaml").write_text(FILE.replace("pause=0", "pause=0.03").replace("run_cap: 3", "run_cap: 8"))
    assert harness(here, "interrupt", "0").strip() == "130"
    assert "with 8 of 8 points to do; the same command goes on" in Path("driver.log").read_text()
    harness(here, "0", "0", "drivers=2")
    assert [trial["state"] for trial in trials("sweep")] == ["finished"] * 8
    again = [line for line in starts("sweep") if "resume=" in line]
    assert len(starts("sweep")) - len(again) == 8
    assert len(again) <= 1
    log = Path("driver.log").read_text()
    assert log.count("all trials: ") == 2
    assert log.count(": finished ") == 8


def test_trials_side_by_side_have_each_a_share_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 5, 6}, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6,7,8")
    assert divide_machine(0, 1) == (None, None, None)
    assert [divide_machine(slot, 2).cores for slot in (0, 1)] == [[0, 1], [2, 5, 6]]
    assert [divide_machine(slot, 2).gpus for slot in (0, 1)] == [["4", "6"], ["7", "8"]]
    assert [divide_machine(slot, 6).cores for slot in range(6)] == [[0], [1], [2], [5], [6], [0]]


@pytest.mark.skipif(len(getattr(os, "sched_getaffinity", lambda _: ())(0)) < 2, reason="needs two cores")
def test_trials_are_pinned_to_their_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert sweep("pause=0.05", jobs=2) == 0
    assert {line.split(" ", line.count("="))[-1][0] for line in starts()} == {"0", "1"}
    cores = sorted(os.sched_getaffinity(0))
    halves = {str(cores[: len(cores) // 2]), str(cores[len(cores) // 2 :])}
    assert {line[line.index("[") :] for line in starts()} == halves
