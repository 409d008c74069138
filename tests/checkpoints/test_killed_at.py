"""No file operation of a run is one at which a kill loses something."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

WORDS = ("debug=tiny", "precision=fp32", "hardware.attention=flash", "trainer.accelerator=cpu", "logger=csv")
WORDS += ("trainer.max_steps=6", "callbacks.checkpoint.every_steps=2", "trainer.val_check_interval=3")
TRIED = (
    "tokenizer.json",  # what has a temporary name then is swept
    "os.rename outputs/a/checkpoints/step-00000004.tmp",  # the sample of step 3 is drawn again
    "open outputs/a/checkpoints/step-00000002/manifest.json",  # saved, and nothing removed yet
)


@pytest.mark.parametrize(
    "where",
    [
        ",".join(TRIED),
        *(
            pytest.param(f"{first}-{first + 32}", marks=[pytest.mark.slow, pytest.mark.timeout(900)])
            for first in (1, 34, 67, 100)
        ),
    ],
)
def test_a_run_that_is_killed_at_a_file_operation_and_started_again_has_lost_nothing(
    tmp_path: Path, environment: dict[str, str], where: str
) -> None:
    command = [sys.executable, str(REPOSITORY / "tests" / "checkpoints" / "killed_at.py")]
    command += [str(tmp_path / "runs"), where, *WORDS]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["operations"] > 60
    assert not found["lost"]
