"""Layouts that cannot work: what does not divide, and what a strategy cannot do."""

from importlib.util import find_spec

from triad.config.locations import tell_install
from triad.config.offers import get_declared, name_choice
from triad.config.processes import AXES, degree, world_size
from triad.config.refusals import Impossible
from triad.strategies.model_sizes import (
    FOLDED,
    SPLIT,
    STAGES,
    experts,
    heads,
    hidden,
    is_transformer,
    kv_heads,
    stages,
)


def facts(config: dict) -> dict:
    """What the sentences below name, beside the configuration itself."""
    axes = {axis: degree(config, axis) for axis in AXES if axis != "context"}
    sizes = {"heads": heads(config), "kv_heads": kv_heads(config), "hidden": hidden(config)}
    count, context = experts(config), degree(config, "context")
    tensor, chunks = axes["tensor"], 2 * context
    units = config["model"].get("depth", 0) + 2
    return (
        axes
        | sizes
        | {
            "model_choice": name_choice(config, "model"),
            "context_degree": context,
            "experts": count,
            "near_tensor": max(
                n for n in range(1, max(tensor, 1) + 1) if not any(s % n for s in sizes.values())
            ),
            "near_expert": max(n for n in range(1, max(axes["expert"], 1) + 1) if count % n == 0),
            "near_stretches": max(1, round(config["context"] / max(tensor, 1))) * max(tensor, 1),
            "near_chunks": max(1, round(config["context"] / max(chunks, 1))) * max(chunks, 1),
            "schedules": ", ".join(STAGES),
            "stages": stages(config),
            "units": units,
            "near_depth": stages(config) - 2,
            "near_pipeline": max(1, units * axes["pipeline"] // max(stages(config), 1)),
        }
    )


TABLE = [
    Impossible(
        "each slice of attention holds whole heads",
        "strategy=tensor trainer.devices=3",
        lambda c: bool(heads(c) % degree(c, "tensor")),
        "strategy.tensor={tensor} does not divide model.attention.heads={heads}: the nearest that does is "
        "strategy.tensor={near_tensor}",
    ),
    Impossible(
        "each slice of attention holds whole key-value heads",
        "strategy=tensor trainer.devices=4 model.attention.kv_heads=2",
        lambda c: bool(kv_heads(c) % degree(c, "tensor")),
        "strategy.tensor={tensor} does not divide model.attention.kv_heads={kv_heads}: the nearest that does "
        "is strategy.tensor={near_tensor}",
    ),
    Impossible(
        "each slice of a feed-forward layer holds as many hidden units",
        "strategy=tensor trainer.devices=2 trainer.accelerator=cpu model.feedforward.hidden=511",
        lambda c: bool(hidden(c) % degree(c, "tensor")),
        "strategy.tensor={tensor} does not divide model.feedforward.hidden={hidden}: the nearest that does "
        "is strategy.tensor={near_tensor}",
    ),
    Impossible(
        "sequence parallelism lies between slices of matrices",
        "strategy=mesh strategy.sequence_parallel=true",
        lambda c: c["strategy"].get("sequence_parallel") and degree(c, "tensor") == 1,
        "strategy.sequence_parallel=true needs strategy.tensor above 1",
    ),
    Impossible(
        "time is cut once",
        "strategy=tensor strategy.sequence_parallel=true strategy.context=2 trainer.devices=4",
        lambda c: c["strategy"].get("sequence_parallel") and degree(c, "context") > 1,
        "strategy.sequence_parallel=true and strategy.context={context_degree} both cut sequences: use one",
    ),
    Impossible(
        "stretches of time are of one length",
        "strategy=tensor strategy.sequence_parallel=true context=31 trainer.devices=2",
        lambda c: c["strategy"].get("sequence_parallel") and bool(c["context"] % degree(c, "tensor")),
        "strategy.tensor={tensor} with sequence_parallel does not divide context={context}: the nearest that "
        "works is context={near_stretches}",
    ),
    Impossible(
        "experts are spread where there are experts",
        "strategy=expert trainer.devices=2",
        lambda c: degree(c, "expert") > 1 and not experts(c),
        "strategy.expert={expert} but {model_choice} has no experts: use model=moe, or strategy=fsdp",
    ),
    Impossible(
        "each process holds as many experts",
        "strategy=expert model=moe trainer.devices=3",
        lambda c: bool(experts(c) % degree(c, "expert")),
        "strategy.expert={expert} does not divide model.feedforward.experts={experts}: the nearest that does "
        "is strategy.expert={near_expert}",
    ),
    Impossible(
        "each process holds two chunks of a sequence",
        "strategy=context context=30 trainer.devices=2",
        lambda c: degree(c, "context") > 1 and bool(c["context"] % (2 * degree(c, "context"))),
        "context={context} does not divide into 2 x strategy.context={context_degree} chunks: the nearest "
        "that does is context={near_chunks}",
    ),
    Impossible(
        "a schedule has a name",
        "strategy=pipeline strategy.schedule=foo trainer.devices=2",
        lambda c: c["strategy"].get("schedule", "1f1b") not in STAGES,
        "strategy.schedule={strategy[schedule]} is not known: use one of {schedules}",
    ),
    Impossible(
        "each stage of a pipeline has something to do",
        "strategy=pipeline trainer.devices=8",
        lambda c: degree(c, "pipeline") > 1 and is_transformer(c) and c["model"]["depth"] + 2 < stages(c),
        "strategy.pipeline={pipeline} with strategy.schedule={strategy[schedule]} has {stages} stages, but "
        "embedding, blocks and head are {units}: use model.depth={near_depth}, or "
        "strategy.pipeline={near_pipeline}",
    ),
    Impossible(
        "a backward pass in two halves cannot be compiled",
        "strategy=pipeline strategy.schedule=zbv hardware.compile=true trainer.devices=2",
        lambda c: (
            degree(c, "pipeline") > 1 and c["hardware"]["compile"] and c["strategy"]["schedule"] in SPLIT
        ),
        "hardware.compile=true does not go with strategy.schedule={strategy[schedule]}, whose backward pass "
        "is split: use strategy.schedule=1f1b, gpipe or interleaved",
    ),
    Impossible(
        "a tied embedding is sharded once",
        "strategy=mesh strategy.pipeline=2 strategy.schedule=zbv model=gpt2 trainer.devices=4",
        lambda c: (
            degree(c, "pipeline") > 1
            and c["strategy"]["schedule"] in FOLDED
            and c["model"].get("tied")
            and degree(c, "tensor") * degree(c, "pipeline") < world_size(c)
        ),
        "strategy.schedule={strategy[schedule]} puts both ends of model.tied=true into one process, where "
        "they cannot be sharded: use strategy.schedule=1f1b, or model.tied=false",
    ),
    Impossible(
        "DeepSpeed is a package of its own",
        "strategy=deepspeed trainer.devices=2",
        lambda c: get_declared(c["strategy"], "zero") and find_spec("deepspeed") is None,
        f"strategy=deepspeed needs the package deepspeed: {tell_install('deepspeed')}",
    ),
    Impossible(
        "ZeRO has three stages",
        "strategy=deepspeed strategy.stage=4 trainer.devices=2",
        lambda c: get_declared(c["strategy"], "zero") and c["strategy"]["stage"] not in (1, 2, 3),
        "strategy.stage={strategy[stage]}: use 1, 2 or 3",
    ),
    Impossible(
        "weights leave the GPU when they are kept in parts",
        "strategy=deepspeed strategy.offload_parameters=true trainer.devices=2",
        lambda c: (
            get_declared(c["strategy"], "zero")
            and c["strategy"]["offload_parameters"]
            and c["strategy"]["stage"] != 3
        ),
        "strategy.offload_parameters=true needs strategy.stage=3",
    ),
    Impossible(
        "the hooks of ZeRO 3 cannot be compiled",
        "strategy=deepspeed strategy.stage=3 hardware.compile=true trainer.devices=2",
        lambda c: (
            get_declared(c["strategy"], "zero") and c["strategy"]["stage"] == 3 and c["hardware"]["compile"]
        ),
        "hardware.compile=true does not go with strategy.stage=3: use strategy.stage=2 or strategy=fsdp",
    ),
]
