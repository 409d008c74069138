"""A run on a mixture goes on with other weights, a further source and another number of processes."""

import json
from pathlib import Path

import pytest

from tests.runs.test_directory import TINY, losses
from triad.runs.directory import Run


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """Words for a mixture of two texts in the place of the example's sources."""
    for name, line in (("code", "x = {}\n"), ("prose", "It was number {}.\n"), ("more", "<{}>\n")):
        (tmp_path / f"{name}.txt").write_text("".join(line.format(n * n) for n in range(900)))
    gone = [f"~data.{key}.{name}" for key in ("sources", "weights") for name in ("stdlib", "packages")]
    own = [
        word
        for name in ("code", "prose")
        for word in (f"+data@data.sources.{name}=text", f"data.sources.{name}.path={name}.txt")
    ]
    weights = ["+data.weights.code=3", "+data.weights.prose=1"]
    constant = ["scheduler=constant", "scheduler.warmup=0", "trainer.val_check_interval=2"]
    return [*TINY, "data=mixture", *gone, *own, *weights, *constant]


def seen(run: Path, name: str) -> dict[int, float]:
    return {int(row["step"]): row[name] for row in Run(run).metrics() if name in row}


def test_weights_changed_at_a_resume_train_as_a_schedule_does_and_a_source_may_follow(
    train, python, words: list[str], tmp_path: Path
) -> None:
    outputs = tmp_path / "outputs"
    later = "{from: 6, weights: {code: 1, prose: 4}}"
    done = train(*words, "run_id=straight", f"data.schedule=[{later}]")
    assert "data.sources.code: 52.5% of the tokens up to step 10" in done.stdout
    train(*words, "run_id=a", "trainer.max_steps=6")
    train("resume=outputs/a", "data.weights={code: 1, prose: 4}", "trainer.max_steps=10")
    assert losses(outputs / "a") == losses(outputs / "straight")
    for metric in ("train/tokens/code", "train/tokens/prose", "val/loss/code", "val/loss/prose"):
        assert seen(outputs / "a", metric) == seen(outputs / "straight", metric) != {}, metric
    assert seen(outputs / "a", "train/tokens/code")[6] == 6 * 4 * 32 * 3 // 4

    added = ["+data@data.sources.more=text", "data.sources.more.path=more.txt", "+data.weights.more=2"]
    added += ["data.weights.code=2"]
    train("resume=outputs/a", *added, "trainer.max_steps=12", "strategy=ddp", "trainer.devices=2")
    record = json.loads((outputs / "a" / "data.json").read_text())["tokens"]
    assert [(stage["from"], [*stage["sources"]]) for stage in record["stages"]] == [
        (0, ["code", "prose"]),
        (6, ["code", "prose"]),
        (10, ["code", "more", "prose"]),
    ]
    assert seen(outputs / "a", "train/tokens/more") == {11: 32, 12: 64}
    assert seen(outputs / "a", "val/loss/more").keys() == {12}
    shown = python("-m", "triad.data", "show=11", "run=outputs/a", COLUMNS="160").stdout
    assert [shown.count(f" {name} ") for name in ("code", "prose", "more")] == [1, 2, 1]

    record_before = (outputs / "a" / "data.json").read_bytes()
    (tmp_path / "code.txt").write_text("another text\n" * 900)
    refused = train("resume=outputs/a", "data.weights.more=9", "trainer.max_steps=14", code=2).stderr
    assert "data.sources.code: its text or its tokenizer is not what the run was started with" in refused
    assert (outputs / "a" / "data.json").read_bytes() == record_before
