"""A recurrent layer in a stack: its equation, its state as cache, and stacks of all kinds."""

import torch

from triad.config.build import build
from triad.config.compose import compose
from triad.layers.attention import KeyValueCache
from triad.layers.recurrent import Recurrent
from triad.optim.initialise import initialise

WORDS = ["model=hybrid", "context=16", "model.width=32", "model.depth=4", "model.feedforward.hidden=16"]


def written_out(layer: Recurrent, x_TD: torch.Tensor) -> torch.Tensor:
    """Hochreiter and Schmidhuber's equations, one token after another."""
    weights = layer.recurrent
    h = c = x_TD.new_zeros(x_TD.shape[1])
    outputs = []
    for x in x_TD:
        gates = weights.weight_ih_l0 @ x + weights.bias_ih_l0 + weights.weight_hh_l0 @ h + weights.bias_hh_l0
        i, f, g, o = gates.chunk(4)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        outputs.append(layer.out.weight @ h)
    return torch.stack(outputs)


def test_it_is_the_equation() -> None:
    torch.manual_seed(0)
    layer, x_BTD = Recurrent(8, 0.0).double(), torch.randn(2, 5, 8, dtype=torch.float64)
    for row, x_TD in zip(layer(x_BTD), x_BTD, strict=True):
        torch.testing.assert_close(row, written_out(layer, x_TD))


def test_a_text_read_in_pieces_is_read_as_at_once() -> None:
    torch.manual_seed(0)
    layer, x_BTD = Recurrent(8, 0.0), torch.randn(2, 7, 8)
    cache = KeyValueCache(2, 7)
    pieces = torch.cat([layer(part, cache) for part in x_BTD.split((3, 1, 3), dim=1)], 1)
    torch.testing.assert_close(pieces, layer(x_BTD))
    assert cache.length == 7


def hybrid():
    model = build(compose(WORDS)["model"])(vocab_size=17)
    initialise(model, 0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:  # outputs start at zero, which would hide the layers
                parameter.normal_(0, 0.2, generator=torch.Generator().manual_seed(len(name)))
    return model.eval()


def test_a_hybrid_stack_sees_no_future_and_its_caches_change_nothing() -> None:
    model, x = hybrid(), torch.arange(24).view(2, 12) % 17
    kinds = [type(block.attention).__name__ for block in model.blocks]
    assert kinds == ["Attention", "Attention", "Recurrent", "Attention"]
    assert len(hybrid().train()(x)[1]) == 1
    whole = model(x)[0]
    changed = x.clone()
    changed[:, 7] = 0
    torch.testing.assert_close(model(changed)[0][:, :7], whole[:, :7], rtol=0, atol=1e-6)
    assert not torch.allclose(model(changed)[0][:, 7:], whole[:, 7:])
    cache = model.empty_cache(2)
    pieces = torch.cat([model(part, cache=cache)[0] for part in x.split((5, 1, 6), dim=1)], 1)
    torch.testing.assert_close(pieces, whole, rtol=1e-4, atol=1e-5)
