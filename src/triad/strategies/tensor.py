"""Tensor parallelism: every process holds a slice of each matrix.

Shapes: B batch, T time, D width, R rows of tokens sorted by expert, E experts, V vocabulary.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor
from torch.nn import functional as F

from triad.layers.autocast import to_autocast_dtype
from triad.layers.cross_entropy import Vocabulary
from triad.layers.documents import Offset, move_offset
from triad.layers.parameters import holds_experts
from triad.strategies.collectives import Border
from triad.strategies.splits import check_splits


def split(model: nn.Module, mesh: DeviceMesh, over_time: bool, experts: bool) -> list[tuple[nn.Module, str]]:
    """Slice heads, hidden units and vocabulary over the processes of `mesh`, as layers declare in `cuts`.

    Of two consecutive matrices the first is sliced by its outputs and the second by its inputs, so that a
    layer needs one sum forward and one backward (Shoeybi et al. 2019, arXiv:1909.08053, section 3).
    `over_time`: activations between layers are sliced over time (Korthikanti et al. 2022, arXiv:2205.05198).
    `experts` false: expert parallelism distributes them, and they are not sliced. Parameters become DTensors;
    products are of local tensors. Returns, by module and name, the unsliced parameters that are applied to
    some heads or a slice of time only, and whose gradient must therefore be summed over the mesh. Deviates:
    dropout draws the same mask for each slice of heads or time. Raises ValueError for what cannot be sliced.
    """
    check_divisible(model, mesh.size())
    copies, stretches = Border(mesh, over_time=False), Border(mesh, over_time)
    mixtures = [layer for layer in model.modules() if hasattr(layer, "router")]
    # inside layers of experts every process has all tokens
    inside = {layer for mixture in mixtures for part in mixture.children() for layer in part.modules()}
    sliced: set[nn.Parameter] = set()  # not sliced, but applied to a slice of the activations only
    for layer in model.modules():
        border = copies if layer in inside else stretches
        if hasattr(layer, "cuts") and (experts or not holds_experts(layer)):
            sliced |= _cut(layer, mesh, border)
        elif hasattr(layer, "router"):
            # routing depends on all tokens of a sequence, so every process computes it identically
            _replace_forward(layer, partial(_route_all_tokens, layer.forward, border))
        elif type(layer) is nn.Embedding:
            _slice(layer, "weight", mesh, 0)
            _replace_forward(layer, partial(_look_up, layer, border))
        elif hasattr(layer, "takes_offset"):
            _replace_forward(layer, partial(_add_positions, layer.forward, border))
    _cut_head(model, mesh, stretches)
    return [
        (module, name)
        for module in model.modules()
        for name, parameter in module.named_parameters(recurse=False)
        if not isinstance(parameter, DTensor)
        and (parameter in sliced or (over_time and module not in inside))
    ]


def cut_dimensions(model: Any) -> dict[str, int]:
    """The sliced dimension of each parameter that is sliced."""
    found = {} if model.head is None else {"head.weight": 0}
    for layer_name, layer in model.named_modules():
        for name, cut in getattr(layer, "cuts", {}).items():
            if isinstance(cut, int):
                found[f"{layer_name}.{name}"] = cut
            elif cut == "inputs":
                found[f"{layer_name}.{name}.weight"] = 1
            elif cut == "outputs":
                own = getattr(layer, name).named_parameters(f"{layer_name}.{name}")
                found |= {parameter: 0 for parameter, _ in own}
        if type(layer) is nn.Embedding:
            found[f"{layer_name}.weight"] = 0
    return found


def check_divisible(model: nn.Module, size: int) -> None:
    """Raise ValueError, naming layer and size, for a model that cannot be divided into so many slices."""
    check_splits(model, "tensor", size)
    for name, layer in model.named_modules():
        for key, number in _pieces(layer).items():
            if number % size:
                raise ValueError(f"strategy.tensor={size} does not divide {key}={number} of {name}")
        words = layer.num_embeddings if type(layer) is nn.Embedding else size
        if words <= -(-words // size) * (size - 1):
            raise ValueError(f"strategy.tensor={size}: {words} words leave a process without any")


def _pieces(layer: Any) -> dict[str, int]:
    """The sizes that `size` must divide: the layer's own `pieces`, or else those of its cuts."""
    if hasattr(layer, "pieces"):
        return layer.pieces()
    found = {}
    for name, cut in getattr(layer, "cuts", {}).items():
        if isinstance(cut, int):
            found[name] = getattr(layer, name).shape[cut]
        elif cut == "inputs":
            found["hidden"] = getattr(layer, name).in_features
    return found


def _cut(layer: Any, mesh: DeviceMesh, border: Border) -> set[nn.Parameter]:
    """Slice a layer's cuts; return its other parameters, which are applied to its slice of activations."""
    for name, cut in layer.cuts.items():
        if cut == "outputs":
            _slice_outputs(getattr(layer, name), mesh)
        elif cut == "inputs":
            _slice_inputs(getattr(layer, name), mesh, border)
        elif cut is not None:
            _slice(layer, name, mesh, cut)
    for part in layer.modules():
        if hasattr(part, "slice_heads"):
            part.slice_heads(mesh.get_local_rank(), mesh.size())
    if hasattr(layer, "to_local"):
        layer.to_local = _local
    _replace_forward(
        layer, partial(_enter_and_leave, layer.forward, border, "inputs" not in layer.cuts.values())
    )
    parts = {**dict(layer.named_children()), **dict(layer.named_parameters(recurse=False))}
    uncut = [part for name, part in parts.items() if name not in layer.cuts]
    return {p for part in uncut for p in (part.parameters() if isinstance(part, nn.Module) else [part])}


def _enter_and_leave(forward: Callable, border: Border, leaves: bool, x: Tensor, *rest: Any) -> Tensor:
    """Enter once for all matrices that read the input, in the dtype of their products.

    If no linear layer is sliced by its inputs, the layer's output is what is summed.
    """
    y = forward(border.enter(to_autocast_dtype(x)), *rest)
    return border.leave(y) if leaves else y


def _route_all_tokens(forward: Callable, border: Border, x_BTD: Tensor, *given: Tensor | None) -> tuple:
    y_BTD, routing = forward(border.join(x_BTD), *given)
    return border.own_part(y_BTD), routing


def _look_up(layer: nn.Embedding, border: Border, tokens_BT: Tensor) -> Tensor:
    """Look up the vectors of this process's words, with zeros for others, and sum over processes."""
    weight_VD = _local(layer.weight)
    index_BT = tokens_BT - border.first_row(layer.num_embeddings)
    here_BT = (index_BT >= 0) & (index_BT < weight_VD.shape[0])
    x_BTD = F.embedding(index_BT.where(here_BT, 0), weight_VD)
    return border.leave(x_BTD * here_BT[..., None])


def _add_positions(forward: Callable, border: Border, x_BTD: Tensor, offset: Offset = 0) -> Tensor:
    length = x_BTD.shape[1]
    return forward(x_BTD, move_offset(offset, border.rank * length, length) if border.cuts_time else offset)


def _cut_head(model: Any, mesh: DeviceMesh, border: Border) -> None:
    """Slice the output layer by words: its own weight, or the embedding's."""
    words, readout = model.embedding.num_embeddings, model.readout
    if model.head is not None:
        _slice(model.head, "weight", mesh, 0)
    readout.vocabulary = Vocabulary(
        border.first_row(words),
        border.rows_per_slice(words),
        words,
        border.all_reduce_sum,
        border.all_reduce_max,
    )
    _replace_forward(readout, partial(_read, readout.forward, border))


def _read(
    forward: Callable, border: Border, hidden_BTD: Tensor, weight_VD: DTensor, loss: Callable | None
) -> Any:
    """The loss of all tokens, equal on every process, or the logits of all words."""
    answer = forward(border.enter(hidden_BTD), _local(weight_VD), loss)
    return answer if loss is not None else _gather_logits(answer, weight_VD)


def _gather_logits(logits_BTV: Tensor, weight_VD: DTensor) -> Tensor:
    shape = torch.Size((*logits_BTV.shape[:-1], weight_VD.shape[0]))
    stride = tuple(logits_BTV.new_empty(shape, device="meta").stride())
    sliced = DTensor.from_local(
        logits_BTV, weight_VD.device_mesh, [Shard(logits_BTV.ndim - 1)], shape=shape, stride=stride
    )
    return sliced.full_tensor()


def _slice_outputs(linear: nn.Linear, mesh: DeviceMesh) -> None:
    for name, _ in list(linear.named_parameters()):
        _slice(linear, name, mesh, 0)
    _replace_forward(linear, partial(_multiply, linear))


def _slice_inputs(linear: nn.Linear, mesh: DeviceMesh, border: Border) -> None:
    _slice(linear, "weight", mesh, 1)
    _replace_forward(linear, partial(_multiply_and_sum, linear, border))


def _multiply(linear: nn.Linear, x: Tensor) -> Tensor:
    return F.linear(x, _local(linear.weight), None if linear.bias is None else _local(linear.bias))


def _multiply_and_sum(linear: nn.Linear, border: Border, x: Tensor) -> Tensor:
    y = border.leave(F.linear(x, _local(linear.weight)))
    # once, not once per slice; in the bias's own dtype, since bf16 would round a small bias away
    return y if linear.bias is None else y + linear.bias


def _replace_forward(layer: nn.Module, forward: Callable) -> None:
    """Replace the layer's forward; hooks, FSDP and compilation still wrap it."""
    layer.forward = forward


def _slice(module: nn.Module, name: str, mesh: DeviceMesh, dim: int) -> None:
    whole = module.get_parameter(name)
    # nothing is sent: every process takes its own slice
    mine = distribute_tensor(whole, mesh, [Shard(dim)], src_data_rank=None)
    setattr(module, name, nn.Parameter(mine, requires_grad=whole.requires_grad))


def _local(parameter: Tensor) -> Tensor:
    assert isinstance(parameter, DTensor)
    return parameter.to_local()
