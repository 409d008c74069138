"""Tensor parallelism: every process holds a slice of each matrix.

Shapes: B batch, T time, D width, R rows of tokens sorted by expert, E experts, V vocabulary.
"""

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor
from torch.nn import functional as F

from triad.layers.attention import Attention
from triad.layers.autocast import lowered
from triad.layers.cross_entropy import Vocabulary
from triad.layers.feedforward import GELU, ReLU, ReLUSquared, SwiGLU
from triad.layers.latent_attention import LatentAttention
from triad.layers.mask import ALiBi
from triad.layers.moe import Experts, MixtureOfExperts
from triad.layers.position import Learned, LearnedBehindPadding
from triad.strategies.collectives import Border

# What holds parameters and is either cut below or works on each token alone.
KNOWN = (nn.Linear, nn.Embedding, nn.LayerNorm, nn.RMSNorm, Experts)
FEEDFORWARD = (GELU, ReLU, ReLUSquared, SwiGLU)


def split(model: nn.Module, mesh: DeviceMesh, over_time: bool, experts: bool) -> list[tuple[nn.Module, str]]:
    """Cut heads, hidden units and vocabulary over the processes of `mesh`, by the type of each layer.

    Of two matrices in a row the first is cut by its outputs and the second by its inputs, so that a layer
    costs one sum forward and one backward (Shoeybi et al. 2019, arXiv:1909.08053, section 3). `over_time`:
    what lies between is cut over time (Korthikanti et al. 2022, arXiv:2205.05198). `experts` false: they are
    shared out in another way, and left whole here. Parameters become DTensors; products are of local tensors.
    Returns the parameters, by module and name, whose gradient is the sum over the mesh: those of whole copies
    that meet some heads or a stretch of time only. Deviates: dropout draws the same mask for each slice of
    heads or time. Raises ValueError for what cannot be cut.
    """
    check(model, mesh.size())
    copies, stretches = Border(mesh, over_time=False), Border(mesh, over_time)
    mixtures = [layer for layer in model.modules() if isinstance(layer, MixtureOfExperts)]
    # inside them every process has all tokens
    inside = {layer for mixture in mixtures for part in mixture.children() for layer in part.modules()}
    for layer in model.modules():
        if (cut := PLAN.get(type(layer))) and (experts or not isinstance(layer, Experts)):
            cut(layer, mesh, copies if layer in inside else stretches)
    _cut_head(model, mesh, stretches)
    return _partial(model, inside, over_time)


def check(model: nn.Module, size: int) -> None:
    """Raise ValueError, naming layer and number, for a model that cannot be cut into so many slices."""
    routers = {layer.router for layer in model.modules() if isinstance(layer, MixtureOfExperts)}
    for name, layer in model.named_modules():
        own = next(layer.parameters(recurse=False), None)
        if own is not None and not isinstance(layer, KNOWN) and layer not in routers:
            raise ValueError(f"strategy.tensor={size} cannot cut {name}, a {type(layer).__name__}")
        for key, number in _divided(layer).items():
            if number % size:
                raise ValueError(f"strategy.tensor={size} does not divide {key}={number} of {name}")
        words = layer.num_embeddings if type(layer) is nn.Embedding else size
        if words <= -(-words // size) * (size - 1):
            raise ValueError(f"strategy.tensor={size}: {words} words leave a process without any")


def _divided(layer: nn.Module) -> dict[str, int]:
    if isinstance(layer, Attention):
        size = layer.head_size
        return {"heads": layer.q.out_features // size, "kv_heads": layer.k.out_features // size}
    if isinstance(layer, LatentAttention):
        return {"heads": layer.heads}
    if isinstance(layer, Experts):
        return {"hidden": layer.gate_EDF.shape[-1]}
    return {"hidden": layer.down.in_features} if isinstance(layer, FEEDFORWARD) else {}


def _attention(layer: Attention, mesh: DeviceMesh, border: Border) -> None:
    for linear in (layer.q, layer.k, layer.v):
        _by_outputs(linear, mesh)
    _by_inputs(layer.out, mesh, border)
    if isinstance(layer.mask, ALiBi):
        layer.mask.first = mesh.get_local_rank() * layer.mask.heads // mesh.size()
    _enter(layer, border)


def _latent_attention(layer: LatentAttention, mesh: DeviceMesh, border: Border) -> None:
    """The latents are small: every process computes them whole, for its own heads."""
    _by_outputs(layer.q, mesh)
    _by_outputs(layer.kv, mesh)
    _by_inputs(layer.out, mesh, border)
    layer.held = _local
    _enter(layer, border)


def _feedforward(layer: Any, mesh: DeviceMesh, border: Border) -> None:
    for linear in layer.children():
        if isinstance(linear, nn.Linear) and linear is not layer.down:
            _by_outputs(linear, mesh)
    _by_inputs(layer.down, mesh, border)
    _enter(layer, border)


def _experts(layer: Experts, mesh: DeviceMesh, border: Border) -> None:
    """The hidden units of each expert; all processes send the same rows to it."""
    for name, dim in (("gate_EDF", 2), ("up_EDF", 2), ("down_EFD", 1)):
        _slice(layer, name, mesh, dim)
    _call(layer, partial(_expert_products, layer, border))


def _expert_products(layer: Experts, border: Border, x_RD: Tensor, end_E: Tensor) -> Tensor:
    local = SimpleNamespace(**{name: _local(weight) for name, weight in layer.named_parameters()})
    return border.leave(Experts.forward(cast(Experts, local), border.enter(x_RD), end_E))


def _mixture(layer: MixtureOfExperts, mesh: DeviceMesh, border: Border) -> None:
    """Routing is by all tokens of a sequence, so every process computes it, and alike."""
    _call(layer, partial(_routed_alike, layer.forward, border))


def _routed_alike(forward: Callable, border: Border, x_BTD: Tensor, *given: Tensor | None) -> tuple:
    y_BTD, routing = forward(border.join(x_BTD), *given)
    return border.part(y_BTD), routing


def _embedding(layer: nn.Embedding, mesh: DeviceMesh, border: Border) -> None:
    _slice(layer, "weight", mesh, 0)
    _call(layer, partial(_look_up, layer, border))


def _look_up(layer: nn.Embedding, border: Border, tokens_BT: Tensor) -> Tensor:
    """Each process has the vectors of its words and zeros for the others."""
    weight_VD = _local(layer.weight)
    index_BT = tokens_BT - border.first(layer.num_embeddings)
    here_BT = (index_BT >= 0) & (index_BT < weight_VD.shape[0])
    x_BTD = F.embedding(index_BT.where(here_BT, 0), weight_VD)
    return border.leave(x_BTD * here_BT[..., None])


def _position(layer: nn.Module, mesh: DeviceMesh, border: Border) -> None:
    _call(layer, partial(_stand, layer.forward, border))


def _stand(forward: Callable, border: Border, x_BTD: Tensor, offset: int = 0) -> Tensor:
    return forward(x_BTD, offset + border.rank * x_BTD.shape[1] if border.cuts_time else offset)


PLAN: dict[type, Callable[[Any, DeviceMesh, Border], None]] = {
    Attention: _attention,
    LatentAttention: _latent_attention,
    GELU: _feedforward,
    SwiGLU: _feedforward,
    ReLU: _feedforward,
    ReLUSquared: _feedforward,
    Experts: _experts,
    MixtureOfExperts: _mixture,
    nn.Embedding: _embedding,
    Learned: _position,
    LearnedBehindPadding: _position,
}

# What each process has whole, of some layers, and uses for its own heads only.
WHOLE: dict[type, tuple[str, ...]] = {
    Attention: ("q_norm", "k_norm"),
    LatentAttention: ("q_latent", "q_norm", "kv_latent", "kv_norm"),
}


def _cut_head(model: Any, mesh: DeviceMesh, border: Border) -> None:
    """The output layer by words: its own weight, or the embedding's."""
    words, readout = model.embedding.num_embeddings, model.readout
    if model.head is not None:
        _slice(model.head, "weight", mesh, 0)
    readout.vocabulary = Vocabulary(
        border.first(words), border.most(words), words, border.add, border.largest
    )
    _call(readout, partial(_read, readout.forward, border))


def _read(
    forward: Callable, border: Border, hidden_BTD: Tensor, weight_VD: DTensor, loss: Callable | None
) -> Any:
    """The loss of all tokens, equal on every process, or the logits of all words."""
    answer = forward(border.enter(hidden_BTD), _local(weight_VD), loss)
    return answer if loss is not None else _all_words(answer, weight_VD)


def _all_words(logits_BTV: Tensor, weight_VD: DTensor) -> Tensor:
    shape = torch.Size((*logits_BTV.shape[:-1], weight_VD.shape[0]))
    stride = tuple(logits_BTV.new_empty(shape, device="meta").stride())
    sliced = DTensor.from_local(
        logits_BTV, weight_VD.device_mesh, [Shard(logits_BTV.ndim - 1)], shape=shape, stride=stride
    )
    return sliced.full_tensor()


def _by_outputs(linear: nn.Linear, mesh: DeviceMesh) -> None:
    for name, _ in list(linear.named_parameters()):
        _slice(linear, name, mesh, 0)
    _call(linear, partial(_product, linear))


def _by_inputs(linear: nn.Linear, mesh: DeviceMesh, border: Border) -> None:
    _slice(linear, "weight", mesh, 1)
    _call(linear, partial(_summed_product, linear, border))


def _product(linear: nn.Linear, x: Tensor) -> Tensor:
    return F.linear(x, _local(linear.weight), None if linear.bias is None else _local(linear.bias))


def _summed_product(linear: nn.Linear, border: Border, x: Tensor) -> Tensor:
    y = border.leave(F.linear(x, _local(linear.weight)))
    # once, not once per slice; in the bias's own dtype, since bf16 would lose a young bias beside y
    return y if linear.bias is None else y + linear.bias


def _enter(layer: nn.Module, border: Border) -> None:
    """Once for all matrices that read the input, in the dtype they read it in."""
    _call(layer, partial(_entered, layer.forward, border))


def _entered(forward: Callable, border: Border, x_BTD: Tensor, *rest: Any) -> Tensor:
    return forward(border.enter(lowered(x_BTD)), *rest)


def _call(layer: nn.Module, forward: Callable) -> None:
    """From now on this is what the layer does; hooks, FSDP and compilation stay around it."""
    layer.forward = forward


def _slice(module: nn.Module, name: str, mesh: DeviceMesh, dim: int) -> None:
    whole = module.get_parameter(name)
    # nothing is sent: every process makes its own slice
    setattr(module, name, nn.Parameter(distribute_tensor(whole, mesh, [Shard(dim)], src_data_rank=None)))


def _local(parameter: Tensor) -> Tensor:
    assert isinstance(parameter, DTensor)
    return parameter.to_local()


def _partial(model: nn.Module, inside: set[nn.Module], over_time: bool) -> list[tuple[nn.Module, str]]:
    parts = [getattr(layer, name) for layer in model.modules() for name in WHOLE.get(type(layer), ())]
    of_heads = {module for part in parts for module in part.modules()}
    return [
        (module, name)
        for module in model.modules()
        for name, parameter in module.named_parameters(recurse=False)
        if not isinstance(parameter, DTensor) and (module in of_heads or (over_time and module not in inside))
    ]
