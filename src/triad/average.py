"""Average the last checkpoints of a run: `python -m triad.average checkpoints=outputs/<run_id> last=5`."""

import shutil
from pathlib import Path

GROUP = "Use a trained model"


def average(checkpoints: str, last: int = 5, to: str | None = None, weights: str | None = None) -> None:
    """Write the mean of the weights of some checkpoints as a run of its own, ready for generate and export.

        w = (w_1 + ... + w_n) / n        Vaswani et al. 2017, arXiv:1706.03762, section 6.1: the last 5 or 20

    `checkpoints` is a run, whose `last` ones are taken (callbacks.checkpoint.keep says how many it keeps), or
    several with commas between: checkpoints, or runs, whose best one is taken. Sums are in float64, the
    result in the first one's type. `weights` null: those that are validated, such as an average that a run
    keeps; else the set of that name.
    `to` is the folder of the new run: the first one's name and -average, unless said otherwise.
    """
    from triad.checkpoints.folder import (
        BEST,
        describe_checkpoint,
        find_checkpoint,
        find_validated,
        list_complete,
        read_facts,
    )
    from triad.checkpoints.saving import write_checkpoint
    from triad.checkpoints.tensors import load_tensors, read_entries
    from triad.config.errors import Refusal
    from triad.runs.directory import Run

    places = [Path(word) for word in checkpoints.split(",")]
    if len(places) == 1 and (kept := list_complete(Run(places[0]).checkpoints)):
        if last < 1 or last > len(kept):
            raise Refusal(
                f"last={last}: {places[0]} keeps {len(kept)} checkpoints; a run with"
                f" callbacks.checkpoint.keep={max(last, 1)} keeps more"
            )
        places = kept[-last:]
    paths = [find_checkpoint(place, BEST) for place in places]
    run = Run(paths[0].parent.parent)
    target = Run(to or run.path.with_name(f"{run.id}-average"))
    if target.path.exists():
        raise Refusal(f"to={target}: it exists; remove it or choose another")
    import torch

    sets = {path: weights or find_validated(path) for path in paths}
    held = read_entries(paths[0], sets[paths[0]])
    for path in paths[1:]:
        if differing := held.items() ^ read_entries(path, sets[path]).items():
            name = min(name for name, _ in differing)
            raise Refusal(f"{path}: its {name} is not like that of {paths[0]}")
    mean = {}
    for name, (shape, dtype) in held.items():
        total = torch.zeros(shape, dtype=torch.float64)
        for path in paths:
            read = torch.empty(shape, dtype=dtype)
            load_tensors(path, {sets[path]: {name: read}})
            total += read
        mean[name] = (total / len(paths)).to(dtype)
    facts = read_facts(paths[-1]) | {"metric": None, "callbacks": {}, "validated": "model"}
    facts["averaged"] = [str(path) for path in paths]
    write_checkpoint(target.checkpoints / paths[-1].name, {"model": mean}, facts)
    for file in (run.config_file, run.overrides_file, run.data_file, run.directions_file, run.passport_file):
        if file.exists():
            shutil.copy(file, target.path)
    if run.tokenizer.is_dir():
        shutil.copytree(run.tokenizer, target.tokenizer)
    print(*(describe_checkpoint(path, weights) for path in paths), sep="\n")
    print(f"{target}: the mean of {', '.join(path.name for path in paths)}")


if __name__ == "__main__":
    from triad.config.command_line import run_command

    run_command(average)
