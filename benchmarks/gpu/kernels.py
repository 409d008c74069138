"""Checks of kernels: that the right one is called, that its result is right, and how long it takes.

Shapes: B batch, T time, N heads, K key-value heads, H head size, R rows, E experts, D and F widths.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from statistics import median
from typing import Any
from unittest import mock

import torch
from lightning.pytorch import Callback
from torch import Tensor
from torch._dynamo.utils import counters
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.items import Bench, Item, hold, relative_error
from triad.layers import moe
from triad.layers.attention import flash, plain
from triad.layers.cross_entropy import cross_entropy_sum
from triad.layers.mask import ALiBi, Window
from triad.layers.moe import compute_grouped, iterate_experts

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
CHUNKS = (512, 1024, 2048, 4096, 8192, 16384)
FACTOR = 3  # how much larger than that of the reference in the same precision an error may be
LEAST = 1e-7  # an error below which two are alike
SDPA = "aten::_scaled_dot_product_"


def timed_ms(work: Callable[[], Any], bench: Bench, repeats: int = 5) -> float:
    """The median time of some work, behind one call that warms up."""
    times = []
    for _ in range(1 if bench.small else repeats + 1):
        wait(bench)
        since = time.perf_counter()
        work()
        wait(bench)
        times.append(1e3 * (time.perf_counter() - since))
    return median(times[1:] or times)


def wait(bench: Bench) -> None:
    """Until the device has done all that it was asked for."""
    if not bench.small:
        torch.cuda.synchronize()


def uncompiled_on_cpu(bench: Bench) -> Any:
    """Have compiled blocks traced but not lowered on a CPU, which would take longer than all other checks."""
    if not bench.small:
        return nullcontext()
    own = torch.nn.Module.compile
    return mock.patch.object(torch.nn.Module, "compile", lambda block: own(block, backend="aot_eager"))


def grouped(bench: Bench) -> Iterator[Item]:
    """Grouped products with an expert that has no rows: result and gradients, eager and compiled."""
    shapes = ((4, 64, 128), (4, 64, 128), (4, 128, 64))

    def experts(x_RD: Tensor, end_E: Tensor, *weights: Tensor) -> Tensor:
        rows = iterate_experts(x_RD, end_E, *weights)
        return torch.cat([(F.silu(x @ gate) * (x @ up)) @ down for x, gate, up, down in rows])

    def gradients(function: Callable, inputs: list[Tensor], end_E: Tensor) -> list[Tensor]:
        leaves = [x.detach().clone().requires_grad_() for x in inputs]
        y = function(leaves[0], end_E, *leaves[1:])
        return [y.detach(), *torch.autograd.grad(y.float().square().mean(), leaves)]

    def against_loop(dtype: torch.dtype, compiled: bool) -> str:
        torch.manual_seed(0)
        exact = [torch.randn(300, 64), *(torch.randn(shape) / shape[1] ** 0.5 for shape in shapes)]
        end_E = torch.tensor([100, 100, 250, 300], dtype=torch.int32)
        truth = gradients(experts, [x.double() for x in exact], end_E)
        here: Any = [x.to(bench.device, dtype) for x in exact]
        backend = "aot_eager" if bench.small else "inductor"
        function = torch.compile(compute_grouped, backend=backend) if compiled else compute_grouped
        ours = gradients(function, here, end_E.to(bench.device))
        theirs = gradients(experts, here, end_E.to(bench.device))
        mine, loop = (max(map(relative_error, each, truth)) for each in (ours, theirs))
        return hold(f"error {mine:.1e}, loop {loop:.1e}", mine <= FACTOR * loop + LEAST)

    for name, dtype in DTYPES.items():
        for compiled in (False, True):
            how = "compiled" if compiled else "eager"
            yield Item(f"{name}, {how}", partial(against_loop, dtype, compiled))


def kernels(bench: Bench) -> Iterator[Item]:
    """Which kernel each kind of attention gets, its error and its time forward and backward."""
    batch, length, heads, size = (1, 64, 4, 16) if bench.small else (4, 2048, 16, 64)
    kinds: dict[str, tuple[int, Any]] = {
        "causal": (heads, None),
        "grouped heads": (heads // 4, None),
        "window": (heads, Window(length // 4)),
        "window, grouped heads": (heads // 4, Window(length // 4)),
        "alibi": (heads, ALiBi(heads)),
    }

    def look(name: str) -> str:
        kv_heads, mask = kinds[name]
        torch.manual_seed(0)
        shapes = [(batch, n, length, size) for n in (heads, kv_heads, kv_heads)]
        exact = [torch.randn(shape) for shape in shapes]
        here: Any = [x.to(bench.device, torch.bfloat16).requires_grad_() for x in exact]
        one: Any = [x[:1].to(bench.device).double() for x in exact]  # the truth of the first row
        error, reference = (
            relative_error(kernel(*(x[:1].detach() for x in here), mask=mask), plain(*one, mask=mask))
            for kernel in (flash, plain)
        )
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            flash(*here, mask=mask)
        names = {event.key for event in seen.key_averages() if event.key.startswith(SDPA)}
        chosen = sorted(key.removeprefix(SDPA) for key in names) or ["none"]
        spent_ms = {
            kernel.__name__: timed_ms(lambda kernel=kernel: kernel(*here, mask=mask).sum().backward(), bench)
            for kernel in (flash, plain)
        }
        said = f"{', '.join(chosen)}; flash {spent_ms['flash']:.2f} ms, plain {spent_ms['plain']:.2f} ms; "
        said += f"error {error:.1e}, plain {reference:.1e}"
        fused = bench.small or not any("math" in key for key in chosen)
        return hold(said, fused, error <= FACTOR * reference)

    for name in kinds:
        yield Item(name, partial(look, name), on_cpu=False)


def chunks(bench: Bench) -> Iterator[Item]:
    """The size of the loss's chunks: the default is within a tenth of the best."""

    def measure() -> str:
        rows, width, words = (512, 32, 1024) if bench.small else (16384, 768, 50304)
        torch.manual_seed(0)
        hidden = torch.randn(1, rows, width, device=bench.device, requires_grad=True)
        weight = torch.randn(words, width, device=bench.device, requires_grad=True)
        targets = torch.randint(words, (1, rows), device=bench.device)

        def loss(chunk: int | None) -> None:
            with torch.autocast(bench.device.type, torch.bfloat16):
                cross_entropy_sum(hidden, weight, targets, chunk).backward()

        spent_ms = {chunk: timed_ms(partial(loss, chunk), bench) for chunk in (None, *CHUNKS)}
        said = ", ".join(f"{chunk or 'default'} {ms:.1f}" for chunk, ms in spent_ms.items())
        return hold(f"ms: {said}", spent_ms[None] <= 1.1 * min(spent_ms.values()) or bench.small)

    yield Item("16k tokens, 50k words", measure, on_cpu=False)


class Graphs(Callback):
    """The number of graphs that torch.compile has made by the end of each step."""

    def __init__(self) -> None:
        self.counts: list[int] = []

    def on_train_batch_start(self, *_: Any) -> None:
        self.counts.append(counters["stats"]["unique_graphs"])


def recompilations(bench: Bench) -> Iterator[Item]:
    """Graphs that are compiled once steps and validations of each shape have been seen: none wanted."""

    def count(*words: str) -> str:
        counters.clear()
        graphs = Graphs()
        words = (
            "hardware.compile=true",
            bench.low,
            "trainer.max_steps=11",
            "trainer.limit_val_batches=1",
            *words,
        )
        with uncompiled_on_cpu(bench):
            bench.train("recompilations-" + "-".join(words).replace("=", "."), *words, callbacks=[graphs])
        # validated after step 5 (debug=tiny), so at the start of step index 6 all has been seen
        late = graphs.counts[-1] - graphs.counts[6]
        return hold(f"{graphs.counts[-1]} graphs, {late} of them after the first validation", late == 0)

    yield Item("decoder", partial(count))
    if not bench.small:  # tracing takes longer there than all other checks
        yield Item("decoder, micro-batches of 3 of 4", partial(count, "hardware.micro_batch_size=3"))
        yield Item("decoder, recomputed", partial(count, "hardware.checkpointing=selective"))
    yield Item("moe", partial(count, "model=moe"))


def on_gpus_path(bench: Bench) -> Any:
    """Have experts on a CPU take the path that they take on a GPU."""
    return mock.patch.object(moe, "runs_on_cpu", return_value=False) if bench.small else nullcontext()
