"""Real training under the sweep's driver."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from triad.checkpoints.folder import list_complete

FILE = """program: train.py
method: grid
metric: {name: val/loss}
parameters:
  optimizer.lr: {values: [1e-3, 4e-3]}
command: ["${env}", "${interpreter}", "${program}", "${args_no_hyphens}"]
"""
TINY = ("debug=tiny", "precision=fp32", "hardware.attention=flash", "trainer.accelerator=cpu")
TINY += ("callbacks.summary.curve=false",)


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    (tmp_path / "lr.yaml").write_text(FILE)
    return [sys.executable, "-m", "triad.sweep", "lr.yaml", *TINY]


def trials(folder: Path) -> list[dict]:
    return json.loads((folder / "outputs/lr/trials.json").read_text())


def test_two_trials_are_trained_and_told_by_their_results(
    tmp_path: Path, environment: dict[str, str], command: list[str]
) -> None:
    short = [*command, "trainer.max_steps=2", "scheduler.warmup=0"]
    done = subprocess.run(short, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    for trial, rate in zip(trials(tmp_path), ("1e-3", "4e-3"), strict=True):
        folder = tmp_path / "outputs/lr" / trial["runs"][0]
        assert trial["parameters"] == {"optimizer.lr": rate}
        assert trial["value"] == json.loads((folder / "result.json").read_text())["val/loss"]
        assert f"optimizer.lr={rate}" in json.loads((folder / "overrides.json").read_text())
        assert "step 2/2" in (folder / "log.txt").read_text()
        assert trial["runs"][0] in done.stdout


@pytest.mark.slow
def test_a_killed_driver_takes_its_ranks_with_it_and_the_next_goes_on_from_the_checkpoint(
    tmp_path: Path, environment: dict[str, str], command: list[str]
) -> None:
    command += ["strategy=ddp", "trainer.devices=2"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
        (folder / "lr.yaml").write_text(FILE)
    subprocess.run(command, cwd=whole, env=environment, check=True, timeout=240)
    driver = subprocess.Popen(command, cwd=killed, env=environment, start_new_session=True)
    deadline = time.monotonic() + 120
    while not [*killed.glob("outputs/lr/*/checkpoints/step-00000005/manifest.json")]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    first = next(killed.glob("outputs/lr/*/checkpoints")).parent
    assert list_complete(first / "checkpoints")
    assert not (first / "result.json").exists()
    subprocess.run(command, cwd=killed, env=environment, check=True, timeout=240)
    assert trials(killed) == trials(whole)
    assert len(json.loads((first / "run.json").read_text())["starts"]) == 2
