"""F1 of tagged spans, by conlleval's rule and by strict IOB2."""

from collections.abc import Sequence

import numpy as np

Span = tuple[str, int, int]  # type, first word, word behind the last


class SpanF1:
    """Precision, recall and F1 of the spans that BIO tags of words mark.

        F1 = 2 right / (predicted + true spans);   a span is right if its type and both its ends are

    By conlleval's rule (Tjong Kim Sang and Buchholz 2000), that of published CoNLL figures, I-X begins a
    span where no span of type X stands before it; strict IOB2 (`strict_span_f1`) lets B- alone begin one.
    Each row is a sentence of its own: no span runs on into the next.
    """

    needs = {"task.predicts": ("tags",)}
    higher_is_better = ("span_precision", "span_recall", "span_f1", "strict_span_f1")
    size = 6

    def count(self, prediction: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
        """Right, predicted and true spans by conlleval's rule, then by strict IOB2.

        Raises ValueError for other than one tag of each word, and for tags that are not BIO.
        """
        gold = references[0]
        if len(prediction) != len(gold):
            raise ValueError(f"{len(prediction)} tags are predicted of a sentence of {len(gold)} words")
        counts: list[float] = []
        for strict in (False, True):
            found, wanted = {*find_spans(prediction, strict)}, {*find_spans(gold, strict)}
            counts += [len(found & wanted), len(found), len(wanted)]
        return counts

    def compute(self, sums: np.ndarray) -> dict[str, float]:
        right, predicted, gold = sums[:3]
        return {
            "span_precision": float(right / max(predicted, 1)),
            "span_recall": float(right / max(gold, 1)),
            "span_f1": _f1(*sums[:3]),
            "strict_span_f1": _f1(*sums[3:]),
        }


def find_spans(tags: Sequence[str], strict: bool) -> list[Span]:
    """The spans of one sentence. Raises ValueError for a tag that is not O, B-X or I-X."""
    spans: list[Span] = []
    kind, start = "", 0  # of the span that is open; none where kind is ""
    for place, tag in enumerate([*tags, "O"]):
        prefix, _, named = tag.partition("-")
        if not (tag == "O" or (prefix in ("B", "I") and named)):
            raise ValueError(f"tag {tag}: tags of spans are O, B-<type> and I-<type>")
        if prefix == "I" and named == kind:
            continue
        if kind:
            spans.append((kind, start, place))
        kind, start = ("" if prefix == "I" and strict else named), place
    return spans


def _f1(right: float, predicted: float, gold: float) -> float:
    return float(2 * right / max(predicted + gold, 1))
