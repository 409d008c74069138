"""Energy and money, on a clock and a meter of the tests' own."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from triad.callbacks import energy
from triad.callbacks.energy import Energy

TRAINER: Any = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cpu")), local_rank=0)


class Machine:
    """A second of it takes 30 joules, if there is a meter."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.has_meter = 100.0, True
        monkeypatch.setattr(energy, "time", SimpleNamespace(perf_counter=lambda: self.now))
        monkeypatch.setattr(energy, "open_meter", lambda *_: self.joules if self.has_meter else None)
        monkeypatch.setattr(torch, "get_num_threads", lambda: 4)

    def joules(self) -> float:
        return 1000 + 30 * self.now


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def started(price: float | None = None, state: dict | None = None) -> Energy:
    callback = Energy(gpu_watts=400.0, core_watts=10.0, price_per_device_hour=price)
    if state:
        callback.load_state_dict(state)
    callback.on_fit_start(TRAINER, None)
    return callback


def test_what_a_meter_counts_since_the_beginning_is_reported(machine: Machine) -> None:
    callback = started()
    machine.now += 2
    assert callback.figures(TRAINER) == {"perf/energy_joules": 60.0}
    machine.now += 1
    assert callback.figures(TRAINER) == {"perf/energy_joules": 90.0}


def test_without_a_meter_it_is_an_estimate_from_the_watts_of_the_cores_and_is_called_so(
    machine: Machine,
) -> None:
    machine.has_meter = False
    callback = started(price=3.6)
    machine.now += 10
    assert callback.figures(TRAINER) == {"perf/energy_joules_estimate": 10 * 4 * 10.0, "perf/cost": 0.01}


def test_every_process_counts_and_one_without_a_meter_makes_all_an_estimate(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_alike = [lambda values, _: [2 * value for value in values]]
    monkeypatch.setattr(energy, "_sum_over_ranks", lambda values, device: two_alike[-1](values, device))
    callback = started(price=3600.0)
    machine.now += 1
    assert callback.figures(TRAINER) == {"perf/energy_joules": 60.0, "perf/cost": 2.0}
    two_alike.append(lambda values, _: [1.0] if values == [0.0] else [2 * value for value in values])
    callback = started()
    machine.now += 1
    assert callback.figures(TRAINER) == {"perf/energy_joules_estimate": 80.0}


def test_a_resumed_run_goes_on_counting_and_once_an_estimate_stays_one(machine: Machine) -> None:
    first = started(price=3600.0)
    machine.now += 1
    first.figures(TRAINER)
    machine.now += 1000  # nobody trains
    second = started(3600.0, first.state_dict())
    machine.now += 2
    assert second.figures(TRAINER) == {"perf/energy_joules": 90.0, "perf/cost": 3.0}
    machine.has_meter = False
    third = started(3600.0, second.state_dict())
    machine.now += 1
    assert third.figures(TRAINER) == {"perf/energy_joules_estimate": 130.0, "perf/cost": 4.0}
    machine.has_meter = True
    fourth = started(3600.0, third.state_dict())
    assert fourth.figures(TRAINER) == {"perf/energy_joules_estimate": 130.0, "perf/cost": 4.0}


def test_a_negative_price_is_refused() -> None:
    with pytest.raises(ValueError, match="price_per_device_hour=-1"):
        Energy(gpu_watts=1.0, core_watts=1.0, price_per_device_hour=-1)
