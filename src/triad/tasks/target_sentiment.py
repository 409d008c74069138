"""Target-dependent sentiment and stance: predict what a text says about a named target."""

from typing import Any

from triad.tasks.classification import Classification
from triad.tasks.text_pairs import make_separator


class TargetSentiment(Classification):
    """Predict the label of a text toward a target, which is the second text of the row.

    The form is that of BERT-SPC, Song et al. 2019, arXiv:1902.09314: "[CLS] text [SEP] target". The target
    need not occur in the text, as in stance (Mohammad et al. 2016, SemEval-2016 task 6). Otherwise as
    Classification.
    """

    needs = {"model.sees": ("past", "both sides"), "data.yields": ("labelled pairs",)}

    def _choose_separator(self, tokenizer: Any, model_sees: str) -> tuple[int, int]:
        return make_separator(tokenizer)
