"""Whether a run's memory and messages are as the formulas predict."""

from typing import Any

import torch

from triad.config.build import build
from triad.config.processes import data_ranks, degree
from triad.layers.parameters import read_declarations
from triad.runs.directory import Run
from triad.strategies.tensor import cut_dimensions
from triad.verify import closed_form

ALL, HELD = "as by formula", "held by formula"  # what is right; anything else is a fault


def check_traffic(run: Run, parts: int) -> str:
    """ALL, HELD (there is no formula for the messages), or the first difference from the formulas."""
    config = run.config()
    with torch.device("meta"):
        model = build(config["model"])(vocab_size=257)
    weights = _declare_weights(model)
    for path in sorted(run.record.glob("rank-*.pt")):
        record, rank = torch.load(path, weights_only=True), int(path.stem.removeprefix("rank-"))
        if (ours := record["held"]) != (theirs := closed_form.held_bytes(weights, config, rank)):
            return f"rank {rank} holds {ours}, by formula {theirs}"
    if not closed_form.has_formula(config):
        return HELD
    if degree(config, "pipeline") > 1:
        parts = _micro_batches(config)
    traffic = torch.load(run.record / "rank-0.pt", weights_only=True)["traffic"]
    formula = closed_form.sent_messages(weights, config, parts)
    kinds = {*formula.messages, *formula.bytes, *traffic["messages"]}
    for kind in sorted(kinds):
        ours = traffic["messages"].get(kind, 0), traffic["bytes"].get(kind, 0)
        open_ = (ours[0] if kind in formula.bytes else 0), (ours[1] if kind in formula.messages else 0)
        theirs = formula.messages.get(kind, open_[0]), formula.bytes.get(kind, open_[1])
        if ours != theirs:
            return f"{kind}: {ours[0]} messages of {ours[1]} bytes, by formula {theirs[0]} of {theirs[1]}"
    return ALL


def _declare_weights(model: Any) -> list[closed_form.Weight]:
    """The model's declaration of each parameter, in a form that needs no torch."""
    cuts, found = cut_dimensions(model), []
    before, behind = getattr(model, "before", ()), getattr(model, "behind", ())
    for name, (role, _) in read_declarations(model).items():
        part, *rest = name.split(".")
        block = int(rest[0]) if part == "blocks" else None
        uses_last = part in behind or (part == "embedding" and model.head is None)
        units = (0,) * (part in before) + (-1,) * uses_last
        shape = tuple(model.get_parameter(name).shape)
        found.append(closed_form.Weight(shape, role, cuts.get(name), block, units))
    return found


def _micro_batches(config: dict) -> int:
    from triad.strategies.pipeline import ORDERS, micro_batches

    order, rows = ORDERS[config["strategy"]["schedule"]], config["batch"]["size"] // data_ranks(config)
    return micro_batches(order, rows, config["hardware"]["micro_batch_size"], degree(config, "pipeline"))[0]
