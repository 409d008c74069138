"""One system evaluated on the examples of a split: its report, and the rows that others are compared by."""

import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from triad.data.progress import track
from triad.data.translation_memory import TranslationMemory
from triad.evaluation.baselines import make_baselines
from triad.evaluation.choices import draw_shots, put_before, score_choices
from triad.evaluation.language_modelling import (
    ORDER,
    HiddenTokens,
    TextLikelihood,
    score_hidden,
    score_ngrams,
    score_texts,
)
from triad.evaluation.scoring import (
    Scored,
    describe_input,
    describe_prediction,
    describe_references,
    draw_samples,
    find_figures,
    rank_rows,
    score_predictions,
)
from triad.evaluation.seen import find_seen, fingerprint_examples
from triad.evaluation.system import System
from triad.metrics.choice import Choice

EXTREMES = 5  # worst and best examples
Example = dict[str, Any]


@dataclass
class Split:
    """The examples that are evaluated. `training` reads those that the run was trained on, if it can."""

    name: str
    source: Any
    examples: list[Example]
    training: Callable[[], Iterable[Example]] | None
    seen: int | None
    exclude_seen: bool


def read_split(
    source: Any, name: str, limit: int | None, training: Callable | None, exclude_seen: bool
) -> Split:
    """The first examples of a split; those that stand in training are counted, or left out."""
    examples = [*islice(source.examples(name), limit)]
    seen = find_seen(examples, track(training(), "training split", None, "examples")) if training else None
    if exclude_seen:
        if seen is None:
            raise ValueError("exclude_seen=true: the training split is not there to be asked; leave it out")
        examples = [example for number, example in enumerate(examples) if number not in seen]
    if not examples:
        raise ValueError(f"split={name}: every example of it stands in the training split; give others")
    return Split(name, source, examples, training, None if seen is None else len(seen), exclude_seen)


@dataclass
class Asked:
    """How a split is evaluated, as typed."""

    shots: int
    stride: int
    memory: str | None
    samples: int
    resamples: int
    seed: int


@dataclass
class Outcome:
    """What a system came to: its rows and those of baselines, of the examples that make rows."""

    metrics: dict[str, Any]
    examples: list[Example]
    scored: Scored
    baselines: list[Scored]
    references: list[list[Any]] | None = None  # of predictions
    seconds: dict[str, float] = field(default_factory=dict)  # spent on the run's own predictions and rows
    remembered: int = 0  # predictions taken from a translation memory


def evaluate_split(system: System, split: Split, asked: Asked) -> tuple[dict[str, Any], Outcome]:
    """The report of a run, and what it is made of."""
    if split.source.yields == "choices":
        outcome = _score_choices(system, split, asked)
    elif system.task.predicts == "its tokens":
        outcome = _score_tokens(system, split, asked)
    else:
        outcome = _score_predictions(system, split, asked)
    resampled, since = (asked.resamples, asked.seed), time.perf_counter()
    figures = find_figures(outcome.metrics, outcome.scored, *resampled)
    seconds = outcome.seconds | {"intervals": time.perf_counter() - since}
    data = {
        "name": split.source.name,
        "fingerprint": fingerprint_examples(outcome.examples),
        "examples": len(outcome.examples),
        "left_out": len(split.examples) - len(outcome.examples),
        "seen": split.seen,
        "exclude_seen": split.exclude_seen,
    }
    report = {
        "run": system.run.id,
        "split": split.name,
        "checkpoint": {"step": system.step, "weights": system.weights},
        "device": str(system.place.device),
        "precision": system.place.precision,
        "data": data,
        "task": system.config["task"],
        "metrics": system.config.get("metrics", {}),
        "decoding": system.config.get("decoding") if hasattr(system.task, "decoding") else None,
        "shots": asked.shots,
        "remembered": outcome.remembered,
        "signatures": {n: m.signature for n, m in outcome.metrics.items() if hasattr(m, "signature")},
        "figures": figures,
        "baselines": {one.name: find_figures(outcome.metrics, one, *resampled) for one in outcome.baselines},
        "comparisons": [],
        "resamples": asked.resamples,
        "seed": asked.seed,
        "seconds": seconds,
    }
    return report | _choose_examples(system.task, outcome, asked.samples), outcome


def _score_predictions(system: System, split: Split, asked: Asked) -> Outcome:
    """The task's predictions, or those that a translation memory has, by the metrics of the configuration."""
    if not system.metrics:
        raise ValueError("metrics=[]: nothing is measured; choose some, such as metrics=[bleu] for text")
    examples = _put_shots(split, asked)
    known = _look_up(asked.memory, split)
    since = time.perf_counter()
    asking = [number for number in range(len(examples)) if number not in known]
    predicted = system.predict([examples[number] for number in asking])
    seconds = {"predictions": time.perf_counter() - since}
    found = known | {n: one for n, one in zip(asking, predicted, strict=True) if one is not None}
    kept = sorted(found)
    if not kept:
        raise ValueError(f"split={split.name}: no example of it makes a row of this task; raise context")
    examples, plain = ([of[number] for number in kept] for of in (examples, split.examples))
    references = [system.task.references(example) for example in examples]
    since = time.perf_counter()
    predictions = [found[number] for number in kept]
    scored = score_predictions(system.run.id, system.metrics, predictions, references)
    seconds["metrics"] = time.perf_counter() - since
    baselines: list[Scored] = []
    for name, predict in make_baselines(system.task, split.training) if split.training else ():
        guesses = [predict(one) for one in plain]
        if all(guesses != other.predictions for other in baselines if isinstance(guesses[0], str)):
            baselines.append(score_predictions(name, system.metrics, guesses, references))
    return Outcome(system.metrics, plain, scored, baselines, references, seconds, len(known))


def _put_shots(split: Split, asked: Asked) -> list[Example]:
    if not asked.shots:
        return split.examples
    if split.source.yields not in ("pairs", "choices"):
        raise ValueError(
            f"shots={asked.shots}: data={split.source.name} yields {split.source.yields}; examples stand "
            "before questions with choices and before sources of pairs"
        )
    shots = draw_shots(split.source.examples("train"), asked.shots, asked.seed)
    return [put_before(shots, example) for example in split.examples]


def _look_up(memory: str | None, split: Split) -> dict[int, str]:
    """The targets that a translation memory has of sources that are in it as they are."""
    if memory is None:
        return {}
    if split.source.yields != "pairs":
        raise ValueError(f"memory={memory}: data={split.source.name} has no translations; leave memory out")
    with closing(TranslationMemory(Path(memory))) as kept:
        targets = {number: kept.find_exact(one["source"]) for number, one in enumerate(split.examples)}
    return {number: found[0] for number, found in targets.items() if found}


def _score_choices(system: System, split: Split, asked: Asked) -> Outcome:
    """Multiple choice by likelihood; the baseline finds every choice as likely as the others."""
    if not getattr(system.task, "continues_text", False):
        raise ValueError(
            f"data={split.source.name}: choices are scored by a model that continues text; use a run of "
            "task=causal_lm"
        )
    examples = _put_shots(split, asked)
    metrics = {"choice": Choice()}
    references = [[example["answer"]] for example in examples]
    scored = score_predictions(system.run.id, metrics, score_choices(system, examples), references)
    alike = [[(0.0, 1, f" {choice}") for choice in example["choices"]] for example in examples]
    chance = score_predictions("chance", metrics, alike, references)
    return Outcome(metrics, split.examples, scored, [chance], references)


def _score_tokens(system: System, split: Split, asked: Asked) -> Outcome:
    """Likelihood of texts; counted n-grams stand beside a model that predicts all of their tokens."""
    if split.source.yields != "text":
        raise ValueError(
            f"data={split.source.name} yields {split.source.yields}: likelihood is measured of text; type "
            "data= of text, or another task"
        )
    name, baselines = system.run.id, []
    if getattr(system.task, "continues_text", False):
        metrics: dict[str, Any] = {"likelihood": TextLikelihood()}
        rows_NS = score_texts(system, split.examples, asked.stride or system.config["context"])
        if split.training:
            counted_NS = score_ngrams(system.tokenizer, split.training(), split.examples)
            baselines = [Scored(f"{ORDER}-grams", [], {"likelihood": counted_NS})]
    else:
        metrics, rows_NS = {"likelihood": HiddenTokens()}, score_hidden(system, split.examples)
    return Outcome(metrics, split.examples, Scored(name, [], {"likelihood": rows_NS}), baselines)


def _choose_examples(task: Any, outcome: Outcome, samples: int) -> dict[str, Any]:
    """The worst and the best rows by the first figure, and samples of all."""
    figure, ranked = rank_rows(outcome.metrics, outcome.scored, outcome.references)
    score = dict(ranked)
    few = min(EXTREMES, len(ranked) // 2)
    chosen = {"worst": [row for row, _ in ranked[:few]], "best": [row for row, _ in reversed(ranked[-few:])]}
    chosen = chosen if few else {"worst": [], "best": []}
    chosen["samples"] = draw_samples(len(ranked), samples)

    def describe(row: int) -> dict[str, Any]:
        example = outcome.examples[row]
        found = {"row": row, "score": score[row], "input": describe_input(example)}
        if outcome.references is None:
            return found | {"prediction": "", "reference": ""}
        prediction = describe_prediction(task, outcome.scored.predictions[row])
        reference = describe_references(task, outcome.references[row], example)
        return found | {"prediction": prediction, "reference": reference}

    return {"score": figure} | {name: [*map(describe, rows)] for name, rows in chosen.items()}
