"""Exact match and F1 of answers, by the rules of SQuAD's official scripts."""

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np

PUNCTUATION = str.maketrans("", "", string.punctuation)
ARTICLES = re.compile(r"\b(a|an|the)\b")


class Squad:
    """Exact match and F1 of words, 0 to 100, over questions (Rajpurkar et al. 2016, arXiv:1606.05250).

        F1 = 2 common words / (words of the prediction + words of the answer)

    Compared are texts in lower case, without ASCII punctuation and without a, an and the, of the given
    answers the best one, for exact match and F1 each: the official rules of v1.1. A question without
    answers follows v2.0 (Rajpurkar et al. 2018, arXiv:1806.03822): an empty prediction is right, any other
    wrong.
    """

    needs = {"task.predicts": ("an answer",)}
    higher_is_better = ("squad_em", "squad_f1")
    size = 3

    def count(self, prediction: str, references: Sequence[str]) -> tuple[float, float, float]:
        """Exact match, F1, and the question."""
        if not references:
            right = float(not normalise(prediction))
            return right, right, 1.0
        exact = max(float(normalise(prediction) == normalise(answer)) for answer in references)
        return exact, max(score_words(prediction, answer) for answer in references), 1.0

    def compute(self, sums: np.ndarray) -> dict[str, float]:
        exact, f1, questions = sums
        return {
            "squad_em": 100 * float(exact / max(questions, 1)),
            "squad_f1": 100 * float(f1 / max(questions, 1)),
        }


def normalise(text: str) -> str:
    """A text as answers are compared; a hyphen is deleted, and no space takes its place."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def score_words(prediction: str, answer: str) -> float:
    """F1 of the words that two texts share, 0 where they share none."""
    ours, theirs = normalise(prediction).split(), normalise(answer).split()
    common = (Counter(ours) & Counter(theirs)).total()
    return 2 * common / (len(ours) + len(theirs)) if common else 0.0
