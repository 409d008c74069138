"""Measure trained runs on a split: `python -m triad.evaluate run=outputs/<run_id> split=test`."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from triad.config.command_line import key_of
from triad.config.errors import Refusal
from triad.config.identity import PREPARATION

GROUP = "Use a trained model"

ROOTS = ("data", *PREPARATION, "task", "metrics", "decoding", "trainer", "precision")


def evaluate(
    overrides: list[str],
    run: str,
    split: Literal["test", "val", "train"] = "test",
    checkpoint: str = "best",
    weights: str | None = None,
    limit: int | None = None,
    exclude_seen: bool = False,
    shots: int = 0,
    stride: int | None = None,
    memory: str | None = None,
    samples: int = 10,
    resamples: int = 1000,
    seed: int = 12345,
    out: str | None = None,
) -> None:
    """Print and write figures of runs on a split, with intervals, baselines, and worst and best examples.

    The data, task, metrics and decoding are the run's, changed by words as train.py takes them:
    metrics=[bleu,chrf] decoding=beam data.test_path=... Its model is that of the best `checkpoint` by the
    metric that the run monitors, or of last, a step or a folder, with the weights that are validated or the
    set that `weights` names, in the run's precision. Several runs, run=outputs/a,outputs/b, are compared on
    the same examples by paired bootstrap.

    Intervals hold 95 % of `resamples` bootstrap resamples. `limit` takes the first examples. Examples that
    stand word for word in the training split are counted, and left out by exclude_seen=true. Of text, windows
    of the context move on by `stride`, by default the context. shots=k puts k examples, drawn by the seed
    from the training split, before questions and sources. `memory` is a translation memory, whose exact
    entries take the place of predictions. Files are <run>/evaluations/<split>.json, .md and .tex, or of the
    name `out`.
    """
    asked = {"limit": limit, "shots": shots, "stride": stride, "samples": samples, "resamples": resamples}
    _refuse_mistakes(overrides, split, asked, out)
    runs = [Path(path) for path in run.split(",") if path]
    if len({path.resolve() for path in runs}) < max(len(runs), 1):
        raise Refusal(f"run={run}: name each run once")
    configs = [_change_config(path, overrides) for path in runs]

    # torch is imported from here on
    from triad.checkpoints.folder import describe_checkpoint, find_checkpoint
    from triad.evaluation.evaluating import Asked, evaluate_split, read_split
    from triad.evaluation.report import print_report, write_report
    from triad.evaluation.scoring import compare_systems
    from triad.evaluation.system import open_system
    from triad.runs.directory import Run

    how = Asked(shots, stride or 0, memory, samples, resamples, seed)
    found = []
    for path, config in zip(runs, configs, strict=True):
        found_at = find_checkpoint(path, checkpoint)
        print(describe_checkpoint(found_at, weights))
        system = open_system(Run(path), config, found_at, weights)
        source, training = _open_data(config, system.run, split)
        examples = read_split(source, split, limit, training, exclude_seen)
        found.append((system.run, *evaluate_split(system, examples, how)))
    if len({report["data"]["fingerprint"] for _, report, _ in found}) > 1:
        raise Refusal(f"run={run}: their {split} splits have other examples; type the data= to compare on")
    outcomes = [outcome for *_, outcome in found]
    if len({tuple(sorted(one.metrics)) for one in outcomes}) > 1:
        raise Refusal(f"run={run}: they have other metrics; type the metrics=[...] to compare by")
    compared = compare_systems(outcomes[0].metrics, [one.scored for one in outcomes], resamples, seed)
    for of, report, _ in found:
        report["comparisons"] = compared
        print_report(report)
        print(*write_report(report, of.evaluations / (out or split)), sep="\n")


def _refuse_mistakes(overrides: list[str], split: str, asked: dict[str, Any], out: str | None) -> None:
    if split == "train":
        raise Refusal("split=train: a run is not judged by what it was trained on; use test or val")
    least = {"shots": 0, "samples": 0}
    for name, value in asked.items():
        if value is not None and value < least.get(name, 1):
            raise Refusal(f"{name}={value}: must be at least {least.get(name, 1)}")
    if out is not None and ("/" in out or out.startswith(".") or not out):
        raise Refusal(f"out={out}: a name of files in the folder evaluations of the run, without /")
    for word in overrides:
        if key_of(word).replace("/", ".").split(".")[0] not in ROOTS:
            raise Refusal(f"{word}: evaluate takes its own keys (--help) and words of {', '.join(ROOTS)}")


def _change_config(path: Path, words: list[str]) -> dict[str, Any]:
    """The configuration of a run, changed by words and validated; choices are data for any causal model."""
    from triad.checkpoints.folder import list_complete
    from triad.config.changes import change
    from triad.config.compose import read_written, validate
    from triad.config.offers import get_declared
    from triad.config.references import resolve
    from triad.config.schema import find_faults
    from triad.launch.resume import Resume
    from triad.runs.directory import Run

    opened = Run(path)
    opened.config()
    if not list_complete(opened.checkpoints):
        raise FileNotFoundError(f"run={path}: no checkpoint is there")
    resumed = Resume(opened, weights_only=False)
    base = resumed.read_base([])
    changed = change(base, resumed.read_choices(), words)
    if base.get("data") and any(key_of(word).partition(".")[0] == "data" for word in words):
        data = resolve(read_written(changed.composed))["data"]
        if get_declared(data, "yields") == "choices":
            for fault in find_faults({"data": data}):
                raise Refusal(fault)
            changed.composed["data"] = base["data"]
            return validate(changed.composed, changed.choices) | {"data": data}
    return validate(changed.composed, changed.choices)


def _open_data(config: dict[str, Any], run: Any, split: str) -> tuple[Any, Callable[[], Iterator] | None]:
    """The source that is evaluated, and a reader of what the run was trained on, if that is there."""
    from triad.config.build import build
    from triad.data.preparation import find_parts, prepare_source

    def prepare(config: dict[str, Any]) -> Any:
        return prepare_source(config, build({"data": config["data"]} | find_parts(config)))

    # a test split is read as it is, and so needs none for validation
    source = build({"data": config["data"]})["data"] if split == "test" else prepare(config)
    try:
        own = prepare(run.config())
    except (OSError, ValueError):
        return source, None
    return source, lambda: own.examples("train")


if __name__ == "__main__":
    from triad.config.command_line import run_command

    run_command(evaluate)
