"""What a signal ends is saved, in all processes after one step, and goes on as if nothing had been."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.conftest import REPOSITORY
from tests.runs.test_directory import TINY, losses, validations
from triad.analysis.settings import find_directories
from triad.checkpoints.folder import find_checkpoint, list_complete, read_facts
from triad.config.command_line import run_command
from triad.launch.supervisor import Interrupted, launch
from triad.runs.directory import Run
from triad.runs.signals import ENDING, RankSignals, Signals

LENGTH = ("trainer.max_steps=10", "trainer.val_check_interval=4", "callbacks.checkpoint.every_steps=4")
WORDS = (*TINY, *LENGTH, "model.dropout=0.1", "logger=csv")
STATEFUL = ("callbacks=[default,early_stopping,ema]", "scheduler=plateau", "scheduler.patience=0")
STATEFUL += ("trainer.limit_val_batches=3", "batch.size=2")

# Like train.py, but one process does something, once, when a hook is called in a step.
SCRIPT = """
import os, signal, sys
sys.path.insert(0, {repository!r})
from train import train
from triad.launch.command import compose_and_launch

def work(run, **config):
    from triad.callbacks.metrics import Metrics
    before = getattr(Metrics, {hook!r})
    def act(self, trainer, *rest):
        before(self, trainer, *rest)
        mark = os.path.join(str(run), "sent")
        if trainer.global_step == {step} and os.environ["RANK"] == {rank!r} and not os.path.exists(mark):
            open(mark, "w").close()
            {action}
    setattr(Metrics, {hook!r}, act)
    train(run, **config)

compose_and_launch(work)
"""


def write_script(
    folder: Path, action: str, hook: str = "on_train_batch_end", step: int = 6, rank: int = 0
) -> str:
    path = folder / "signalled.py"
    path.write_text(
        SCRIPT.format(repository=str(REPOSITORY), action=action, hook=hook, step=step, rank=str(rank))
    )
    return str(path)


def send(number: int, whom: str) -> str:
    return f"os.kill(os.get{'pp' if whom == 'launcher' else 'p'}id(), {int(number)})"


@pytest.mark.parametrize(
    ("number", "whom", "hook", "step", "words"),
    [
        (signal.SIGINT, "launcher", "on_train_batch_end", 6, ()),
        pytest.param(
            signal.SIGUSR1, "rank", "on_validation_batch_start", 4, STATEFUL, marks=pytest.mark.slow
        ),
        (signal.SIGTERM, "rank", "on_train_batch_end", 6, ("strategy=ddp", "trainer.devices=2")),
    ],
    ids=["ctrl-c", "slurm's in validation", "one of two ranks"],
)
def test_a_run_that_a_signal_ends_is_saved_and_goes_on_bit_for_bit(
    train, python, tmp_path: Path, number: int, whom: str, hook: str, step: int, words: tuple[str, ...]
) -> None:
    rank = 1 if "strategy=ddp" in words else 0
    script = write_script(tmp_path, send(number, whom), hook, step, rank)
    train(*WORDS, *words, "run_id=straight")
    done = python(script, *WORDS, *words, "run_id=a", code=128 + number)
    run = tmp_path / "outputs" / "a"
    saved = re.search(
        r"interrupted: step (\d+) is saved; python train.py resume=outputs/a goes on", done.stdout
    )
    assert saved, done.stdout + done.stderr
    assert f"ended at step {saved[1]} of 10: signal {number.name}\n" in done.stdout
    assert step <= int(saved[1]) < 10
    assert find_checkpoint(run).name.endswith(saved[1])
    assert "Traceback" not in done.stderr
    assert Run(run).state == "unfinished"
    python(script, "resume=outputs/a")
    assert losses(run) == losses(tmp_path / "outputs" / "straight")
    assert validations(run) == validations(tmp_path / "outputs" / "straight")


def test_a_signal_before_the_first_step_trains_nothing_and_says_so(python, tmp_path: Path) -> None:
    script = write_script(tmp_path, send(signal.SIGTERM, "rank"), hook="on_fit_start", step=0)
    done = python(script, *WORDS, "run_id=a b", code=143)
    said = "interrupted before the first step: nothing was trained; python train.py 'resume=outputs/a b'"
    assert f"{said} starts it" in done.stdout
    assert not (tmp_path / "outputs" / "a b" / "metrics.csv").exists()


def test_a_rank_that_ends_with_0_amid_training_has_not_finished(python, tmp_path: Path) -> None:
    done = python(write_script(tmp_path, "os._exit(0)", step=2), *WORDS, "run_id=a", code=1)
    assert "error: rank 0 ended with code 0 before its run was finished" in done.stderr


def test_checkpoints_are_saved_by_the_first_process_s_clock(train, tmp_path: Path) -> None:
    clock = ("callbacks.checkpoint.every_minutes=1e-6", "callbacks.checkpoint.keep=99")
    train(
        *WORDS, "callbacks.checkpoint.every_steps=99", *clock, "strategy=ddp", "trainer.devices=2", "run_id=a"
    )
    steps = [read_facts(path)["step"] for path in list_complete(tmp_path / "outputs" / "a" / "checkpoints")]
    assert steps[-1] == 10
    assert len(steps) > 2
    assert "every_minutes=0" in train(*WORDS, "callbacks.checkpoint.every_minutes=0", code=2).stderr


def test_repeated_signals_count_once_within_a_second_and_end_at_once_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("triad.runs.signals.time", SimpleNamespace(monotonic=lambda: now))
    ended: list[int] = []
    monkeypatch.setattr("triad.runs.signals.os._exit", ended.append)
    launcher, rank, now = Signals(), RankSignals(), 5.0
    rank.training = True
    for moment, again in ((5.0, False), (5.9, False), (6.5, True)):
        now = moment
        for one in (launcher, rank):
            one.note(signal.SIGINT, None)
        assert launcher.again is again
    assert (launcher.first, ended) == (signal.SIGINT, [130])
    with pytest.raises(Interrupted, match="143"):
        RankSignals().note(signal.SIGTERM, None)  # before training


STUBBORN = """
import os, signal, time
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: open("asked", "w").close())
open("ready", "w").close()
while True:
    time.sleep(1)
"""


@pytest.mark.parametrize("way", ["grace", "twice"])
def test_a_run_that_does_not_end_after_a_signal_is_killed(tmp_path: Path, way: str) -> None:
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    code = f"""
import sys, triad.runs.signals
from triad.launch.supervisor import Interrupted, launch
triad.runs.signals.APART_S = 0.0
try:
    launch([sys.executable, "stubborn.py"], 1, 1, grace_s={0.1 if way == "grace" else 600})
except Interrupted as end:
    sys.exit(end.args[0])
"""
    words = [sys.executable, "-c", code]
    process = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    wait_for(tmp_path / "ready", process)
    process.send_signal(signal.SIGTERM)
    wait_for(tmp_path / "asked", process)
    if way == "twice":
        process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 143
    assert said.startswith("SIGTERM: this run saves and ends; once more ends it at once\n")
    assert ("killed: it has not ended within callbacks.checkpoint.grace_s=0.1" in said) is (way == "grace")


def wait_for(path: Path, process: subprocess.Popen) -> None:
    while not path.exists():
        assert process.poll() is None


def test_a_signal_that_nohup_ignores_stays_ignored() -> None:
    before = {number: signal.getsignal(number) for number in ENDING}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        caught = Signals().catch()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert caught.keys() == {*ENDING} - {signal.SIGHUP}
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_ctrl_c_in_a_command_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def command() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["command"])
    with pytest.raises(SystemExit, match="130"):
        run_command(command)
    assert capsys.readouterr().err == "interrupted\n"


def test_a_rank_s_own_code_is_told_after_a_signal() -> None:
    """One that could not save, for instance."""
    script = "import os, signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(34)); "
    script += f"os.kill({os.getpid()}, signal.SIGTERM); signal.pause()"
    with pytest.raises(Interrupted, match="34"):
        launch([sys.executable, "-c", script], ranks=1, threads=1)


def test_hidden_folders_are_no_runs(tmp_path: Path) -> None:
    for name in ("a", ".replay-a", ".pace-b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("task: {}\n")
        (tmp_path / name / "run.json").write_text("{}")
    assert find_directories([str(tmp_path)], []) == [tmp_path / "a"]
    assert Run(tmp_path / "b").siblings == ["a"]


def test_tasks_of_srun_are_the_ranks_of_a_run(python, tmp_path: Path) -> None:
    """Forked in place of srun; without --ntasks-per-node, which Lightning's plugin demands."""
    code = f"""
import os, sys
from tests.warm import wait
from triad.launch.supervisor import start_rank
command = [sys.executable, {write_script(tmp_path, send(signal.SIGUSR1, "rank"), rank=1)!r}, *sys.argv[1:]]
names = {{"SLURM_JOB_ID": "77", "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2", "SLURM_NODEID": "0"}}
names |= {{"SLURM_STEP_NUM_NODES": "1", "SLURM_STEP_NODELIST": "localhost"}}
tasks = [
    start_rank(command, os.environ | names | {{"SLURM_PROCID": task, "SLURM_LOCALID": task}}) for task in "01"
]
sys.exit(str([wait(task, 200) for task in tasks]))
"""
    done = python("-c", code, *WORDS, "strategy=ddp", "run_id=a", code=1)
    assert done.stderr.endswith("[138, 138]\n"), done.stderr
    assert re.search(r"interrupted: step \d+ is saved; python train.py resume=outputs/a goes on", done.stdout)
    assert read_facts(find_checkpoint(tmp_path / "outputs" / "a"))["layout"]["processes"] == 2


def test_a_process_of_an_unknown_launcher_does_not_train_alone(python, tmp_path: Path) -> None:
    others = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "head", "MASTER_PORT": "23456"}
    said = python(str(REPOSITORY / "train.py"), *WORDS, code=2, **others).stderr
    assert (
        "torchrun --nnodes=2 --node-rank=1 --nproc-per-node=gpu --master-addr=head --master-port=23456"
        in said
    )
    assert not (tmp_path / "outputs").exists()


def test_a_script_without_a_file_is_refused(python) -> None:
    code = f"import sys; sys.argv[0] = '-'; exec(open({str(REPOSITORY / 'train.py')!r}).read())"
    assert "- is no file: every process of a run starts the script anew" in python("-c", code, code=2).stderr
