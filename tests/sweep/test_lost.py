"""A sweep cannot be lost: whatever is killed, the same command comes to the same table."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

TRIAL = Path(__file__).with_name("trial.py")
COMMAND = 'command: ["${interpreter}", -S, -E, "${program}", "${args_no_hyphens}", pause=0.04]'
SEARCH = f"""program: {TRIAL}
method: bayes
run_cap: 14
metric: {{name: loss, goal: minimize}}
parameters:
  x: {{min: 0.0, max: 1.0}}
  size: {{distribution: log_normal, mu: 1.0}}
early_terminate: {{type: hyperband, min_iter: 3, eta: 2}}
{COMMAND}
"""
GRID = f"""program: {TRIAL}
method: grid
metric: {{name: loss, goal: minimize}}
parameters:
  x: {{values: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]}}
  mode: {{values: [a, b]}}
{COMMAND}
"""


def swept(folder: Path, text: str, kills: int, *words: str) -> tuple[list, int]:
    """The final table of a sweep, and how many kills met it."""
    folder.mkdir()
    (folder / "sweep.yaml").write_text(text)
    code = [sys.executable, "-m", "tests.sweep.kills", str(folder), str(kills), "3", *words]
    done = subprocess.run(code, cwd=REPOSITORY, capture_output=True, text=True, timeout=240, env=os.environ)
    log = (folder / "driver.log").read_text()
    assert done.returncode == 0, done.stderr + log
    return json.loads((folder / "outputs" / "sweep" / "trials.json").read_text()), int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
@pytest.mark.parametrize(("text", "words"), [(SEARCH, ()), (GRID, ("jobs=2", "seeds=2"))])
def test_twenty_kills_do_not_change_the_final_table(
    tmp_path: Path, text: str, words: tuple[str, ...]
) -> None:
    whole, _ = swept(tmp_path / "whole", text, 0, *words)
    killed, met = swept(tmp_path / "killed", text, 20, *words)
    assert met == 20
    assert killed == whole
    states = {trial["state"] for trial in whole}
    assert states == ({"finished"} if text is GRID else {"finished", "ended early"})
    starts = [path.read_text().splitlines() for path in (tmp_path / "killed").glob("outputs/sweep/*/starts")]
    assert any("resume=" in line for lines in starts for line in lines)
    assert all("resume=" in line for lines in starts for line in lines[1:])
    once = [path.read_text().splitlines() for path in (tmp_path / "whole").glob("outputs/sweep/*/starts")]
    assert all(len(lines) == 1 for lines in once)
