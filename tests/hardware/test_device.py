"""Peaks of devices: held against what their chips do in a clock, and found by the names that drivers give."""

import pytest
import torch

from triad.hardware.device import FORMATS, PEAK_TFLOPS, peak_flops

CUDA = torch.device("cuda", 0)
# multiprocessors, dense bf16 FLOPs of one in a clock (fp16 for V100), GHz at which the peak is stated, by the
# white papers on Volta, Ampere, Hopper, Ada Lovelace, Blackwell, and CDNA 3
CHIPS = {
    "Tesla V100-SXM2-16GB": (80, 1024, 1.53),
    "NVIDIA A100-SXM4-80GB": (108, 2048, 1.41),
    "NVIDIA A100-PCIE-40GB": (108, 2048, 1.41),
    "NVIDIA A800-SXM4-80GB": (108, 2048, 1.41),
    "NVIDIA H100 80GB HBM3": (132, 4096, 1.83),
    "NVIDIA H100 PCIe": (114, 4096, 1.62),
    "NVIDIA H800": (132, 4096, 1.83),
    "NVIDIA H200": (132, 4096, 1.83),
    "NVIDIA GH200 480GB": (132, 4096, 1.83),
    "NVIDIA L4": (58, 1024, 2.04),
    "NVIDIA L40S": (142, 1024, 2.52),
    "NVIDIA GeForce RTX 4090": (128, 512, 2.52),
    "NVIDIA B200": (148, 8192, 1.85),
    "NVIDIA GB200": (148, 8192, 2.06),
    "AMD Instinct MI300X": (304, 2048, 2.1),
    "AMD Instinct MI325X": (304, 2048, 2.1),
    "AMD Instinct MI300A": (228, 2048, 2.1),
}


def call(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)


@pytest.mark.parametrize("name", CHIPS)
def test_the_peak_is_what_all_multiprocessors_do(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    call(monkeypatch, name)
    units, flops, ghz = CHIPS[name]
    precision = "16-mixed" if "V100" in name else "bf16-mixed"
    assert peak_flops(CUDA, precision) == pytest.approx(units * flops * ghz * 1e9, rel=0.02)


@pytest.mark.parametrize("name", PEAK_TFLOPS)
def test_a_narrower_format_is_faster_by_powers_of_two(name: str) -> None:
    """fp8 : bf16 : tf32 = 4 : 2 : 1 wherever there are such units."""
    peak = dict(zip(FORMATS, PEAK_TFLOPS[name], strict=True))
    assert peak["bf16"] in (peak["fp16"], 0)
    assert not peak["tf32"] or peak["fp16"] / peak["tf32"] == pytest.approx(2, rel=0.03)
    assert not peak["fp8"] or peak["fp8"] / peak["bf16"] == pytest.approx(2, rel=0.03)
    assert peak["fp64"] <= peak["fp32"]


def test_the_peak_is_that_of_the_runs_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    call(monkeypatch, "NVIDIA H100 80GB HBM3")
    half = dict.fromkeys(("bf16-mixed", "bf16-true", "16-mixed"), 989.5)
    for precision, expected in ({"64-true": 67, "32-true": 67, "fp8": 1979} | half).items():
        assert peak_flops(CUDA, precision) == expected * 1e12, precision
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
    assert peak_flops(CUDA, "32-true") == 494.5e12


def test_what_is_not_known_or_has_no_units_has_no_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    assert peak_flops(torch.device("cpu"), "32-true") is None
    call(monkeypatch, "NVIDIA A100-SXM4-80GB")
    assert peak_flops(CUDA, "fp8") is None
    call(monkeypatch, "NVIDIA H20")
    assert peak_flops(CUDA, "bf16-mixed") is None
