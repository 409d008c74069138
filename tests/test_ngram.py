"""N-grams: the fast counts against a naive transcription of the equations, and the command."""

import json
import math
import random
import subprocess
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from triad.analysis.kneser_ney import KneserNey
from triad.runs.metrics import read_metrics

V = 400
START = "start"


class Naive:
    """Modified Kneser-Ney in dictionaries, as the equations read."""

    def __init__(self, text: list[int], order: int) -> None:
        self.order = order
        marked = [START] * (order - 1) + text
        ends = range(order - 1, len(marked))
        self.c = {order: Counter(tuple(marked[end - order + 1 : end + 1]) for end in ends)}
        for k in range(order - 1, 0, -1):
            # N1+(. w): how many different words each n-gram follows
            self.c[k] = Counter(gram[1:] for gram in {tuple(marked[e - k : e + 1]) for e in ends})
        self.D = {k: self.discounts([*counts.values()]) for k, counts in self.c.items()}
        self.behind: dict[tuple, list[int]] = defaultdict(list)
        for counts in self.c.values():
            for gram, count in counts.items():
                self.behind[gram[:-1]].append(count)

    @staticmethod
    def discounts(counts: list[int]) -> list[float]:
        n = [counts.count(times) for times in range(5)]
        if not all(n[1:]):
            return [0, 0.5, 1.0, 1.5]  # ours where there is too little text
        y = n[1] / (n[1] + 2 * n[2])
        found = [0, 1 - 2 * y * n[2] / n[1], 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n[4] / n[3]]
        return found if min(found[1:]) > 0 else [0, 0.5, 1.0, 1.5]

    def p(self, history: tuple, word: int) -> float:
        lower = self.p(history[1:], word) if history else 1 / V
        k = len(history) + 1
        behind = self.behind[history]
        if not behind:
            return lower
        D, c = self.D[k], self.c[k][(*history, word)]
        gamma = sum(D[min(count, 3)] for count in behind) / sum(behind)
        return (c - D[min(c, 3)]) / sum(behind) + gamma * lower


RARE = [1 / (rank + 1) for rank in range(V)]  # Zipf's law, not yet divided by its sum


def corpus(length: int, seed: int) -> list[int]:
    """Every other word, or so, follows from the one before; the rest are drawn by Zipf's law."""
    draw = random.Random(seed)
    text = [0]
    for _ in range(length - 1):
        text.append((7 * text[-1] + 1) % V if draw.random() < 0.5 else draw.choices(range(V), RARE)[0])
    return text


def truth(text: list[int]) -> float:
    """Nats a word of the rule itself."""
    pairs = pairwise(text)
    p = [0.5 * (after == (7 * word + 1) % V) + 0.5 * RARE[after] / sum(RARE) for word, after in pairs]
    return -sum(map(math.log, p)) / len(p)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_the_corpus_has_n_grams_of_all_counts(order: int) -> None:
    assert Naive(corpus(1500, seed=0), order).D[order] != [0, 0.5, 1.0, 1.5]


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_probabilities_are_those_of_the_equations(order: int) -> None:
    text, heldout = corpus(1500, seed=0), corpus(300, seed=1)
    found = KneserNey(np.array(text), order, V).probabilities(np.array(heldout))
    for k in range(1, order + 1):
        naive = Naive(text, k)
        # at the beginning a shorter history is all there is
        expected = [
            naive.p(tuple(heldout[at - k + 1 : at]), heldout[at]) for at in range(k - 1, len(heldout))
        ]
        np.testing.assert_allclose(found[k - 1, k - 1 :], expected, rtol=1e-12)


@pytest.mark.parametrize("length", [1, 3, 40, 5000])
def test_the_probabilities_of_all_words_behind_a_history_sum_to_one(length: int) -> None:
    order = 4
    model = KneserNey(np.array(corpus(length, seed=0)), order, V)
    for history in ([], [3], [6, 6, 6], [1, 8, 57], [5, 36, 253], corpus(length, seed=0)[-3:]):
        sums = sum(model.probabilities(np.array([*history, word]))[:, -1] for word in range(V))
        np.testing.assert_allclose(sums, np.ones(order), rtol=1e-12)


def test_a_text_is_evaluated_alike_in_chunks_and_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    model, text = KneserNey(np.array(corpus(3000, seed=0)), 3, V), np.array(corpus(500, seed=1))
    whole = -np.log(model.probabilities(text)[:, 1:]).sum(1)
    for size in (1, 2, 7, 499):
        monkeypatch.setattr("triad.analysis.kneser_ney.CHUNK", size)
        np.testing.assert_allclose(model.nats(text), whole)


def test_one_word_of_context_is_worth_much_and_two_nothing_more_where_one_says_all() -> None:
    model, held_out = KneserNey(np.array(corpus(50_000, seed=0)), 3, V), corpus(10_000, seed=1)
    one, two, three = model.nats(np.array(held_out)) / (len(held_out) - 1)
    assert one > 1.2 * truth(held_out)
    assert truth(held_out) < two < 1.05 * truth(held_out)
    assert two < three < 1.05 * two  # what is noise costs a little


@pytest.mark.parametrize(("order", "text"), [(0, [1, 2]), (2, [])])
def test_no_order_and_no_text_are_refused(order: int, text: list[int]) -> None:
    with pytest.raises(ValueError, match="at least order=1 and one token"):
        KneserNey(np.array(text, np.int64), order, V)


def test_the_command_writes_a_run_that_is_shown_beside_others(python, tmp_path: Path, text: Path) -> None:
    words = ["data=text", f"data.path={text}", "tokenizer=byte", "order=3", "run_id=counted"]

    def call(module: str, *words: str) -> subprocess.CompletedProcess:
        return python("-m", f"triad.{module}", *words, code=None)

    done = call("ngram", *words)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "outputs" / "counted" / "result.json").read_text())
    rows = read_metrics(tmp_path / "outputs" / "counted" / "metrics.csv")
    assert [row["order"] for row in rows] == [1, 2, 3]
    assert result["val/loss"] == pytest.approx(min(row["val/loss"] for row in rows))
    assert 0.2 < result["val/bits_per_byte"] < 2.5
    assert "counted" in call("compare", "outputs").stdout
    refusals = {
        ("model.width=3",): "order=, tokens=",
        (): "exists; choose another name",
        ("order=0", "run_id=other"): "at least 1 each",
    }
    for wrong, remedy in refusals.items():
        refused = call("ngram", *words, *wrong)
        assert refused.returncode == 2
        assert remedy in refused.stderr
    assert call("generate", "run=outputs/counted").returncode == 2
    assert not (tmp_path / "outputs" / "other").exists()
