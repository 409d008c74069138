"""The likeliest texts, sought among many. Shapes: R rows, C candidates of a row, V words."""

import math
from typing import Literal, NamedTuple

import torch

from triad.decoding.hypothesis import Hypothesis, Order
from triad.decoding.prefixes import Prefixes
from triad.decoding.truncation import apply_constraint, check_finite, penalise_repetition
from triad.layers.ranges import Exponent, PositiveFloat, PositiveInt


class Candidate(NamedTuple):
    """A text of one token more: the sum of its scores, its row before, its last token and its log p."""

    score: float
    row: int
    token: int
    log_probability: float


class Beam:
    """Extend the best `beams` prefixes of each prompt side by side and return the best texts that ended.

        score(y) = log p(y) / lp(y),   lp = ((5 + |y|) / 6)^a      Wu et al. 2016, arXiv:1609.08144, eq. 14
        lp = |y|^a with length_rule=power, as transformers' generate

    a is `length_penalty`, |y| the number of new tokens with the end. Of each step's best candidates those
    that end are kept if they are among the first `beams`, and the best `beams` of the others are extended. A
    prompt is done when `beams` texts have ended and none that runs on is expected to be better than the worst
    of them. `early_stopping` false: as if it ended at its present length, transformers' rule, which is exact
    for a = 0; `never`: at the length that suits it best, which is always exact; true: without a look at it.
    At `max_tokens` all end. `repetition_penalty` 1 is none. Raises ValueError where more texts are wanted
    than beams.
    """

    def __init__(
        self,
        beams: PositiveInt,
        length_penalty: Exponent,
        length_rule: Literal["gnmt", "power"],
        early_stopping: bool | Literal["never"],
        repetition_penalty: PositiveFloat,
    ) -> None:
        if beams < 1:
            raise ValueError(f"decoding.beams={beams}: at least 1")
        self.beams, self.length_penalty, self.length_rule = beams, length_penalty, length_rule
        self.early_stopping, self.repetition_penalty = early_stopping, repetition_penalty

    def search(self, prefixes: Prefixes, order: Order, n: int) -> list[list[Hypothesis]]:
        """The n best continuations of each prompt, the best first."""
        if n > self.beams:
            raise ValueError(f"n={n} texts of decoding.beams={self.beams}: at most as many as beams")
        ended: list[list[tuple[float, Hypothesis]]] = [[] for _ in prefixes.lengths]
        rows = [(prompt, 0.0, Hypothesis()) for prompt in range(len(ended))]  # of `prefixes`
        done: set[int] = set()  # prompts whose rows stay in lockstep only
        for length in range(1, order.max_tokens + 1):
            kept = []
            for prompt, candidates in self._find_candidates(prefixes, rows, order).items():
                texts = [] if prompt in done else ended[prompt]
                running = self._sort_out(texts, rows, candidates, length, order)
                if not running or self._is_done(texts, running[0][0].score, length, order):
                    done.add(prompt)
                if order.lockstep or prompt not in done:
                    kept += [(prompt, *found) for found in running]
            if length == order.max_tokens or not (kept or order.lockstep):
                break
            if [prompt for prompt, *_ in kept] == [prompt for prompt, *_ in rows]:
                kept = _stay(kept)
                moved = [row for row, (_, candidate, _) in enumerate(kept) if candidate.row != row]
                if moved:
                    prefixes.overwrite(moved, [kept[row][1].row for row in moved])
            else:
                prefixes.select([candidate.row for _, candidate, _ in kept] or [0])
            tokens = [candidate.token for _, candidate, _ in kept] or [0]
            prefixes.append(torch.tensor(tokens, device=prefixes.device))
            rows = [(prompt, candidate.score, hypothesis) for prompt, candidate, hypothesis in kept]
        return [[hypothesis for _, hypothesis in texts[:n]] for texts in ended]

    def _find_candidates(
        self, prefixes: Prefixes, rows: list[tuple[int, float, Hypothesis]], order: Order
    ) -> dict[int, list[Candidate]]:
        """The best candidates of each prompt, the best first: enough for `beams` of them not to end."""
        logits_RV = prefixes.read()
        if not rows:
            return {}  # in lockstep with others
        count = min(self.beams * (1 + max(1, len(order.ends))), logits_RV.shape[1])
        total_R1 = logits_RV.logsumexp(-1, keepdim=True)
        score_RV = logits_RV
        if self.repetition_penalty != 1:
            score_RV = penalise_repetition(score_RV - total_R1, prefixes.tokens_BT, self.repetition_penalty)
            score_RV = score_RV + total_R1
        score_RV = apply_constraint(score_RV, [hypothesis.tokens for *_, hypothesis in rows], order)
        score_RC, token_RC = score_RV.topk(count)
        own_RC = logits_RV.gather(1, token_RC)
        columns = torch.stack((score_RC - total_R1, own_RC - total_R1, token_RC.to(own_RC.dtype))).tolist()
        found: dict[int, list[Candidate]] = {}
        for row, (prompt, so_far, hypothesis) in enumerate(rows):
            check_finite(columns[1][row][0])
            found.setdefault(prompt, []).extend(
                Candidate(so_far + score, row, int(token), hypothesis.log_probability + own)
                for score, own, token in zip(*(column[row] for column in columns), strict=True)
                if score > -math.inf
            )
        for candidates in found.values():
            candidates.sort(key=lambda candidate: -candidate.score)
            del candidates[self.beams * (1 + max(1, len(order.ends))) :]
        return found

    def _sort_out(
        self,
        ended: list[tuple[float, Hypothesis]],
        rows: list[tuple[int, float, Hypothesis]],
        candidates: list[Candidate],
        length: int,
        order: Order,
    ) -> list[tuple[Candidate, Hypothesis]]:
        """Add the texts that end to those that have; return the best of the others."""
        running = []
        for rank, candidate in enumerate(candidates):
            tokens, finished = rows[candidate.row][2].tokens, candidate.token in order.ends
            if not finished:
                tokens = [*tokens, candidate.token]
                finished = order.stopped is not None and order.stopped(tokens)
            hypothesis = Hypothesis(tokens, candidate.log_probability, finished)
            if finished or length == order.max_tokens:
                if rank < self.beams:
                    ended.append((candidate.score / self._compute_penalty(length), hypothesis))
            elif len(running) < self.beams:
                running.append((candidate, hypothesis))
        ended.sort(key=lambda text: -text[0])
        del ended[self.beams :]
        return running

    def _is_done(self, ended: list[tuple[float, Hypothesis]], best: float, length: int, order: Order) -> bool:
        """Whether no text that runs on is expected to come among those that ended."""
        if len(ended) < self.beams or self.early_stopping is True:
            return len(ended) == self.beams
        if self.early_stopping == "never" and self.length_penalty > 0:
            length = order.max_tokens
        return best / self._compute_penalty(length) <= ended[-1][0]

    def _compute_penalty(self, length: int) -> float:
        """What a text of so many tokens has its score divided by."""
        return (length if self.length_rule == "power" else (5 + length) / 6) ** self.length_penalty


def _stay(kept: list[tuple[int, Candidate, Hypothesis]]) -> list[tuple[int, Candidate, Hypothesis]]:
    """Put one continuation of each row in its place, so that only rows are copied that have several.

    The rows of each prompt are neighbours, as many as it had.
    """
    placed: dict[int, tuple[int, Candidate, Hypothesis]] = {}
    for found in kept:
        placed.setdefault(found[1].row, found)
    firsts = {id(found) for found in placed.values()}
    others: dict[int, list] = {}
    for found in kept:
        if id(found) not in firsts:
            others.setdefault(found[0], []).append(found)
    return [placed[row] if row in placed else others[found[0]].pop(0) for row, found in enumerate(kept)]
