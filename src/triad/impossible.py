"""The table of impossible combinations: data, tested, and refused before any process starts."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from triad.layout import gpus, ranks_here, world_size


class Impossible(NamedTuple):
    """A combination that cannot work, and the sentence that says so with a remedy."""

    why: str
    holds: Callable[[dict], bool]
    sentence: str  # formatted with the configuration's top-level nodes and the names in `facts`


TABLE = [
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
        "every data-parallel rank needs the same number of rows",
        lambda c: "size" in c["batch"] and c["batch"]["size"] % world_size(c) != 0,
        "batch.size={batch[size]} does not divide over {world} processes: the nearest that does is "
        "{near_batch}",
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
        "a warm-up longer than the run",
        lambda c: 0 < c["trainer"]["max_steps"] < c["scheduler"].get("warmup", 0) >= 1,
        "scheduler.warmup={scheduler[warmup]} is longer than trainer.max_steps={trainer[max_steps]}",
    ),
]


def refusals(config: dict) -> Iterator[str]:
    """One sentence for each row of the table that a configuration falls under."""
    world = world_size(config)
    size = config["batch"].get("size", 1)
    facts = {
        "world": world,
        "devices": config["trainer"]["devices"],
        "gpus": gpus(),
        "near_batch": max(1, round(size / world)) * world,
    }
    for row in TABLE:
        if row.holds(config):
            yield row.sentence.format(**config, **facts)
