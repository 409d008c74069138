"""Whether a run held and sent what the formulas say."""

from pathlib import Path

import torch

from triad.door import build
from triad.layout import data_ranks, degree
from triad.run import read_config
from triad.verify import closed_form

ALL, HELD, NONE = "as by formula", "held by formula", ""  # what is right; anything else is a fault
SIMPLE = ("gpipe", "1f1b")  # schedules in which every stage is a process


def account(run: Path, parts: int) -> str:
    """ALL, HELD (messages not compared), NONE (there is no formula), or what is not as the formulas say.

    Recomputed blocks send again what is not counted here, and DeepSpeed keeps books of its own. In a pipeline
    that other axes cross, bytes held are compared and messages are not.
    """
    config = read_config(run)
    if config["hardware"]["checkpointing"] or "stage" in config["strategy"]:
        return NONE
    with torch.device("meta"):
        model = build(config["model"])(vocab_size=257)
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    record = torch.load(run / "record" / "rank-0.pt", weights_only=True)
    if (ours := record["held"]) != (theirs := closed_form.held(shapes, config)):
        return f"holds {ours}, by formula {theirs}"
    if degree(config, "pipeline") > 1:
        if config["trainer"]["devices"] > 2 or config["strategy"]["schedule"] not in SIMPLE:
            return HELD
        parts = _micro_batches(config)
    formula = closed_form.sent(shapes, config, parts)
    for kind in formula.messages.keys() | record["traffic"]["messages"].keys():
        ours = record["traffic"]["messages"].get(kind, 0), record["traffic"]["bytes"].get(kind, 0)
        messages = formula.messages.get(kind, 0)
        theirs = messages, formula.bytes.get(kind, ours[1])  # how many rows travel to experts is data
        if ours != theirs:
            return f"{kind}: {ours[0]} messages of {ours[1]} bytes, by formula {theirs[0]} of {theirs[1]}"
    return ALL


def _micro_batches(config: dict) -> int:
    from triad.strategies.pipeline import ORDERS, micro_batches

    order, rows = ORDERS[config["strategy"]["schedule"]], config["batch"]["size"] // data_ranks(config)
    return micro_batches(order, rows, config["hardware"]["micro_batch_size"], degree(config, "pipeline"))[0]
