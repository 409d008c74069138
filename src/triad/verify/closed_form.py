"""What a layout must hold and send, by formula.

    held        each axis divides what it splits; Adam keeps two numbers for each weight and a count of steps
    FSDP        gathers each block for its forward and its backward pass and the rest once, a micro-batch;
                scatters each gradient once a step      Zhao et al. 2023, arXiv:2304.11277, section 3
    tensor      4 sums of all activations a block (2 forward, 2 backward), one at either end, and in the loss
                the largest logit and two sums      Shoeybi et al. 2019, arXiv:1909.08053, section 3
    sequence    a gather and a scatter in place of each of those sums      arXiv:2205.05198, section 4.2
    expert      rows there and back, forward and backward, and their numbers      arXiv:2006.16668
    context     keys and values gathered forward, their gradients scattered back      arXiv:2407.21783
    pipeline    activations and auxiliary loss of each micro-batch to the next stage      arXiv:1811.06965

For Transformers whose blocks are computed once (no checkpointing). T context, D width, L blocks.
"""

from collections import Counter
from math import prod
from typing import Any, NamedTuple

from triad.facts import is_transformer, stages
from triad.layout import data_ranks, degree

ITEM = {"64-true": 8, "32-true": 4}
STEP_BYTES = 4  # Adam's count of steps, of each weight
COLUMNS = ("q", "k", "v", "gate", "up")  # cut by their outputs, and rows by their inputs
ROWS = ("out", "down")


class Sent(NamedTuple):
    """Messages of a step's forward and backward pass in process 0, and their bytes."""

    messages: dict[str, int]
    bytes: dict[str, int]


def held(shapes: dict[str, tuple[int, ...]], config: dict) -> dict[str, int]:
    """Bytes of parameters, gradients and Adam's state in process 0."""
    item = ITEM[config["precision"]["name"]]
    mine = {name: prod(_local(name, shape, config)) for name, shape in shapes.items() if _here(name, config)}
    elements = sum(mine.values()) * item
    return {
        "parameters": elements,
        "gradients": elements,
        "optimizer": 2 * elements + STEP_BYTES * len(mine),
    }


def sent(shapes: dict[str, tuple[int, ...]], config: dict, parts: int) -> Sent:
    """Messages of process 0 in a step cut into `parts` micro-batches."""
    item, width = ITEM[config["precision"]["name"]], config["model"]["width"]
    rows = config["batch"]["size"] // data_ranks(config)
    tokens = rows * config["context"] // degree(config, "context")
    activations = tokens * width * item
    messages: Counter[str] = Counter()
    volume: Counter[str] = Counter()

    def add(kind: str, times: int, size: int) -> None:
        """`times` messages in each micro-batch, each of `size` bytes over all micro-batches together."""
        messages[kind] += times * parts
        volume[kind] += times * size

    if config["strategy"]["_target_"].endswith(".DDP"):
        messages["all_reduce"] += 1  # one bucket holds so small a model
        volume["all_reduce"] += sum(prod(shape) for shape in shapes.values()) * item
        return Sent(dict(messages), dict(volume))
    _add_fsdp(shapes, config, parts, messages, volume)
    blocks = config["model"]["depth"] if is_transformer(config) else 0
    if degree(config, "tensor") > 1:
        ends = 2 + 4 * blocks
        for kind in ("all_gather", "reduce_scatter") if _over_time(config) else ("all_reduce",):
            add(kind, ends, activations)
        add("all_reduce", 1, tokens * item)
        add("all_reduce", 1, 2 * tokens * item)
    if degree(config, "context") > 1:
        attention = config["model"]["attention"]
        heads = attention.get("kv_heads") or attention["heads"]
        both = 2 * heads * (width // attention["heads"]) * tokens * degree(config, "context") * item
        add("all_gather", blocks, both)
        add("reduce_scatter", blocks, both)
    if degree(config, "expert") > 1:
        messages["all_to_all"] += 5 * blocks * parts
    if degree(config, "pipeline") > 1:
        whole = parts * -(-rows // parts)  # with ghosts
        messages["send"] += 2 * parts
        volume["send"] += whole * (activations // rows + max(item, 4))
    return Sent(dict(messages), dict(volume))


def _add_fsdp(shapes: dict, config: dict, parts: int, messages: Counter, volume: Counter) -> None:
    over, item = _dense(config), ITEM[config["precision"]["name"]]
    if over * degree(config, "data_replicate") == 1:
        return
    sizes: Counter[str] = Counter()
    for name, shape in shapes.items():
        if not (degree(config, "expert") > 1 and name.rpartition(".")[2].endswith(("EDF", "EFD"))):
            group = ".".join(name.split(".")[:2]) if name.startswith("blocks.") else "rest"
            sizes[group] += prod(_local(name, shape, config)) * over * item
    for group, size in sizes.items():
        gathers = parts * (1 if group == "rest" else 2)
        messages["all_gather"] += gathers
        volume["all_gather"] += gathers * size
        messages["reduce_scatter"] += 1
        volume["reduce_scatter"] += size
        if degree(config, "data_replicate") > 1:
            messages["all_reduce"] += 1
            volume["all_reduce"] += size // over


def _local(name: str, shape: tuple[int, ...], config: dict) -> tuple[int, ...]:
    """The shape of process 0's slice: it has the larger ones."""
    sides, cut = list(shape), set()
    if (dim := _cut_by_tensor(name, config)) is not None:
        sides[dim] = -(-sides[dim] // degree(config, "tensor"))
        cut.add(dim)
    expert = name.rpartition(".")[2].endswith(("EDF", "EFD")) and degree(config, "expert") > 1
    if expert:
        sides[0] //= degree(config, "expert")
        cut.add(0)
    over = _sparse(config) if expert else _dense(config)
    free = [dim for dim in range(len(sides)) if dim not in cut and sides[dim] % over == 0]
    dim = 0 if 0 not in cut or not free else free[0]
    sides[dim] = -(-sides[dim] // over)
    return tuple(sides)


def _cut_by_tensor(name: str, config: dict) -> int | None:
    *_, layer, kind = name.split(".")
    if degree(config, "tensor") == 1:
        return None
    if kind.endswith(("EDF", "EFD")):
        return None if degree(config, "expert") > 1 else 2 if kind.endswith("EDF") else 1
    if layer in COLUMNS or (layer in ("embedding", "head") and kind == "weight"):
        return 0
    return 1 if layer in ROWS and kind == "weight" else None


def _here(name: str, config: dict) -> bool:
    """Whether process 0 holds any of it: its stages are the first, and in folded schedules the last."""
    if degree(config, "pipeline") == 1:
        return True
    from triad.strategies.pipeline import ORDERS, placed
    from triad.strategies.stage import spread

    places = placed(ORDERS[config["strategy"]["schedule"]], degree(config, "pipeline"))
    units = spread(config["model"]["depth"] + 2, stages(config))
    mine = {unit for place, units in zip(places, units, strict=True) if place == 0 for unit in units}
    end = config["model"]["depth"] + 1
    if name.startswith("blocks."):
        return int(name.split(".")[1]) + 1 in mine
    first = name.startswith(("embedding", "position"))
    return (0 in mine and first) or (end in mine and (not first or _tied(name, config)))


def _tied(name: str, config: dict) -> bool:
    return name.startswith("embedding") and config["model"]["tied"]


def _over_time(config: dict) -> Any:
    return config["strategy"]["sequence_parallel"]


def _dense(config: dict) -> int:
    return prod(degree(config, axis) for axis in ("data_shard", "context", "expert"))


def _sparse(config: dict) -> int:
    return degree(config, "data_shard") * degree(config, "context")
