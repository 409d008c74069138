"""The LSTM against its equations, written out."""

from functools import partial

import pytest
import torch

from triad.layers.initialisation import fan_in
from triad.models.count import count
from triad.models.lstm import LSTM
from triad.optim.initialise import initialise


def small(width: int, depth: int, tied: bool = True, vocab_size: int = 17) -> LSTM:
    initial = partial(fan_in, embedding=1.0, head="fan_in")
    return LSTM(vocab_size, width, depth, dropout=0.0, tied=tied, initial=initial)


def transcribed(model: LSTM, words: list[int]) -> torch.Tensor:
    """Hochreiter and Schmidhuber with Gers' forget gate, layer upon layer; torch adds a second bias."""
    x = [model.embedding.weight[word] for word in words]
    for layer in range(model.depth):
        weights = dict(model.recurrent.named_parameters())
        # rows of the matrices: input gate, forget gate, candidate, output gate
        Wi, Wf, Wc, Wo = weights[f"weight_ih_l{layer}"].chunk(4)
        Ui, Uf, Uc, Uo = weights[f"weight_hh_l{layer}"].chunk(4)
        bi, bf, bc, bo = (weights[f"bias_ih_l{layer}"] + weights[f"bias_hh_l{layer}"]).chunk(4)
        h = c = torch.zeros(model.width)
        out = []
        for x_t in x:
            i = torch.sigmoid(Wi @ x_t + Ui @ h + bi)
            f = torch.sigmoid(Wf @ x_t + Uf @ h + bf)
            o = torch.sigmoid(Wo @ x_t + Uo @ h + bo)
            c = f * c + i * torch.tanh(Wc @ x_t + Uc @ h + bc)
            h = o * torch.tanh(c)
            out.append(h)
        x = out
    head = model.embedding if model.head is None else model.head
    return torch.stack([head.weight @ h for h in x])


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("depth", [1, 3])
def test_logits_are_those_of_the_equations(depth: int, tied: bool) -> None:
    model = small(8, depth, tied).eval()
    initialise(model, 0)
    with torch.no_grad():
        for name, parameter in model.recurrent.named_parameters():
            if name.startswith("bias"):
                parameter.uniform_(-1, 1)  # a bias of zero would hide a mistake
    x = torch.randint(17, (2, 9), generator=torch.Generator().manual_seed(0))
    expected_BTV = torch.stack([transcribed(model, row) for row in x.tolist()])
    torch.testing.assert_close(model(x)[0], expected_BTV, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("tied", [True, False])
def test_there_are_as_many_parameters_as_the_equations_have(tied: bool) -> None:
    # the large model of Zaremba et al. 2014: two layers of 1,500 over a vocabulary of 10,000
    V, D, L = 10_000, 1500, 2
    with torch.device("meta"):
        found = count(small(D, L, tied, V))
    cells = L * (4 * (D * D + D * D) + 2 * 4 * D)
    assert found.total == found.active == V * D * (1 if tied else 2) + cells
    assert found.multiplying == cells + V * D
    assert tied or found.total == 66_024_000  # their 66 million, without the head's bias


def test_dropout_falls_between_layers_and_never_on_what_is_carried_through_time() -> None:
    # with everything dropped the layers above see zeros, and only biases move their states
    model = small(8, 2).train()
    initialise(model, 0)
    model.dropout.p = model.recurrent.dropout = 1.0
    with torch.no_grad():
        for name, parameter in model.recurrent.named_parameters():
            if name.startswith("bias"):
                parameter.fill_(0.5)
    states = []
    model.dropout.register_forward_pre_hook(lambda _, inputs: states.append(inputs[0]))
    model(torch.randint(17, (1, 5), generator=torch.Generator().manual_seed(0)))
    h_TD = states[1][0]
    c, h = torch.zeros(8), torch.zeros(8)
    U, b = model.recurrent.weight_hh_l1, model.recurrent.bias_ih_l1 + model.recurrent.bias_hh_l1
    for t in range(5):
        i, f, g, o = (U @ h + b).chunk(4)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        torch.testing.assert_close(h_TD[t], h)
