"""What is reported of a step."""

import torch

from triad.callbacks.metrics import loads


def test_each_expert_of_each_layer_is_reported_over_the_mean_of_its_layer() -> None:
    assert loads(torch.tensor([[6.0, 2.0], [1.0, 0.0]])) == {
        "train/load_max": 2.0,
        "train/load/0/0": 1.5,
        "train/load/0/1": 0.5,
        "train/load/1/0": 2.0,
        "train/load/1/1": 0.0,
    }
