"""Ranks that are there already, as under torchrun: one job holds a run, and every node sees its directory."""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from torch.distributed import FileStore

from tests.conftest import REPOSITORY
from tests.runs.test_directory import TINY
from tests.warm import drop_stages
from triad.config.compose import compose
from triad.config.messages import MISTAKE, report_error
from triad.launch import rendezvous
from triad.launch.supervisor import _find_free_port
from triad.runs.directory import Run
from triad.runs.start import prepare_run
from triad.storage.locks import hold


def run_ranks(store: Path, works: list[Callable[[], None]]) -> list[int]:
    """The exit codes of processes that agree over a store; each does its work as the rank of its place."""
    ranks = []
    for rank, work in enumerate(works):
        if child := os.fork():
            ranks.append(child)
            continue
        code = 1
        try:
            rendezvous.stores[:] = [(FileStore(str(store), len(works)), rank, len(works))]
            rendezvous.wait_to_be_ended, rendezvous.SEEN_S = lambda: None, 0.0  # ty: ignore
            work()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except Exception as error:
            code = report_error(error)
        finally:
            os._exit(code)
    return [os.waitstatus_to_exitcode(os.waitpid(rank, 0)[1]) for rank in ranks]


def agree(directory: Path, within: Callable[[], None], where: Path) -> None:
    """What `train.py` does on a rank that torchrun has started."""

    def prepare() -> Path:
        (directory / "run.json").touch()
        return directory

    os.chdir(where)
    with rendezvous.agree_on_run(directory, prepare) as agreed:
        assert agreed == directory
        within()


def test_a_job_holds_its_run_and_another_job_is_refused_on_every_rank_in_one_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    run, codes = Path("outputs", "a"), []

    def start_another_job() -> None:
        second = [partial(agree, run, lambda: None, tmp_path)] * 2
        (tmp_path / "codes").write_text(str(run_ranks(tmp_path / "second", second)))

    works = [partial(agree, run, within, tmp_path) for within in (start_another_job, lambda: None)]
    assert run_ranks(tmp_path / "first", works) == [0, 0]
    assert (tmp_path / "codes").read_text() == str([MISTAKE, MISTAKE])
    said = capfd.readouterr().err
    assert said.count("error: ") == 1
    assert "outputs/a: another process (" in said
    codes = run_ranks(tmp_path / "third", [partial(agree, run, lambda: None, tmp_path)] * 2)
    assert codes == [0, 0]  # it is free again


def test_a_node_that_does_not_see_the_run_directory_ends_the_job_before_any_work(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    (other := tmp_path / "other-disk").mkdir()
    (stale := other / "outputs" / "a").mkdir(parents=True)  # of an earlier run there
    (stale / ".lock").write_text("7 on another\n")
    works = [partial(agree, Path("outputs", "a"), pytest.fail, where) for where in (tmp_path, other)]
    assert run_ranks(tmp_path / "store", works) == [MISTAKE, MISTAKE]
    said = capfd.readouterr().err
    assert said.count("error: ") == 1
    assert "cannot see this directory" in said
    assert "output_dir=" in said


def test_a_rank_of_torchrun_is_refused_a_run_that_is_held_and_changes_nothing(python, tmp_path: Path) -> None:
    words = [*TINY, "run_id=a"]
    run = prepare_run(compose([*words, f"output_dir={tmp_path / 'outputs'}"]), words)
    torchrun = {"TORCHELASTIC_RUN_ID": "1", "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    torchrun |= {"LOCAL_WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_find_free_port())}
    with hold(run.path) as holder:
        before = {path: path.read_bytes() for path in run.path.iterdir()}
        done = python(str(REPOSITORY / "train.py"), "resume=outputs/a", code=MISTAKE, **torchrun)
    (said,) = drop_stages(done.stderr)
    assert f"error: outputs/a: another process ({holder.splitlines()[0]}) is running it" in said
    assert before == {path: path.read_bytes() for path in run.path.iterdir()}


@pytest.mark.slow
def test_of_two_torchruns_on_one_run_one_is_refused(
    train, tmp_path: Path, environment: dict[str, str]
) -> None:
    train(*TINY, "run_id=a")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1"]
    command += [str(REPOSITORY / "train.py"), "resume=outputs/a", "trainer.max_steps=400"]
    command += ["callbacks.checkpoint.every_steps=20", "trainer.val_check_interval=50"]
    jobs = [
        subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [job.communicate(timeout=240)[1] for job in jobs]
    assert sorted(job.returncode for job in jobs) == [0, 1]  # torchrun's own code for a rank's 2
    assert sum("outputs/a: another process (" in words for words in said) == 1
    steps = [row["step"] for row in Run(tmp_path / "outputs" / "a").metrics()]
    assert steps == sorted({*steps})
