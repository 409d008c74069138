from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from triad.checkpoints.folder import find_checkpoint
from triad.checkpoints.tensors import read_weights
from triad.layers.moe import MixtureOfExperts
from triad.layers.routers.deepseek_v3 import DeepSeekV3
from triad.layers.routers.top_k import TopK
from triad.optim.initialise import initialise
from triad.optim.rebalance import Rebalance
from triad.optim.roles import roles
from triad.runs.metrics import read_metrics

BIASED = partial(DeepSeekV3, top_k=1, groups=1, top_groups=1, scale=1.0, speed=0.5, balance=0.0)
PLAIN = partial(TopK, top_k=1, normalize=True, balance=0.0, z=0.0, over_layers="sum")


def model(*routers) -> nn.Sequential:
    made = nn.Sequential(*(MixtureOfExperts(4, 4, 4, 0, router, None) for router in routers))
    made.depth, made.initial = 1, lambda **_: 0.1
    initialise(made, 0)
    return made


def test_the_load_of_all_processes_moves_the_bias_of_the_layer_it_belongs_to():
    layers = model(PLAIN, BIASED, BIASED)
    assert not layers[1].router.bias.any(), "it starts at nothing"
    load_LE = torch.tensor([[9.0, 0, 0, 0], [4, 2, 1, 1], [1, 1, 1, 1]])
    elsewhere = torch.tensor([[0.0, 0, 0, 9], [0, 2, 3, 3], [0, 4, 0, 0]])
    Rebalance(layers)(load_LE, lambda load: load + elsewhere)
    assert not layers[1].router.bias.any(), "4 for each in sum"
    assert layers[2].router.bias.tolist() == [0.5, -0.5, 0.5, 0.5]


def test_nothing_is_sent_where_no_router_asks():
    Rebalance(model(PLAIN))(torch.ones(1, 4), lambda load: 1 / 0)


def test_layers_of_other_processes_are_passed_over():
    layers = model(BIASED, BIASED)
    rebalance = Rebalance(layers)
    layers[0].to("meta")
    rebalance(torch.tensor([[1.0, 0, 0, 0], [1, 0, 0, 0]]), lambda load: load)
    assert layers[1].router.bias.tolist() == [-0.5, 0.5, 0.5, 0.5]


def test_the_bias_is_kept_and_is_no_weight():
    layers = model(BIASED)
    assert "0.router.bias" in layers.state_dict()
    assert "0.router.bias" not in roles(layers)
    assert layers.bfloat16()[0].router.bias.dtype == torch.float32
    assert layers.double()[0].router.bias.dtype == torch.float64
    assert layers[0].idle_parameters() == 3 * 3 * 4 * 4


def test_a_run_logs_what_its_routers_did_and_keeps_the_bias(train, text: Path, tmp_path: Path) -> None:
    words = ("debug=tiny", "precision=fp32", "hardware.attention=flash", "trainer.accelerator=cpu")
    data = ("data=text", f"data.path={text}", "trainer.max_steps=2", "run_id=a")
    train(*words, *data, "model=moe", "router=deepseek_v3", "router.speed=0.5")
    rows = [row for row in read_metrics(tmp_path / "outputs" / "a" / "metrics.csv") if "train/loss" in row]
    assert all(0 < row["train/router_entropy"] <= 2.08 for row in rows)  # log 8
    assert all(row["train/dropped"] == 0 and row["train/load_max"] >= 1 for row in rows)
    for row in rows:
        shares = [[row[f"train/load/{layer}/{expert}"] for expert in range(8)] for layer in range(2)]
        assert [sum(share) for share in shares] == pytest.approx([8, 8])
        assert max(map(max, shares)) == row["train/load_max"]
    held = read_weights(find_checkpoint(tmp_path / "outputs" / "a"))
    biases = [tensor for name, tensor in held.items() if name.endswith("router.bias")]
    assert len(biases) == 2
    assert all(set(bias.tolist()) <= {-1.0, -0.5, 0.0, 0.5, 1.0} and bias.any() for bias in biases)
