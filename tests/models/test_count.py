"""What a model costs is what its layers say: held against torch's counter of FLOPs, and against the masks."""

from functools import partial
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from tests.conftest import REPOSITORY
from triad.config.build import build
from triad.layers import full_attention
from triad.layers.cross_entropy import cross_entropy_sum
from triad.layers.flops import Rows
from triad.models.classifier import Classifier
from triad.models.count import count
from triad.optim.initialise import initialise

WORDS = 19
MODELS = sorted(path.stem for path in (REPOSITORY / "conf/model").glob("*.yaml"))
ROUTERS = sorted(path.stem for path in (REPOSITORY / "conf/router").glob("*.yaml"))
# a window shorter than the rows, where the published one is longer than these tests' rows
WINDOWS = {"mistral_7b": ["model.attention.mask.size=5"], "gpt3": ["model.pattern.parts.banded.attention.mask.size=5"]}


def make(*words: str, classes: int = 0) -> Any:
    """A model of at most four layers, without storage; with `classes`, as the body of a classifier."""
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        config: Any = OmegaConf.to_container(compose("train", [*words, "context=24"]), resolve=True)["model"]
    config["depth"] = min(config["depth"], 4)
    with torch.device("meta"):
        model = build(config)(vocab_size=WORDS)
        return Classifier(model, classes, None, 0.0) if classes else model


def grouped_product_flops(x: Any, weight: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    """rows x inner size x columns, as for torch.mm: each row meets one expert."""
    rows, inner = x
    return 2 * rows * inner * weight[-1]


# what torch's counter leaves out, because it knows neither grouped products nor those in place
ATEN = torch.ops.aten
COUNTED = {ATEN._grouped_mm: grouped_product_flops, ATEN.addmm_: flop_registry[ATEN.addmm]}


def measure(model: Any, *inputs: Tensor) -> int:
    """What torch counts in a forward and a backward pass, the loss included."""
    targets = inputs[-1][:, 0] if isinstance(model, Classifier) else inputs[-1]

    def loss(hidden: Tensor, weight: Tensor, vocabulary: Any = None, bias_V: Tensor | None = None) -> Tensor:
        return cross_entropy_sum(hidden, weight, targets, bias_V=bias_V)

    with FlopCounterMode(display=False, custom_mapping=COUNTED) as counter:
        model(*inputs, loss=loss)[0].backward()
    return counter.get_total_flops()


def widths(*lengths: int) -> list[Tensor]:
    return [torch.full((3,), length) for length in lengths]


@pytest.mark.parametrize("name", MODELS)
def test_what_is_computed_is_what_torch_counts(name: str) -> None:
    model = make(f"model={name}", *WINDOWS.get(name, []))
    shapes = (17, 23) if model.sees == "source" else (23,)
    inputs = [torch.zeros(3, length, dtype=torch.long, device="meta") for length in shapes]
    assert count(model).computed_flops(*widths(*reversed(shapes))) == measure(model, *inputs)
