"""Target-dependent sentiment and stance: predict what a text says about a named target."""

from collections.abc import Callable
from typing import Any

from triad.layers.ranges import NonNegativeFloat, UnitInterval
from triad.tasks.classification import Classification
from triad.tasks.text_pairs import make_separator


class TargetSentiment(Classification):
    """Predict the label of a text toward a target, which is the second text of the row.

    The form is that of BERT-SPC, Song et al. 2019, arXiv:1902.09314: "[CLS] text [SEP] target". The target
    need not occur in the text, as in stance (Mohammad et al. 2016, SemEval-2016 task 6). Otherwise as
    Classification.
    """

    needs = {"model.sees": ("past", "both sides"), "data.yields": ("labelled pairs",)}

    def __init__(
        self,
        smoothing: UnitInterval,
        z_loss: NonNegativeFloat,
        pool: Callable | None,
        dropout: UnitInterval,
        labels: tuple[str, ...],
        tokenizer: Any,
        context: int,
        model_sees: str,
        metrics: dict[str, Any],
    ) -> None:
        run = labels, tokenizer, context, model_sees, metrics
        super().__init__(smoothing, z_loss, pool, dropout, *run)
        self.separator, self.special_tokens = make_separator(tokenizer)
