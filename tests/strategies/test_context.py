"""Sequences on two processes against the same layers on one."""

import os
from functools import partial

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh

from tests.warm import WarmProcess
from triad.launch.rank import exit_together
from triad.layers.attention import Attention, KeyValueCache, flash, plain
from triad.layers.documents import find_offset
from triad.layers.key_shift import KeyShift
from triad.layers.latent_attention import LatentAttention
from triad.layers.mask import ALiBi, Window
from triad.layers.moe import MixtureOfExperts
from triad.layers.position import Learned, LearnedBehindPadding, PartialRotary, Rotary
from triad.layers.routers.deepseek_v3 import DeepSeekV3
from triad.layers.routers.top_k import TopK
from triad.layers.routing import auxiliary_loss
from triad.layers.sinusoidal import Sinusoidal
from triad.strategies import context

B, S, D = 2, 12, 16


def test_two_processes_see_the_sequences_of_one(warm: WarmProcess) -> None:
    assert warm.launch(["-W", "error::FutureWarning", __file__], ranks=2) == 0


class Mesh:
    """What a Zigzag asks of a mesh, without processes."""

    def __init__(self, rank: int, ranks: int) -> None:
        self.get_group, self.get_local_rank, self.size = (lambda: None), (lambda: rank), (lambda: ranks)


@pytest.mark.parametrize("ranks", [2, 3])
def test_the_zigzag_deals_every_token_once_and_as_many_pairs_to_each(ranks: int) -> None:
    time_BS = torch.arange(4 * ranks)[None]
    parts = [context.Zigzag(Mesh(rank, ranks)).part(time_BS)[0] for rank in range(ranks)]
    assert torch.cat(parts).sort().values.tolist() == time_BS[0].tolist()
    assert len({int((part + 1).sum()) for part in parts}) == 1


def made(layer: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for tensor in (*layer.parameters(), *layer.buffers()):
        nn.init.normal_(tensor)
    return layer.double()


def attention(kernel=flash, mask=None, key_shift=None) -> nn.Module:
    rotary = lambda head_size: PartialRotary(head_size, 100.0, 0.5)  # noqa: E731
    made_here = made(Attention(D, 4, 2, None, False, 0.0, mask, rotary, None, key_shift))
    made_here.kernel = kernel
    return made_here


def latent() -> nn.Module:
    norm = lambda width: nn.RMSNorm(width, 1e-5)  # noqa: E731
    return made(LatentAttention(D, 4, 6, 8, 4, 2, 6, 0.0, norm, lambda head_size: Rotary(head_size, 100.0)))


def experts(router: partial) -> nn.Module:
    return made(MixtureOfExperts(D, 8, 4, 0, router, None))


ROUTERS = [
    partial(TopK, top_k=2, normalize=True, balance=0.5, z=0.1, over_layers="sum"),
    partial(TopK, top_k=2, normalize=True, balance=0.5, z=0.1, over_layers="pool"),
    partial(DeepSeekV3, top_k=2, groups=1, top_groups=1, scale=1.0, speed=0.1, balance=0.5),
]


def layers() -> None:
    """Outputs and, summed over processes, gradients."""
    whole, mesh = torch.randn(B, S, D, dtype=torch.float64), init_device_mesh("cpu", (2,))
    weighed = (lambda: attention(mask=lambda: Window(5))), (lambda: attention(plain, lambda: ALiBi(4)))
    positions = (
        (lambda: made(Learned(S, D))),
        (lambda: made(LearnedBehindPadding(S, D, 2))),
        (lambda: Sinusoidal(S, D)),
    )
    shifted = lambda: attention(key_shift=partial(KeyShift, fraction=0.5))  # noqa: E731
    mixtures = [partial(experts, router) for router in ROUTERS]
    # of the padded row the second process has nothing
    tokens_BS = torch.arange(S).repeat(B, 1).where(torch.arange(S) < torch.tensor([[S], [2]]), -1)
    every = (attention, lambda: attention(plain), shifted, *weighed, *positions, latent, *mixtures)
    # the chunks are of three tokens
    starts_BS = torch.tensor([[0, 0, 0, 0, 0, 5, 6, 6, 6, 6, 6, 6], [0, 0] + [2] * 10])
    apart = [(make, starts_BS) for make in every[: -len(mixtures)]]
    for make, starts in [*((make, None) for make in every), *apart]:
        one, two = make(), make()
        zigzag = context.split(two, mesh)
        zigzag.on = True
        x_BSD, x_BTD = whole.clone().requires_grad_(), zigzag.part(whole).requires_grad_()
        if isinstance(one, MixtureOfExperts):
            (expected, routing), (found, part) = one(x_BSD, tokens_BS), two(x_BTD, zigzag.part(tokens_BS))
            torch.testing.assert_close(summed(part.statistics_BS), routing.statistics_BS)
            whole_B, share_B = auxiliary_loss(routing.terms_BA), auxiliary_loss(part.terms_BA)
            torch.testing.assert_close(summed(share_B.detach()), whole_B.detach())
            # linear, so that shares add up
            (expected.sin().sum() + 3 * whole_B.sum()).backward()
            (found.sin().sum() + 3 * share_B.sum()).backward()
        else:
            given = (None, starts) if hasattr(one, "kernel") else (find_offset(0, starts),)
            expected, found = one(x_BSD, *given), two(x_BTD, *given)
            expected.sin().sum().backward()
            found.sin().sum().backward()
        torch.testing.assert_close(found, zigzag.part(expected))
        torch.testing.assert_close(x_BTD.grad, zigzag.part(x_BSD.grad))
        for ours, theirs in zip(two.parameters(), one.parameters(), strict=True):
            torch.testing.assert_close(summed(ours.grad), theirs.grad)


def summed(x: torch.Tensor) -> torch.Tensor:
    total = x.clone()
    dist.all_reduce(total)
    return total


def sampling() -> None:
    """Switched off, nothing is split: a text goes through the cache as on one process."""
    one, two = attention(), attention()
    zigzag = context.split(two, init_device_mesh("cpu", (2,)))
    caches = KeyValueCache(1, S), KeyValueCache(1, S)
    assert not zigzag.on
    for x_BTD in torch.randn(1, S, D, dtype=torch.float64).split([5, 1, 6], 1):
        torch.testing.assert_close(two(x_BTD, caches[1]), one(x_BTD, caches[0]), rtol=0, atol=0)


if __name__ == "__main__":
    torch.manual_seed(1)
    dist.init_process_group("gloo", rank=int(os.environ["RANK"]), world_size=int(os.environ["WORLD_SIZE"]))
    layers()
    sampling()
    exit_together(0)
