from functools import partial

import pytest
import torch

from triad.layers.moe import MixtureOfExperts
from triad.layers.routers.top_k import TopK
from triad.models.lstm import LSTM
from triad.optim.roles import decay_groups, roles


def zero(**_):
    return 0.0


def test_each_parameter_has_its_role():
    router = partial(TopK, top_k=2, normalize=True, balance=0.0, z=0.0, over_layers="sum")
    layer = MixtureOfExperts(8, 16, experts=4, shared=1, router=router, expert=None)
    assert roles(torch.nn.Sequential(layer)) == {
        "0.router.weight": "router",
        "0.experts.gate_EDF": "expert",
        "0.experts.up_EDF": "expert",
        "0.experts.down_EFD": "expert",
        "0.shared.gate.weight": "matrix",
        "0.shared.up.weight": "matrix",
        "0.shared.down.weight": "matrix",
    }


class StateSpace(torch.nn.Module):
    roles = {"A_log": "state"}
    starts = {"scale": 1e-4}

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.empty(6))
        self.A_log = torch.nn.Parameter(torch.empty(6, 4))
        self.conv = torch.nn.Conv1d(6, 6, 4, groups=6)


def test_states_and_convolutions_are_no_matrices_and_no_experts():
    model = torch.nn.Sequential(StateSpace())
    assert roles(model) == {
        "0.scale": "vector",
        "0.A_log": "state",
        "0.conv.weight": "convolution",
        "0.conv.bias": "vector",
    }
    decaying, still = decay_groups(model, 0.1)
    assert decaying["roles"] == ["convolution"]
    assert still["roles"] == ["vector", "state", "vector"]


def test_a_table_of_numbers_that_nobody_declares_is_refused():
    layer = torch.nn.Module()
    layer.table = torch.nn.Parameter(torch.empty(2, 3))
    with pytest.raises(ValueError, match=r"0\.table: Module does not declare it"):
        roles(torch.nn.Sequential(layer))


def test_recurrent_biases_are_vectors_and_the_head_is_the_head():
    kind = roles(LSTM(11, 8, depth=1, dropout=0.0, tied=False, initial=zero))
    assert kind == {
        "embedding.weight": "embedding",
        "recurrent.weight_ih_l0": "matrix",
        "recurrent.weight_hh_l0": "matrix",
        "recurrent.bias_ih_l0": "vector",
        "recurrent.bias_hh_l0": "vector",
        "head.weight": "head",
    }


def test_vectors_do_not_decay_and_all_else_does():
    model = torch.nn.ModuleDict({"embedding": torch.nn.Embedding(5, 4), "q": torch.nn.Linear(4, 4)})
    model["norm"] = torch.nn.LayerNorm(4).requires_grad_(False)
    decaying, still = decay_groups(model, 0.1)
    assert decaying["weight_decay"] == 0.1
    assert still["weight_decay"] == 0.0
    assert [p.shape for p in decaying["params"]] == [(5, 4), (4, 4)]
    assert [p.shape for p in still["params"]] == [(4,)]
