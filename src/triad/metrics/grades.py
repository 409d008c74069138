"""The grade that a distribution over ordered classes predicts. Shapes: C classes."""

import numpy as np


def predict_grade(probabilities_C: np.ndarray) -> int:
    """The number of thresholds k with P(y > k) > 1/2, which is the median of the distribution.

    The rule of CORAL (Cao et al. 2020, arXiv:1901.07884, eq. 1). The median has the least expected |error|.
    """
    above_C = 1 - np.cumsum(probabilities_C)
    return int((above_C[:-1] > 0.5).sum())
