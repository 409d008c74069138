"""Which way a metric is better, "lower" or "higher": read from the source of the task, without torch."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from triad.config.schema import read_attribute

# Metrics that every run can have, whatever its task. Others, such as train/lr, have no better direction.
OF_ALL_RUNS = {
    "val/loss": "lower",
    "val/perplexity": "lower",
    "val/bits_per_byte": "lower",
    "xz/bits_per_byte": "lower",
    "train/loss": "lower",
    "train/perplexity": "lower",
    "train/bits_per_byte": "lower",
    "train/auxiliary": "lower",
    "train/penalty": "lower",
    "train/dropped": "lower",
    "train/load_max": "lower",
    "train/tokens": "lower",
    "train/flops": "lower",
    "perf/flops": "lower",
    "perf/train_s": "lower",
    "perf/elapsed_s": "lower",
    "perf/memory_bytes": "lower",
    "perf/device_memory_bytes": "lower",
    "perf/cpu_utilisation": "higher",
    "perf/device_utilisation": "higher",
    "perf/energy_joules": "lower",
    "perf/energy_joules_estimate": "lower",
    "perf/cost": "lower",
    "perf/tokens_per_s": "higher",
    "perf/mfu": "higher",
    "perf/mfu_6n": "higher",
    "perf/mfu_palm": "higher",
    "steps": "lower",
}


def find_best(found: Iterable[Any], metric: Callable[[Any], float], direction: str) -> Any:
    """The best of some by a metric, of which "lower" or "higher" is better; None if no one has a number."""
    measured = [one for one in found if not math.isnan(metric(one))]
    return (max if direction == "higher" else min)(measured, key=metric, default=None)


def read_task_directions(config: dict) -> dict[str, str]:
    """The figures of validation that the task of a configuration and its metrics declare.

    `measures_with` is the argument of a task without which its metrics are not measured.
    """
    return {f"val/{name}": better for _, name, better in _walk_figures(config)}


def find_figures_of_two(config: dict) -> Iterator[str]:
    """One sentence for each figure that two parts measure: one name would have two meanings."""
    found: dict[str, str] = {}
    for key, name, _ in _walk_figures(config):
        if found.setdefault(name, key) != key:
            yield f"{found[name]} and {key} both measure val/{name}: leave one of them out"


def _walk_figures(config: dict) -> Iterator[tuple[str, str, str]]:
    """The key of the task or metric that measures a figure, its name, and "lower" or "higher"."""
    task, parts = config["task"], {"task": config["task"]}
    if task.get(read_attribute(task["_target_"], "measures_with"), True):
        parts |= {f"metrics.{name}": node for name, node in config.get("metrics", {}).items() if node}
    for key, node in parts.items():
        for better in ("lower", "higher"):
            for name in read_attribute(node["_target_"], f"{better}_is_better") or ():
                yield key, name, better


def directions(config: dict) -> dict[str, str]:
    """All metrics of a run of which one direction is better."""
    others = {name: better for name, better in OF_ALL_RUNS.items() if not name.startswith("val/")}
    of_sources = {f"val/loss/{name}": "lower" for name in config["data"].get("sources", ())}
    return others | read_task_directions(config) | of_sources


def find_unknown_monitors(config: dict) -> Iterator[str]:
    """One sentence for each `monitor` of a callback or schedule that the task does not measure."""
    known = read_task_directions(config)
    nodes = {f"callbacks.{name}": node for name, node in config["callbacks"].items()}
    for path, node in (nodes | {"scheduler": config["scheduler"]}).items():
        if isinstance(node, dict) and "monitor" in node and node["monitor"] not in known:
            yield f"{path}.monitor={node['monitor']} is no metric of this task: use one of {', '.join(known)}"
