"""Multiple choice by likelihood, and examples that stand before a question."""

import random
from collections.abc import Iterable
from itertools import islice
from typing import Any

from triad.data.progress import show_progress
from triad.decoding.likelihood import score_continuations, tokenize_pair
from triad.evaluation.system import ROWS, System

Example = dict[str, Any]
BETWEEN = "\n\n"  # examples


def draw_shots(training: Iterable[Example], number: int, seed: int) -> list[Example]:
    """Some examples of training, in an order of their own, by the seed alone.

    Raises ValueError where there are fewer.
    """
    found = [*training]
    if len(found) < number:
        raise ValueError(f"shots={number}: the training split has {len(found)} examples; ask for fewer")
    return random.Random(seed).sample(found, number)


def put_before(shots: list[Example], example: Example) -> Example:
    """An example whose question or source has others before it, each with its answer: "2+2 4", "1+1"."""
    name = "question" if "question" in example else "source"
    texts = [f"{shot[name]}{find_answer(shot)}" for shot in shots]
    return example | {name: BETWEEN.join([*texts, example[name]])}


def find_answer(example: Example) -> str:
    """The right answer or the target, with the blank before it."""
    return f" {example['choices'][example['answer']] if 'choices' in example else example['target']}"


def score_choices(system: System, examples: list[Example]) -> list[list[tuple[float, int, str]]]:
    """Log probability, number of tokens and text of each choice, with the blank before it, by example."""
    pairs = [(example["question"], f" {choice}") for example in examples for choice in example["choices"]]
    model, tokenizer, context = system.model, system.tokenizer, system.config["context"]
    sizes = [len(tokens) - first for tokens, first in (tokenize_pair(tokenizer, *pair) for pair in pairs)]
    with system.computing(), show_progress("likelihood", sum(sizes), "tokens") as advance:
        scores = score_continuations(
            model, tokenizer, pairs, context=context, batch_size=ROWS, advance=advance
        )
    scored = zip(pairs, scores, strict=True)
    answers = ((score.log_probability, score.tokens, choice) for (_, choice), score in scored)
    return [[*islice(answers, len(example["choices"]))] for example in examples]
