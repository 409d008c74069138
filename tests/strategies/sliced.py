"""One of two processes: a model cut over them against the whole model."""

from collections.abc import Callable
from functools import partial

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.debug import CommDebugMode

from triad.launch.rank import exit_together
from triad.layers.attention import Attention
from triad.layers.cross_entropy import cross_entropy_sum
from triad.layers.feedforward import SwiGLU
from triad.layers.latent_attention import LatentAttention
from triad.layers.mask import ALiBi
from triad.layers.norm import RMSNorm
from triad.layers.parameters import identity
from triad.layers.position import Learned, Rotary
from triad.layers.residual import PreNorm
from triad.models.decoder import Decoder
from triad.optim.initialise import initialise
from triad.strategies.tensor import split

WORDS = 19  # does not divide


def attention(width: int) -> Attention:
    norm = lambda size: RMSNorm(size, 1e-5)  # noqa: E731
    mask = lambda: ALiBi(4)  # noqa: E731  (each head has a slope of its own)
    return Attention(
        width,
        4,
        None,
        None,
        bias=True,
        dropout=0.0,
        mask=mask,
        rotary=None,
        query_key_norm=norm,
        key_shift=None,
    )


def latent(width: int) -> LatentAttention:
    norm = lambda size: RMSNorm(size, 1e-5)  # noqa: E731
    return LatentAttention(width, 4, 6, 8, 4, 2, 6, 0.0, norm, lambda head_size: Rotary(head_size, 100.0))


def feedforward(width: int) -> SwiGLU:
    return SwiGLU(width, 24, bias=True, dropout=0.0)


def counted(shape: torch.Size, _: torch.Generator) -> torch.Tensor:
    return torch.arange(1, shape[0] + 1) / shape[0]


class ScaledHidden(nn.Module):
    """A layer that strategies have never seen: a gain on each hidden unit, a scale behind the sum."""

    splits = ("tensor",)
    starts = {"down.weight": "residual", "gain": counted, "scale": counted}
    cuts = {"up": "outputs", "gain": 0, "down": "inputs", "scale": None}

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, 12), nn.Linear(12, width)
        self.gain, self.scale = nn.Parameter(torch.empty(12)), nn.Parameter(torch.empty(width))
        self.to_local = identity

    def forward(self, x_BTD: torch.Tensor) -> torch.Tensor:
        return self.scale * self.down(self.up(x_BTD).relu() * self.to_local(self.gain))


def decoder(
    over_time: bool | None,
    attention: Callable = attention,
    feedforward: Callable = feedforward,
    position: Callable | None = None,
) -> Decoder:
    """Small, in double precision, cut unless `over_time` is None; its weights depend on names only."""
    with torch.device("meta"):
        norm = lambda width: RMSNorm(width, 1e-5)  # noqa: E731
        initial = lambda **_: 0.2  # noqa: E731
        parts = PreNorm, norm, attention, feedforward
        model = Decoder(WORDS, 8, 16, 1, True, 0.0, *parts, position, None, initial).double()
    if over_time is not None:
        split(model, init_device_mesh("cpu", (2,)), over_time, experts=True)
    model.to_empty(device="cpu")
    initialise(model, seed=0)
    return model


def half_of_each_matrix_is_here(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if isinstance(parameter, DTensor):
            assert parameter.to_local().numel() <= (parameter.numel() + 16) // 2, name
        else:
            assert "norm" in name or name.endswith(("out.bias", "down.bias")), name


def a_block_sends_two_messages_each_way(model: Decoder, over_time: bool) -> None:
    x_BTD = torch.randn(2, 4, 16, dtype=torch.float64, requires_grad=True)
    with CommDebugMode() as there:
        y_BTD = model.blocks[0](x_BTD)[0]
    with CommDebugMode() as back:
        y_BTD.sum().backward()
    for messages in (there, back):
        assert messages.get_total_counts() == (4 if over_time else 2), messages.get_comm_counts()


def logits_are_the_whole_models_with_and_without_cache(model: Decoder, whole: Decoder) -> None:
    tokens_BT = torch.arange(5)[None]
    with torch.no_grad():
        expected_BTV = whole(tokens_BT)[0]
        torch.testing.assert_close(model(tokens_BT)[0], expected_BTV)
        cache = model.empty_cache(1)
        steps = [model(token_B1, cache=cache)[0] for token_B1 in tokens_BT.split(1, dim=1)]
    torch.testing.assert_close(torch.cat(steps, 1), expected_BTV)


def documents_of_a_row_are_apart(model: Decoder, whole: Decoder) -> None:
    """With gradients, since only then time is sliced: across a boundary of slices, and at one."""
    tokens_BT, starts_BT = (
        torch.arange(16).view(2, 8),
        torch.tensor([[0, 0, 2, 2, 2, 2, 2, 7], [0] * 4 + [4] * 4]),
    )
    objective = partial(cross_entropy_sum, targets_BT=tokens_BT)
    expected, found = (each(tokens_BT, starts_BT, loss=objective)[0] for each in (whole, model))
    torch.testing.assert_close(found, expected)
    assert not torch.isclose(whole(tokens_BT, loss=objective)[0], expected)


def gradients_of_a_layer_are_the_whole_layers(model: Decoder, whole: Decoder) -> None:
    for layers in (model, whole):
        x_BTD = torch.arange(64, dtype=torch.float64).sin().view(1, 4, 16)
        layers.blocks[0](x_BTD)[0].cos().sum().backward()
    for name in ("up.weight", "up.bias", "gain", "down.weight", "down.bias", "scale"):
        gradient = model.blocks[0].feedforward.get_parameter(name).grad
        gradient = gradient.full_tensor() if isinstance(gradient, DTensor) else gradient
        torch.testing.assert_close(gradient, whole.blocks[0].feedforward.get_parameter(name).grad)


if __name__ == "__main__":
    dist.init_process_group("gloo")
    for over_time in (False, True):
        model = decoder(over_time)
        half_of_each_matrix_is_here(model)
        a_block_sends_two_messages_each_way(model, over_time)
        logits_are_the_whole_models_with_and_without_cache(model, decoder(None))
        logits_are_the_whole_models_with_and_without_cache(decoder(over_time, latent), decoder(None, latent))
        learned = {"position": Learned}
        documents_of_a_row_are_apart(decoder(over_time, **learned), decoder(None, **learned))
    model, whole_model = decoder(False, feedforward=ScaledHidden), decoder(None, feedforward=ScaledHidden)
    assert model.blocks[0].feedforward.gain.to_local().shape == (6,)
    gradients_of_a_layer_are_the_whole_layers(model, whole_model)
    logits_are_the_whole_models_with_and_without_cache(model, whole_model)
    logits_are_the_whole_models_with_and_without_cache(decoder(True, feedforward=ScaledHidden), whole_model)
    exit_together(0)
