"""Pictures of a run."""

from importlib.util import find_spec
from pathlib import Path

from triad.storage.durable import replacing


def draw_losses(path: Path, rows: list[dict[str, float]]) -> None:
    """Draw training and validation loss over the steps."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("matplotlib is not installed: no picture of the curve (pip install matplotlib)")
        return

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for key, marker in (("train/loss", ""), ("val/loss", "o")):
        points = [(row["step"], row[key]) for row in rows if key in row]
        axes.plot([step for step, _ in points], [loss for _, loss in points], label=key, marker=marker)
    axes.set(xlabel="step", ylabel="loss (nats per token)", title=path.parent.name)
    axes.legend()
    with replacing(path) as file:
        figure.savefig(file, dpi=120)


def draw_loads(path: Path, rows: list[dict[str, float]]) -> None:
    """Draw how many tokens each expert of each layer got over the steps, over the mean of its layer."""
    steps = [row for row in rows if "train/load/0/0" in row]
    if not steps or find_spec("matplotlib") is None:
        return
    from matplotlib.figure import Figure

    names = [key.removeprefix("train/load/").split("/") for key in steps[0] if key.startswith("train/load/")]
    layers, experts = (1 + max(int(name[place]) for name in names) for place in (0, 1))
    figure = Figure(figsize=(7, 0.6 + 1.4 * layers), layout="constrained")
    for layer, axes in enumerate(figure.subplots(layers, sharex=True, squeeze=False)[:, 0]):
        grid = [[row[f"train/load/{layer}/{expert}"] for row in steps] for expert in range(experts)]
        extent = (steps[0]["step"], steps[-1]["step"] + 1, experts, 0)
        image = axes.imshow(grid, cmap="RdBu_r", vmin=0, vmax=2, aspect="auto", extent=extent)
        axes.set(ylabel=f"layer {layer}, expert")
    axes.set(xlabel="step")
    figure.colorbar(image, ax=figure.axes, label="tokens over the layer's mean", extend="max")
    with replacing(path) as file:
        figure.savefig(file, dpi=120)
