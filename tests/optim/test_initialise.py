from functools import partial

import pytest
import torch
import torch.multiprocessing as mp
from torch import nn

from triad.launch.rank import depart
from triad.layers.initial import normal
from triad.optim.initialise import initialise


class Parts(nn.ModuleDict):
    """A dictionary that may be sharded: fully_shard wants a forward."""

    def forward(self):
        raise NotImplementedError


def model(order=("a", "b"), depth=1):
    parts = {
        "a": nn.Linear(6, 5),
        "b": nn.Linear(5, 7),
        "norm": nn.LayerNorm(7),
        "embedding": nn.Embedding(11, 4),
    }
    built = Parts({name: parts[name] for name in (*order, "norm", "embedding")})
    built.initial, built.depth = partial(normal, std=0.02), depth
    return built


def test_values_depend_on_seed_and_name_only_not_on_the_order_of_construction():
    one, two, other = model(), model(("b", "a")), model()
    for built, seed in ((one, 3), (two, 3), (other, 4)):
        torch.manual_seed(torch.seed())
        initialise(built, seed)
    two_values = two.state_dict()
    for name, value in one.state_dict().items():
        assert torch.equal(value, two_values[name])
    assert not torch.equal(one["a"].weight, other["a"].weight)


def test_the_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    built = model()
    torch.set_rng_state(before)
    initialise(built, 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_follow_the_rule_gains_are_one_and_biases_zero():
    built = nn.ModuleDict({"q": nn.Linear(200, 200), "out": nn.Linear(200, 200), "norm": nn.LayerNorm(9)})
    built.initial, built.depth = partial(normal, std=0.02), 8
    initialise(built, 0)
    assert built["q"].weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert built["out"].weight.std().item() == pytest.approx(0.005, rel=0.02)
    assert torch.equal(built["norm"].weight, torch.ones(9))
    assert not built["norm"].bias.any()
    assert not built["q"].bias.any()


def test_values_are_bit_identical_when_sharded_over_processes(tmp_path):
    mp.spawn(_shard_and_compare, (2, str(tmp_path / "rendezvous")), nprocs=2)


def _shard_and_compare(rank, world, file):
    from torch.distributed import init_process_group
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=world)
    whole = model()
    initialise(whole, 5)
    with torch.device("meta"):
        sharded = model()
    # 5, 7 and 11 rows over two processes: the shards are uneven
    fully_shard(sharded, mesh=init_device_mesh("cpu", (world,)))
    sharded.to_empty(device="cpu")
    initialise(sharded, 5)
    for name, parameter in sharded.named_parameters():
        assert torch.equal(parameter.full_tensor(), whole.get_parameter(name)), name
    depart(0)
