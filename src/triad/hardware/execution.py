"""Choices for this machine that change speed and memory, never the mathematics."""

import os
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from triad.config.processes import count_memory_bytes
from triad.hardware.autotune import Measured, run_attention
from triad.hardware.device import compute_dtype
from triad.hardware.precision import has_recurrent_kernels, recurrent_to_fp32, to_fp8
from triad.layers.attention import KernelInputs, flash, plain
from triad.layers.ranges import PositiveInt

PLAIN_LIMIT_BYTES = 1 << 30  # of attention scores in one layer; above it plain attention is not tried
KERNELS = {"flash": flash, "plain": plain}

# Operations whose results are expensive to compute again: matrix products and fused attention
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


class Hardware:
    """Micro-batch size, attention kernel and compilation of one process.

    `micro_batch_size` rows at a time go through the model (null: all rows of this process at once);
    `attention` is a kernel by name, or `auto`: of each layer whichever is faster here for its heads, sizes,
    dropout and mask and the rows that are trained, measured once per machine, kept in the cache folder and
    recorded in the run. `checkpointing` keeps only the input of each block and computes the rest again for
    the backward pass (Chen et al. 2016, arXiv:1604.06174); `selective` keeps the results of matrix products
    and fused attention, too, and computes again what is cheap (Korthikanti et al. 2022, arXiv:2205.05198,
    section 5, with another choice of it).
    """

    def __init__(
        self,
        micro_batch_size: PositiveInt | None,
        threads: Annotated[int, ">= 1", "<= 1024"] | None,
        attention: Literal["auto", "flash", "plain"],
        checkpointing: bool | Literal["selective"],
        compile: bool,
    ) -> None:
        if micro_batch_size is not None and micro_batch_size < 1:
            raise ValueError(
                f"hardware.micro_batch_size={micro_batch_size}: at least one row, or null for all"
            )
        self.micro_batch_size, self.threads = micro_batch_size, threads
        self.attention: str = attention
        self.kernels: dict[str, str] = {}  # by what a layer calls its kernel with; until settle
        self.checkpointing, self.compile = checkpointing, compile
        self.fp8 = self.recurrent_fp32 = False  # until settle
        if threads is not None:
            torch.set_num_threads(threads)  # torchrun sets its own number

    def rows(self, tokens_BT: Tensor) -> int:
        """Rows of a micro-batch."""
        return min(self.micro_batch_size or len(tokens_BT), len(tokens_BT))

    def settle(
        self, measured: Measured, precision_of: Callable, model: Callable, rows: int, context: int
    ) -> str:
        """Choose the precision, and the attention kernel of each kind of layer, before weights exist.

        The precision is returned; both are recorded in the run. Recurrent layers are computed in fp32 if the
        device has no kernel for them in a mixed precision.
        """
        torch.backends.cudnn.allow_tf32 = False  # torch's default, in which fp32 has 10 bits in an LSTM
        precision = precision_of(measured)
        measured.note("precision", precision)
        self.fp8 = precision == "fp8"
        if self.attention != "auto" and not precision.endswith("mixed"):
            return precision
        with torch.device("meta"):
            modules = list(model(vocab_size=2).modules())
        if precision.endswith("mixed") and any(isinstance(module, nn.LSTM) for module in modules):
            able = has_recurrent_kernels(measured.device, precision)
            chosen = measured.note("recurrent layers", precision if able else "32-true")
            self.recurrent_fp32 = not able or chosen == "32-true"
        if self.attention == "auto":
            kinds = [layer.kernel_inputs() for layer in modules if hasattr(layer, "kernel")]
            for kind in {str(kind): kind for kind in kinds}.values():
                chosen = self._fastest(measured, kind, rows, context, compute_dtype(precision))
                self.kernels[str(kind)] = chosen
        return precision

    def _fastest(
        self, measured: Measured, kind: KernelInputs, rows: int, context: int, dtype: torch.dtype
    ) -> str:
        rows = min(self.micro_batch_size or rows, rows)
        if rows * context**2 * kind.heads * torch.float32.itemsize > PLAIN_LIMIT_BYTES:
            return "flash"  # which does not keep the scores
        return measured.fastest(
            f"attention {rows}x{context} {kind} {dtype}",
            {
                name: partial(run_attention, kernel, kind, rows, context, measured.device, dtype)
                for name, kernel in KERNELS.items()
            },
        )

    def check_memory(self, model: nn.Module, device: torch.device) -> None:
        """Raise ValueError for a model, still on the meta device, whose share of a process does not fit."""
        share = sum(getattr(p, "_local_tensor", p).nbytes for p in model.parameters())
        if device.type == "cpu":
            share, has = share * int(os.environ.get("LOCAL_WORLD_SIZE", "1")), count_memory_bytes()
        else:
            has = torch.cuda.get_device_properties(device).total_memory
        if share > has:
            raise ValueError(
                f"model: its weights alone take {share / 1e9:.4g} GB, and {device} has {has / 1e9:.4g} GB: "
                "choose a smaller model, or strategy=fsdp on more devices"
            )

    def tune(self, model: nn.Module) -> None:
        """Set attention kernels, checkpoint and compile blocks, in place and without changing names."""
        if self.fp8:
            to_fp8(model)
        if self.recurrent_fp32:
            recurrent_to_fp32(model)
        for module in model.modules():
            if hasattr(module, "kernel"):
                layer: Any = module
                auto = self.attention == "auto"
                layer.kernel = KERNELS[self.kernels[str(layer.kernel_inputs())] if auto else self.attention]
        for stack in [module for module in model.modules() if isinstance(module, nn.ModuleList)]:
            for block in stack:
                if self.checkpointing:
                    block.forward = recompute_in_backward(block.forward, self.checkpointing == "selective")
                if self.compile:
                    block.compile()


def recompute_in_backward(forward: Callable, selective: bool) -> Callable:
    """The forward, computed again in the backward pass; selective: except for the operations in KEPT."""
    if not selective:
        return partial(checkpoint, forward, use_reentrant=False)
    kept = partial(create_selective_checkpoint_contexts, KEPT)
    return partial(checkpoint, forward, use_reentrant=False, context_fn=kept)
