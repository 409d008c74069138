"""The parameters of a model, those that one token uses, and the FLOPs of rows of tokens."""

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from triad.layers.flops import Rows
from triad.layers.parameters import read_declarations, read_sequence

MULTIPLIED = ("matrix", "head", "router", "convolution")  # once with each token; experts say it themselves


class Flops(NamedTuple):
    """FLOPs of a forward and a backward pass by three conventions. None counts what is computed twice.

    six_n   6 N for each token      Kaplan et al. 2020, arXiv:2001.08361, section 2.1
    palm    6 N + 12 L H Q T, attention to all of a row      Chowdhery et al. 2022, arXiv:2204.02311, app. B
    exact   products of weights and tokens, and of queries and keys that see each other

    N are the parameters that a token meets, without tables that are only looked up.
    """

    six_n: int
    palm: int
    exact: int


class Cost(NamedTuple):
    """The FLOPs of a layer that reads one sequence, beside a product of each weight with each token."""

    sequence: str
    flops: Callable[[Rows], Tensor]


class Count(NamedTuple):
    """All parameters, and the active ones: all but those of experts that a token is not sent to.

    By sequence, as layers declare it: `parameters`, the active ones without tables that are only looked up,
    and `weights`, the elements of matrices that are multiplied with each token. `mixing` are products of
    tokens with each other or with a state, `special` those with other weights.
    """

    total: int
    active: int
    parameters: dict[str, int]
    weights: dict[str, int]
    mixing: list[Cost]
    special: list[Cost]

    @property
    def multiplying(self) -> int:
        """Active parameters without tables that are only looked up: the N of 6 N."""
        return sum(self.parameters.values())

    def flops(self, tokens_R: Tensor, source_R: Tensor | None = None) -> Flops:
        """FLOPs of rows with so many real tokens, and of sources for models that read one."""
        rows = _Lengths(tokens_R, source_R)
        six_n = 6 * rows.sum_sizes(self.parameters)
        products = 6 * rows.sum_sizes(self.weights) + rows.sum_costs(self.special)
        palm = six_n + rows.sum_costs(self.mixing, all_pairs=True)
        return Flops(six_n, palm, products + rows.sum_costs(self.mixing))

    def computed_flops(self, tokens_R: Tensor, source_R: Tensor | None = None) -> int:
        """FLOPs that a device computes for rows of these widths, padding and hidden keys included."""
        rows = _Lengths(tokens_R, source_R)
        products = 6 * rows.sum_sizes(self.weights) + rows.sum_costs(self.special, all_pairs=True)
        return products + rows.sum_costs(self.mixing, all_pairs=True)


class _Lengths:
    """Lengths of rows, each combination once: sums are exact, since Python's integers add them up."""

    def __init__(self, tokens_R: Tensor, source_R: Tensor | None) -> None:
        given = [tokens_R] if source_R is None else [tokens_R, source_R]
        lengths, counts_R = torch.stack(given).cpu().unique(dim=1, return_counts=True)
        self.counts = counts_R.tolist()
        self.by_sequence = dict(zip(("tokens", "source"), lengths, strict=False))
        self.by_sequence["row"] = torch.ones_like(lengths[0])

    def sum_sizes(self, sizes: dict[str, int]) -> int:
        """Each size times the tokens of its sequence."""
        return sum(size * self._add(self.by_sequence[sequence]) for sequence, size in sizes.items())

    def sum_costs(self, costs: list[Cost], all_pairs: bool = False) -> int:
        """The FLOPs of layers; `all_pairs` as in Rows."""
        source_R = self.by_sequence.get("source")
        rows = {name: Rows(own_R, source_R, all_pairs) for name, own_R in self.by_sequence.items()}
        return sum(self._add(cost.flops(rows[cost.sequence])) for cost in costs)

    def _add(self, each_R: Tensor) -> int:
        return sum(count * each for count, each in zip(self.counts, each_R.tolist(), strict=True))


def count(model: Any) -> Count:
    """Count exactly; a weight used twice counts once. Works on the meta device, before a model is sharded.

    A layer may have `idle_parameters()`, the number a token does not use, `mixing_flops(rows)` and
    `weight_flops(rows)`: triad.layers.parameters says which.
    """
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    layers = dict(model.named_modules(remove_duplicate=False))
    parameters, weights = Counter(), Counter()
    for name, declared in read_declarations(model).items():
        sequence = read_sequence(layers, name)
        if declared.role != "embedding" and sequence is not None:
            parameters[sequence] += sizes[name]
            weights[sequence] += sizes[name] * (declared.role in MULTIPLIED)
    if model.head is None:
        for found in (parameters, weights):
            found["tokens"] += model.embedding.weight.numel()
    idle, mixing, special = 0, [], []
    for name, layer in model.named_modules():
        if (sequence := read_sequence(layers, name)) is None:
            continue
        if hasattr(layer, "idle_parameters"):
            idle += layer.idle_parameters()
            parameters[sequence] -= layer.idle_parameters()
        mixing += [Cost(sequence, layer.mixing_flops)] if hasattr(layer, "mixing_flops") else []
        special += [Cost(sequence, layer.weight_flops)] if hasattr(layer, "weight_flops") else []
    total = sum(sizes.values())
    return Count(total, total - idle, dict(parameters), dict(weights), mixing, special)
