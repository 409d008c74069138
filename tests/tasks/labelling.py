"""What the tests of tasks that give labels share: small models of each family, and batches of rows."""

from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import nn

from tests.conftest import REPOSITORY
from triad.config.build import build
from triad.data.tokenizers.byte import Byte
from triad.optim.initialise import initialise

NORMAL = {"_target_": "triad.layers.initialisation.plain_normal", "_partial_": True, "std": 0.2}
BODIES = {
    "lstm": {},
    "decoder": {"attention.heads": 4},
    "moe": {"attention.heads": 4, "feedforward.hidden": 48},
    "encoder": {"attention.heads": 4},
    "encoder, segments": {"attention.heads": 4, "segments": 2},
}
ENCODERS = [name for name in BODIES if name.startswith("encoder")]
TOKENIZER, CONTEXT = Byte(), 96
WORDS = TOKENIZER.vocab_size + 1  # and the mask
RUN = {"tokenizer": TOKENIZER, "context": CONTEXT}


def sees(name: str) -> str:
    return "both sides" if name in ENCODERS else "past"


def make_body(name: str, **changes: Any) -> nn.Module:
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        config = compose("train", [f"model={name.partition(',')[0]}", f"context={CONTEXT}"])
    for key, value in ({"width": 32, "depth": 2, "initial": NORMAL} | BODIES[name] | changes).items():
        OmegaConf.update(config.model, key, value, merge=False)
    return build(OmegaConf.to_container(config, resolve=True)["model"])(vocab_size=WORDS)


def make_model(task: Any, name: str, seed: int = 0, **changes: Any) -> nn.Module:
    """One of which nothing starts at zero, or a test of logits would have no power."""
    model = task.wrap(make_body(name, **changes))
    initialise(model, seed)
    return model.double().eval()


def make_batch(task: Any, examples: list[dict], padded: int = 0) -> dict[str, Any]:
    """Rows as a loader deals them, and so many that are nothing behind them."""
    rows = [row for example in examples for row in task.encode(example)]
    batch: dict[str, Any] = {"rows": len(rows), "step": 0}
    for name in rows[0].keys() - {"cut"}:
        fill = -100 if name.startswith(("targets", "labels")) else -1
        if name.endswith("_B"):
            batch[name] = torch.tensor([row[name] for row in rows] + [fill] * padded)
        else:
            widest = max(len(row[other]) for row in rows for other in row if other[-3:] == name[-3:])
            wide = [np.pad(row[name], (0, widest - len(row[name])), constant_values=fill) for row in rows]
            batch[name] = torch.from_numpy(np.stack(wide + [np.full(widest, fill)] * padded)).long()
    targets = [name for name in batch if name.startswith("targets")]
    batch["count"] = sum(int((batch[name] != -100).sum()) for name in targets)
    batch["lengths_R"] = torch.tensor([len(row["tokens_BT"]) for row in rows] + [0] * padded)
    return batch | task.inputs(batch, draw)


def draw(purpose: str, length: int) -> torch.Tensor:
    raise AssertionError(f"{purpose} of {length}: this task draws nothing")


def read(task: Any, batch: dict[str, Any], judged: bool = False) -> list[torch.Tensor]:
    return [batch[name] for name in (*task.reads, *(getattr(task, "judged_by", ()) if judged else ()))]


def loss(task: Any, model: nn.Module, batch: dict[str, Any]) -> torch.Tensor:
    """The loss of a step, as Training computes it."""
    *given, targets = read(task, batch)
    return model(*given, loss=task.loss(targets, True))[0] / batch["count"]


def measure(task: Any, model: nn.Module, batch: dict[str, Any], parts: int = 1) -> dict[str, float]:
    """The figures of validation, of sums over micro-batches."""
    total: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        for inputs in zip(*(entry.split(parts) for entry in read(task, batch, True)), strict=True):
            for name, value in task.measure(model, *inputs).items():
                total[name] = total.get(name, 0) + value.double()
    return task.figures(total)


def fit(task: Any, model: nn.Module, batch: dict[str, Any], steps: int, lr: float = 2e-2) -> float:
    """Train on one batch; the last loss."""
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    for _ in range(steps):
        found = loss(task, model, batch)
        found.backward()
        optimizer.step()
        optimizer.zero_grad()
    return found.item()
