"""The device of a process: its name and peak performance."""

import os

import torch

from triad.config.errors import Refusal, one_line
from triad.config.processes import read_processor

# Dense matrix TFLOP/s without sparsity, from the vendors' data sheets; 0 where there is no such unit. Sums of
# products are fp32 throughout. Words of the name of a device -> fp64, fp32, tf32, bf16, fp16, fp8; of several
# that fit the first counts.
FORMATS = ("fp64", "fp32", "tf32", "bf16", "fp16", "fp8")
PEAK_TFLOPS = {
    "GB200": (40, 80, 1250, 2500, 2500, 5000),
    "B200": (37, 75, 1100, 2250, 2250, 4500),
    "H200 NVL": (60, 60, 417.5, 835.5, 835.5, 1671),
    "H200": (67, 67, 494.5, 989.5, 989.5, 1979),
    "GH200": (67, 67, 494.5, 989.5, 989.5, 1979),
    "H100 PCIe": (51, 51, 378, 756.5, 756.5, 1513),
    "H100 NVL": (60, 60, 417.5, 835.5, 835.5, 1671),
    "H100": (67, 67, 494.5, 989.5, 989.5, 1979),
    "H800 PCIe": (0.8, 51, 378, 756.5, 756.5, 1513),
    "H800": (1, 67, 494.5, 989.5, 989.5, 1979),
    "A100": (19.5, 19.5, 156, 312, 312, 0),
    "A800": (19.5, 19.5, 156, 312, 312, 0),
    "A10G": (0, 35, 35, 70, 70, 0),
    "L40S": (0, 91.6, 183, 362, 362, 733),
    "L4": (0, 30.3, 60, 121, 121, 242.5),
    "V100": (7.8, 15.7, 0, 0, 125, 0),
    "RTX 4090": (0, 82.6, 82.6, 165.2, 165.2, 330.3),
    "MI300X": (163.4, 163.4, 653.7, 1307.4, 1307.4, 2614.9),
    "MI300A": (122.6, 122.6, 490.3, 980.6, 980.6, 1961.2),
    "MI325X": (163.4, 163.4, 653.7, 1307.4, 1307.4, 2614.9),
}


def device(accelerator: str) -> torch.device:
    """The device of this process. Raises ValueError where there is a GPU that this torch cannot use."""
    if accelerator == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ValueError(
            f"trainer.accelerator={accelerator}: torch {torch.__version__} cannot use a GPU here; install a"
            " CUDA build of torch that fits the driver, or use trainer.accelerator=cpu"
        )
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def find_device(name: torch.device | str) -> torch.device:
    """The device of a name that torch has, or "gpu". Raises Refusal for one that is not here."""
    try:
        found = torch.device("cuda" if name == "gpu" else name)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch without CUDA
        raise Refusal(f"device={name}: it is not here ({one_line(error)[:60]}...); use cpu") from None
    return found


def compute_dtype(precision: str) -> torch.dtype:
    """The dtype of matrix products."""
    exact = {"64-true": torch.float64, "32-true": torch.float32, "16-mixed": torch.float16}
    return exact.get(precision, torch.bfloat16)


def peak_flops(device: torch.device, precision: str) -> float | None:
    """Peak FLOP/s of a device for matrix products in a run's precision, as triad.hardware.precision names it.

    None where it is not known or the device has no such units: MFU is not reported then.
    """
    if device.type != "cuda":
        return None
    words = set(torch.cuda.get_device_name(device).replace("-", " ").split())
    rows = [row for known, row in PEAK_TFLOPS.items() if set(known.split()) <= words]
    return rows[0][FORMATS.index(_product_format(precision))] * 1e12 or None if rows else None


def _product_format(precision: str) -> str:
    if precision == "fp8":
        return "fp8"
    dtype = compute_dtype(precision)
    if dtype == torch.float32:
        return "fp32" if torch.get_float32_matmul_precision() == "highest" else "tf32"
    return {torch.float64: "fp64", torch.float16: "fp16"}.get(dtype, "bf16")


def describe(device: torch.device) -> str:
    """The name of the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{read_processor()}, {threads} thread{'s' * (threads > 1)}"
