"""The auxiliary loss of published mixtures of experts is transformers' load_balancing_loss_func."""

from importlib import import_module
from types import SimpleNamespace

import pytest
import torch

from tests.models.test_published_experts import made_small, small
from triad.config.build import build
from triad.config.compose import compose
from triad.layers.cross_entropy import cross_entropy_sum
from triad.layers.routing import add_terms
from triad.tasks.module import Training

pytest.importorskip("transformers")

LENGTHS = (12, 5, 1)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("mixtral_8x7b", "mixtral"),
        ("dbrx", "dbrx"),
        ("olmoe_1b_7b", "olmoe"),
        ("qwen3_30b_a3b", "qwen3_moe"),
    ],
)
def test_the_balance_loss_and_its_gradient_are_those_of_hugging_face(name: str, theirs: str) -> None:
    """Theirs is of a micro-batch, ours of each row: theirs of one row, padded or not, summed over rows."""
    function = import_module(f"transformers.models.{theirs}.modeling_{theirs}").load_balancing_loss_func
    model = small(made_small(name)).train()
    routers = [block.feedforward.router for block in model.blocks]
    logits: list[torch.Tensor] = []
    for router in routers:
        router.z = 0.0
        router.register_forward_hook(lambda router, given, _: logits.append(given[0] @ router.weight.mT))
    real_BT = torch.arange(12) < torch.tensor(LENGTHS)[:, None]
    tokens_BT = torch.randint(17, (3, 12), generator=torch.Generator().manual_seed(0)).where(real_BT, -1)
    auxiliary = losses(model, tokens_BT)[1]
    expected = sum(
        function(tuple(layer[row] for layer in logits), 8, 3, attention_mask=real_BT[row : row + 1])
        for row in range(3)
    )
    expected = routers[0].balance * expected
    torch.testing.assert_close(auxiliary, expected)
    assert auxiliary > routers[0].balance * 3 * 3, "no row is out of balance"
    weights = [router.weight for router in routers]
    gradients = [torch.autograd.grad(loss, weights, retain_graph=True) for loss in (auxiliary, expected)]
    torch.testing.assert_close(*gradients)


def losses(model: torch.nn.Module, tokens_BT: torch.Tensor) -> tuple:
    """What Training sums over a micro-batch."""

    def objective(_: torch.Tensor):
        return lambda hidden, weight, **_: cross_entropy_sum(hidden, weight, tokens_BT.clamp_min(0))

    return Training.losses(SimpleNamespace(network=model, objective=objective), tokens_BT, tokens_BT)


def test_losses_of_layers_are_added_up_where_the_router_says_so() -> None:
    factory = build(compose(["model=moe", "context=16", "model.width=32"])["model"])
    model, tokens_BT = small(factory).train(), torch.arange(24).view(2, 12) % 17
    each = [routing.auxiliary_B for routing in model(tokens_BT)[1]]
    assert len(each) == 4
    torch.testing.assert_close(losses(model, tokens_BT)[1], torch.stack(each).sum())


def test_layers_of_different_numbers_of_experts_are_not_pooled() -> None:
    with pytest.raises(ValueError, match=r"router\.over_layers=pool: layers differ"):
        add_terms(torch.ones(2, 3 + 2 * 4), torch.ones(2, 3 + 2 * 8))
    assert add_terms(torch.ones(2, 1), torch.ones(2, 3)).tolist() == [[2, 1, 1]] * 2
