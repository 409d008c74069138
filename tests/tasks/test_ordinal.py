"""Labels that are numbers, in their order."""

import numpy as np
import pytest
import torch

from tests.tasks.labelling import BODIES, RUN, fit, make_batch, make_model, measure, sees
from triad.tasks.ordinal import Ordinal

LABELS = ("-1", "0", "10", "2.5")  # sorted as texts, as the data has them
GRADES = {"-1": 0, "0": 1, "2.5": 2, "10": 3}
EXAMPLES = [{"text": "abcd"[n] * 3, "label": label} for label, n in GRADES.items()]


class Distance:
    """How far the median of the probabilities is from the grade."""

    lower_is_better, size = ("distance",), 2

    def count(self, prediction: np.ndarray, references: list[int]) -> tuple[float, float]:
        return abs(int((prediction.cumsum() < 0.5).sum()) - references[0]), 1.0

    def compute(self, sums: np.ndarray) -> dict[str, float]:
        return {"distance": float(sums[0] / max(sums[1], 1))}


def make(name: str = "encoder", labels: tuple[str, ...] = LABELS) -> Ordinal:
    metrics = {"distance": Distance()}
    return Ordinal(pool=None, dropout=0.0, labels=labels, model_sees=sees(name), metrics=metrics, **RUN)


def test_labels_are_ordered_as_numbers() -> None:
    task = make()
    assert [task.references(example) for example in EXAMPLES] == [[0], [1], [2], [3]]
    batch = make_batch(task, EXAMPLES, padded=1)
    assert batch["labels_B"].tolist() == [0, 1, 2, 3, -100]
    assert batch["count"] == 4
    with pytest.raises(ValueError, match="label 'low': task=ordinal orders labels as numbers"):
        make(labels=("1", "low"))
    with pytest.raises(ValueError, match=r"labels '1' and '1.0' are one number"):
        make(labels=("1", "1.0"))
    with pytest.raises(ValueError, match="labels 1: two at least"):
        make(labels=("1",))


@pytest.mark.parametrize("name", BODIES)
def test_every_family_learns_grades(name: str) -> None:
    task = make(name)
    model, batch = make_model(task, name), make_batch(task, EXAMPLES, padded=1)
    before = measure(task, model, batch)
    fit(task, model.train(), batch, 80 if name == "lstm" else 20, lr=3e-2)
    found = measure(task, model.eval(), batch, parts=3)
    assert found["loss"] < before["loss"] / 1.5
    assert found["distance"] == 0 or name != "lstm"
    assert model.head.weight.shape == (1, 32)


def test_the_loss_of_validation_is_that_of_training_and_does_not_see_padding() -> None:
    task = make()
    model = make_model(task, "encoder")
    batch = make_batch(task, EXAMPLES)
    with torch.no_grad():
        nll = model(batch["tokens_BT"], loss=task.loss(batch["labels_B"], True))[0] / batch["count"]
    assert measure(task, model, batch)["loss"] == pytest.approx(float(nll), rel=1e-12)
    assert measure(task, model, make_batch(task, EXAMPLES, padded=3), 4)["loss"] == pytest.approx(float(nll))
