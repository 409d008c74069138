"""The layouts that are compared with one process, and the other choices that must not matter."""

from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import NamedTuple

from triad.config.build import build
from triad.config.compose import compose
from triad.config.locations import CONF

ROWS = 52  # 2, 3 and 7 micro-batches leave a smaller last one, on 1, 2 and 4 data-parallel processes
STEPS = 4


class Layout(NamedTuple):
    """A choice on the hardware axis, and how many processes it takes."""

    name: str
    ranks: int
    words: str

    @property
    def precision(self) -> str:
        """float64 distinguishes a wrong factor from another order of sums; DeepSpeed keeps fp32 weights."""
        return "fp32" if "deepspeed" in self.words else "fp64"


LAYOUTS = [
    Layout("single", 1, "strategy=single"),
    Layout("ddp", 2, "strategy=ddp"),
    Layout("fsdp", 2, "strategy=fsdp"),
    Layout("hsdp", 4, "strategy=hsdp"),
    Layout("tensor", 2, "strategy=tensor"),
    Layout("tensor, sequence", 2, "strategy=tensor strategy.sequence_parallel=true"),
    Layout("expert", 2, "strategy=expert"),
    Layout("context", 2, "strategy=context"),
    Layout("gpipe", 2, "strategy=pipeline strategy.schedule=gpipe"),
    Layout("1f1b", 2, "strategy=pipeline strategy.schedule=1f1b"),
    Layout("interleaved", 2, "strategy=pipeline strategy.schedule=interleaved"),
    Layout("zero_bubble", 2, "strategy=pipeline strategy.schedule=zero_bubble"),
    Layout("zbv", 2, "strategy=pipeline strategy.schedule=zbv"),
    Layout("dualpipev", 2, "strategy=pipeline strategy.schedule=dualpipev"),
    Layout("shard 2 x tensor 2", 4, "strategy=mesh strategy.data_shard=2 strategy.tensor=2"),
    Layout("shard 2 x expert 2", 4, "strategy=mesh strategy.data_shard=2 strategy.expert=2"),
    Layout("shard 2 x context 2", 4, "strategy=mesh strategy.data_shard=2 strategy.context=2"),
    Layout("context 2 x tensor 2", 4, "strategy=mesh strategy.context=2 strategy.tensor=2"),
    Layout("expert 2 x tensor 2", 4, "strategy=mesh strategy.expert=2 strategy.tensor=2"),
    Layout("expert 2 x context 2", 4, "strategy=mesh strategy.expert=2 strategy.context=2"),
    Layout("replicate 2 x expert 2", 4, "strategy=mesh strategy.data_replicate=2 strategy.expert=2"),
    Layout("pipeline 2 x expert 2", 4, "strategy=mesh strategy.pipeline=2 strategy.expert=2"),
    Layout("pipeline 2 x context 2", 4, "strategy=mesh strategy.pipeline=2 strategy.context=2"),
    Layout("pipeline 2 x shard 2", 4, "strategy=mesh strategy.pipeline=2 strategy.data_shard=2"),
    Layout("pipeline 2 x tensor 2", 4, "strategy=mesh strategy.pipeline=2 strategy.tensor=2"),
    Layout("zero 1", 2, "strategy=deepspeed strategy.stage=1"),
    Layout("zero 2", 2, "strategy=deepspeed strategy.stage=2"),
    Layout("zero 3", 2, "strategy=deepspeed strategy.stage=3"),
]


class Case(NamedTuple):
    """One run: a model in a layout, with `parts` micro-batches, and other choices that must not matter."""

    layout: Layout
    model: str
    parts: int
    packing: str
    checkpointing: bool
    compile: bool
    precision: str

    @property
    def name(self) -> str:
        """The name of its run."""
        switches = "".join(
            word
            for word, on in (
                (f"-{self.packing}", self.packing != "windows"),
                ("-checkpointing", self.checkpointing),
                ("-compile", self.compile),
            )
            if on
        )
        layout = "-".join(self.layout.name.replace(",", "").split())
        return f"{self.model}-{layout}-{self.parts}{switches}-{self.precision}"

    @property
    def reference(self) -> "Case":
        """The same model and rows in one process and one micro-batch."""
        return Case(LAYOUTS[0], self.model, 1, self.packing, False, False, self.precision)


PARTS = (1, 2, 3, 7)
PACKINGS = ("windows", "none")
SMALL = (
    "debug=tiny",
    "context=16",
    "model.width=48",
    f"batch.size={ROWS}",
    f"trainer.max_steps={STEPS}",
    f"trainer.val_check_interval={STEPS}",
    "trainer.limit_val_batches=null",
    "callbacks.sample.length=2",
    "scheduler=constant",
    "scheduler.warmup=0",
    "optimizer.lr=1e-2",
    "optimizer.eps=1e-4",  # Adam may divide by a gradient that is rounding only
)
MAIN = ("decoder", "moe", "lstm")  # one of each kind
LARGEST = 2_000_000  # parameters; larger ones are published sizes of the models above


@cache
def small_models() -> list[str]:
    """Every model of conf/model that can be made this small and can be trained on the default task."""
    names = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
    return [name for name in names if _is_small(name)]


def _is_small(name: str) -> bool:
    import torch

    try:
        node = compose([*SMALL, f"model={name}"])["model"]
        with torch.device("meta"):
            model = build(node)(vocab_size=257)
    except ValueError:  # its heads do not divide this width, or it is refused with this task
        return False
    return sum(parameter.numel() for parameter in model.parameters()) <= LARGEST


def all_cases() -> Iterator[Case]:
    """The full product of all choices."""
    switch = (False, True)
    for layout, model, parts in product(LAYOUTS, small_models(), PARTS):
        for packing, checkpointing, compile in product(PACKINGS, switch, switch):
            yield Case(layout, model, parts, packing, checkpointing, compile, layout.precision)


def covering_cases() -> Iterator[Case]:
    """The main models in each layout once, the others in every fourth one, with all values of other choices.

    Compilation takes longer than the rest of a run, so it is tried only where it meets hooks of FSDP or
    replaced forwards of tensor parallelism.
    """
    for at, layout in enumerate(LAYOUTS):
        others = [model for model in small_models() if model not in MAIN]
        for turn, model in enumerate([*MAIN, *others[at % 4 :: 4]]):
            step = at + turn
            compile = model == "decoder" and layout.name in ("fsdp", "tensor")
            rows = PACKINGS[step % 2], step // 2 % 2 == 1
            yield Case(layout, model, PARTS[step % 4], *rows, compile, layout.precision)
