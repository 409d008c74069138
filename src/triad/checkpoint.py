"""Show what a checkpoint holds: `python -m triad.checkpoint show=outputs/<run_id>`."""

from pathlib import Path

from triad.checkpoints.folder import find_fault, list_complete, read_facts
from triad.config.processes import describe_layout
from triad.config.tables import print_table
from triad.runs.directory import Run
from triad.storage.manifest import MANIFEST, Facts

GROUP = "Use a trained model"


def checkpoint(show: str) -> None:
    """List the checkpoints of a run: step, layout, tensors, bytes, and whether every checksum is right.

    `show` is a run, or one of its checkpoints, whose tensors are then listed, too. The exit code is 2 if any
    is damaged.
    """
    where = Path(show)
    alone = (where / MANIFEST).is_file()
    paths = [where] if alone else list_complete(Run(where).checkpoints)
    if not paths:
        raise FileNotFoundError(f"show={show}: no checkpoint is there")
    wrong = {path: said for path in paths if (said := find_fault(path))}
    facts = {path: read_facts(path) for path in paths if path not in wrong}
    if facts:
        header = ["checkpoint", "metric", "tensors", "bytes", "saved in", "training waited", "layout"]
        rows = [[path.name, *_describe(facts[path])] for path in facts]
        print_table(header, rows, caption="checksums right")
    for path, fault in wrong.items():
        print(f"{path.name}  damaged: {fault}")
    if alone and not wrong:
        entries = facts[where]["tensors"].items()
        rows = [[name, " x ".join(map(str, one["shape"])) or "scalar", one["dtype"]] for name, one in entries]
        print_table(["tensor", "shape", "type"], rows)
    if wrong:
        raise ValueError(f"{show}: {len(wrong)} of {len(paths)} checkpoints are damaged")


def _describe(facts: Facts) -> list[str]:
    sets = [name.partition(".")[0] for name in facts["tensors"]]
    speed = facts["bytes"] / facts["saved_s"] / 1e6
    return [
        "{name} {value:.4g}".format_map(facts["metric"]) if facts["metric"] else "",
        ", ".join(f"{sets.count(name)} of {name}" for name in dict.fromkeys(sets)),
        f"{facts['bytes']:,}",
        f"{facts['saved_s']:.2f} s, {speed:.0f} MB/s",
        f"{1e3 * facts['blocked_s']:.0f} ms",
        describe_layout(facts["layout"]),
    ]


if __name__ == "__main__":
    from triad.config.command_line import run_command

    run_command(checkpoint)
