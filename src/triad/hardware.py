"""How a model is laid on this machine: the choices that change speed and memory, never the mathematics."""

import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from triad.data.cache import locked
from triad.fp8 import to_fp8
from triad.layers.attention import Attention, flash, plain
from triad.layers.latent_attention import LatentAttention
from triad.layout import cores
from triad.machine import processor
from triad.run import write

PLAIN_LIMIT_BYTES = 1 << 30  # of attention scores in one layer; above it only flash is thinkable
KERNELS = {"flash": flash, "plain": plain}

# What takes long to compute: the results of matrix products and of fused attention
KEPT = [
    getattr(torch.ops.aten, name).default
    for name in (
        "mm",
        "addmm",
        "bmm",
        "baddbmm",
        "_grouped_mm",
        "_scaled_dot_product_flash_attention",
        "_scaled_dot_product_flash_attention_for_cpu",
        "_scaled_dot_product_efficient_attention",
        "_scaled_dot_product_cudnn_attention",
    )
    if hasattr(torch.ops.aten, name)
]

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


class Hardware:
    """Micro-batch size, attention kernel and compilation of one process.

    `micro_batch_size` rows at a time go through the model (null: all rows of this process at once);
    `attention` is a kernel by name, or `auto`: whichever is faster here for the shape that is trained,
    measured once per machine and shape, kept in the cache folder and recorded in the run. `checkpointing`
    keeps only the input of each block and computes the rest again for the backward pass (Chen et al. 2016,
    arXiv:1604.06174); `selective` keeps the results of matrix products and fused attention, too, and computes
    again what is cheap (Korthikanti et al. 2022, arXiv:2205.05198, section 5, with another choice of it).
    """

    def __init__(
        self,
        micro_batch_size: int | None,
        threads: int | None,
        attention: Literal["auto", "flash", "plain"],
        checkpointing: bool | Literal["selective"],
        compile: bool,
    ) -> None:
        if micro_batch_size is not None and micro_batch_size < 1:
            raise ValueError(
                f"hardware.micro_batch_size={micro_batch_size}: at least one row, or null for all"
            )
        self.micro_batch_size, self.threads = micro_batch_size, threads
        self.attention, self.checkpointing, self.compile = attention, checkpointing, compile
        self.fp8 = False  # until settle
        if threads is not None:
            torch.set_num_threads(threads)  # torchrun sets its own number

    def rows(self, tokens_BT: Tensor) -> int:
        """Rows of a micro-batch."""
        return min(self.micro_batch_size or len(tokens_BT), len(tokens_BT))

    def settle(self, measured: "Measured", model: Callable, rows: int, context: int, precision: str) -> None:
        """Choose the attention kernel for the shape that will run, before any weight exists."""
        self.fp8 = precision == "fp8"
        if self.attention != "auto":
            return
        with torch.device("meta"):
            layers = [m for m in model(vocab_size=2).modules() if isinstance(m, Attention)]
        if not layers:
            self.attention = "flash"  # nothing to choose
            return
        size, dtype = layers[0].head_size, compute_dtype(precision)
        shape = (min(self.micro_batch_size or rows, rows), context, layers[0].q.out_features // size, size)
        if shape[0] * shape[1] ** 2 * shape[2] * dtype.itemsize > PLAIN_LIMIT_BYTES:
            self.attention = "flash"  # which does not keep the scores
            return
        self.attention = measured.fastest(
            f"attention {'x'.join(map(str, shape))} {dtype}",
            {
                name: partial(_attend, kernel, shape, measured.device, dtype)
                for name, kernel in KERNELS.items()
            },
        )

    def tune(self, model: nn.Module) -> None:
        """Set the kernels, checkpoint and compile each block in place (parameter names stay)."""
        if self.fp8:
            to_fp8(model)
        for module in model.modules():
            if isinstance(module, Attention | LatentAttention):
                module.kernel = KERNELS[self.attention]
        for stack in [module for module in model.modules() if isinstance(module, nn.ModuleList)]:
            for block in stack:
                if self.checkpointing:
                    block.forward = recomputed(block.forward, self.checkpointing == "selective")
                if self.compile:
                    block.compile()


def recomputed(forward: Callable, selective: bool) -> Callable:
    """The same, computed again for the backward pass, wholly or but for what takes long."""
    if not selective:
        return partial(checkpoint, forward, use_reentrant=False)
    kept = partial(create_selective_checkpoint_contexts, KEPT)
    return partial(checkpoint, forward, use_reentrant=False, context_fn=kept)


class Measured:
    """Answers to 'which is faster here?', measured once per machine, kept in a file, and fixed for a run.

    One rank of each machine measures while the others wait, so that all choose alike. What a run has recorded
    is taken on resume, so that a resumed run computes what the uninterrupted one would have.
    """

    def __init__(self, cache: Path, run: Path, device: torch.device) -> None:
        self.device = device
        self.cache, self.record = cache / f"measured-{_machine(device)}.json", run / "machine.json"

    def fastest(self, question: str, candidates: dict[str, Callable[[], None]]) -> str:
        """The name of the fastest candidate, by the best of several runs of each."""
        with locked(self.record):
            recorded = _read(self.record)
            if question not in recorded:
                with locked(self.cache):
                    known = _read(self.cache)
                    if question not in known:
                        known[question] = {name: _best_ms(run) for name, run in candidates.items()}
                        write(self.cache, known)
                recorded[question] = {
                    "ms": known[question],
                    "choice": min(known[question], key=known[question].get),
                }
                write(self.record, recorded)
        return recorded[question]["choice"]

    def note(self, question: str, choice: str) -> None:
        """Record a choice that was made otherwise."""
        with locked(self.record):
            recorded = _read(self.record)
            if question not in recorded:
                write(self.record, recorded | {question: {"choice": choice}})


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
    """The format that matrix products run in."""
    exact = {"64-true": torch.float64, "32-true": torch.float32, "16-mixed": torch.float16}
    return exact.get(precision, torch.bfloat16)


def peak_flops(device: torch.device) -> float | None:
    """Peak FLOP/s of a device, or None where it is not known (MFU is not reported then)."""
    if device.type != "cuda":
        return None
    words = torch.cuda.get_device_name(device).replace("-", " ").split()
    return next((flops for known, flops in PEAK_FLOPS.items() if set(known.split()) <= set(words)), None)


def describe(device: torch.device) -> str:
    """The device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{processor()}, {torch.get_num_threads()} threads"


def _attend(kernel: Callable, shape_BTNH: tuple, device: torch.device, dtype: torch.dtype) -> None:
    """Forward and backward once."""
    q, k, v = (
        torch.randn(shape_BTNH, device=device, dtype=dtype).transpose(1, 2).requires_grad_() for _ in range(3)
    )
    kernel(q, k, v).sum().backward()
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _best_ms(run: Callable[[], None], repeats: int = 5) -> float:
    run()  # warm up
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    return round(min(times), 3)


def _machine(device: torch.device) -> str:
    words = f"{describe(device)} {cores()} torch {torch.__version__}"
    return "".join(c if c.isalnum() else "-" for c in words)


def _read(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):  # absent or torn: measured again
        return {}
