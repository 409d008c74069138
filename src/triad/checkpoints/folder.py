"""The checkpoints of a run, as folders; nothing here needs torch.

    checkpoints/step-00000500/
        __0_0.distcp ...   tensors, sharded, under single-device names (torch.distributed.checkpoint)
        .metadata          which file holds what
        manifest.json      facts, and a checksum of every file; written last

A folder is a checkpoint exactly when its manifest is there: it is written beside, as step-00000500.tmp,
flushed and then renamed. The facts:

    step                          optimizer steps made
    metric                        what tells the best: name, value, which way is better; or null
    validated                     the set of weights that validations measure: model, ema, swa or average
    position                      rows of the data consumed; with the seed it tells all that follow
    random                        the whole random state: numbers are drawn from (seed, step, data rank)
    layout                        the strategy's node of the configuration, and the number of processes
    tensors                       shape and type by name
    callbacks                     their memory
    precision                     of fp16-mixed: the loss scale, and how many steps it has stood
    config                        the resolved configuration
    bytes, blocked_s, saved_s     size; how long training waited; how long all of it took
"""

import fcntl
import math
import os
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from triad.runs.directory import Run
from triad.storage.durable import open_in_place, remove_tree
from triad.storage.locks import flock
from triad.storage.manifest import MANIFEST, Facts, Part, find_damage, read_manifest

INDEX = ".metadata"
BEST, LAST = "best", "last"
LEFTOVER = ".tmp"  # the suffix of a folder that is being written or removed
FACTS = {"step", "metric", "position", "random", "layout", "tensors", "callbacks", "config"}


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return folder / f"step-{step:08d}"


def list_complete(folder: Path) -> list[Path]:
    """Checkpoints that have a manifest, oldest first."""
    return sorted(path for path in folder.glob("step-*") if not path.suffix and (path / MANIFEST).is_file())


def read_step(path: Path) -> int:
    """The step that a checkpoint is of, by its name."""
    return int(path.name.removeprefix("step-"))


def read_facts(path: Path) -> Facts:
    """The facts in a checkpoint's manifest. Raises ValueError if the manifest is damaged or incomplete."""
    return _read_checkpoint_manifest(path)[0]


def find_validated(path: Path) -> str:
    """The name of the set of weights that validations measure, which those who use a trained model take."""
    return read_facts(path).get("validated", "model")


def find_fault(path: Path, part: Part = (0, 1)) -> str:
    """What is wrong with a checkpoint, or "". Reads every byte, or those of one `part` of its files."""
    try:
        return find_damage(path, _read_checkpoint_manifest(path)[1], part=part)
    except ValueError as error:
        return str(error)


def _read_checkpoint_manifest(path: Path) -> tuple[Facts, dict]:
    found, files = read_manifest(path)
    if missing := FACTS - found.keys():
        raise ValueError(f"{MANIFEST} says nothing of {min(missing)}")
    if INDEX not in files:
        raise ValueError(f"{MANIFEST} does not list {INDEX}")
    if path.name != checkpoint_path(path.parent, found["step"]).name:
        raise ValueError(f"{MANIFEST} is of step {found['step']}")
    return found, files


def choose_newest(found: list[Path], wrong: Callable[[Path], str], warn: bool = True) -> Path | None:
    """The newest checkpoint of which nothing is `wrong`; the others are passed over with a warning.

    Raises ValueError when there are checkpoints and none will do.
    """
    for path in reversed(found):
        if not (said := wrong(path)):
            return path
        if warn:
            warnings.warn(f"{path}: {said}; trying the checkpoint before it", stacklevel=2)
    if found:
        folder = found[0].parent
        raise ValueError(f"{folder}: none of its checkpoints will do; remove the folder to start again")
    return None


def find_checkpoint(where: Path, which: int | str | Path = LAST) -> Path:
    """A checkpoint by its own folder, or of a run: its `best` or `last`, one of a step, or one by its folder.

    The best is that by the metric that the run monitors, or the last where none that is kept has a value of
    it. Of best and last damaged ones are passed over with a warning. Raises FileNotFoundError if it is not
    there, ValueError if it is not whole or is that of another run.
    """
    if (where / MANIFEST).is_file():
        return _refuse_damaged(where)
    folder = Run(where).checkpoints
    kept = list_complete(folder)
    if not kept:
        raise FileNotFoundError(f"{where}: no checkpoint is there")
    if which in (BEST, LAST):
        ranked = _rank(kept) if which == BEST else []
        found = choose_newest([*(path for path in kept if path not in ranked), *ranked], find_fault)
        assert found is not None
        return found
    name = str(which)
    path = checkpoint_path(folder, int(name)) if name.isdecimal() else Path(name)
    path = path if len(path.parts) > 1 else folder / path
    if path.resolve().parent != folder.resolve():
        raise ValueError(f"checkpoint={which}: it lies in another folder than the checkpoints of {where}")
    if not (path / MANIFEST).is_file():
        steps = ", ".join(str(read_step(other)) for other in kept)
        raise FileNotFoundError(
            f"{where}: no checkpoint={which} is there; use best, last, or a step that is kept: {steps}"
        )
    return _refuse_damaged(path)


def _refuse_damaged(path: Path) -> Path:
    if said := find_fault(path):
        raise ValueError(f"{path}: {said}")
    return path


def describe_checkpoint(path: Path, weights: str | None = None) -> str:
    """One line of what a trained model is: its run, step and metric, and the set of weights."""
    facts, kept = read_facts(path), list_complete(path.parent)
    metric, ranked, validated = facts["metric"], _rank(kept), find_validated(path)
    value = f"{metric['name']} {metric['value']:.4g}" if metric else ""
    if len(kept) == 1:
        place = ["the only one kept", value or "not validated"]
    elif ranked and path == ranked[-1]:
        place = [f"the best of {len(kept)} by {value}"]
    else:
        best = f"the best is step {read_step(ranked[-1])}" if ranked else "none that is kept was validated"
        place = [value, "the last" if path == kept[-1] else "", best]
    judged = "" if weights in (None, validated) else f", where validation measured {validated}"
    told = f"{path.parent.parent}: step {facts['step']}, {', '.join(filter(None, place))}"
    return f"{told}; weights: {weights or validated}{judged}"


@contextmanager
def keep_while_reading(path: Path) -> Generator[None]:
    """Keep `rotate` from removing a checkpoint while it is read, where the file system has locks."""
    with (manifest := path / MANIFEST).open() as file:
        flock(file.fileno(), fcntl.LOCK_SH, manifest)
        yield


def rotate(folder: Path, keep: int) -> None:
    """Remove all but the last `keep` and the best. Torn ones count as neither; one being read stays."""
    whole = [path for path in list_complete(folder) if not _is_torn(path)]
    best = _rank(whole)[-1:]
    for path in whole[:-keep]:
        if path not in best:
            _remove(path)


def _rank(paths: list[Path]) -> list[Path]:
    """Checkpoints from the worst to the best by the metric that is monitored by now; of equals, first last.

    Those without a value of it, or whose value is no number, are left out.
    """
    measured = {path: metric for path in paths if (metric := _read_metric(path))}
    now = next(reversed(measured.values()), {})
    sign = -1 if now.get("better") == "higher" else 1
    values = {p: sign * one["value"] for p, one in measured.items() if one["name"] == now["name"]}
    found = [path for path in reversed(values) if not math.isnan(values[path])]
    return sorted(found, key=values.__getitem__, reverse=True)


def _read_metric(path: Path) -> dict | None:
    try:
        return read_facts(path)["metric"]
    except ValueError:
        return None


def _is_torn(path: Path) -> bool:
    """Whether the sizes of the files are not what the manifest says."""
    try:
        return bool(find_damage(path, _read_checkpoint_manifest(path)[1], full_check_bytes=0))
    except ValueError:
        return True


def _remove(path: Path) -> None:
    """Remove a checkpoint, unless someone reads it: then it goes the next time.

    By its new name it is a leftover, which the next start removes if this process is killed meanwhile. The
    manifest is closed before its folder goes: NFS keeps files that are open, and so their folder.
    """
    descriptor = open_in_place(manifest := path / MANIFEST, os.O_RDWR)  # NFS: no exclusive lock to read by
    try:
        flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, manifest)
        os.replace(path, removed := path.with_suffix(LEFTOVER))
    except BlockingIOError:
        return
    finally:
        os.close(descriptor)
    remove_tree(removed)


def sweep_leftovers(folder: Path) -> None:
    """Remove what killed processes have left of checkpoints that they wrote or removed."""
    for leftover in folder.glob(f"*{LEFTOVER}"):
        remove_tree(leftover)
