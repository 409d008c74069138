"""The device of a process: its name and peak performance."""

import os

import torch

from triad.config.processes import read_processor

# Dense bf16 (fp16 on V100) matrix FLOP/s without sparsity, from the vendors' data sheets.
PEAK_FLOPS = {
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "A100": 312e12,
    "A10G": 70e12,
    "L40S": 362e12,
    "L4": 121e12,
    "V100": 125e12,
    "RTX 4090": 165e12,
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


def compute_dtype(precision: str) -> torch.dtype:
    """The dtype of matrix products."""
    exact = {"64-true": torch.float64, "32-true": torch.float32, "16-mixed": torch.float16}
    return exact.get(precision, torch.bfloat16)


def peak_flops(device: torch.device) -> float | None:
    """Peak FLOP/s of a device, or None where it is not known (MFU is not reported then)."""
    if device.type != "cuda":
        return None
    words = torch.cuda.get_device_name(device).replace("-", " ").split()
    return next((flops for known, flops in PEAK_FLOPS.items() if set(known.split()) <= set(words)), None)


def describe(device: torch.device) -> str:
    """The name of the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{read_processor()}, {torch.get_num_threads()} threads"
