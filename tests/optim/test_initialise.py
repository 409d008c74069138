from functools import partial

import pytest
import torch
import torch.multiprocessing as mp
from torch import nn

from triad.launch.rank import exit_together
from triad.layers.initialisation import fan_in, normal
from triad.optim.initialise import initialise
from triad.optim.roles import roles


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
    built.initial, built.depth = partial(normal, std=0.02, tied=None), depth
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
    built.initial, built.depth = partial(normal, std=0.02, tied=None), 8
    built.starts = {"out.weight": "residual"}
    initialise(built, 0)
    assert built["q"].weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert built["out"].weight.std().item() == pytest.approx(0.005, rel=0.02)
    assert torch.equal(built["norm"].weight, torch.ones(9))
    assert not built["norm"].bias.any()
    assert not built["q"].bias.any()


class StateSpace(nn.Module):
    """What attention and feed-forward layers do not have: a scale, a state and a convolution."""

    roles = {"A_log": "state"}
    starts = {
        "scale": 1e-4,
        "A_log": lambda shape, _: torch.arange(1, shape[1] + 1).float().log().expand(shape),
        "step": lambda shape, generator: torch.rand(shape, generator=generator),
        "frequencies": lambda shape, _: 10.0 ** -torch.arange(shape[0]).float(),
        "conv.bias": 0.5,
    }

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.empty(6))
        self.step = nn.Parameter(torch.empty(6))
        self.A_log = nn.Parameter(torch.empty(6, 4))
        self.conv = nn.Conv1d(6, 6, 4, groups=6)
        self.register_buffer("frequencies", torch.empty(3))


def state_space(seed=0):
    built = nn.ModuleDict({"layer": StateSpace()})
    built.initial, built.depth = partial(fan_in, embedding=1.0, head="zero"), 1
    initialise(built, seed)
    return built["layer"]


def test_a_layer_says_what_its_parameters_and_buffers_start_as():
    layer = state_space()
    assert torch.equal(layer.scale, torch.full((6,), 1e-4))
    torch.testing.assert_close(layer.A_log.exp(), torch.tensor([[1.0, 2, 3, 4]]).expand(6, 4))
    torch.testing.assert_close(layer.frequencies, torch.tensor([1.0, 0.1, 0.01]))
    assert torch.equal(layer.conv.bias, torch.full((6,), 0.5))
    assert 0.3 < layer.conv.weight.std() < 0.7, "fan-in is the kernel, 4"


def test_torchs_norms_start_as_torch_has_them():
    built = nn.Sequential(nn.LayerNorm((2, 3)), nn.BatchNorm1d(4))
    for tensor in (*built.parameters(), *built.buffers()):
        tensor.data.fill_(7)
    initialise(built, 0)
    expected = nn.Sequential(nn.LayerNorm((2, 3)), nn.BatchNorm1d(4)).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in built.state_dict().items())


def test_what_a_function_draws_depends_on_the_seed_alone():
    assert torch.equal(state_space(1).step, state_space(1).step)
    assert not torch.equal(state_space(1).step, state_space(2).step)


def test_the_layer_outside_has_the_last_word():
    built = nn.ModuleDict({"layer": StateSpace()})
    built.initial, built.depth = partial(normal, std=0.02, tied=None), 1
    built.starts, built.roles = {"layer.scale": 2.0}, {"layer.conv.weight": "matrix"}
    initialise(built, 0)
    assert torch.equal(built["layer"].scale, torch.full((6,), 2.0))
    assert roles(built)["layer.conv.weight"] == "matrix"


@pytest.mark.parametrize("what", ["parameter", "buffer"])
def test_what_nobody_says_a_start_of_is_refused_by_name(what):
    layer, empty = nn.Module(), torch.empty(3)
    layer.register_parameter("gain", nn.Parameter(empty)) if what == "parameter" else None
    layer.register_buffer("gain", empty) if what == "buffer" else None
    with pytest.raises(ValueError, match=r"layer\.gain: Module does not declare it"):
        initialise(nn.ModuleDict({"layer": layer}), 0)


def test_words_that_mean_nothing_are_refused():
    layer = nn.Linear(3, 3)
    layer.starts = {"weight": "residal"}
    with pytest.raises(ValueError, match="weight starts as residal"):
        initialise(layer, 0)
    layer.starts, layer.roles = {}, {"weight": "matrices"}
    with pytest.raises(ValueError, match="weight is said to be a matrices"):
        roles(layer)


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
    exit_together(0)
