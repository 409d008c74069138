"""Train some steps of a run again and compare them bit for bit

python -m triad.replay run=outputs/<run_id> steps=100:110
"""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

from triad.checkpoints.folder import (
    checkpoint_path,
    find_fault,
    keep_while_reading,
    list_complete,
    read_step,
)
from triad.config.errors import Interrupted, Refusal
from triad.config.identity import find_differing, is_observer
from triad.config.locations import TRAIN
from triad.config.processes import count_gpus, count_threads, ranks_here
from triad.config.schema import find_faults
from triad.launch.supervisor import launch_ranks, read_grace
from triad.runs import divergence
from triad.runs.directory import Run
from triad.runs.divergence import Row
from triad.runs.passport import Passport, read_passport, same_code

GROUP = "Prove"

NEEDED = {
    "triad.callbacks.metrics.Metrics": "figures",
    "triad.callbacks.checkpoint.Checkpoint": "checkpoints",
}
WANTED = {*NEEDED, "triad.callbacks.progress.Progress"}


def replay(run: str, steps: str, keep: str | None = None) -> None:
    """Train some steps of a run again, in a folder of their own, and compare bit for bit.

    `steps=100:110` leads from the state behind step 100 to that behind step 110. It sets out from the newest
    whole checkpoint that is no later, or from the beginning. Compared are all figures that the run logged on
    the way (but for speed and time) and, if it has a checkpoint of the last step, every weight and all that
    the optimizer keeps; on another class of machine to the tolerance of triad.verify. The run is not touched.
    `keep` is a folder to leave the replay in. The exit code is 0 if all is equal, else 1.
    """
    original = read_passport(Path(run))
    logged = original.run.metrics()
    first, last = parse_interval(steps, logged)
    start = find_checkpoint_before(original.run, first)
    begin = read_step(start) if start else 0
    expected = [row for row in logged if begin < row["step"] <= last]
    final = checkpoint_path(original.run.checkpoints, last)
    if not expected and final not in list_complete(final.parent):
        raise Refusal(
            f"steps={steps}: {run} logged no step from {begin + 1} to {last} and has no checkpoint of {last}:"
            " there is nothing to compare; take more steps"
        )
    config = configure_replay(original.config, last)
    for fault in find_faults(config):  # such as a part of a package that this start does not permit
        raise Refusal(f"run={run}: {fault}")
    print(f"replaying steps {begin + 1} to {last}, from {start or 'the beginning'}", flush=True)
    folder = Path(keep) if keep else Path(mkdtemp(prefix=".replay-", dir=original.run.path.parent))
    try:
        again = train_again(original, config | {"output_dir": str(folder)}, start)
        wrong = _compare(original, again, expected, final)
    finally:
        if not keep:
            shutil.rmtree(folder)
    raise SystemExit(1 if wrong else 0)


def parse_interval(steps: str, logged: list[Row]) -> tuple[int, int]:
    """The two steps of `first:last`, as far as the run has come. Raises Refusal."""
    found = re.fullmatch(r"(\d+):(\d+)", steps)
    if not found or int(found[1]) >= int(found[2]):
        raise Refusal(f"steps={steps}: give two steps, the earlier first, such as steps=100:110")
    reached = int(max((row["step"] for row in logged), default=0))
    if int(found[2]) > reached:
        raise Refusal(f"steps={steps}: the run has logged steps up to {reached}")
    return int(found[1]), int(found[2])


def find_checkpoint_before(run: Run, step: int) -> Path | None:
    """The newest whole checkpoint of no later step, if there is one; says what is wrong with others."""
    for path in reversed([path for path in list_complete(run.checkpoints) if read_step(path) <= step]):
        if not (said := find_fault(path)):
            return path
        print(f"{path}: {said}; trying the one before it", flush=True)
    return None


def configure_replay(config: dict, last: int) -> dict:
    """A run's configuration for its replay: every step is logged; of mere observers only progress stays."""
    if config["trainer"]["num_nodes"] > 1:
        nodes = config["trainer"]["num_nodes"]
        raise Refusal(f"trainer.num_nodes={nodes}: a replay runs on the one machine that it is started on")
    callbacks = {
        name: dict(node)
        for name, node in config["callbacks"].items()
        if node and (node["_target_"] in WANTED or not is_observer(node))
    }
    targets = {node["_target_"]: node for node in callbacks.values()}
    if missing := [kept for target, kept in NEEDED.items() if target not in targets]:
        raise Refusal(f"the run kept no {missing[0]}: there is nothing to hold a replay against")
    targets["triad.callbacks.metrics.Metrics"]["every_steps"] = 1
    callbacks["stop"] = {"_target_": "triad.callbacks.stop.Stop", "step": last}
    here = {} if config["trainer"]["accelerator"] == "cpu" or count_gpus() else {"accelerator": "cpu"}
    csv = {"csv": {"_target_": "triad.loggers.csv.CSV", "_partial_": True}}
    return config | {"callbacks": callbacks, "logger": csv, "trainer": config["trainer"] | here}


def train_again(original: Passport, config: dict, start: Path | None) -> Passport:
    """Train in a run directory of its own that begins with a checkpoint. Raises Refusal if that fails."""
    from triad.runs.start import prepare_run

    before, again = original.run, Run.of(config)
    if again.path.exists():
        raise Refusal(f"keep={config['output_dir']}: {again} exists; choose another folder")
    if number := original.record.get("machine", {}).get("threads"):
        os.environ["OMP_NUM_THREADS"] = str(number)
    prepare_run(config, [])
    # the same text or none; kernels as they were chosen
    for theirs, ours in ((before.data_file, again.data_file), (before.machine_file, again.machine_file)):
        if theirs.is_file():
            shutil.copyfile(theirs, ours)
    if start:
        with keep_while_reading(start):
            shutil.copytree(start, again.checkpoints / start.name, copy_function=_link)
    ranks, threads = ranks_here(config), count_threads(config)
    try:
        code = launch_ranks(str(TRAIN), again.path, ranks, threads, read_grace(config))
    except Interrupted as signal:
        raise SystemExit(signal.args[0]) from None
    if code:
        raise Refusal(f"run={before}: the replay ended with exit code {code}")
    return read_passport(again.path)


def _compare(original: Passport, again: Passport, expected: list[Row], final: Path) -> bool:
    """Print what is equal and what is not; whether anything is not."""
    tolerance = _choose_tolerance(original, again)
    figures = [*divergence.pair_figures(expected, again.run.metrics())]
    for line in divergence.describe(figures, tolerance):
        print(f"figures   {line}")
    parted = divergence.find_first(figures, tolerance) is not None
    if final not in list_complete(final.parent):
        print(f"weights   not compared: the run has no checkpoint of step {read_step(final)}")
        return parted
    apart = list(_compare_tensors(final, again.run.checkpoints / final.name, tolerance))
    print(
        f"weights   {apart[0] if apart else f'all of {final.name} is equal{_describe_tolerance(tolerance)}'}"
    )
    return parted or bool(apart)


def _choose_tolerance(original: Passport, again: Passport) -> float:
    """0 on the same class of machine, else that of triad.verify. Says which, and if the code is another."""
    ours, theirs = original.machine(), again.machine()
    if not same_code(original, again):
        print("code      not that of the run: what differs may be its doing")
    if original.resumed_with_others():
        print("run       it was resumed with other mathematics; this is a replay of what it was last")
    if not (changed := find_differing(ours, theirs)):
        print("machine   of the same class: compared bit for bit")
        return 0.0
    from triad.verify.runner import TOLERANCE

    tolerance = TOLERANCE["fp64" if original.config["precision"].get("name") == "64-true" else "fp32"]
    words = ", ".join(f"{key} {ours.get(key)}, here {theirs.get(key)}" for key in changed)
    print(f"machine   of another class ({words}): compared to {tolerance:g}")
    return tolerance


def _compare_tensors(theirs: Path, ours: Path, tolerance: float) -> Iterator[str]:
    """What departs in the tensors of two checkpoints."""
    from triad.checkpoints.tensors import read_index, read_weights
    from triad.verify.compare import distance

    names = {*read_index(theirs)} ^ {*read_index(ours)}
    yield from (f"{name} is in one of the two only" for name in sorted(names))
    for kind in () if names else sorted({name.partition(".")[0] for name in read_index(theirs)}):
        one, other = read_weights(theirs, kind), read_weights(ours, kind)
        floor = 10 * tolerance * max(float(tensor.abs().max()) for tensor in one.values())
        for name, tensor in one.items():
            apart = 0.0 if tensor.equal(other[name]) else distance(other[name], tensor, floor)
            if apart > tolerance or (apart != apart):
                yield f"{kind}.{name} is {apart:.1e} apart"


def _describe_tolerance(tolerance: float) -> str:
    return f" within {tolerance:g}" if tolerance else " bit for bit"


def _link(source: str, target: str) -> None:
    """A second name of a file, or a copy where the disk is another."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


if __name__ == "__main__":
    from triad.config.command_line import run_command

    run_command(replay)
