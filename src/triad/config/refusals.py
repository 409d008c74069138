"""The table of impossible combinations: data, tested, and refused before any process starts."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import NamedTuple

from triad.config.facts import (
    ADAPTIVE,
    BY_ELEMENT,
    COUNTED,
    FOLDED,
    READING,
    SEQUENCE_WIDE,
    SPLIT,
    STAGES,
    beyond_rows,
    carries_state,
    experts,
    facts,
    fills_the_world,
    gateless,
    has_size,
    heads,
    hidden,
    is_deepspeed,
    is_encoder,
    is_encoder_decoder,
    is_labelled,
    is_mup,
    is_penalized,
    is_transformer,
    joins_heads,
    kv_heads,
    learns,
    learns_from_pairs,
    outgrown,
    overlap,
    routers,
    schedules,
    sizes,
    stages,
    steps_of,
    strange_roles,
    validations,
)
from triad.config.processes import data_ranks, degree, gpus, ranks_are_here, ranks_here, world_size


class Impossible(NamedTuple):
    """A combination that cannot work, and the sentence that says so with a remedy."""

    why: str
    holds: Callable[[dict], bool]
    sentence: str  # formatted with the configuration's top-level nodes and the names in `facts`


TABLE = [
    Impossible(
        "a device is counted, not named",
        lambda c: not str(c["trainer"]["devices"]).isdigit() or int(c["trainer"]["devices"]) < 1,
        "trainer.devices={devices}: give a number of processes or auto; CUDA_VISIBLE_DEVICES says which GPUs",
    ),
    Impossible(
        "only CPUs and NVIDIA GPUs are known",
        lambda c: c["trainer"]["accelerator"] not in ("cpu", "gpu", "cuda"),
        "trainer.accelerator={trainer[accelerator]} is not supported: use cpu or gpu",
    ),
    Impossible(
        "schedules need to know how long the run is",
        lambda c: c["trainer"]["max_steps"] < 1,
        "trainer.max_steps={trainer[max_steps]}: a run needs a number of steps",
    ),
    Impossible(
        "an epoch of Lightning's would start the data again",
        lambda c: "limit_train_batches" in c["trainer"],
        "trainer.limit_train_batches is not supported: use trainer.max_steps",
    ),
    Impossible(
        "python train.py starts processes on its own machine only",
        lambda c: c["trainer"]["num_nodes"] > 1 and not ranks_are_here(),
        "trainer.num_nodes={trainer[num_nodes]} needs torchrun or srun on every machine, see docs/running.md",
    ),
    Impossible(
        "one process cannot use several devices",
        lambda c: c["strategy"]["_target_"].endswith(".Single") and world_size(c) > 1,
        "strategy=single runs one process but trainer.devices={devices}: use strategy=ddp or strategy=fsdp",
    ),
    Impossible(
        "more GPU processes than GPUs",
        lambda c: c["trainer"]["accelerator"] in ("gpu", "cuda") and ranks_here(c) > gpus(),
        "trainer.devices={devices} but this machine shows {gpus} GPUs: lower it or use "
        "trainer.accelerator=cpu",
    ),
    Impossible(
        "the degrees of a mesh multiply to the number of processes",
        lambda c: "data_shard" in c["strategy"] and not fills_the_world(c),
        "strategy: {degrees} do not multiply to the {world} processes of trainer.devices={devices}; change "
        "one of them, or let one be -1 to take what is left",
    ),
    Impossible(
        "an encoder sees the tokens that follow",
        lambda c: is_encoder(c) and learns(c, "CausalLM"),
        "model={model_name} sees the future that task=causal_lm asks it for: use task=masked_lm, or "
        "model=decoder",
    ),
    Impossible(
        "an encoder-decoder reads a source",
        lambda c: is_encoder_decoder(c) and not learns(c, "SequenceToSequence"),
        "model={model_name} turns a source into a target, which task={task_name} does not have: use "
        "task=copy, reverse, sort or translation, or another model",
    ),
    Impossible(
        "hidden tokens are found from both sides",
        lambda c: learns(c, "MaskedLM") and not is_encoder(c),
        "task=masked_lm needs a model that sees both sides of a token; model={model_name} does not: use "
        "model=encoder, or task=causal_lm",
    ),
    Impossible(
        "a pooler has no part in finding hidden tokens",
        lambda c: learns(c, "MaskedLM") and c["model"].get("pooler") is not None,
        "task=masked_lm has no use for model.pooler, whose weights would get no gradient: use "
        "model.pooler=null",
    ),
    Impossible(
        "a source is read by an encoder and told by a decoder",
        lambda c: learns(c, "SequenceToSequence") and not is_encoder_decoder(c),
        "model={model_name} reads no source: use model=encoder_decoder, or task=causal_lm",
    ),
    Impossible(
        "a translation is of parallel text, and parallel text is for translation",
        lambda c: learns_from_pairs(c) != c["data"]["_target_"].endswith(".parallel"),
        "task={task_name} does not go with data={data_name}: task=translation needs data=parallel, and the "
        "other tasks a text",
    ),
    Impossible(
        "a label is learned from labelled documents, and they are for nothing else",
        lambda c: learns(c, "Classification") != is_labelled(c),
        "task={task_name} does not go with data={data_name}: task=classification needs labelled documents "
        "(data=packages, or data=labelled with your own), and the other tasks other data",
    ),
    Impossible(
        "an n-gram never sees a whole document",
        lambda c: learns(c, "Classification") and c["model"]["_target_"].endswith(".MLP"),
        "task=classification needs a model that reads whole documents, not model={model_name}: use "
        "model=lstm, decoder or encoder",
    ),
    Impossible(
        "a document is pooled once",
        lambda c: learns(c, "Classification") and c["task"]["pool"] and c["model"].get("pooler") is not None,
        "task.pool and model.pooler both make one vector of a document: set one of them to null",
    ),
    Impossible(
        "a document is pooled where it was read",
        lambda c: learns(c, "Classification") and beyond_rows(c) is not None,
        "task=classification cannot be spread over strategy.{beyond_rows}: use strategy=fsdp, ddp, hsdp, "
        "expert or deepspeed",
    ),
    Impossible(
        "attention to both sides is not cut over processes",
        lambda c: (is_encoder(c) or is_encoder_decoder(c)) and beyond_rows(c) is not None,
        "model={model_name} cannot be spread over strategy.{beyond_rows}: use strategy=fsdp, ddp, hsdp or "
        "deepspeed",
    ),
    Impossible(
        "only attention and feed-forward layers can be cut into slices",
        lambda c: degree(c, "tensor") > 1 and not is_transformer(c),
        "model={model_name} cannot be cut into slices by strategy.tensor={tensor}: use strategy=fsdp, or a "
        "Transformer such as model=decoder",
    ),
    Impossible(
        "each slice of attention holds whole heads",
        lambda c: bool(heads(c) % degree(c, "tensor")),
        "strategy.tensor={tensor} does not divide model.attention.heads={heads}: the nearest that does is "
        "strategy.tensor={near_tensor}",
    ),
    Impossible(
        "each slice of attention holds whole key-value heads",
        lambda c: bool(kv_heads(c) % degree(c, "tensor")),
        "strategy.tensor={tensor} does not divide model.attention.kv_heads={kv_heads}: the nearest that does "
        "is strategy.tensor={near_tensor}",
    ),
    Impossible(
        "a norm over all heads needs all of them",
        lambda c: degree(c, "tensor") > 1 and joins_heads(c),
        "strategy.tensor={tensor} spreads the heads that model.attention.query_key_norm normalises together: "
        "use strategy=fsdp, or triad.layers.norm.RMSNorm, which takes each by itself",
    ),
    Impossible(
        "each slice of a feed-forward layer holds as many hidden units",
        lambda c: bool(hidden(c) % degree(c, "tensor")),
        "strategy.tensor={tensor} does not divide model.feedforward.hidden={hidden}: the nearest that does "
        "is strategy.tensor={near_tensor}",
    ),
    Impossible(
        "sequence parallelism lies between slices of matrices",
        lambda c: c["strategy"].get("sequence_parallel") and degree(c, "tensor") == 1,
        "strategy.sequence_parallel=true needs strategy.tensor above 1",
    ),
    Impossible(
        "time is cut once",
        lambda c: c["strategy"].get("sequence_parallel") and degree(c, "context") > 1,
        "strategy.sequence_parallel=true and strategy.context={context_degree} both cut sequences: use one",
    ),
    Impossible(
        "stretches of time are of one length",
        lambda c: c["strategy"].get("sequence_parallel") and bool(c["context"] % degree(c, "tensor")),
        "strategy.tensor={tensor} with sequence_parallel does not divide context={context}: the nearest that "
        "works is context={near_stretches}",
    ),
    Impossible(
        "experts are spread where there are experts",
        lambda c: degree(c, "expert") > 1 and not experts(c),
        "strategy.expert={expert} but model={model_name} has no experts: use model=moe, or strategy=fsdp",
    ),
    Impossible(
        "rows travel to experts of SwiGLU",
        lambda c: degree(c, "expert") > 1 and gateless(c),
        "strategy.expert={expert} knows no other experts than SwiGLU: use model.feedforward.expert=null, or "
        "strategy=fsdp",
    ),
    Impossible(
        "each process holds as many experts",
        lambda c: bool(experts(c) % degree(c, "expert")),
        "strategy.expert={expert} does not divide model.feedforward.experts={experts}: the nearest that does "
        "is strategy.expert={near_expert}",
    ),
    Impossible(
        "a causal model does not see the future",
        lambda c: bool(routers(c) & SEQUENCE_WIDE) and not is_encoder(c),
        "router={routers} compares all tokens of a sequence: a causal model such as model={model_name} would "
        "see the future; use router=deepseek_v3 or switch, or an encoder",
    ),
    Impossible(
        "the room of an expert is counted along a whole sequence",
        lambda c: degree(c, "context") > 1 and bool(routers(c) & COUNTED),
        "router={routers} counts along whole sequences, which strategy.context={context_degree} splits: use "
        "router=mixtral, deepseek_v3 or hash, or strategy=fsdp",
    ),
    Impossible(
        "the tokens stay with a pipeline's first stage",
        lambda c: degree(c, "pipeline") > 1 and bool(routers(c) & READING),
        "router={routers} needs the tokens, which strategy.pipeline={pipeline} does not pass on: use "
        "router=switch, or strategy=fsdp",
    ),
    Impossible(
        "a state is carried through the whole sequence, and whole",
        lambda c: carries_state(c) and max(degree(c, "tensor"), degree(c, "context")) > 1,
        "model.pattern has recurrent layers, which strategy.tensor={tensor} context={context_degree} "
        "would cut: use strategy=fsdp",
    ),
    Impossible(
        "a recurrent model reads a sequence from its beginning",
        lambda c: degree(c, "context") > 1 and not is_transformer(c),
        "model={model_name} cannot split sequences over strategy.context={context_degree}: use strategy=ddp, "
        "or a Transformer such as model=decoder",
    ),
    Impossible(
        "each process holds two chunks of a sequence",
        lambda c: degree(c, "context") > 1 and bool(c["context"] % (2 * degree(c, "context"))),
        "context={context} does not divide into 2 x strategy.context={context_degree} chunks: the nearest "
        "that does is context={near_chunks}",
    ),
    Impossible(
        "a pipeline needs blocks to spread",
        lambda c: degree(c, "pipeline") > 1 and not is_transformer(c),
        "model={model_name} has no blocks to spread over strategy.pipeline={pipeline}: use strategy=ddp, or "
        "a Transformer such as model=decoder",
    ),
    Impossible(
        "a schedule has a name",
        lambda c: c["strategy"].get("schedule", "1f1b") not in STAGES,
        "strategy.schedule={strategy[schedule]} is not known: use one of {schedules}",
    ),
    Impossible(
        "each stage of a pipeline has something to do",
        lambda c: degree(c, "pipeline") > 1 and is_transformer(c) and c["model"]["depth"] + 2 < stages(c),
        "strategy.pipeline={pipeline} with schedule={strategy[schedule]} has {stages} stages, but embedding, "
        "blocks and head are {units}: use model.depth={near_depth}, or strategy.pipeline={near_pipeline}",
    ),
    Impossible(
        "a backward pass in two halves cannot be compiled",
        lambda c: (
            degree(c, "pipeline") > 1 and c["hardware"]["compile"] and c["strategy"]["schedule"] in SPLIT
        ),
        "hardware.compile=true does not go with strategy.schedule={strategy[schedule]}, whose backward pass "
        "is split: use schedule=1f1b, gpipe or interleaved",
    ),
    Impossible(
        "a tied embedding is sharded once",
        lambda c: (
            degree(c, "pipeline") > 1
            and c["strategy"]["schedule"] in FOLDED
            and c["model"].get("tied")
            and degree(c, "tensor") * degree(c, "pipeline") < world_size(c)
        ),
        "strategy.schedule={strategy[schedule]} puts both ends of model.tied=true into one process, where "
        "they cannot be sharded: use schedule=1f1b, or model.tied=false",
    ),
    Impossible(
        "torch's fused SGD knows whole weights only",
        lambda c: (
            "data_shard" in c["strategy"]
            and c["optimizer"]["_target_"].endswith(".SGD")
            and c["optimizer"].get("fused")
        ),
        "optimizer.fused=true of sgd does not know split weights: use optimizer.fused=false here",
    ),
    Impossible(
        "DeepSpeed is a package of its own",
        lambda c: is_deepspeed(c) and find_spec("deepspeed") is None,
        "strategy=deepspeed needs the package deepspeed: pip install 'triad[deepspeed]'",
    ),
    Impossible(
        "ZeRO has three stages",
        lambda c: is_deepspeed(c) and c["strategy"]["stage"] not in (1, 2, 3),
        "strategy.stage={strategy[stage]}: use 1, 2 or 3",
    ),
    Impossible(
        "ZeRO keeps fp32 weights",
        lambda c: is_deepspeed(c) and c["precision"].get("name", "32-true") not in ("32-true", "bf16-mixed"),
        "strategy=deepspeed keeps fp32 weights: use precision=fp32 or bf16-mixed",
    ),
    Impossible(
        "ZeRO updates flat slices of weights",
        lambda c: is_deepspeed(c) and c["optimizer"]["_target_"].rpartition(".")[2] not in BY_ELEMENT,
        "strategy=deepspeed updates flat slices of weights: use optimizer=adamw, adam, sgd, lion or rmsprop, "
        "or strategy=fsdp",
    ),
    Impossible(
        "an average that the optimizer keeps",
        lambda c: ("averaged" in c["callbacks"]) != c["optimizer"]["_target_"].endswith(".ScheduleFree"),
        "callbacks.averaged and optimizer._target_={optimizer[_target_]} do not go together: use "
        "optimizer=schedule_free, which brings both",
    ),
    Impossible(
        "weights leave the GPU when they are kept in parts",
        lambda c: is_deepspeed(c) and c["strategy"]["offload_parameters"] and c["strategy"]["stage"] != 3,
        "strategy.offload_parameters=true needs strategy.stage=3",
    ),
    Impossible(
        "the hooks of ZeRO 3 cannot be compiled",
        lambda c: is_deepspeed(c) and c["strategy"]["stage"] == 3 and c["hardware"]["compile"],
        "hardware.compile=true does not go with strategy.stage=3: use strategy.stage=2 or strategy=fsdp",
    ),
    Impossible(
        "ZeRO 3 shows nobody whole weights",
        lambda c: c["strategy"].get("stage") == 3 and "ema" in c["callbacks"],
        "callbacks.ema cannot see the weights of strategy.stage=3: use strategy=fsdp, or strategy.stage=2",
    ),
    Impossible(
        "ZeRO 3 keeps no mean of weights",
        lambda c: c["strategy"].get("stage") == 3 and "swa" in c["callbacks"],
        "callbacks.swa cannot see the weights of strategy.stage=3: use strategy=fsdp, or strategy.stage=2",
    ),
    Impossible(
        "one average is validated",
        lambda c: len({"ema", "swa", "averaged"} & c["callbacks"].keys()) > 1,
        "callbacks has two of ema, swa and averaged (of optimizer=schedule_free), and both would be "
        "validated in the weights' place: use one of them",
    ),
    Impossible(
        "DeepSpeed clips by norm",
        lambda c: is_deepspeed(c) and not c["clip"]["_target_"].endswith(".Norm"),
        "strategy=deepspeed clips gradients itself: use clip=norm or clip=none, or strategy=fsdp",
    ),
    Impossible(
        "DeepSpeed lets nobody add to its gradients",
        lambda c: is_deepspeed(c) and is_penalized(c),
        "strategy=deepspeed keeps gradients in buffers of its own: use regularizer=none with "
        "optimizer.weight_decay, or strategy=fsdp",
    ),
    Impossible(
        "DeepSpeed lets nobody look at its gradients before its step",
        lambda c: is_deepspeed(c) and "gradient_check" in c["callbacks"],
        "callbacks.gradient_check cannot see the gradients of strategy=deepspeed, which itself leaves out "
        "updates that are not finite: use strategy=fsdp",
    ),
    Impossible(
        "weights decay for one reason",
        lambda c: c["regularizer"]["_target_"].endswith(".L2") and c["optimizer"].get("weight_decay", 0) > 0,
        "regularizer=l2 and optimizer.weight_decay={optimizer[weight_decay]} both shrink weights: use "
        "optimizer.weight_decay=0, or regularizer=none",
    ),
    Impossible(
        "a role has a name",
        lambda c: bool(strange_roles(c)),
        "{strange_roles} is no role of parameters, for decay or regularizer.roles: use some of {roles}",
    ),
    Impossible(
        "muP's learning rates are for Adam",
        lambda c: is_mup(c) and c["optimizer"]["_target_"].rpartition(".")[2] not in ADAPTIVE,
        "parametrisation=mup has the learning rates of Adam: use optimizer=adamw, adam or adagrad, or "
        "parametrisation=standard",
    ),
    Impossible(
        "muP wants a head of its own",
        lambda c: is_mup(c) and bool(c["model"].get("tied")),
        "parametrisation=mup scales the head and not the embedding: use model.tied=false, or "
        "parametrisation=standard",
    ),
    Impossible(
        "a step without rows",
        lambda c: any(size < 1 for size in sizes(c)),
        "batch.size={batch[size]}: a step needs at least one sequence",
    ),
    Impossible(
        "one row is one",
        lambda c: has_size(c, "one") and c["batch"]["size"] != 1,
        "batch=one has batch.size=1, not {batch[size]} (which an overlay may have set): add batch.size=1, or "
        "use batch=fixed",
    ),
    Impossible(
        "every data-parallel rank needs the same number of rows",
        lambda c: len(sizes(c)) == 1 and sizes(c)[0] % data_ranks(c) != 0,
        "batch.size={batch[size]} does not divide over {data_ranks} data-parallel processes: the nearest "
        "that does is {near_batch}",
    ),
    Impossible(
        "every data-parallel rank needs the same number of rows, however many there are",
        lambda c: len(sizes(c)) > 1 and any(size % data_ranks(c) for size in sizes(c)),
        "batch: sizes {uneven} do not divide over {data_ranks} data-parallel processes: use multiples of "
        "{data_ranks} for batch.size and all other sizes and increments",
    ),
    Impossible(
        "a batch that grows behind the end of the run",
        outgrown,
        "batch: {last_size} rows are not reached within trainer.max_steps={trainer[max_steps]}: make the run "
        "longer, or let them begin earlier (batch.over of a ramp, batch.then of stages)",
    ),
    Impossible(
        "a whole training set does not go through a model at once",
        lambda c: (
            has_size(c, "full")
            and c["batch"]["size"] is None
            and c["hardware"]["micro_batch_size"] is None
            and not (learns_from_pairs(c) or is_labelled(c))
        ),
        "batch=full would put the whole training set through the model at once: set "
        "hardware.micro_batch_size=8, say, or a smaller set by batch.size",
    ),
    Impossible(
        "rows in order of length come in batches of one size",
        lambda c: (
            (learns_from_pairs(c) or is_labelled(c)) and not (has_size(c, "fixed") or has_size(c, "one"))
        ),
        "task={task_name} has batches of neighbouring lengths, all of one size: use batch=fixed",
    ),
    Impossible(
        "a context without tokens",
        lambda c: c["context"] < 1,
        "context={context}: a sequence needs at least one token",
    ),
    Impossible(
        "fp16 needs the units of a GPU",
        lambda c: c["precision"].get("name") == "16-mixed" and c["trainer"]["accelerator"] == "cpu",
        "precision=fp16-mixed needs a GPU: use precision=bf16-mixed or fp32 on a CPU",
    ),
    Impossible(
        "a loss scaler sees only the shards of its own process",
        lambda c: c["precision"].get("name") == "16-mixed" and "data_shard" in c["strategy"],
        "precision=fp16-mixed needs whole gradients in every process: use strategy=single or ddp, or "
        "precision=bf16-mixed, which needs no scaler",
    ),
    Impossible(
        "fp8 needs a GPU that has it",
        lambda c: c["precision"].get("name") == "fp8" and c["trainer"]["accelerator"] == "cpu",
        "precision=fp8 needs a GPU with fp8 units (compute capability 8.9, H100 for one): use "
        "precision=bf16-mixed here",
    ),
    Impossible(
        "fp8 products come from torchao",
        lambda c: c["precision"].get("name") == "fp8" and find_spec("torchao") is None,
        "precision=fp8 needs the package torchao: pip install torchao",
    ),
    Impossible(
        "fp8 products and split matrices",
        lambda c: c["precision"].get("name") == "fp8" and degree(c, "tensor") > 1,
        "precision=fp8 does not go with strategy.tensor={strategy[tensor]}: use precision=bf16-mixed",
    ),
    Impossible(
        "a warm-up longer than the run",
        lambda c: 0 < c["trainer"]["max_steps"] < c["scheduler"].get("warmup", 0) >= 1,
        "scheduler.warmup={scheduler[warmup]} is longer than trainer.max_steps={trainer[max_steps]}",
    ),
    Impossible(
        "a decay longer than the run",
        lambda c: not 0 <= c["scheduler"].get("decay", 0) <= 1,
        "scheduler.decay={scheduler[decay]}: it is the share of the run in which the rate falls, 0 to 1",
    ),
    Impossible(
        "a rate that rises and falls at once",
        lambda c: overlap(c) > 0,
        "scheduler.warmup={scheduler[warmup]} and decay={scheduler[decay]} overlap in "
        "trainer.max_steps={trainer[max_steps]} by {overlap} steps: lower one, or make the run longer",
    ),
    Impossible(
        "a cycle longer than the run",
        lambda c: "period" in c["scheduler"] and not 2 <= steps_of(c, "period") <= c["trainer"]["max_steps"],
        "scheduler.period={scheduler[period]} comes to {period} steps: a cycle takes from 2 to "
        "trainer.max_steps={trainer[max_steps]} of them",
    ),
    Impossible(
        "TensorBoard is a package of its own",
        lambda c: "tensorboard" in c["logger"] and find_spec("tensorboard") is None,
        "logger=tensorboard needs the package tensorboard: pip install 'triad[tensorboard]', or use "
        "logger=wandb or csv",
    ),
    Impossible(
        "an artifact is uploaded",
        lambda c: (
            (w := c["logger"].get("wandb", {})).get("artifacts") and w["mode"] in ("offline", "disabled")
        ),
        "logger.wandb.artifacts=true uploads checkpoints, which logger.wandb.mode={logger[wandb][mode]} does "
        "not: use mode=online, or later `wandb artifact put <run>/checkpoints/<step>`",
    ),
    Impossible(
        "a plateau is seen by validating",
        lambda c: schedules(c, "plateau") and validations(c) < 1,
        "scheduler=plateau lowers the rate after a validation, and the run has none before its end: set "
        "trainer.val_check_interval below trainer.max_steps={trainer[max_steps]} and limit_val_batches "
        "above 0, or use scheduler=cosine",
    ),
]


def refusals(config: dict) -> Iterator[str]:
    """One sentence for each row of the table that a configuration falls under, in the table's order."""
    for row in TABLE:
        if row.holds(config):
            yield row.sentence.format(**(config | facts(config)))
