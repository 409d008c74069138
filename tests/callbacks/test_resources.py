"""Memory and utilisation, on a clock and devices of the tests' own."""

from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

from triad.callbacks import resources
from triad.callbacks.resources import Resources


def make_trainer(device: str) -> Any:
    return SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device(device)))


def test_cpu_seconds_are_those_of_all_threads_since_the_last_report(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(wall_s=10.0, cpu_s=3.0)
    times = SimpleNamespace(perf_counter=lambda: clock.wall_s, process_time=lambda: clock.cpu_s)
    monkeypatch.setattr(resources, "time", times)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    callback, trainer = Resources(), make_trainer("cpu")
    callback.on_fit_start(trainer, None)
    clock.wall_s, clock.cpu_s = 20.0, 33.0
    found = callback.figures(trainer)
    assert found.keys() == {"perf/memory_bytes", "perf/cpu_utilisation"}
    assert found["perf/cpu_utilisation"] == 30 / (10 * 4)
    clock.wall_s, clock.cpu_s = 30.0, 53.0
    assert callback.figures(trainer)["perf/cpu_utilisation"] == 20 / (10 * 4)


def test_memory_is_what_the_system_says_of_this_process() -> None:
    callback, trainer = Resources(), make_trainer("cpu")
    callback.on_fit_start(trainer, None)
    before = callback.figures(trainer)["perf/memory_bytes"]
    held = bytearray(b"x" * 200_000_000)
    after = callback.figures(trainer)["perf/memory_bytes"]
    assert after - before == pytest.approx(len(held), rel=0.2)
    assert after == pytest.approx(psutil.Process().memory_info().rss, rel=0.1)


def test_of_several_gpus_the_fullest_counts_and_how_busy_they_are_on_average(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="ab"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 7e9)
    monkeypatch.setattr(resources, "open_utilisation", lambda uuid: lambda: 0.5 if uuid == "ab" else 0.0)
    others = [[9e12, 5e9, 1.0, 0.9], [1.0, 1e9, 0.0, 0.4]]  # memory, device memory, CPU, device
    monkeypatch.setattr(resources, "_gather", lambda values, device: [values, *others])
    callback, trainer = Resources(), make_trainer("cuda:0")
    callback.on_fit_start(trainer, None)
    found = callback.figures(trainer)
    assert found["perf/memory_bytes"] == 9e12
    assert found["perf/device_memory_bytes"] == 7e9
    assert found["perf/device_utilisation"] == pytest.approx((0.5 + 0.9 + 0.4) / 3)
    others[0][-1] = -1.0  # not counted by one of them
    assert "perf/device_utilisation" not in callback.figures(trainer)
