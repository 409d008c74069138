"""What is seen of a run while it trains, on a terminal and in a file."""

import re
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.terminal import record, replay
from triad.callbacks import progress as shown
from triad.callbacks.progress import Progress, StepPace
from triad.runs.metrics import read_metrics

HEAD = re.compile(r"step (\d+)/40 (\d+:\d\d|-:--) left ━*─* \d+:\d\d elapsed")
CALLBACKS = REPOSITORY / "src" / "triad" / "callbacks"


@pytest.fixture(scope="module")
def watched(warm: Any, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run in a terminal of 80 columns that early stopping ends at step 10 of 40, and its folder."""
    folder = tmp_path_factory.mktemp("watched")
    (folder / "corpus.txt").write_text("".join(f"{n} squared is {n * n}.\n" for n in range(3000)))
    words = ["debug=tiny", "data=text", "data.path=corpus.txt", "optimizer.lr=0.0", "trainer.max_steps=40"]
    words += ["callbacks=[default,early_stopping]", "callbacks.early_stopping.patience=1", "run_id=a"]
    words += ["logger=csv", "trainer.accelerator=cpu", "callbacks.summary.curve=false"]
    written = warm.call(record, [str(REPOSITORY / "train.py"), *words], folder, environment, 80)
    return SimpleNamespace(screens=[*replay(written)], run=folder / "outputs" / "a")


def find_frames(screens: list[list[str]]) -> list[list[str]]:
    """The three lines that stay below all others."""
    heads = ((screen, at) for screen in screens for at, line in enumerate(screen) if HEAD.fullmatch(line))
    return [screen[at : at + 3] for screen, at in heads if len(screen) >= at + 3 and all(screen[at : at + 3])]


def test_a_terminal_of_80_columns_shows_step_and_time_left_before_any_metric(watched: Any) -> None:
    frames = find_frames(watched.screens)
    assert frames
    assert max(len(line) for frame in frames for line in frame) <= 80
    for head, metrics, _ in frames:
        assert HEAD.fullmatch(head)
        assert metrics.startswith("train/loss ")
    doing = {(HEAD.fullmatch(head)[1], last) for head, _, last in frames if HEAD.fullmatch(head)}  # type: ignore[index]
    assert any(step == "10" and last.startswith("validating  memory ") for step, last in doing)
    assert any(step == "10" and last.startswith("saving  memory ") for step, last in doing)
    assert any(re.fullmatch(r"\w+  memory \d\.\d\d GB  cpu \d+%", last) for _, last in doing)
    assert any("  val/loss 5." in metrics for _, metrics, _ in frames)


def test_what_is_left_on_the_terminal_are_lines_of_validations_and_why_the_run_ended(watched: Any) -> None:
    last = watched.screens[-1]
    assert not [line for line in last if "━" in line or "─" in line or "validating" in line]
    validations = [line for line in last if line.startswith("step ") and "elapsed" not in line]
    assert [line.partition("  ")[0] for line in validations] == ["step 5/40", "step 10/40"]
    assert all(line.partition("  ")[2].startswith("val/loss 5.") for line in validations)
    ended = next(at for at, line in enumerate(last) if line.startswith("ended at "))
    above, below = last[ended - 2 : ended]  # folded, as no terminal is so wide
    assert re.match(r"step 10/40  \d+:\d\d elapsed  train/loss 5\.", above)
    assert re.fullmatch(r"  (.*  )?memory \d\.\d\d GB  cpu \d+%", below)
    assert max(len(above), len(below)) <= 80
    assert last[ended].startswith("ended at step 10 of 40: callbacks.early_stopping: ")
    reason = " ".join(" ".join(last[ended : ended + 3]).split())
    assert "val/loss did not improve in the last 1 records" in reason
    assert len(last[ended]) <= 80


def test_elapsed_memory_and_utilisation_are_in_metrics_csv(watched: Any) -> None:
    rows = [row for row in read_metrics(watched.run / "metrics.csv") if "train/loss" in row]
    elapsed = [row["perf/elapsed_s"] for row in rows]
    assert elapsed == sorted(elapsed)
    assert elapsed[-1] > rows[-1]["perf/train_s"] > 0
    assert all(1e8 < row["perf/memory_bytes"] < 1e11 for row in rows)
    assert all(row["perf/cpu_utilisation"] > 0 for row in rows)


class Clock:
    """One that is set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        clock = SimpleNamespace(monotonic=lambda: self.now_s)
        monkeypatch.setattr(shown, "time", clock)
        monkeypatch.setattr("triad.data.progress.time", clock)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def train(clock: Clock, steps: int, step_s: float, every: int = 10) -> list[int]:
    """Run through the hooks of a run that reports every so many steps."""
    run: Any = SimpleNamespace(monitored=lambda: ("val/loss", "lower"))
    trainer: Any = SimpleNamespace(global_step=0, max_steps=steps, is_global_zero=True, callbacks=[])
    trainer.val_check_batch, trainer.num_val_batches = 10**9, [0]
    callback = Progress(run)
    callback.on_train_start(trainer, None)
    for step in range(1, steps + 1):
        clock.now_s += step_s
        trainer.global_step = step
        if step % every == 0:
            callback.show(trainer, {"train/loss": 2.0})
        callback.on_train_batch_end(trainer)
    callback.on_train_end(trainer, None)


def test_a_file_has_lines_by_time_and_not_by_steps(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    train(clock, steps=2750, step_s=0.125)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "step 10/2750  5:42 left  0:01 elapsed  train/loss 2"
    assert lines[1] == "step 90/2750  5:32 left  0:11 elapsed  train/loss 2"
    assert lines[-1] == "step 2750/2750  5:44 elapsed  train/loss 2"
    steps = [int(line.split()[1].partition("/")[0]) for line in lines]
    assert [after - before for before, after in pairwise(steps)] == [80] * 34 + [20]
    train(clock, steps=10**5, step_s=1.0)  # more than a day: a line a minute
    assert len(capsys.readouterr().out.splitlines()) == pytest.approx(10**5 / 60, rel=0.1)


def test_a_file_has_lines_where_reports_are_rare(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    train(clock, steps=30, step_s=25.0)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 25
    assert lines[1] == "step 2/30  11:40 left  0:50 elapsed  training"
    assert next(line for line in lines if "train/loss" in line).startswith("step 10/30  8:20 left")


@pytest.mark.parametrize(
    ("step_s", "validation_s", "steps"), [(0.25, 3.0, 60), (40.0, 90.0, 55), (1.0, 0.0, 40)]
)
def test_the_time_left_is_what_the_rest_of_a_steady_run_takes(
    clock: Clock, step_s: float, validation_s: float, steps: int
) -> None:
    """Validations of ten batches every 20 steps, and one at the end: what is foretold against what comes."""
    pace, foretold = StepPace(), []
    pace.interval = 20
    clock.now_s += 77  # the first step compiles
    for step in range(1, steps + 1):
        clock.now_s += step_s
        pace.mark(step)
        if step % 20 == 0 or step == steps:
            pace.pause()
            for batch in range(1, 11):
                clock.now_s += validation_s / 10
                pace.validated = batch / 10
                foretold.append((clock.now_s, pace.predict(step, steps)))
            pace.resume()
        else:
            foretold.append((clock.now_s, pace.predict(step, steps)))
    assert foretold[0][1] is None
    of_second_validation = next(at for at, (now, _) in enumerate(foretold) if now > 1077 + 20 * step_s)
    for now, left in foretold[of_second_validation:]:
        assert left == pytest.approx(clock.now_s - now, abs=1e-6)


@pytest.mark.parametrize("path", sorted(CALLBACKS.glob("*.py")), ids=lambda path: path.stem)
def test_a_callback_that_ends_a_run_says_why(path: Path) -> None:
    text = path.read_text()
    if re.search(r"should_stop\b.* = ", text) or "callbacks.EarlyStopping" in text:
        assert "stop_reason" in text
