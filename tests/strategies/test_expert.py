"""Experts on two processes against the same layer on one: loads that a training run does not meet."""

import os
from functools import partial

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard

from tests.warm import WarmProcess
from triad.launch.rank import exit_together
from triad.layers.moe import Experts, MixtureOfExperts
from triad.layers.routers.deepseek_v3 import DeepSeekV3
from triad.layers.routers.expert_choice import ExpertChoice
from triad.layers.routers.gshard import GShard
from triad.layers.routers.hash import Hash
from triad.layers.routers.sinkhorn import Sinkhorn
from triad.layers.routers.switch import Switch
from triad.layers.routers.top_k import TopK
from triad.strategies import expert
from triad.strategies.fsdp import choose_shard

EXPERTS, WIDTH, HIDDEN = 4, 6, 10
LOADS = {  # rows of each expert, by process: experts 0 and 1 live on process 0
    "uneven": [[5, 0, 2, 1], [1, 3, 0, 7]],
    "nothing for process 0": [[0, 0, 4, 2], [0, 0, 0, 3]],
    "nothing from process 1": [[2, 1, 3, 0], [0, 0, 0, 0]],
    "one expert": [[0, 6, 0, 0], [0, 6, 0, 0]],
}


ROUTERS = [
    partial(TopK, top_k=2, normalize=True, balance=0.1, z=0.1, over_layers="sum"),
    partial(Switch, capacity=1.0, balance=0.1),
    partial(GShard, capacity=1.0, balance=0.1),
    partial(DeepSeekV3, top_k=1, groups=2, top_groups=1, scale=1.0, speed=0.1, balance=0.1),
    partial(ExpertChoice, capacity=2.0),
    partial(Sinkhorn, iterations=3),
    Hash,
]


def test_two_processes_hold_the_experts_of_one(warm: WarmProcess) -> None:
    assert warm.launch(["-W", "error::FutureWarning", __file__], ranks=2) == 0


def layer(experts: int = EXPERTS) -> Experts:
    made = Experts(WIDTH, HIDDEN, experts).double()
    torch.manual_seed(0)
    for weight in made.parameters():
        torch.nn.init.normal_(weight)
    return made


def loads() -> None:
    """Outputs and the gradients of rows and weights, whatever travels."""
    rank, mesh = dist.get_rank(), init_device_mesh("cpu", (2,))
    torch.manual_seed(1)
    for name, load in LOADS.items():
        rows = [torch.randn(sum(counts), WIDTH, dtype=torch.float64) for counts in load]
        ends = [torch.tensor(counts).cumsum(0).int() for counts in load]
        one, two = layer(), layer()
        expert.split(two, mesh)
        whole = [x.clone().requires_grad_() for x in rows]
        answers = [one(x, end) for x, end in zip(whole, ends, strict=True)]
        sum(y.sin().sum() for y in answers).backward()
        mine = rows[rank].clone().requires_grad_()
        y_RD = two(mine, ends[rank])
        y_RD.sin().sum().backward()
        torch.testing.assert_close(y_RD, answers[rank], msg=name)
        torch.testing.assert_close(mine.grad, whole[rank].grad, msg=name)
        for weight, split in zip(one.parameters(), two.parameters(), strict=True):
            assert split.grad.placements == (Shard(0),)
            torch.testing.assert_close(split.grad.to_local(), weight.grad.chunk(2)[rank], msg=name)


def shapes() -> None:
    """What is split, what is refused, and where FSDP may cut what is split."""
    mesh = init_device_mesh("cpu", (2,))
    model = MixtureOfExperts(
        WIDTH,
        HIDDEN,
        EXPERTS,
        0,
        partial(TopK, top_k=2, normalize=True, balance=0.0, z=0.0, over_layers="sum"),
        None,
    )
    expert.split(model, mesh)
    gate = model.experts.gate_EDF
    assert gate.shape == (4, 6, 10)
    assert gate.to_local().shape == (2, 6, 10)
    assert not hasattr(model.router.weight, "placements")
    assert [choose_shard(gate, ranks) for ranks in (2, 5, 7)] == [Shard(1), Shard(2), None]
    assert choose_shard(model.router.weight, 2) is None
    with pytest.raises(ValueError, match=r"strategy.expert=2 does not divide the layer's 3 experts"):
        expert.split(layer(experts=3), mesh)


def routers() -> None:
    """Whatever the router, a layer whose experts are elsewhere gives the same for the sequences here."""
    rank, mesh = dist.get_rank(), init_device_mesh("cpu", (2,))
    torch.manual_seed(1)
    whole, tokens = torch.randn(4, 6, WIDTH, dtype=torch.float64), torch.randint(50, (4, 6))
    tokens = tokens.where(torch.arange(6) < torch.tensor([[6], [2], [5], [0]]), -1)
    mine = slice(2 * rank, 2 * rank + 2)
    for router in ROUTERS:
        one, two = mixture(router), mixture(router)
        expert.split(two, mesh)
        y_BTD, routing = one(whole, tokens)
        (y_BTD.sin().sum() + routing.auxiliary_B.sum()).backward()
        found_BTD, found = two(whole[mine], tokens[mine])
        (found_BTD.sin().sum() + found.auxiliary_B.sum()).backward()
        name = type(one.router).__name__
        torch.testing.assert_close(found_BTD, y_BTD[mine], msg=name)
        torch.testing.assert_close(found.terms_BA, routing.terms_BA[mine], msg=name)
        torch.testing.assert_close(found.statistics_BS, routing.statistics_BS[mine], msg=name)
        for weight, part in zip(one.experts.parameters(), two.experts.parameters(), strict=True):
            torch.testing.assert_close(part.grad.to_local(), weight.grad.chunk(2)[rank], msg=name)


def mixture(router) -> MixtureOfExperts:
    made = MixtureOfExperts(WIDTH, HIDDEN, EXPERTS, 0, router, None).double()
    torch.manual_seed(0)
    for tensor in (*made.parameters(), *made.buffers()):
        torch.nn.init.normal_(tensor)
    return made


if __name__ == "__main__":
    dist.init_process_group("gloo", rank=int(os.environ["RANK"]), world_size=int(os.environ["WORLD_SIZE"]))
    for part in (loads, shapes, routers):
        part()
    exit_together(0)
