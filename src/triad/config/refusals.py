"""What takes arithmetic to refuse: rows of a table, with examples.

Each part may have such a table in <part>/refusals.py; this one is of devices and processes. What follows from
declarations of parts is in triad.config.rules.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

from triad.config.locations import PACKAGE
from triad.config.offers import get_declared
from triad.config.processes import (
    AXES,
    count_gpus,
    fills_the_world,
    ranks_are_here,
    ranks_here,
    world_size,
)


class Impossible(NamedTuple):
    """A combination that cannot work, words that ask for it, and the sentence that refuses it."""

    why: str
    example: str
    holds: Callable[[dict], Any]
    sentence: str  # formatted with the configuration's top-level nodes and the table's own `facts`

    def write(self, config: dict, facts: Callable[[dict], dict]) -> str:
        """The sentence for a configuration."""
        return self.sentence.format(**(config | facts(config)))


def facts(config: dict) -> dict:
    """What the sentences below name, beside the configuration itself."""
    strategy, devices = config["strategy"], config["trainer"]["devices"]
    degrees = " ".join(f"strategy.{axis}={strategy[axis]}" for axis in AXES if strategy.get(axis, 1) != 1)
    world = world_size(config) if str(devices).isdigit() else devices
    return {"devices": devices, "gpus": count_gpus(), "degrees": degrees, "world": world}


TABLE = [
    Impossible(
        "a device is counted, not named",
        "trainer.devices=[1]",
        lambda c: not str(c["trainer"]["devices"]).isdigit() or int(c["trainer"]["devices"]) < 1,
        "trainer.devices={devices}: give a number of processes or auto; CUDA_VISIBLE_DEVICES says which GPUs",
    ),
    Impossible(
        "only CPUs and NVIDIA GPUs are known",
        "trainer.accelerator=tpu",
        lambda c: c["trainer"]["accelerator"] not in ("cpu", "gpu", "cuda"),
        "trainer.accelerator={trainer[accelerator]} is not supported: use cpu or gpu",
    ),
    Impossible(
        "schedules need to know how long the run is",
        "trainer.max_steps=-1",
        lambda c: c["trainer"]["max_steps"] < 1,
        "trainer.max_steps={trainer[max_steps]}: a run needs a number of steps",
    ),
    Impossible(
        "an epoch of Lightning's would start the data again",
        "+trainer.limit_train_batches=3",
        lambda c: "limit_train_batches" in c["trainer"],
        "trainer.limit_train_batches is not supported: use trainer.max_steps",
    ),
    Impossible(
        "a clock of Lightning's ends a run in the midst of its schedule",
        "+trainer.max_time=00:00:05:00",
        lambda c: c["trainer"].get("max_time"),
        "trainer.max_time={trainer[max_time]} would end the run before its schedule: say its length once, as "
        "trainer.max_steps=5min",
    ),
    Impossible(
        "a run is on machines",
        "trainer.num_nodes=0",
        lambda c: c["trainer"]["num_nodes"] < 1,
        "trainer.num_nodes={trainer[num_nodes]}: at least one machine",
    ),
    Impossible(
        "python train.py starts processes on its own machine only",
        "trainer.num_nodes=2",
        lambda c: c["trainer"]["num_nodes"] > 1 and not ranks_are_here(),
        "trainer.num_nodes={trainer[num_nodes]} needs torchrun or srun on every machine, see docs/running.md",
    ),
    Impossible(
        "one process cannot use several devices",
        "trainer.devices=2",
        lambda c: get_declared(c["strategy"], "processes") == 1 and world_size(c) > 1,
        "strategy=single runs one process but trainer.devices={devices}: use strategy=ddp or strategy=fsdp",
    ),
    Impossible(
        "more GPU processes than GPUs",
        "strategy=ddp trainer.accelerator=gpu trainer.devices=99",
        lambda c: c["trainer"]["accelerator"] in ("gpu", "cuda") and ranks_here(c) > count_gpus(),
        "trainer.devices={devices} but this machine shows {gpus} GPUs: lower it or use "
        "trainer.accelerator=cpu",
    ),
    Impossible(
        "the degrees of a mesh multiply to the number of processes",
        "strategy=mesh trainer.devices=2 trainer.accelerator=cpu strategy.tensor=3",
        lambda c: "data_shard" in c["strategy"] and not fills_the_world(c),
        "{degrees} do not multiply to the {world} processes of trainer.devices={devices}; change "
        "one of them, or let one be -1 to take what is left",
    ),
]


@cache
def tables() -> list[Any]:
    """The modules <part>/refusals.py; none of them imports torch."""
    names = sorted(path.parent.name for path in PACKAGE.glob("*/refusals.py") if path.parent.name != "config")
    return [import_module(f"triad.{name}.refusals") for name in names]
