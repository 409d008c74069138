"""W&B gets what it should, and training never depends on it."""

import glob
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.loggers.server import Server
from tests.warm import drop_stages
from triad.config.errors import Refusal
from triad.loggers.csv import CSV
from triad.loggers.wandb import WandB, wandb
from triad.runs.directory import Run, make_wandb_id
from triad.runs.metrics import read_metrics

library = pytest.importorskip("wandb")
CONFIG = {"optimizer": {"lr": 0.1, "betas": [0.9, 0.99]}, "seed": 3}
ASKED: dict[str, Any] = {"project": "p", "group": "g", "job_type": "sweep", "mode": "offline", "tags": ["x"]}
BLOCK = 32768


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No account, no service of another test, no word of the environment."""
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)
    yield
    library.teardown()


def begun(run: Path, **asked: Any) -> WandB:
    """A logger of a run directory."""
    run.mkdir(exist_ok=True)
    (run / "run.json").write_text(json.dumps({"git_commit": "f00", "versions": {"torch": "2"}}))
    (run / "overrides.json").write_text(json.dumps(["seed=3"]))
    (run / "code.diff").write_text("+ a line\n")
    logger = wandb(Run(run), CONFIG, **(ASKED | {"artifacts": False, "patience_s": 2} | asked))
    assert isinstance(logger, WandB)
    return logger


def records(run: Path, folder: str = "offline-run-*") -> list[Any]:
    """What the newest file of a run holds: what `wandb sync` would send."""
    from wandb.proto.wandb_internal_pb2 import Record

    library.teardown()  # the service has written all when it has ended
    path = max(run.glob(f"wandb/{folder}/run-*.wandb"), key=lambda path: path.stat().st_mtime_ns)
    found = []
    for data in _chunks(path.read_bytes()):
        found.append(Record())
        found[-1].ParseFromString(data)
    return found


def _chunks(file: bytes) -> Iterator[bytes]:
    """Records of LevelDB's log format: whole (1) or first, middle and last parts (2, 3, 4), in blocks."""
    place, whole = 7, b""
    while place + 7 <= len(file):
        if BLOCK - place % BLOCK < 7:
            place += BLOCK - place % BLOCK
        _, length, part = struct.unpack("<IHB", file[place : place + 7])
        whole += file[place + 7 : place + 7 + length]
        place += 7 + length
        if part in (1, 4):
            yield whole
            whole = b""


def history(run: Path, folder: str = "offline-run-*") -> dict[int, dict[str, Any]]:
    """Figures by step."""
    rows = [_read(record.history.item) for record in records(run, folder) if record.HasField("history")]
    return {row["trainer/global_step"]: row for row in rows}


def summary(run: Path) -> dict[str, Any]:
    found = {}
    for record in records(run):
        found |= _read(record.summary.update) if record.HasField("summary") else {}
    return found


def _read(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def test_an_offline_run_holds_all_that_is_to_be_sent(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    logger = begun(tmp_path / "a")
    for step, loss in ((1, 5.0), (2, 3.0), (3, 4.0)):
        logger.log_metrics({"train/loss": loss + 1, "epoch": 0, "train/load/0/1": 1.0}, step)
        logger.log_metrics({"val/loss": loss, "val/accuracy": -loss}, step)
        logger.log_text("samples", ["step", "sample"], [[step, "def f"]], step)
    (tmp_path / "a" / "result.json").write_text("{}")
    figure = Figure()
    figure.savefig(tmp_path / "a" / "curve.png")
    logger.finalize("success")

    run = next(record.run for record in records(tmp_path / "a") if record.HasField("run"))
    assert (run.run_id, run.display_name, run.project) == ("a", "a", "p")
    assert (run.run_group, run.job_type, list(run.tags)) == ("g", "sweep", ["x"])
    assert run.git.commit == "f00"
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert {key: config[key] for key in CONFIG} == CONFIG
    assert config["run"]["versions"] == {"torch": "2"}
    assert config["overrides"] == ["seed=3"]

    rows = history(tmp_path / "a")
    assert {step: (row["train/loss"], row["val/loss"]) for step, row in rows.items()} == {
        1: (6.0, 5.0),
        2: (4.0, 3.0),
        3: (5.0, 4.0),
    }
    assert not {"epoch", "train/load/0/1"} & rows[1].keys()
    found = summary(tmp_path / "a")
    assert (found["val/loss"], found["best/loss"], found["best/accuracy"]) == (4.0, 3.0, -3.0)
    assert found["best/step"] == 2
    assert found["pictures/curve/format"] == "png"
    assert found["samples/ncols"] == 2
    files = {file.path for record in records(tmp_path / "a") for file in record.files.files}
    assert {"a/code.diff", "a/run.json", "a/overrides.json", "a/result.json"} <= files
    assert records(tmp_path / "a")[-1].HasField("exit")
    assert records(tmp_path / "a")[-1].exit.exit_code == 0


def test_a_name_that_wandb_cannot_take_as_an_id_is_kept_as_the_name_and_the_id_follows_from_it(
    tmp_path: Path,
) -> None:
    names = ["a#b", "a b", "José", "数据", "a", "run (1)", "a-b", "it's", "?", "x" * 200]
    ids = [make_wandb_id(name) for name in names]
    assert len({*ids}) == len(ids)
    assert [make_wandb_id(name) for name in names] == ids  # of every start
    assert ids[4] == "a"
    for id_ in ids:
        assert re.fullmatch(r"[\w.-]{1,128}", id_, re.ASCII)
        library.Settings(run_id=id_)  # which refuses what W&B does
    for name in ("a#b", "[1] José"):
        logger = begun(tmp_path / name)
        logger.log_metrics({"val/loss": 1.0}, 1)
        logger.finalize("success")
        run = next(record.run for record in records(tmp_path / name) if record.HasField("run"))
        assert (run.run_id, run.display_name) == (make_wandb_id(name), name)
        files = {file.path for record in records(tmp_path / name) for file in record.files.files}
        assert f"{name}/run.json" in {glob.escape(path) for path in files} | files


def test_no_secret_is_sent(tmp_path: Path) -> None:
    (run := tmp_path / "a").mkdir()
    secret = "hunter2-9f8e7d6c5b4a3210"
    (run / "config.yaml").write_text(
        f"task: {{}}\ncallbacks: {{}}\ndata:\n  url: https://ada:{secret}@host/x\n  api_key: {secret}\n"
    )
    config = {"data": {"url": f"https://ada:{secret}@host/x", "api_key": secret, "tokens": 7}}
    logger = wandb(Run(run), config, **(ASKED | {"artifacts": False, "patience_s": 2}))
    assert isinstance(logger, WandB)
    (run / "run.json").write_text(json.dumps({"starts": [{"command": ["train.py", f"hub.token={secret}"]}]}))
    (run / "overrides.json").write_text(json.dumps([f"data.url=https://ada:{secret}@host/x"]))
    (run / "code.diff").write_text(f"+ TOKEN = '{secret}'\n+ a line\n")
    logger.log_metrics({"val/loss": 1.0}, 1)
    logger.finalize("success")
    sent = [path for path in (run / "wandb").rglob("*") if path.is_file()]
    assert {"code.diff", "config.yaml", "overrides.json", "run.json"} <= {path.name for path in sent}
    for path in sent:
        assert secret.encode() not in path.read_bytes(), path
    (diff,) = [path for path in sent if path.name == "code.diff"]
    assert diff.read_text() == "+ TOKEN = '***'\n+ a line\n"
    assert secret in (run / "code.diff").read_text()  # the run's own stays what it was


def test_a_resumed_run_has_the_same_id_goes_on_at_its_step_and_remembers_its_best(tmp_path: Path) -> None:
    CSV(Run(tmp_path)).log_metrics({"val/loss": 2.0}, step=1)
    for step, loss in ((2, 3.0), (3, 1.0)):  # neither starts anew
        logger = begun(tmp_path)
        logger.log_metrics({"val/loss": loss}, step)
        logger.finalize("failed")
        assert history(tmp_path).keys() == {step}
        assert summary(tmp_path).get("best/loss") == (1.0 if loss == 1.0 else None)
        assert records(tmp_path)[-1].exit.exit_code == 1
        time.sleep(1.1)  # folders bear the second
    ids = {path.stem for path in tmp_path.glob("wandb/offline-run-*/run-*.wandb")}
    assert ids == {f"run-{tmp_path.name}"}
    assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 2


def test_a_run_whose_server_is_not_there_ends_normally_and_is_kept_offline(
    train, tmp_path: Path, environment: dict[str, str]
) -> None:
    environment |= {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "a" * 40, "WANDB_MODE": "online"}
    words = ("debug=tiny", "precision=fp32", "trainer.accelerator=cpu", "trainer.max_steps=3")
    done = train(*words, "logger=wandb", "run_id=a", "logger.wandb.patience_s=1", "scheduler.warmup=0")
    run = tmp_path / "outputs" / "a"
    said = [line for line in done.stdout.splitlines() if line.startswith("W&B: ")]
    assert len(said) == 1
    assert "connection refused; this run is kept offline: wandb sync outputs/a/wandb/offline-*" in said[0]
    assert [line for line in drop_stages(done.stderr) if not line.startswith("data=")] == []
    rows = {row["step"]: row for row in read_metrics(run / "metrics.csv")}
    assert rows.keys() == history(run).keys() == {1, 2, 3}
    assert summary(run)["best/loss"] == summary(run)["val/loss"] == rows[3]["val/loss"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A stand-in for W&B's server, and someone logged in there."""
    made = Server()
    monkeypatch.setenv("WANDB_BASE_URL", made.url)
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    yield made
    made.close()


def test_wandb_sync_makes_one_run_of_an_offline_run_and_its_resumption(
    tmp_path: Path, server: Server
) -> None:
    run = tmp_path / "a"
    for first in (1, 3):  # killed after step 3, whose checkpoint was not there yet
        logger = begun(run)
        for step in range(first, first + 3):
            logger.log_metrics({"train/loss": 1.0 / step}, step)
        logger.finalize("success")
        library.teardown()
        time.sleep(1.1)  # folders bear the second
    folders = [str(path) for path in sorted(run.glob("wandb/offline-run-*"))]
    command = [sys.executable, "-m", "wandb", "sync", *folders]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert len(folders) == 2
    assert server.runs.keys() == {"a"}
    assert server.runs["a"]["groupName"] == "g"
    assert json.loads(server.runs["a"]["config"])["optimizer"]["value"] == CONFIG["optimizer"]
    rows = {row["trainer/global_step"]: row["train/loss"] for row in server.history["a"]}
    assert rows == {step: 1.0 / step for step in range(1, 6)}
    assert server.files["a/code.diff"] == b"+ a line\n"


def test_an_online_run_is_resumed_as_the_same_and_outlives_its_server(
    tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "a"
    (run / "checkpoints" / "step-00000003").mkdir(parents=True)
    (run / "checkpoints" / "step-00000005.tmp").mkdir()  # never completed
    (run / "checkpoints" / "step-00000003" / "manifest.json").write_text("{}")
    for first in (1, 3):  # killed after step 3, whose checkpoint was not there yet
        logger = begun(run, mode="auto", artifacts=first == 3)
        for step in range(first, first + 3):
            logger.log_metrics({"train/loss": 1.0 / step}, step)
        logger.finalize("success")
        library.teardown()
    assert server.artifacts == [("model", "a", {"step-00000003", "latest"})]
    assert server.runs.keys() == {"a"}
    assert server.runs["a"]["jobType"] == "sweep"
    rows = [(row["_step"], row["trainer/global_step"], row["train/loss"]) for row in server.history["a"]]
    assert rows == [(step, step, 1.0 / step) for step in range(1, 6)]
    time.sleep(1.1)  # folders bear the second

    logger = begun(run, mode="auto", patience_s=3)
    logger.log_metrics({"train/loss": 3.0}, 6)
    server.close()
    logger.log_metrics({"train/loss": 2.0}, 7)
    since = time.monotonic()
    logger.finalize("success")
    assert time.monotonic() - since < 10
    out = capsys.readouterr().out
    assert out.count(f"W&B      {server.url}/") == 3
    assert out.count("W&B: ") == 1
    assert {step: row["train/loss"] for step, row in history(run, "run-*").items()} == {6: 3.0, 7: 2.0}


def test_a_new_run_does_not_go_on_with_the_history_of_another_of_its_name(
    tmp_path: Path, server: Server
) -> None:
    server.runs["a"] = {"name": "a"}
    for _ in range(2):  # the second one is no resumption of the first
        with pytest.raises(Refusal, match="run_id=a: project p of W&B has a run of this name"):
            _ = begun(tmp_path / "a", mode="online").experiment
        library.teardown()
    logger = begun(tmp_path / "b", mode="online")
    logger.log_metrics({"train/loss": 1.0}, 1)
    logger.finalize("success")
    assert server.runs.keys() == {"a", "b"}
    assert "a" not in server.history


def test_an_offline_run_says_once_how_it_is_uploaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = begun(tmp_path / "a")
    for step in (1, 2):
        logger.log_metrics({"train/loss": 1.0}, step)
    logger.finalize("success")
    place = tmp_path / "a" / "wandb" / "offline-*"
    assert capsys.readouterr().out == f"W&B      offline: wandb sync {place} uploads it\n"


class Broken:
    """A run of W&B whose service has died."""

    def log(self, row: dict, step: int) -> None:
        raise ConnectionResetError("Connection lost")

    def finish(self, exit_code: int) -> None:
        raise ConnectionResetError("Connection lost")


class Deaf:
    """A run of W&B whose service answers nothing at all."""

    def finish(self, exit_code: int) -> None:
        time.sleep(3600)


def stood_in(run: Path, stand_in: object, monkeypatch: pytest.MonkeyPatch) -> WandB:
    logger = WandB(Run(run), {}, {"project": "p"}, "offline", artifacts=False, patience_s=0.05)
    monkeypatch.setattr(logger, "_begin", lambda: setattr(logger, "begun", stand_in))
    return logger


def test_a_service_that_dies_ends_nothing_and_that_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = stood_in(tmp_path, Broken(), monkeypatch)
    for step in range(5):
        logger.log_metrics({"train/loss": 1.0}, step)
    logger.finalize("failed")
    assert capsys.readouterr().out == (
        "W&B: Connection lost; the run goes on, metrics.csv has all figures; "
        f"wandb sync --include-online {tmp_path}/wandb/*run-* uploads the rest\n"
    )


def test_a_service_that_says_nothing_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = stood_in(tmp_path, Deaf(), monkeypatch)
    assert logger.experiment
    since = time.monotonic()
    logger.finalize("failed")
    assert time.monotonic() - since < 5
    assert "W&B: it has not answered for 0.1 s; the run goes on" in capsys.readouterr().out


def test_other_ranks_have_no_run_of_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning.pytorch.utilities.rank_zero.rank_zero_only.rank", 1)
    logger = begun(tmp_path)
    logger.log_metrics({"train/loss": 1.0}, 1)
    logger.finalize("success")
    assert logger.experiment is None
    assert not (tmp_path / "wandb").exists()


def test_without_the_package_the_run_goes_on_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("triad.loggers.wandb.importlib.util.find_spec", lambda _: None)
    assert wandb(Run(tmp_path), CONFIG, **ASKED, artifacts=False, patience_s=1) is None
    assert "wandb is not installed: figures go to metrics.csv only" in capsys.readouterr().out


@pytest.mark.slow
def test_a_killed_run_leaves_no_process_of_wandb_behind(tmp_path: Path, environment: dict[str, str]) -> None:
    words = ("debug=tiny", "logger=wandb", "run_id=a", "trainer.max_steps=100000", "trainer.accelerator=cpu")
    command = [sys.executable, str(REPOSITORY / "train.py"), *words]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
    run = tmp_path / "outputs" / "a"
    assert _within(120, lambda: (run / "metrics.csv").exists())
    rank = next(pid for pid, words in _processes() if "--run" in words and f"{Path('outputs', 'a')}" in words)
    assert any("wandb-core" in words and f"--pid {rank}" in words for _, words in _processes())
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert _within(30, lambda: not any(f"--pid {rank}" in words for _, words in _processes()))


def _processes() -> Iterator[tuple[str, str]]:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            yield process.name, (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue


def _within(seconds: float, holds: Any) -> bool:
    deadline = time.monotonic() + seconds
    while not (held := holds()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return held
