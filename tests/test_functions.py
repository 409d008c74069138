"""Every autograd Function of the house against differences in double precision: none is left out."""

import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.autograd import Function, gradcheck

import triad
from tests.warm import WarmProcess
from triad.layers import cross_entropy, norm, position, routing
from triad.strategies import expert

SENT = ("_Exchange", "_Gather", "_LinearMap")  # between processes: tests/strategies/transposes.py


def functions() -> set[type[Function]]:
    """All subclasses of torch.autograd.Function that modules of the package define."""
    for module in pkgutil.walk_packages(triad.__path__, "triad."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found, ahead = set(), [Function]
    while ahead:
        below = ahead.pop().__subclasses__()
        ahead += below
        found |= {function for function in below if function.__module__.split(".")[0] == "triad"}
    return found


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(len(shape)))


def loss(apart: Callable) -> Callable:
    targets = torch.tensor([1, 4, -100, 0, 2])
    return lambda h, w, b: cross_entropy._CrossEntropySum.apply(h, w, b, targets, 2, h.dtype, True, apart)


ORDER = torch.tensor([3, 0, 5, 1, 4, 2])  # rows by expert; two for each of three tokens
BACK = ORDER.argsort()
COS, SIN = draw(3, 4).cos(), draw(3, 2).sin().repeat(1, 2)
CHECKS: dict[type[Function], list[tuple[Callable, tuple[Tensor, ...]]]] = {
    cross_entropy._CrossEntropySum: [
        (
            loss(cross_entropy._choose_loss(vocabulary, smoothing, z)),
            (draw(5, 3), draw(6, 3), draw(6, 1)[:, 0]),
        )
        for vocabulary in (cross_entropy.WHOLE, cross_entropy.Vocabulary(0, 6, 6))
        for smoothing, z in ((0.0, 0.0), (0.3, 0.0), (0.0, 0.2), (0.3, 0.2))
    ],
    norm._RootMeanSquare: [
        (lambda x, w: norm._RootMeanSquare.apply(x, w, 1e-5), (draw(2, 3, 4), draw(4, 1)[:, 0]))
    ],
    position._Rotate: [(lambda x: position._Rotate.apply(x, COS, SIN), (draw(1, 2, 3, 4),))],
    routing._Dispatch: [(lambda x: routing._Dispatch.apply(x, ORDER, BACK, 2), (draw(3, 2),))],
    routing._Combine: [(lambda y: routing._Combine.apply(y, ORDER, BACK, 2), (draw(6, 2),))],
    expert._Permute: [(lambda x: expert._Permute.apply(x, ORDER, BACK), (draw(6, 2),))],
}


def test_every_function_has_a_check() -> None:
    assert {f.__qualname__ for f in functions()} == {f.__qualname__ for f in CHECKS} | {*SENT}


@pytest.mark.parametrize("function", CHECKS, ids=lambda function: function.__name__)
def test_gradients_are_those_of_differences(function: type[Function]) -> None:
    assert function in functions()
    for apply, inputs in CHECKS[function]:
        assert gradcheck(apply, [x.detach().clone().requires_grad_() for x in inputs])


def test_what_is_sent_between_processes_has_the_gradient_of_differences(warm: WarmProcess) -> None:
    script = str(Path(__file__).parent / "strategies" / "transposes.py")
    assert warm.launch([script, *SENT], ranks=2) == 0
