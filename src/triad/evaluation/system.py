"""A trained run as a system that is evaluated: its model on a device, in the precision of the run."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from triad.checkpoints.folder import find_validated, read_step
from triad.checkpoints.trained import OF_TASK, count_rows, make_task, open_trained
from triad.config.build import build
from triad.config.errors import Refusal
from triad.data.example_rows import get_padding
from triad.data.progress import Advance, show_progress
from triad.hardware.autotune import Measured
from triad.hardware.place import Place
from triad.hardware.precision import make_plugin
from triad.runs.directory import Run
from triad.tasks.counter_rng import random_integers

ROWS = 64  # of a batch
PLACES = 1 << 14  # of a batch: rows times the length of the longest


@dataclass
class System:
    """A model with its tokenizer and task. `config` is the run's, as words have changed it."""

    run: Run
    config: dict[str, Any]
    task: Any
    metrics: dict[str, Any]
    model: nn.Module
    tokenizer: Any
    step: int
    weights: str
    place: Place = field(repr=False)

    @contextmanager
    def computing(self) -> Generator[None]:
        """Within it the model computes in the precision of the run, without gradients."""
        with torch.no_grad(), self.place.plugin.forward_context():
            yield

    def predict(self, examples: list[dict[str, Any]]) -> list[Any]:
        """What metrics read of each example; None of one of which the task makes no row.

        Rows of like length are computed together, so that few places are padding.
        """
        rows, owners = [], []
        for index, example in enumerate(examples):
            for row in self.task.encode(example):
                rows.append({name: value for name, value in row.items() if name != "cut"})
                owners.append(index)
        predictions: list[Any] = [None] * len(rows)
        with self.computing(), show_progress("predictions", len(rows), "rows") as advance:
            for chosen in deal(list(map(count_places, rows))):
                inputs = self._make_inputs([rows[row] for row in chosen], chosen)
                for row, prediction in zip(chosen, self.task.predict(self.model, *inputs), strict=True):
                    predictions[row] = prediction
                advance(len(chosen))
        by_example: list[list[Any]] = [[] for _ in examples]
        for owner, prediction in zip(owners, predictions, strict=True):
            by_example[owner].append(prediction)
        return [self._combine(found) if found else None for found in by_example]

    def _combine(self, predictions: list[Any]) -> Any:
        return self.task.combine(predictions) if hasattr(self.task, "combine") else predictions[0]

    def _make_inputs(self, rows: list[dict[str, Any]], numbers: list[int]) -> list[Tensor]:
        """The arguments of `predict` or `measure`: rows of one width; draws follow from their numbers."""
        batch: dict[str, Any] = {name: collate(name, [row[name] for row in rows]) for name in rows[0]}
        numbers_B = torch.tensor(numbers)
        batch |= {"rows": len(rows), "count": len(rows), "step": 0}
        batch |= self.task.inputs(
            batch, lambda purpose, length: random_integers(f"evaluation/{purpose}", numbers_B, length)
        )
        names = (*self.task.reads, *getattr(self.task, "judged_by", ()))
        return [batch[name].to(self.place.device) for name in names]

    def measure(self, rows: list[dict[str, Any]], first: int, advance: Advance) -> dict[str, Tensor]:
        """The sums of the task's `measure` over some rows, the first of which has a number.

        `advance` is called with the numbers of rows that have been measured.
        """
        sums: dict[str, Tensor] = {}
        with self.computing():
            for chosen in deal(list(map(count_places, rows))):
                inputs = self._make_inputs([rows[row] for row in chosen], [first + row for row in chosen])
                for name, value in self.task.measure(self.model, *inputs).items():
                    sums[name] = sums.get(name, 0) + value.double().cpu()
                advance(len(chosen))
        return sums


def open_system(run: Run, config: dict[str, Any], checkpoint: Path, weights: str | None) -> System:
    """The model of a checkpoint with the task, metrics and decoding of a configuration.

    Raises Refusal for a task with another output than that of the run.
    """
    measured = Measured.of_run(run.machine_file, config["trainer"]["accelerator"])
    model, tokenizer, before = open_trained(run, checkpoint, weights)
    part = build({name: config[name] for name in OF_TASK if name in config})
    rest = run.pinned()["facts"], tokenizer, config["context"]
    task = make_task(part, *rest)
    metrics = make_task(part | {"task": partial(_get_metrics)}, *rest)  # also where training takes none
    rows = [count_rows(tokenizer.vocab_size, one, part["model"], 1) for one in (task, before)]
    if rows[0] != rows[1] or getattr(task, "replaces_head", 0) != getattr(before, "replaces_head", 0):
        raise Refusal(
            f"task={type(task).__name__}: run {run.id} was trained for {type(before).__name__}, whose output"
            " is another; evaluate a run that was trained for it"
        )
    precision = build(config["precision"])(measured)
    place = Place(measured.device, precision, make_plugin(precision, measured.device))
    rest = tokenizer, read_step(checkpoint), weights or find_validated(checkpoint), place
    return System(run, config, task, metrics, place.put(model), *rest)


def _get_metrics(metrics: dict[str, Any]) -> dict[str, Any]:
    return metrics


def count_places(row: dict[str, Any]) -> int:
    """The length of the longest list of a row."""
    return max((len(value) for value in row.values() if isinstance(value, list)), default=1)


def deal(lengths: list[int]) -> Iterator[list[int]]:
    """The numbers of rows, longest first, in batches of at most ROWS rows and PLACES places."""
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    start = 0
    while start < len(order):
        rows = max(1, min(ROWS, PLACES // max(lengths[order[start]], 1)))
        yield order[start : start + rows]
        start += rows


def collate(name: str, values: list[Any]) -> Tensor:
    """One number of each row, or lists padded to the longest: what is asked of them by IGNORED."""
    if not isinstance(values[0], list):
        return torch.tensor(values)
    padding = get_padding(name)
    rows = [torch.tensor(value, dtype=torch.long) for value in values]
    return pad_sequence(rows, batch_first=True, padding_value=padding)
