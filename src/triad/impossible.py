"""The table of impossible combinations: data, tested, and refused before any process starts."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from math import prod
from typing import NamedTuple

from triad.launch import ranks_are_here
from triad.layout import AXES, data_ranks, degree, gpus, ranks_here, world_size


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
        lambda c: "data_shard" in c["strategy"] and not _whole(c),
        "strategy: {degrees} do not multiply to the {world} processes of trainer.devices={devices}; change "
        "one of them, or let one be -1 to take what is left",
    ),
    Impossible(
        "every data-parallel rank needs the same number of rows",
        lambda c: "size" in c["batch"] and c["batch"]["size"] % data_ranks(c) != 0,
        "batch.size={batch[size]} does not divide over {data_ranks} data-parallel processes: the nearest "
        "that does is {near_batch}",
    ),
    Impossible(
        "a step without rows",
        lambda c: "size" in c["batch"] and c["batch"]["size"] < 1,
        "batch.size={batch[size]}: a step needs at least one sequence",
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
]


def refusals(config: dict) -> Iterator[str]:
    """One sentence for each row of the table that a configuration falls under, in the table's order."""
    for row in TABLE:
        if row.holds(config):
            yield row.sentence.format(**config, **_facts(config))


def _whole(config: dict) -> bool:
    degrees = [config["strategy"][axis] for axis in AXES]
    return min(degrees) > 0 and prod(degrees) == world_size(config)


def _facts(config: dict) -> dict:
    facts = {"devices": config["trainer"]["devices"], "gpus": gpus()}
    strategy = config["strategy"]
    facts["degrees"] = " ".join(f"{axis}={strategy[axis]}" for axis in AXES if strategy.get(axis, 1) != 1)
    if str(facts["devices"]).isdigit() and int(facts["devices"]):
        ranks, size = max(1, data_ranks(config)), config["batch"].get("size", 1)
        facts |= {"world": world_size(config), "data_ranks": ranks}
        facts |= {"near_batch": max(1, round(size / ranks)) * ranks}
    return facts
