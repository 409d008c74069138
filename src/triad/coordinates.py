"""Check that activations keep their size when a model grows

python -m triad.coordinates parametrisation=mup grow=width,attention.heads
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from triad.config.errors import Refusal
from triad.config.tables import print_table

GROUP = "Look before training"

Sizes = dict[int, dict[str, list[float]]]  # by width and layer: of each step


def coordinates(
    widths: str = "64,128,256,512",
    steps: int = 4,
    seeds: int = 3,
    grow: str = "width",
    to: str = "coordinates.png",
    overrides: list[str] | None = None,
) -> None:
    """Train models of several widths for a few steps, and draw how much each layer's activations change.

        root mean square of x_t - x_0, of the logits and what each block and its attention give, by width
        and step t
        Yang & Hu et al. 2022, arXiv:2203.03466, appendix D.1 (coordinate checking)

    The batch is one of random words and targets. Flat lines: the learning rate of one width is right at
    others. `grow` names the arguments of the model that grow in proportion, from their values at model.width;
    grow=width,attention.heads with model.attention.head_size=16 has more heads of one size. Words such as
    parametrisation=mup or model=moe are those of train.py. The file `to` is a PNG. Raises Refusal for an
    argument that is no number or does not come out whole.
    """
    words = ["debug=tiny", *(overrides or [])]
    numbers = [int(width) for width in widths.split(",")]
    scales = measure(words, numbers, steps, seeds, grow.split(","))
    rows = [
        [layer, *(f"{scales[width][layer][-1]:.3g}" for width in numbers), f"width^{exponent:+.2f}"]
        for layer, exponent in fit_growth(scales).items()
    ]
    print_table(["layer", *(f"width {width}" for width in numbers), "grows as"], rows)
    draw(scales, " ".join(overrides or ["parametrisation=standard"]), Path(to))
    print(to)


def measure(
    words: list[str], widths: list[int], steps: int, seeds: int, grow: Sequence[str] = ("width",)
) -> Sizes:
    """By width and layer: how far activations have moved after each step, the mean over some seeds."""
    from triad.config.build import build
    from triad.config.compose import compose
    from triad.data.progress import track

    config = compose(["trainer.accelerator=cpu", *words])
    found: Sizes = {}
    for width in track(widths, "training", len(widths), "widths"):
        changes = grow_arguments(config["model"], width, grow)
        runs = []
        for seed in range(seeds):
            names = ("model", "optimizer", "parametrisation")
            part = build({name: config[name] for name in names})
            runs.append(_measure_run(part, config["decay"], changes, steps, seed))
        found[width] = {
            layer: [sum(sizes) / seeds for sizes in zip(*(run[layer] for run in runs), strict=True)]
            for layer in runs[0]
        }
    return found


def grow_arguments(model: dict, width: int, keys: Sequence[str]) -> dict[str, Any]:
    """The arguments of a model at another width, of which some grow in proportion."""
    changes: dict[str, Any] = {}
    for key in keys:
        node, inner = model, changes
        *above, name = key.split(".")
        for part in above:
            node, inner = node.get(part) or {}, inner.setdefault(part, {})
        if not isinstance(value := node.get(name), int) or value * width % model["width"]:
            raise Refusal(f"grow={key}: model.{key}={value} does not grow by {width}/{model['width']}")
        inner[name] = value * width // model["width"]
    return changes


def fit_growth(found: Sizes) -> dict[str, float]:
    """The exponent of the width with which the last step's change grows, by least squares on logarithms."""
    x = [math.log(width) for width in found]
    mean_x = sum(x) / len(x)
    exponents = {}
    for layer in next(iter(found.values())):
        y = [math.log(max(sizes[layer][-1], 1e-30)) for sizes in found.values()]
        slope = sum((a - mean_x) * b for a, b in zip(x, y, strict=True))
        exponents[layer] = slope / sum((a - mean_x) ** 2 for a in x)
    return exponents


def _measure_run(
    part: dict[str, Any], decay: list[str], changes: dict[str, Any], steps: int, seed: int
) -> dict[str, list]:
    import torch

    from triad.layers.cross_entropy import cross_entropy_sum
    from triad.optim.clip import Norm
    from triad.optim.initialise import initialise
    from triad.optim.parametrisation import replace_arguments
    from triad.optim.regularizers import Unpenalized
    from triad.optim.update import Update

    words, grown = 64, replace_arguments(part["model"], changes)

    def make(**base: Any) -> Any:
        return replace_arguments(grown, base)(vocab_size=words)

    update = Update(Unpenalized(), Norm(None), part["parametrisation"], decay)
    with torch.device("meta"):
        model = make()
        update.parametrisation.fit(model, make)
    model.to_empty(device="cpu")
    initialise(model, seed, update.parametrisation.scale)
    optimizer = part["optimizer"](update.groups(model, 0.0))
    for group in optimizer.param_groups:
        group["lr"] *= group["rate"]
    draw = partial(torch.randint, words, generator=torch.Generator().manual_seed(seed))
    tokens_BT, targets_BT = draw((4, 16)), draw((4, 16))
    start, sizes = _record_activations(model, tokens_BT), defaultdict(list)
    for _ in range(steps):
        nll, _ = model(tokens_BT, loss=partial(cross_entropy_sum, targets_BT=targets_BT))
        (nll / targets_BT.numel()).backward()
        optimizer.step()
        optimizer.zero_grad()
        for layer, x in _record_activations(model, tokens_BT).items():
            sizes[layer].append(float((x - start[layer]).square().mean().sqrt()))
    return sizes


def _record_activations(model: Any, tokens_BT: Any) -> dict[str, Any]:
    """What each block and its attention give, and the logits."""
    import torch

    seen: dict[str, Any] = {}

    def keep(name: str) -> Callable:
        return lambda _, __, y: seen.__setitem__(name, y[0] if isinstance(y, tuple) else y)

    layers = {f"block {at}": block for at, block in enumerate(getattr(model, "blocks", ()))}
    inner = {f"attention {at}": getattr(block, "attention", None) for at, block in enumerate(layers.values())}
    layers |= {name: layer for name, layer in inner.items() if layer is not None}
    hooks = [layer.register_forward_hook(keep(name)) for name, layer in layers.items()]
    with torch.no_grad():
        logits, _ = model(tokens_BT)
    for hook in hooks:
        hook.remove()
    return seen | {"logits": logits}


def draw(found: Sizes, title: str, to: Path) -> None:
    """A panel for each layer: change over width, a line for each step."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    layers = list(next(iter(found.values())))
    figure, panels = plt.subplots(1, len(layers), figsize=(3.2 * len(layers), 3), squeeze=False)
    for layer, panel in zip(layers, panels[0], strict=True):
        steps = len(next(iter(found.values()))[layer])
        for step in range(steps):
            sizes = [sizes[layer][step] for sizes in found.values()]
            panel.loglog(list(found), sizes, marker=".", label=f"step {step + 1}", base=2)
        panel.set(title=layer, xlabel="width")
    panels[0][0].set_ylabel("root mean square of change")
    panels[0][-1].legend(fontsize=7)
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(to, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    from triad.config.command_line import run_command

    run_command(coordinates)
