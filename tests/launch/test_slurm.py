"""The batch script of docs/running.md, with stand-ins for sbatch, srun and scontrol on PATH."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from triad.config.locations import REPOSITORY
from triad.runs.directory import Run

# SLURM sends --signal to the tasks of a step; here srun does, once some steps are logged, in the first job
SRUN = """#!{python}
import os, signal, subprocess, sys, time
from pathlib import Path

words = sys.argv[1:]
while words[0].startswith("--"):
    words.pop(0)
job = {{"SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "1", "SLURM_NODEID": "0"}}
job |= {{"SLURM_STEP_NODELIST": "localhost"}}
tasks = [
    subprocess.Popen(words, env=os.environ | job | {{"SLURM_PROCID": str(n), "SLURM_LOCALID": str(n)}})
    for n in range(2)
]
metrics, first = Path("outputs/77/metrics.csv"), not Path("requeued").exists()
while first and not (metrics.is_file() and len(metrics.read_text().splitlines()) > 3):
    assert all(task.poll() is None for task in tasks), "a task ended before it was signalled"
    time.sleep(0.05)
for task in tasks if first else ():
    task.send_signal(signal.SIGUSR1)
sys.exit(max(task.wait() for task in tasks))
"""
SBATCH = """#!/bin/bash
export SLURM_JOB_ID=77
bash "$1"; code=$?
if [ -f requeued ] && [ ! -f second ]; then touch second; bash "$1"; code=$?; fi
exit $code
"""
WORDS = "strategy=ddp trainer.accelerator=cpu debug=tiny precision=fp32 logger=csv hardware.attention=flash"


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_slurm_requeues_a_job_that_goes_on_where_its_time_was_over(tmp_path: Path) -> None:
    docs = (REPOSITORY / "docs" / "running.md").read_text(encoding="utf-8")
    script = re.search(r"^    #!/bin/bash\n(?:    .*\n)+", docs, re.MULTILINE)
    assert script is not None
    text = script[0].replace("    ", "").replace("python train.py", f"python {REPOSITORY / 'train.py'}")
    assert "resume=auto" in text
    (tmp_path / "job.sh").write_text(text.replace("strategy=fsdp", f"{WORDS} trainer.max_steps=60"))
    programs = {"srun": SRUN.format(python=sys.executable), "sbatch": SBATCH}
    programs["scontrol"] = '#!/bin/bash\n[ "$1 $2" = "requeue 77" ] && touch requeued\n'
    (tmp_path / "bin").mkdir()
    for name, program in programs.items():
        (tmp_path / "bin" / name).write_text(program)
        (tmp_path / "bin" / name).chmod(0o755)
    paths = [str(tmp_path / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    done = subprocess.run(
        ["sbatch", "job.sh"],
        cwd=tmp_path,
        env=os.environ | {"PATH": os.pathsep.join(paths), "PYTHONPATH": str(REPOSITORY / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "second").exists()
    assert re.search(r"interrupted: step \d+ is saved", done.stdout)
    run = Run(tmp_path / "outputs" / "77")
    assert run.state == "finished"
    steps = [row["step"] for row in run.metrics() if "train/loss" in row]
    assert steps == sorted(set(steps))
    assert steps[-1] == 60
