"""Runs as a user starts them: training, sweeps, torchrun, sampling."""

import json
import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from triad.checkpoints.folder import list_complete
from triad.runs.directory import Run
from triad.storage.locks import hold

TINY = ("debug=tiny", "precision=fp32", "hardware.attention=flash", "trainer.accelerator=cpu")


def losses(run: Path) -> dict[int, float]:
    return {row["step"]: row["train/loss"] for row in Run(run).metrics() if "train/loss" in row}


def validations(run: Path) -> dict[int, float]:
    return {row["step"]: row["val/loss"] for row in Run(run).metrics() if "val/loss" in row}


def test_a_result_is_json_whatever_its_figures_are(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.finish({"steps": 3, "val/loss": math.inf, "val/perplexity": math.nan})
    found = json.loads(run.result_file.read_text(), parse_constant=pytest.fail)  # Infinity, NaN
    assert found == {"steps": 3, "val/loss": None, "val/perplexity": None}
    result = run.result()
    assert result is not None
    assert result["steps"] == 3
    assert math.isnan(result["val/loss"])


def test_a_run_leaves_a_directory_that_says_everything(train, tmp_path: Path) -> None:
    done = train(*TINY, "run_id=a", "callbacks=[default,early_stopping]")
    run = tmp_path / "outputs" / "a"
    for name in (
        "config.yaml",
        "overrides.json",
        "run.json",
        "metrics.csv",
        "result.json",
        "curve.png",
        "samples.txt",
    ):
        assert (run / name).stat().st_size > 0, name
    assert json.loads((run / "overrides.json").read_text())[0] == "debug=tiny"
    assert json.loads((run / "run.json").read_text())["versions"]["torch"]
    assert [path.name for path in list_complete(run / "checkpoints")] == ["step-00000005", "step-00000010"]
    assert losses(run).keys() == set(range(1, 11))
    assert validations(run).keys() == {5, 10}
    assert json.loads((run / "result.json").read_text())["val/loss"] == pytest.approx(
        min(validations(run).values())
    )
    for word in (
        "model",
        "data",
        "batch",
        "layout",
        "best",
        "xz -9e",
        "curve",
        "sample",
        "resume",
        "compare",
    ):
        assert f"\n{word} " in f"\n{done.stdout}"
    assert "Warning" not in done.stderr


def test_the_name_of_a_run_is_not_given_twice(train) -> None:
    train(*TINY, "run_id=a", "trainer.max_steps=1")
    assert "resume=outputs/a continues it" in train(*TINY, "run_id=a", code=2).stderr


def test_a_sweep_runs_each_job_skips_the_finished_and_goes_on_after_a_failure(train, tmp_path: Path) -> None:
    words = ("-m", *TINY, "strategy=ddp", "trainer.devices=2", "trainer.max_steps=2", "seed=0,1")
    first = train(*words, "optimizer.betas=[0.9,0.95],[0.9,1.5]", code=2)
    assert first.stdout.count("(+1)") == 1  # both seeds in one line
    assert first.stdout.count("failed (2)") == 2  # refused before they had a directory
    assert first.stderr.count("optimizer.betas=[0.9, 1.5]: at least 0 and below 1") == 2
    runs = [path.parent for path in (tmp_path / "outputs").glob("[!.]*/*/result.json")]
    assert len(runs) == 2
    stamps = {path: (path / "result.json").stat().st_mtime_ns for path in runs}
    again = train(*words, "optimizer.betas=[0.9,0.95],[0.9,1.5]", code=2)
    assert again.stdout.count("finished before, skipped") == 2
    assert stamps == {path: (path / "result.json").stat().st_mtime_ns for path in runs}


def test_torchrun_starts_the_ranks_and_they_agree_on_one_directory(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    command = [*_torchrun(), *TINY, "strategy=fsdp"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    runs = list((tmp_path / "outputs").iterdir())
    assert len(runs) == 1
    assert losses(runs[0]).keys() == set(range(1, 11))


def test_torchrun_answers_a_mistake_once_however_slow_rank_0_is(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    slow = tmp_path / "slow.py"
    slow.write_text(SLOW_FIRST_RANK.format(script=str(REPOSITORY / "train.py")))
    command = [*_torchrun(slow), "strategy=fsdp", "model.widht=3"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode != 0
    assert done.stderr.count("did you mean model.width") == 1


@pytest.mark.parametrize("model", ["decoder", "lstm"])
def test_a_trained_model_continues_a_prompt(train, python, model: str) -> None:
    train(*TINY, f"model={model}", "run_id=a")
    words = (
        "-m",
        "triad.generate",
        "run=outputs/a",
        "prompt=def f(x): # \"'",
        "tokens=50",
        "temperature=0.8",
    )
    texts = [python(*words).stdout for _ in range(2)]
    assert texts[0].startswith("def f(x): # \"'")
    assert len(texts[0]) > 40
    assert texts[0] == texts[1]


def test_a_batch_can_be_looked_at(python, text: Path) -> None:
    words = ("show=3", "tokenizer=byte", "data=text", f"data.path={text}")
    done = python("-m", "triad.data", *words, COLUMNS="160")
    assert done.stdout.count("corpus.txt") == 8
    assert "squared" in done.stdout


def test_learning_one_batch_by_heart_brings_the_loss_to_nearly_nothing(train, tmp_path: Path) -> None:
    train("debug=overfit", "run_id=a", "model.width=192", "model.depth=2", "precision=fp32")
    curve = losses(tmp_path / "outputs" / "a")
    assert curve[max(curve)] < 0.1


def test_a_signal_ends_a_whole_sweep(tmp_path: Path, environment: dict[str, str]) -> None:
    command = [
        sys.executable,
        str(REPOSITORY / "train.py"),
        "-m",
        *TINY,
        "trainer.max_steps=100000",
        "seed=0,1,2",
    ]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "outputs").glob("*/*/metrics.csv")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    assert len(list((tmp_path / "outputs").glob("*/*/config.yaml"))) == 1


def test_two_processes_do_not_write_one_run(train, tmp_path: Path) -> None:
    train(*TINY, "run_id=a", "trainer.max_steps=2", "scheduler.warmup=0")
    with hold(tmp_path / "outputs" / "a"):
        assert "is running it; wait for it or end it" in train("resume=outputs/a", code=2).stderr


def test_early_stopping_ends_a_run_that_no_longer_improves(train, tmp_path: Path) -> None:
    stop = ("callbacks=[default,early_stopping]", "callbacks.early_stopping.patience=1", "optimizer.lr=0.0")
    train(*TINY, *stop, "run_id=a", "trainer.max_steps=100")
    assert max(losses(tmp_path / "outputs" / "a")) == 10


SLOW_FIRST_RANK = """
import os, runpy, time
time.sleep(2 if os.environ["RANK"] == "0" else 0)
runpy.run_path({script!r}, run_name="__main__")
"""


def _torchrun(script: Path = REPOSITORY / "train.py") -> list[str]:
    """torchrun with two processes of a script, on a port of its own."""
    module = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    return [*module, f"--master-port={_free_port()}", str(script)]


def _free_port() -> int:
    from triad.launch.supervisor import _find_free_port

    return _find_free_port()
