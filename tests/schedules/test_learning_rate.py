"""Schedules at the points where their closed form is known, and against torch's and transformers'."""

import math
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR
from transformers import optimization

from triad.config.build import build
from triad.config.compose import compose
from triad.config.locations import CONF
from triad.schedules import learning_rate as schedules
from triad.schedules.plateau import Plateau

STEPS, WARMUP = 1000, 100
RUN = (f"trainer.max_steps={STEPS}", "trainer.val_check_interval=100")

# what each file of conf/scheduler is at its first step, the end of the warm-up, step 550 and the last one
FORMS: dict[str, tuple[float, float, float, float]] = {
    "constant": (0.01, 1.0, 1.0, 1.0),
    "linear": (0.01, 1.0, 0.5, 1 / 900),
    "cosine": (0.01, 1.0, 0.1 + 0.45, 0.1 + 0.45 * (1 + math.cos(math.pi * 899 / 900))),
    "inverse_sqrt": (0.01, 1.0, math.sqrt(100 / 551), math.sqrt(100 / 1000)),
    "polynomial": (0.01, 1.0, 0.5**0.9, (1 / 900) ** 0.9),
    "wsd": (0.01, 1.0, 0.9, 1 / 500),
    "one_cycle": (0.04, 1.0, 4e-6 + (1 - 4e-6) * 0.5 * (1 + math.cos(math.pi * 451 / 900)), 4e-6),
    "cyclic": (0.001, 0.1, 0.1 + 0.9 * (1 - 75 / 125), 0.1 + 0.9 * (1 - 24 / 125)),
    "plateau": (0.01, 1.0, 1.0, 1.0),
}


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "scheduler").glob("*.yaml")))
def test_values_at_the_start_the_end_of_warm_up_the_middle_and_the_end(name: str) -> None:
    config = compose([f"scheduler={name}", f"scheduler.warmup={WARMUP}", *RUN])
    schedule = build(config["scheduler"])
    found = [schedule(step) for step in (0, WARMUP - 1, 550, STEPS - 1)]
    assert found == pytest.approx(FORMS[name])


def test_wsd_stays_at_one_until_its_last_phase_and_falls_in_the_shape_asked_for() -> None:
    falls: dict = {"linear": lambda t: 1 - t, "sqrt": lambda t: 1 - t**0.5}
    falls["cosine"] = lambda t: (1 + math.cos(t * math.pi)) / 2
    for shape, fall in falls.items():
        values = [schedules.wsd(k, 1000, 10, 0.5, shape, 0.1) for k in range(1000)]
        assert values[9:501] == [1.0] * 492
        assert values[501:] == pytest.approx([0.1 + 0.9 * fall((k - 500) / 500) for k in range(501, 1000)])


def test_noam_is_the_formula_of_the_paper_at_its_rate() -> None:
    width, warmup = 512, 4000
    lr = width**-0.5 * warmup**-0.5
    for step in (0, 100, 3999, 4000, 100_000):
        n = step + 1
        paper = width**-0.5 * min(n**-0.5, n * warmup**-1.5)
        assert lr * schedules.inverse_sqrt(step, 10**6, warmup) == pytest.approx(paper)


def test_one_cycle_and_cyclic_are_torchs() -> None:
    def one_cycle(optimizer):
        return OneCycleLR(optimizer, 1.0, total_steps=50, pct_start=0.3, cycle_momentum=False)

    ours = [schedules.one_cycle(k, 50, 0.3, 1 / 25, "cosine", 4e-6) for k in range(50)]
    assert ours == pytest.approx(_of_torch(one_cycle, 50))
    for mode, fade in (("triangular", 1.0), ("triangular2", 0.5)):

        def cyclic(optimizer, mode: str = mode):
            return CyclicLR(optimizer, 0.1, 1.0, step_size_up=10, mode=mode, cycle_momentum=False)

        ours = [schedules.cyclic(k, 90, 0, 20, 0.1, fade) for k in range(90)]
        assert ours == pytest.approx(_of_torch(cyclic, 90))


# ours and transformers', 50 steps of which 7 warm up
THEIRS: dict[str, tuple[Callable[[int], float], Callable]] = {
    "constant": (
        lambda k: schedules.constant(k, 50, 7),
        lambda o: optimization.get_constant_schedule_with_warmup(o, 7),
    ),
    "linear": (
        lambda k: schedules.linear(k, 50, 7, 0.0),
        lambda o: optimization.get_linear_schedule_with_warmup(o, 7, 50),
    ),
    "cosine": (
        lambda k: schedules.cosine(k, 50, 7, 0.1),
        lambda o: optimization.get_cosine_with_min_lr_schedule_with_warmup(o, 7, 50, min_lr_rate=0.1),
    ),
    "polynomial": (
        lambda k: schedules.polynomial(k, 50, 7, 2.0, 0.1),
        lambda o: optimization.get_polynomial_decay_schedule_with_warmup(o, 7, 50, lr_end=0.1, power=2.0),
    ),
}
for shape, theirs in {"linear": "linear", "cosine": "cosine", "sqrt": "1-sqrt"}.items():
    THEIRS[f"wsd, {shape}"] = (
        lambda k, shape=shape: schedules.wsd(k, 50, 7, 0.4, shape, 0.0),
        lambda o, theirs=theirs: optimization.get_wsd_schedule(o, 7, 20, 50, decay_type=theirs),
    )


@pytest.mark.parametrize("name", THEIRS)
def test_rates_are_those_of_transformers_with_the_warm_up_a_step_ahead(name: str) -> None:
    ours, theirs = THEIRS[name]
    found, expected = [ours(k) for k in range(50)], _of_torch(theirs, 50)
    assert found[:6] == pytest.approx(expected[1:7])
    assert found[7:] == pytest.approx(expected[7:])
    assert min(found) > 0 == expected[0]


def test_noam_is_that_of_transformers_a_step_ahead() -> None:
    def theirs(optimizer):
        return optimization.get_inverse_sqrt_schedule(optimizer, 7)

    found = [schedules.inverse_sqrt(k, 50, 7) for k in range(50)]
    assert found == pytest.approx(_of_torch(theirs, 51)[1:])


def _of_torch(make: Callable, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(())], lr=1.0)
    schedule, rates = make(optimizer), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def test_no_warm_up_starts_at_the_full_rate() -> None:
    assert schedules.linear(0, 10, 0, 0.0) == 1.0
    assert schedules.cosine(0, 10, 0, 0.0) == 1.0
    assert schedules.inverse_sqrt(0, 10, 0) == 1.0
    assert schedules.polynomial(0, 10, 0, 2.0, 0.0) == 1.0


class _Validated:
    """Of a Trainer: the figures of the last validation."""

    def __init__(self, loss: float) -> None:
        self.callback_metrics = {"val/loss": torch.tensor(loss)}


def test_a_plateau_lowers_the_rate_after_patience_and_goes_on_where_it_was_resumed() -> None:
    def plateau() -> Plateau:
        return Plateau(100, 0, "val/loss", factor=0.5, patience=1, threshold=0.01, final=0.2)

    losses = [3.0, 2.0, 1.99, 2.5, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5]
    # 1.99 is no improvement by 1%, nor is 2.5: two in a row are one more than patience
    expected = [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2, 0.2]
    for interrupted in range(len(losses)):
        watching, found = plateau(), []
        for number, loss in enumerate(losses):
            if number == interrupted:
                resumed = plateau()
                resumed.load_state_dict(watching.state_dict())
                watching = resumed
            watching.on_validation_end(_Validated(loss), None)  # ty: ignore[invalid-argument-type]
            found.append(watching(50))
        assert found == pytest.approx(expected), interrupted


def test_a_plateau_of_a_metric_that_is_to_rise_lowers_the_rate_when_it_does_not() -> None:
    plateau = Plateau(100, 0, "val/loss", factor=0.5, patience=0, threshold=0.01, final=0.2)
    training = SimpleNamespace(direction={"val/loss": "higher"}.__getitem__)
    plateau.setup(_Validated(0.0), training, "fit")  # ty: ignore[invalid-argument-type]
    found = []
    for value in (0.1, 0.5, 0.9, 0.4):
        plateau.on_validation_end(_Validated(value), None)  # ty: ignore[invalid-argument-type]
        found.append(plateau(50))
    assert found == [1.0, 1.0, 1.0, 0.5]
