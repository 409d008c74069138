"""Loggers that cannot work."""

from importlib.util import find_spec

from triad.config.locations import tell_install
from triad.config.refusals import Impossible

TABLE = [
    Impossible(
        "TensorBoard is a package of its own",
        "logger=tensorboard",
        lambda c: "tensorboard" in c["logger"] and find_spec("tensorboard") is None,
        f"logger=tensorboard needs the package tensorboard: {tell_install('tensorboard')}, or use "
        "logger=wandb or csv",
    ),
    Impossible(
        "an artifact is uploaded",
        "logger.wandb.artifacts=true logger.wandb.mode=offline",
        lambda c: (
            (w := c["logger"].get("wandb", {})).get("artifacts") and w["mode"] in ("offline", "disabled")
        ),
        "logger.wandb.artifacts=true uploads checkpoints, which logger.wandb.mode={logger[wandb][mode]} does "
        "not: use logger.wandb.mode=online, or later `wandb artifact put <run>/checkpoints/<step>`",
    ),
]
