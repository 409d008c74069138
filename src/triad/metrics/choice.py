"""Multiple choice by likelihood."""

from collections.abc import Sequence
from math import isclose

import numpy as np

SAME = 1e-9  # relative: an n-th of n equal terms is not the term itself in its last bit


class Choice:
    """How often the likeliest choice is the right one: accuracy, with four lengths to divide by.

        score = log p(choice | context) / length;   length = 1, tokens, characters or bytes of UTF-8
        a row = 1 / m if the right choice is among the m whose score is the highest, else 0

    So a model that gives each choice the same log probability has exactly the accuracy of chance where
    nothing is divided by. `ties` are the share of rows with m > 1: a high one says that the model cannot
    tell. A prediction is a list of (log probability, tokens, text of the choice with the blank before it);
    the reference is the index of the right one. The first of these and the third are Hugging Face's and
    EleutherAI's acc and, but for their name, acc_norm (Gao et al. 2021, lm-evaluation-harness).
    """

    needs = {"task.predicts": ("a choice",)}
    higher_is_better = ("accuracy", "accuracy_per_token", "accuracy_per_character", "accuracy_per_byte")
    lower_is_better = ("ties", "ties_per_token", "ties_per_character", "ties_per_byte")
    size = 9

    def count(self, prediction: Sequence[tuple[float, int, str]], references: Sequence[int]) -> list[float]:
        """1, then by each normalisation what the row counts, then whether it is a tie."""
        (right,) = references
        if not 0 <= right < len(prediction):
            raise ValueError(f"the right choice is {right} of {len(prediction)} choices, counted from 0")
        best = [_find_best(scores) for scores in zip(*map(_normalise, prediction), strict=True)]
        credits = [(right in tied) / len(tied) for tied in best]
        return [1, *credits, *(float(len(tied) > 1) for tied in best)]

    def compute(self, sums: np.ndarray) -> dict[str, float]:
        names = (*self.higher_is_better, *self.lower_is_better)
        return dict(zip(names, (sums[1:] / max(sums[0], 1)).tolist(), strict=True))


def _normalise(choice: tuple[float, int, str]) -> tuple[float, ...]:
    log_probability, tokens, text = choice
    if not text:
        raise ValueError("a choice is empty: nothing is there to be likely")
    return tuple(log_probability / length for length in (1, tokens, len(text), len(text.encode())))


def _find_best(scores: Sequence[float]) -> list[int]:
    top = max(scores)
    return [index for index, score in enumerate(scores) if isclose(score, top, rel_tol=SAME)]
