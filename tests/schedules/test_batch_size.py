"""Sizes of batches against the walk through all steps that they spare."""

import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from triad.analysis.gradient_noise import estimate_noise, write_schedule
from triad.curves import curves
from triad.runs.metrics import read_metrics
from triad.schedules import batch_size as batch

PLAIN = ("none", None)
GROWING = (
    *("debug=tiny", "batch=ramp", "batch.coupling=sqrt", "scheduler=plateau", "trainer.val_check_interval=2"),
    *("scheduler.patience=0", "scheduler.threshold=0.9", "precision=fp32", "hardware.attention=flash"),
    *("trainer.accelerator=cpu", "callbacks.checkpoint.every_steps=3"),
)
FIGURES = ("train/loss", "train/lr", "train/rows", "train/batch_size")


def figures(run: Path) -> dict[int, list[float]]:
    rows = read_metrics(run / "metrics.csv")
    return {int(row["step"]): [row[key] for key in FIGURES] for row in rows if "train/loss" in row}


def consumed(rule: batch.Rule, steps: int) -> list[int]:
    return [rule(step) for step in range(steps + 1)]


def walked(size_of, steps: int) -> list[int]:
    """Rows consumed before each step, where `size_of(step, rows)` is the size of the next batch."""
    rows = [0]
    for step in range(steps):
        rows.append(rows[-1] + size_of(step, rows[-1]))
    return rows


def test_a_fixed_batch_consumes_the_same_rows_each_step() -> None:
    assert consumed(batch.fixed(12, *PLAIN), 3) == [0, 12, 24, 36]
    assert consumed(batch.one(1, *PLAIN), 3) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("size", "start", "increment", "over"), [(8, 2, 2, 60), (32, 5, 9, 1000), (6, 6, 1, 9)]
)
def test_a_ramp_is_that_of_megatron_by_rows_and_its_like_by_steps(
    size: int, start: int, increment: int, over: int
) -> None:
    levels = (size - start) // increment

    def grown(done: int) -> int:
        if not levels or done >= over:
            return size
        return start + increment * int(done // Fraction(over, levels))

    by_rows = batch.ramp(10**6, size, start, increment, over, "rows", *PLAIN)
    assert consumed(by_rows, 200) == walked(lambda _, rows: grown(rows), 200)
    by_steps = batch.ramp(10**6, size, start, increment, over, "steps", *PLAIN)
    assert consumed(by_steps, 1100) == walked(lambda step, _: grown(step), 1100)


def test_stages_begin_when_they_say_by_steps_by_rows_and_by_fractions() -> None:
    then = [[3, 4], [5, 10], [6, 1]]
    sizes = np.diff(consumed(batch.staged(100, 2, then, "steps", *PLAIN), 8))
    assert sizes.tolist() == [2, 2, 2, 4, 4, 10, 1, 1]
    by_rows = np.diff(consumed(batch.staged(100, 4, [[5, 8], [9, 2], [40, 3]], "rows", *PLAIN), 20))
    assert by_rows.tolist() == [4, 4, 8, *[2] * 12, *[3] * 5]
    assert batch.staged(10, 2, [[0.5, 4]], "steps", *PLAIN)(6) == 14


def test_a_size_counts_as_reached_from_the_first_step_that_has_it() -> None:
    for unit, then in (("steps", [[3, 4]]), ("rows", [[5, 4]])):
        rule = batch.staged(10, 2, then, unit, *PLAIN)
        assert [rule.reaches(steps) for steps in (3, 4)] == [False, True]


def test_gradient_descent_reads_the_same_rows_every_step_and_counts_them_all() -> None:
    whole = batch.full(None, *PLAIN).of(70)
    assert consumed(whole, 2) == [0, 70, 140]
    assert [whole.first(step) for step in range(3)] == [0, 0, 0]
    assert consumed(batch.full(10, *PLAIN).of(70), 2) == [0, 10, 20]
    with pytest.raises(ValueError, match="the training set has 70 rows"):
        batch.full(71, *PLAIN).of(70)


@pytest.mark.parametrize(("coupling", "power"), [("none", 0), ("linear", 1), ("sqrt", 0.5)])
def test_the_rate_follows_the_size_as_asked(coupling, power: float) -> None:
    rule = batch.staged(100, 2, [[5, 8]], "steps", coupling, 4)
    schedule = batch.couple_to_batch(
        lambda step: 1 / (1 + step), rule, lambda step: rule(step + 1) - rule(step)
    )
    assert schedule(4) == pytest.approx(0.2 * 0.5**power)
    assert schedule(7) == pytest.approx(0.125 * 2**power)
    assert batch.fixed(6, coupling, None).reference == 6


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: batch.ramp(100, 8, 2, 4, 0.5, "steps", *PLAIN), "batch.increment=6, or a divisor"),
        (lambda: batch.ramp(100, 8, 2, 2, 0.5, "rows", *PLAIN), "give a number of rows"),
        (lambda: batch.staged(100, 8, [[5, 2], [5, 3]], "steps", *PLAIN), "behind the one before it"),
        (lambda: batch.staged(100, 8, [[5]], "steps", *PLAIN), r"a list of \[begin, size\]"),
        (lambda: batch.critical(100, None, None, "steps", *PLAIN), "noise_scale run=.* measures them"),
    ],
)
def test_a_rule_that_contradicts_itself_is_refused(make, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


def test_the_noise_scale_of_single_rows_is_that_of_the_sample_covariance() -> None:
    gradients = np.random.default_rng(0).normal(1.0, 2.0, (12, 7))
    groups = gradients.reshape(6, 2, 7).mean(1)
    for found, rows in ((gradients, 1), (groups, 2)):
        small, large = (found**2).sum(1).mean(), (found.mean(0) ** 2).sum()
        noise = estimate_noise(small, rows, large, 12)
        spread = np.cov(found.T).trace() * rows  # of one row: a mean of B rows has 1/B of it
        assert noise.spread == pytest.approx(spread)
        assert noise.signal == pytest.approx(large - spread / 12)
    with pytest.raises(ValueError, match="more rows="):
        assert estimate_noise(1.0, 1, 0.01, 12).scale


def test_gradients_of_a_model_are_measured_row_by_row() -> None:
    from triad.analysis.gradient_noise import measure_noise

    class Bigram(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.logits = torch.nn.Embedding(5, 3)
            self.out_VD = torch.nn.Parameter(torch.randn(5, 3))

        def forward(self, tokens_BT, loss):
            return loss(self.logits(tokens_BT), self.out_VD), []

    torch.manual_seed(0)
    model, tokens_BT = Bigram(), torch.randint(5, (6, 4))
    targets_BT = torch.randint(5, (6, 4))
    noise = measure_noise(model, zip(tokens_BT.split(1), targets_BT.split(1), strict=True))
    rows = []
    for tokens_T, targets_T in zip(tokens_BT, targets_BT, strict=True):
        model.zero_grad()
        logits_TV = model.logits(tokens_T) @ model.out_VD.T
        torch.nn.functional.cross_entropy(logits_TV, targets_T).backward()
        rows.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    spread = torch.stack(rows).double().var(0).sum()
    assert noise.spread == pytest.approx(float(spread), rel=1e-4)


def test_noise_scales_become_stages_that_can_be_run_again() -> None:
    words = write_schedule([(100, 6.1), (200, 5.0), (300, 17.0), (400, 31.2)], multiple=4)
    assert words == ["batch=critical", "batch.size=8", "batch.then=[[300,16],[400,32]]"]


def test_rates_and_sizes_are_drawn_and_printed(tmp_path, capsys) -> None:
    path = tmp_path / "curves.png"
    curves(
        ["scheduler=linear,wsd", "batch=ramp", "scheduler.warmup=0", "batch.coupling=linear"], to=str(path)
    )
    said = capsys.readouterr().out
    assert path.stat().st_size > 1000
    assert "scheduler=linear  step 0: rate 0.001, 2 rows" in said
    assert "scheduler=wsd  step 999: rate 8e-06, 8 rows" in said
    with pytest.raises(ValueError, match="follows the run's validations"):
        curves(["scheduler=plateau"], to=str(path))


def test_a_run_resumed_amid_a_ramp_and_a_plateau_goes_on_bit_by_bit(train, tmp_path: Path) -> None:
    straight, resumed = (tmp_path / "outputs" / name for name in "ab")
    train(
        *GROWING,
        "run_id=a",
        "callbacks.checkpoint.keep=9",
        "trainer.max_steps=8",
        "batch.size=8",
        "batch.over=4",
    )
    shutil.copytree(straight, resumed)
    for step in (6, 8):
        shutil.rmtree(resumed / "checkpoints" / f"step-{step:08}")
    (resumed / "result.json").unlink()
    said = train("resume=outputs/b").stdout
    assert "at step 3" in said
    expected = figures(straight)
    assert figures(resumed) == expected
    assert [expected[step][3] for step in range(1, 9)] == [2, 2, 4, 6, 8, 8, 8, 8]
    assert expected[8][2] == 46
    assert expected[8][1] == pytest.approx(expected[5][1] / 2)  # validation has not improved by nine tenths


@pytest.mark.slow
def test_a_ramp_is_the_same_on_two_processes(train, tmp_path: Path) -> None:
    train(*GROWING, "run_id=a")
    train(*GROWING, "run_id=b", "strategy=ddp", "trainer.devices=2")
    one, two = (figures(tmp_path / "outputs" / name) for name in "ab")
    assert one.keys() == two.keys()
    for step in one:
        assert two[step] == pytest.approx(one[step], rel=1e-5)


@pytest.mark.slow
def test_a_measured_noise_scale_is_run_again(train, tmp_path: Path, capsys) -> None:
    from triad.noise_scale import noise_scale

    train("debug=tiny", "precision=fp32", "hardware.attention=flash", "trainer.accelerator=cpu", "run_id=a")
    noise_scale(str(tmp_path / "outputs" / "a"), rows=64)
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in said[:-1]] == ["5", "10"]
    words = said[-1].removeprefix("python train.py ").split()
    sizes = {int(word.partition("=")[2]) for word in words if word.startswith("batch.size")}
    assert min(sizes) >= 1
