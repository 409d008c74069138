"""The memory and messages of a layout, by formula.

    held        each axis divides what it splits; Adam keeps two numbers for each weight and a step count
    FSDP        gathers each block for its forward and its backward pass and the rest once, a micro-batch;
                scatters each gradient once a step      Zhao et al. 2023, arXiv:2304.11277, section 3
    tensor      4 sums of all activations per block (2 forward, 2 backward), one at either end, and in the
                loss the largest logit and two sums      Shoeybi et al. 2019, arXiv:1909.08053, section 3
    sequence    a gather and a scatter in place of each of those sums      arXiv:2205.05198, section 4.2
    expert      rows there and back, forward and backward, and their numbers      arXiv:2006.16668
    context     keys and values gathered forward, their gradients scattered back      arXiv:2407.21783
    pipeline    activations and terms of the auxiliary loss to the next stage      arXiv:1811.06965

For Transformers whose blocks are computed once (no checkpointing). T context, D width, L blocks.
"""

from collections import Counter
from math import prod
from typing import Any, NamedTuple

from triad.config.offers import get_declared
from triad.config.processes import data_ranks, degree, world_size
from triad.strategies.model_sizes import expert_layers, experts, is_transformer, stages

ITEM = {"64-true": 8, "32-true": 4}
STEP_BYTES = 4  # Adam's count of steps, of each weight
ORDER = ("pipeline", "data_replicate", "data_shard", "context", "expert", "tensor")  # outermost first
SHARDED = ("data_shard", "context", "expert")  # what FSDP shards over; experts over the first two


class Weight(NamedTuple):
    """A parameter as its model declares it."""

    shape: tuple[int, ...]
    role: str
    cut: int | None  # the dimension that tensor parallelism slices
    block: int | None  # which block it is in
    units: tuple[int, ...]  # which of the first (0) and last (-1) unit of a pipeline use it


class Sent(NamedTuple):
    """Messages of a step's forward and backward pass in process 0, and their bytes, as far as formulas go.

    DDP's number of messages depends on its buckets, the bytes that travel to experts on the data.
    """

    messages: dict[str, int]
    bytes: dict[str, int]


def held_bytes(weights: list[Weight], config: dict, rank: int) -> dict[str, int]:
    """Bytes of parameters, gradients and Adam's state in one process."""
    item = ITEM[config["precision"]["name"]]
    if get_declared(config["strategy"], "zero"):
        return _held_by_deepspeed(weights, config)
    at = _coordinates(config, rank)
    mine = [prod(_local_shape(weight, config, at)) for weight in weights if _is_here(weight, config, at)]
    elements = sum(mine) * item
    return {
        "parameters": elements,
        "gradients": elements,
        "optimizer": 2 * elements + STEP_BYTES * len(mine),
    }


def _held_by_deepspeed(weights: list[Weight], config: dict) -> dict[str, int]:
    """ZeRO concatenates decayed and other weights (stage 3: divides each) and shards the optimizer's state.

    Weights are whole in the forward pass: at stage 3 those of fewer than 10^5 numbers, as all are here.
    Gradients are in DeepSpeed's own buffers.
    """
    processes, item = world_size(config), 4
    sizes = [
        [prod(weight.shape) for weight in weights if (weight.role in config["decay"]) == decays]
        for decays in (True, False)
    ]
    if config["strategy"]["stage"] == 3:
        parts = [sum(-(-size // processes) for size in group) for group in sizes]
    else:  # padded so that each process begins at an even number
        parts = [-(-sum(group) // (2 * processes)) * 2 for group in sizes]
    optimizer = 2 * item * sum(parts) + STEP_BYTES * len(parts)
    return {"parameters": item * sum(map(sum, sizes)), "gradients": 0, "optimizer": optimizer}


def _coordinates(config: dict, rank: int) -> dict[str, int]:
    """A process's coordinate on each axis of the mesh."""
    at = {}
    for axis in reversed(ORDER):
        at[axis] = rank % degree(config, axis)
        rank //= degree(config, axis)
    return at


def sent_messages(weights: list[Weight], config: dict, parts: int) -> Sent:
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

    if "data_shard" not in config["strategy"] and world_size(config) > 1:
        volume["all_reduce"] += sum(prod(weight.shape) for weight in weights) * item
        return Sent(dict(messages), dict(volume))
    _add_fsdp(weights, config, parts, messages, volume)
    blocks = config["model"]["depth"] if is_transformer(config) else 0
    if degree(config, "tensor") > 1:
        ends = 2 + 4 * blocks
        for kind in ("all_gather", "reduce_scatter") if _is_sequence_parallel(config) else ("all_reduce",):
            add(kind, ends, activations)
        add("all_reduce", 1, tokens * item)
        add("all_reduce", 1, 2 * tokens * item)
    if degree(config, "context") > 1:
        attention = config["model"]["attention"]
        heads = (attention.get("kv_heads") or attention["heads"]) // degree(config, "tensor")
        both = 2 * heads * (width // attention["heads"]) * tokens * degree(config, "context") * item
        add("all_gather", blocks, both)
        add("reduce_scatter", blocks, both)
    if degree(config, "expert") > 1:
        messages["all_to_all"] += 5 * expert_layers(config) * parts
    if degree(config, "pipeline") > 1:
        whole = parts * -(-rows // parts)  # with ghosts
        messages["send"] += 2 * parts
        volume["send"] += whole * (activations // rows + _auxiliary_terms(config) * max(item, 4))
    return Sent(dict(messages), dict(volume))


def has_formula(config: dict) -> bool:
    """Whether there is a formula for the messages.

    There is none for recomputed blocks, DeepSpeed, folded pipelines, and experts or pipelines combined with
    other axes.
    """
    if config["hardware"]["checkpointing"] or get_declared(config["strategy"], "zero"):
        return False
    others = [axis for axis in ORDER if axis != "expert" and degree(config, axis) > 1]
    if degree(config, "pipeline") > 1:
        return (
            len(others) == 1
            and degree(config, "expert") == 1
            and stages(config) == degree(config, "pipeline")
        )
    if degree(config, "expert") > 1:
        return not others
    return not experts(config) or not {"tensor", "context"} & {*others}


def _add_fsdp(weights: list[Weight], config: dict, parts: int, messages: Counter, volume: Counter) -> None:
    over, item = _dense(config), ITEM[config["precision"]["name"]]
    if over * degree(config, "data_replicate") == 1:
        return
    sizes: Counter[int | None] = Counter()  # None: what is in no block
    first = _coordinates(config, 0)  # whose slice is the largest: the others' are padded to it
    for weight in weights:
        if not (degree(config, "expert") > 1 and weight.role == "expert"):
            sizes[weight.block] += prod(_local_shape(weight, config, first)) * over * item
    for block, size in sizes.items():
        gathers = parts * (1 if block is None else 2)
        messages["all_gather"] += gathers
        volume["all_gather"] += gathers * size
        messages["reduce_scatter"] += 1
        volume["reduce_scatter"] += size
        if degree(config, "data_replicate") > 1:
            messages["all_reduce"] += 1
            volume["all_reduce"] += size // over


def _local_shape(weight: Weight, config: dict, at: dict[str, int]) -> tuple[int, ...]:
    """The shape of one process's shard, divided as torch.chunk does."""
    sides, cut = list(weight.shape), set()
    apart = weight.role == "expert" and degree(config, "expert") > 1
    if weight.cut is not None and degree(config, "tensor") > 1 and not apart:
        sides[weight.cut] = _chunk(sides[weight.cut], degree(config, "tensor"), at["tensor"])
        cut.add(weight.cut)
    if apart:
        sides[0] //= degree(config, "expert")
        cut.add(0)
    over = SHARDED[:2] if apart else SHARDED
    processes, index = 1, 0
    for axis in over:
        processes, index = processes * degree(config, axis), index * degree(config, axis) + at[axis]
    free = [dim for dim in range(len(sides)) if dim not in cut and weight.shape[dim] % processes == 0]
    dim = 0 if 0 not in cut or not free else free[0]
    sides[dim] = _chunk(sides[dim], processes, index)
    return tuple(sides)


def _chunk(side: int, processes: int, index: int) -> int:
    most = -(-side // processes)
    return max(0, min(most, side - index * most))


def _is_here(weight: Weight, config: dict, at: dict[str, int]) -> bool:
    """Whether a process's stages hold it."""
    if degree(config, "pipeline") == 1:
        return True
    from triad.strategies.pipeline import ORDERS, place_stages
    from triad.strategies.stage import divide_units

    places = place_stages(ORDERS[config["strategy"]["schedule"]], degree(config, "pipeline"))
    units = divide_units(config["model"]["depth"] + 2, stages(config))
    mine = {
        unit for place, units in zip(places, units, strict=True) if place == at["pipeline"] for unit in units
    }
    if weight.block is not None:
        return weight.block + 1 in mine
    return any(unit % (config["model"]["depth"] + 2) in mine for unit in weight.units)


def _is_sequence_parallel(config: dict) -> Any:
    return config["strategy"]["sequence_parallel"]


def _auxiliary_terms(config: dict) -> int:
    """How many terms of the auxiliary loss of a row go from stage to stage: see triad.layers.routing."""
    router = config["model"].get("feedforward", {}).get("router", {})
    return 3 + 2 * experts(config) if router.get("over_layers") == "pool" else 1


def _dense(config: dict) -> int:
    return prod(degree(config, axis) for axis in SHARDED)
