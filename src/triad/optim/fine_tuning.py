"""Which parameters are trained, and how fast each learns beside the others."""

import re
from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from triad.layers.parameters import plain_name
from triad.layers.ranges import PositiveFloat, PositiveUnit
from triad.optim.roles import roles

LSTM_LAYER = re.compile(r"_l(\d+)(_reverse)?$")  # in the names of nn.LSTM's parameters


class FineTuning:
    """Freeze some parameters and let others learn faster or slower than the rest.

        rate(p) = rate x multiplier(p) x layer_decay ^ (depth + 1 - layer(p))
        Howard and Ruder 2018 (ULMFiT), arXiv:1801.06146, section 3.2; as a power of the distance from the
        head: Clark et al. 2020 (ELECTRA), arXiv:2003.10555, appendix A

    layer(p) is 0 for embeddings and what stands before the first block, n for the n-th block of a stack,
    and depth + 1 for all behind it (BEiT's count; ELECTRA's code gives the head depth + 2). `freeze` and
    `multipliers`, pairs of a name and a factor, name roles, parameters or modules (`body`, `blocks.0`),
    from the beginning of a name or behind a dot; `*` stands for any characters. Of several multipliers the
    last that names a parameter counts. As in torch, weights of a lower rate decay less: a step takes rate x
    weight_decay of them. Frozen weights have neither gradient nor optimizer state.
    """

    def __init__(
        self, freeze: list[str], multipliers: list[tuple[str, PositiveFloat]], layer_decay: PositiveUnit
    ) -> None:
        self.freeze, self.multipliers, self.layer_decay = freeze, multipliers, layer_decay
        self.rates: dict[str, float] = {}  # until fit; those that are not 1

    def fit(self, model: Any) -> None:
        """Mark the frozen parameters of a single-device model, which may be on meta, and find all rates.

        Raises ValueError for a name that no parameter has, and if nothing is left to train.
        """
        kinds = roles(model)
        frozen = {found for name in self.freeze for found in find_named(kinds, name, "freeze")}
        if len(frozen) == len(kinds):
            raise ValueError(f"finetuning.freeze={self.freeze} leaves nothing to train: name fewer")
        layers = find_layers(model, kinds) if self.layer_decay != 1 else {}
        rates = {name: self.layer_decay ** (model.depth + 1 - layer) for name, layer in layers.items()}
        factors = {
            found: factor
            for name, factor in self.multipliers
            for found in find_named(kinds, name, "multipliers")
        }
        self.rates = {name: factors.get(name, 1.0) * rates.get(name, 1.0) for name in factors | rates}
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name not in frozen)

    def rate(self, name: str) -> float:
        """The factor of a parameter's learning rate."""
        return self.rates.get(plain_name(name), 1.0)


def find_named(kinds: Mapping[str, str], name: str, key: str) -> Collection[str]:
    """The parameters that have a role or are named so. Raises ValueError if there are none."""
    patterns = [f"{before}{name}{behind}" for before in ("", "*.") for behind in ("", ".*")]
    found = [
        parameter
        for parameter, role in kinds.items()
        if role == name or any(fnmatchcase(parameter, pattern) for pattern in patterns)
    ]
    if not found:
        parts = sorted({parameter.partition(".")[0] for parameter in kinds})
        raise ValueError(
            f"finetuning.{key}: {name} names no parameter of this model; use a role "
            f"({', '.join(sorted({*kinds.values()}))}) or a part ({', '.join(parts)}, or in one, blocks.0)"
        )
    return found


def find_layers(model: Any, kinds: Mapping[str, str]) -> dict[str, int]:
    """For each parameter the number of its layer, from 0 to depth + 1."""
    stacks = [
        f"{path}."
        for path, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == model.depth
    ]
    found, top = {}, 0
    for name, role in kinds.items():
        stack = next((path for path in stacks if name.startswith(path)), None)
        if stack is not None:
            top = model.depth + 1
            found[name] = int(name.removeprefix(stack).split(".")[0]) + 1
        elif numbered := LSTM_LAYER.search(name):
            top = model.depth + 1
            found[name] = int(numbered[1]) + 1
        else:
            found[name] = 0 if role == "embedding" else top
    return found
