"""No kill loses anything: signal 9 at random moments of training and saving, and the result is the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

WORDS = (
    "debug=tiny",
    "precision=fp32",
    "hardware.attention=flash",
    "trainer.accelerator=cpu",
    "trainer.max_steps=20",
)
WORDS += ("callbacks.checkpoint.every_steps=1", "callbacks=[default,early_stopping,ema]", "model.dropout=0.1")


@pytest.mark.parametrize(
    ("ranks", "kills"),
    [
        (1, 3),
        pytest.param(2, 2, marks=pytest.mark.slow),
        pytest.param(1, 30, marks=[pytest.mark.slow, pytest.mark.timeout(1200)]),
        pytest.param(2, 30, marks=[pytest.mark.slow, pytest.mark.timeout(1200)]),
    ],
)
def test_kills_at_random_moments_change_not_one_bit(
    tmp_path: Path, environment: dict[str, str], ranks: int, kills: int
) -> None:
    seed = int.from_bytes(os.urandom(3), "big")
    words = [*WORDS, "strategy=single" if ranks == 1 else "strategy=fsdp"]
    command = [
        sys.executable,
        str(REPOSITORY / "tests" / "checkpoints" / "killed.py"),
        str(tmp_path / "outputs"),
    ]
    command += [str(kills), str(seed), str(ranks), *words]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"seed {seed}: {done.stdout}{done.stderr}"
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"seed {seed}: {found}")
    assert found["kills"] == kills
    assert not any(found["departed"].values()), f"seed {seed}: {found}"
