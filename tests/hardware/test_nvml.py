"""NVIDIA's counters, read from what stands in for their library."""

import sys
from types import SimpleNamespace

import pytest

from triad.hardware.nvml import open_energy, open_utilisation


class NVMLError(Exception):
    """What the library raises of an older GPU."""


def test_a_gpu_is_asked_by_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    millijoules = {"GPU-ab": 7_000}
    library = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetTotalEnergyConsumption=millijoules.__getitem__,
        NVMLError=NVMLError,
    )
    monkeypatch.setitem(sys.modules, "pynvml", library)
    read = open_energy("ab")
    assert read
    assert read() == 7.0
    millijoules["GPU-ab"] += 500
    assert read() == 7.5


def test_a_gpu_without_a_counter_and_a_missing_package_count_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> None:
        raise NVMLError

    library = SimpleNamespace(nvmlInit=lambda: None, nvmlDeviceGetHandleByUUID=refuse, NVMLError=NVMLError)
    monkeypatch.setitem(sys.modules, "pynvml", library)
    assert open_energy("ab") is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert open_energy("ab") is None


def test_utilisation_is_a_share_and_absent_where_the_gpu_does_not_count_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def count(gpu: str) -> SimpleNamespace:
        if gpu == "GPU-slice":
            raise NVMLError
        return SimpleNamespace(gpu=97, memory=40)

    library = SimpleNamespace(nvmlInit=lambda: None, nvmlDeviceGetHandleByUUID=str, NVMLError=NVMLError)
    library.nvmlDeviceGetUtilizationRates = count
    monkeypatch.setitem(sys.modules, "pynvml", library)
    read = open_utilisation("ab")
    assert read
    assert read() == 0.97
    assert open_utilisation("slice") is None
