"""A rank that dies ends the whole job, soon, with its own words first, and leaves nothing behind."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

SCRIPT = """
import os, signal, sys
sys.path.insert(0, {repository!r})
from train import train
from triad.launch.command import compose_and_launch

def work(run, **config):
    from triad.tasks.module import Training
    accumulate = Training.accumulate
    def dying(self, batch):
        if batch["step"] == 2 and os.environ["RANK"] == "1":
            if {way!r} == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError("the disk of rank 1 has melted")
        return accumulate(self, batch)
    Training.accumulate = dying
    train(run, **config)

compose_and_launch(work)
"""


@pytest.mark.parametrize(
    ("strategy", "way", "launcher"),
    [
        pytest.param("ddp", "raised", "python", marks=pytest.mark.slow),
        ("fsdp", "killed", "python"),
        pytest.param("fsdp", "raised", "torchrun", marks=pytest.mark.slow),
    ],
)
def test_a_dead_rank_ends_the_job_with_its_own_words_first(
    tmp_path: Path, environment: dict[str, str], strategy: str, way: str, launcher: str
) -> None:
    script = tmp_path / "dying.py"
    script.write_text(SCRIPT.format(repository=str(REPOSITORY), way=way))
    words = ["debug=tiny", f"strategy={strategy}", "trainer.accelerator=cpu", "precision=fp32", "run_id=a"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    starts = {
        "python": [sys.executable, str(script), "trainer.devices=2"],
        "torchrun": [*torchrun, str(script)],
    }
    done = subprocess.run(
        [*starts[launcher], *words],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    metrics = tmp_path / "outputs" / "a" / "metrics.csv"
    assert done.returncode != 0
    assert metrics.read_text().count("\n") == 3  # it died in the third step
    assert time.time() - metrics.stat().st_mtime < 60
    if way == "raised":
        errors = [line for line in done.stderr.splitlines() if "Error" in line]
        assert "the disk of rank 1 has melted" in errors[0]
    elif launcher == "python":
        assert done.returncode == 128 + signal.SIGKILL
    assert _left(str(tmp_path)) == []


def _left(word: str) -> list[str]:
    """Processes whose command line names a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if word in words:
            found.append(words)
    return found
