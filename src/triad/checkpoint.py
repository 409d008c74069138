"""Show what a checkpoint holds: `python -m triad.checkpoint show=outputs/<run_id>`."""

from pathlib import Path

from triad.checkpoints.folder import find_fault, list_complete, read_facts
from triad.config.processes import describe_layout
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
    for path in paths:
        print(f"{path.name}  {f'damaged: {wrong[path]}' if path in wrong else _describe(read_facts(path))}")
    if alone and not wrong:
        for name, entry in read_facts(where)["tensors"].items():
            print(f"  {name}  {' x '.join(map(str, entry['shape'])) or 'scalar'}  {entry['dtype']}")
    if wrong:
        raise ValueError(f"{show}: {len(wrong)} of {len(paths)} checkpoints are damaged")


def _describe(facts: Facts) -> str:
    sets = [name.partition(".")[0] for name in facts["tensors"]]
    counts = ", ".join(f"{sets.count(name)} of {name}" for name in dict.fromkeys(sets))
    speed = facts["bytes"] / facts["saved_s"] / 1e6
    metric = "{name} {value:.4g}, ".format_map(facts["metric"]) if facts["metric"] else ""
    return (
        f"{metric}{describe_layout(facts['layout'])}; tensors: {counts}; {facts['bytes']:,} bytes,"
        f" checksums right; training waited {1e3 * facts['blocked_s']:.0f} ms of {facts['saved_s']:.2f} s"
        f" ({speed:.0f} MB/s)"
    )


if __name__ == "__main__":
    from triad.config.command_line import run_command

    run_command(checkpoint)
