"""Checks by training: the same numbers as elsewhere, again, in other precisions, layouts and optimizers."""

import math
import shutil
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec

import torch

from benchmarks.gpu.items import FAMILIES, Absent, Bench, Item, hold, largest_difference
from triad.config.compose import compose
from triad.config.locations import CONF
from triad.verify.matrix import LAYOUTS, Case
from triad.verify.runner import run_cases

FP32 = ("precision=fp32",)
ADAM = ("optimizer.eps=1e-4",)  # Adam may divide by a gradient that is rounding only
EQUAL = 1e-4  # of losses in fp32, relative, after three steps on another device or in another layout
DETERMINISTIC = ("trainer.deterministic=true", "hardware.attention=plain")
PRECISIONS = {  # how far the loss of the last of eight steps may be from that in fp32, relative
    "fp16-mixed": ("16-mixed", 5e-3),
    "bf16-mixed": ("bf16-mixed", 2e-2),
    "bf16-true": ("bf16-true", 5e-2),
    "fp8": ("fp8", 1e-1),
}
NORM = 2.0  # how much larger or smaller a gradient's norm may be; one that is not unscaled is 65,536 times
STRATEGIES = {
    **{name: (f"strategy={name}",) for name in ("ddp", "fsdp", "tensor", "context", "pipeline")},
    "hsdp": ("strategy=hsdp", "strategy.data_replicate=1"),
    "expert": ("strategy=expert", "model=moe"),
    "deepspeed": ("strategy=deepspeed", "strategy.stage=3"),  # once: it keeps the process's first group
}


def families(bench: Bench) -> Iterator[Item]:
    """fp32 on the device equals fp32 on the CPU: losses and norms of three steps."""

    def against_cpu(name: str) -> str:
        words = (*FAMILIES[name], *FP32, *ADAM, "trainer.max_steps=3")
        cpu = bench.train_once(f"families-{name}-cpu", *words, accelerator="cpu")
        here = bench.train_once(f"families-{name}-{bench.accelerator}", *words)
        losses, norms = (largest_difference(here, cpu, f"train/{key}") for key in ("loss", "gradient_norm"))
        said = f"losses differ by {losses:.1e}, norms by {norms:.1e}"
        return hold(said, losses < EQUAL, norms < 10 * EQUAL)

    for name in FAMILIES:
        yield Item(name, partial(against_cpu, name), on_cpu=False)


def precisions(bench: Bench) -> Iterator[Item]:
    """Losses and norms in low precisions are near those of fp32."""

    def against_fp32(name: str) -> str:
        lightning, limit = PRECISIONS[name]
        if name == "fp8" and find_spec("torchao") is None:
            raise Absent("needs torchao")
        if name == "fp8" and bench.small:
            raise Absent("needs a GPU with fp8 units")
        words = ("trainer.max_steps=8",)
        # by hand, as fp16 is refused on a CPU; Lightning takes bf16 for it there
        precision = {"_target_": "triad.hardware.precision.fixed", "_partial_": True, "name": lightning}
        low = bench.train(f"precisions-{name}", *words, *FP32, changes={"precision": precision})[-1]
        full = bench.train_once("precisions-fp32", *words, *FP32)[-1]
        apart = abs(low["train/loss"] / full["train/loss"] - 1)
        ratio = low["train/gradient_norm"] / full["train/gradient_norm"]
        said = f"loss {low['train/loss']:.4f}, fp32 {full['train/loss']:.4f}; norm {ratio:.3f} of fp32's"
        return hold(said, apart < limit, 1 / NORM < ratio < NORM)

    for name in PRECISIONS:
        yield Item(name, partial(against_fp32, name), on_cpu=name.startswith("bf16"))


def optimizers(bench: Bench) -> Iterator[Item]:
    """Every optimizer learns in bf16-mixed, about as in fp32."""

    def learns(name: str) -> str:
        steps = 4 if bench.small else 10
        lr = compose([f"optimizer={name}", "trainer.accelerator=cpu", *constant])["optimizer"]["lr"]
        words = (f"optimizer={name}", *constant, f"optimizer.lr={lr / 4}", f"trainer.max_steps={steps}")
        mixed = bench.train(f"optimizers-{name}", *words, "precision=bf16-mixed")
        losses = [row["train/loss"] for row in mixed]
        said = f"loss {losses[0]:.3f} -> {losses[-1]:.3f}"
        if not bench.small:
            full = bench.train(f"optimizers-{name}-fp32", *words, *FP32)[-1]["train/loss"]
            hold(f"{said}, fp32 {full:.3f}", abs(losses[-1] / full - 1) < 0.03)
            said += f", fp32 {full:.3f}"
        return hold(said, all(math.isfinite(loss) for loss in losses), losses[-1] < losses[0])

    constant = ("scheduler=constant",)
    for path in sorted((CONF / "optimizer").glob("*.yaml")):
        yield Item(path.stem, partial(learns, path.stem))


def strategies(bench: Bench) -> Iterator[Item]:
    """Strategies over nccl (a CPU: gloo) equal `single`: with one process, and with two on two GPUs."""

    def against_single(name: str) -> str:
        if name == "deepspeed" and find_spec("deepspeed") is None:
            raise Absent("needs deepspeed")
        model = [word for word in STRATEGIES[name] if word.startswith("model")]
        words = (*FP32, *ADAM, "trainer.max_steps=3")
        rows = bench.train(f"strategies-{name}", *words, *STRATEGIES[name])
        single = bench.train_once("-".join(["strategies-single", *model]), *words, *model)
        losses = largest_difference(rows, single, "train/loss")
        return hold(f"losses differ by {losses:.1e}", losses < EQUAL)

    def verify(model: str) -> str:
        if not bench.small and torch.cuda.device_count() < 2:
            raise Absent("needs two GPUs; triad verify checks this where there are")
        names = ("fsdp",) if bench.small else ("ddp", "fsdp", "tensor", "expert", "context", "1f1b")
        cases = [
            Case(layout, model, 2, "windows", False, False, layout.precision)
            for layout in LAYOUTS
            if layout.name in names
        ]
        results = run_cases(cases, bench.folder / f"verify-{model}", accelerator=bench.accelerator)
        said = "; ".join(f"{result.case.layout.name} {result.verdict}" for result in results)
        return hold(said, not any(result.wrong for result in results))

    for name in STRATEGIES:
        yield Item(f"{name}, one process", partial(against_single, name))
    for model in ("decoder",) if bench.small else ("decoder", "moe"):
        yield Item(f"{model}, two processes", partial(verify, model))


def repeat(bench: Bench) -> Iterator[Item]:
    """The same run twice: to the bit with trainer.deterministic, nearly so with flash's atomic additions."""

    def twice(words: tuple[str, ...], limit: float) -> str:
        words = (*words, bench.low, "trainer.max_steps=6")
        name = "-".join(words).replace("=", ".")
        first, second = (bench.train(f"repeat-{name}-{n}", *words) for n in (1, 2))
        keys = ("train/loss", "train/gradient_norm")
        apart = max(largest_difference(first, second, key) for key in keys)
        return hold("equal to the bit" if apart == 0 else f"differ by {apart:.1e}", apart <= limit)

    for model in ("decoder", "moe"):
        yield Item(f"{model}, deterministic", partial(twice, (*DETERMINISTIC, f"model={model}"), 0.0))
        if not bench.small:
            yield Item(f"{model}, flash", partial(twice, (f"model={model}",), 1e-2))


def resume(bench: Bench) -> Iterator[Item]:
    """A run that is resumed goes on as the one that was not ended."""

    def in_two_parts(strategy: str) -> str:
        words = (bench.low, "callbacks.checkpoint.every_steps=3", *DETERMINISTIC)
        words = (*words, f"strategy={strategy}", "callbacks.checkpoint.keep=9")
        name, parts = f"resume-{strategy}", ("metrics", "checkpoint")
        whole = bench.train(f"{name}-whole", *words, "trainer.max_steps=6", parts=parts)
        bench.train(name, *words, "trainer.max_steps=3", parts=parts)
        rows = bench.train(name, *words, "trainer.max_steps=6", parts=parts)
        shutil.rmtree(bench.folder / f"{name}-whole")
        apart = largest_difference(rows, whole, "train/loss")
        return hold("equal to the bit" if apart == 0 else f"differ by {apart:.1e}", apart == 0)

    for strategy in ("single", "fsdp"):
        yield Item(strategy, partial(in_two_parts, strategy))
