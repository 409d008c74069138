"""Every precision trains with every optimizer, and lowers the forward pass alone."""

import json
import math
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from triad.callbacks.checkpoint import Checkpoint
from triad.callbacks.terminate_on_nan import TerminateOnNan
from triad.checkpoints.folder import list_complete
from triad.config.build import build
from triad.config.compose import compose
from triad.config.errors import Diverged
from triad.config.locations import CONF
from triad.hardware.execution import Hardware
from triad.hardware.loss_scaler import LossScaler
from triad.hardware.precision import make_plugin
from triad.launch.rank import quieten
from triad.launch.supervisor import launch
from triad.optim.clip import Norm
from triad.optim.parametrisation import Standard
from triad.optim.regularizers import Unpenalized
from triad.optim.update import Update
from triad.runs.directory import Run
from triad.strategies.single import Single
from triad.tasks.causal_lm import CausalLM
from triad.tasks.module import Training

STEPS = 4
CONFIG = {"seed": 0, "strategy": {"_target_": "triad.strategies.single.Single"}}  # as a checkpoint keeps it
OPTIMIZERS = sorted(path.stem for path in (CONF / "optimizer").glob("*.yaml"))
# by how much of fp32's descent a precision may miss it; fp8 needs a GPU, auto chooses one of these
PRECISIONS = {"fp64": 1e-3, "bf16-mixed": 0.02, "bf16-true": 0.25, "fp16-mixed": 0.02}


class Rows(LightningDataModule):
    """Eight rows that can be learned by heart, again and again."""

    def train_dataloader(self) -> DataLoader:
        tokens_BT = torch.arange(8 * 17).view(8, 17) % 16
        batch = {"tokens_BT": tokens_BT[:, :-1], "targets_BT": tokens_BT[:, 1:], "rows": 8, "count": 128}
        batch |= {"lengths_R": torch.full((8,), 16)}
        first = self.trainer.global_step
        return DataLoader([batch | {"step": step} for step in range(first, 99)], batch_size=None)

    def val_dataloader(self) -> list:
        return []

    def first_row(self, step: int) -> int:
        return 8 * step


class Curve(Callback):
    """The loss and the gradient's norm of each step, and the weights after it."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.norms: list[float] = []
        self.weights: list[Tensor] = []

    def on_train_batch_end(self, trainer: Trainer, training: Any, outputs: Any, *_: Any) -> None:
        self.losses.append(float(outputs["shares"]["train/loss"]))
        self.norms.append(float(outputs["figures"]["train/gradient_norm"]))
        self.weights.append(torch.cat([p.detach().flatten() for p in training.model.parameters()]))


@cache
def compose_once(words: tuple[str, ...]) -> dict:
    return compose([*words])


def fit(
    optimizer: str,
    precision: str,
    *callbacks: Callback,
    steps: int = STEPS,
    words: tuple[str, ...] = (),
    scale: float | None = None,
) -> tuple[Curve, Training]:
    """Train a small decoder as train.py does."""
    quieten()
    small = ("debug=tiny", "model.width=32", "model.depth=1", "strategy=single", "precision=fp32")
    config = compose_once((f"optimizer={optimizer}", *small, *words))
    part = SimpleNamespace(**build({name: config[name] for name in ("model", "optimizer")}))
    name = compose_once((f"precision={precision}", "trainer.accelerator=cpu"))["precision"]["name"]
    plugin: Any = make_plugin(name, torch.device("cpu"))
    if scale:
        plugin.scaler = LossScaler("cpu", init_scale=scale)
    update, hardware = (
        Update(Unpenalized(), Norm(1.0), Standard(), []),
        Hardware(None, None, "flash", False, False),
    )
    task, curve = CausalLM(0.0, 0.0, 1.0, tokenizer=None, context=16), Curve()
    training = Training(task, part.model, part.optimizer, lambda _: 1.0, hardware, 16, 0, update, None)
    trainer = Trainer(
        strategy=Single(),
        accelerator="cpu",
        max_steps=steps,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        callbacks=[curve, *callbacks],
        plugins=[plugin],
    )
    trainer.fit(training, Rows())
    return curve, training


def test_every_precision_is_tried() -> None:
    names = {path.stem for path in (CONF / "precision").glob("*.yaml")}
    assert names == {*PRECISIONS, "fp32", "fp8", "auto"}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_optimizer_descends_in_every_precision_as_in_fp32(optimizer: str) -> None:
    exact = fit(optimizer, "fp32")[0].losses
    assert exact[-1] < exact[0]
    for precision, tolerance in PRECISIONS.items():
        losses = fit(optimizer, precision)[0].losses
        descent = losses[0] - losses[-1]
        assert descent == pytest.approx(exact[0] - exact[-1], rel=tolerance), precision


class Contexts(Callback):
    """Whether autocast is on, and the default dtype, in each part of a step."""

    def __init__(self) -> None:
        self.seen: dict[str, tuple[bool, torch.dtype]] = {}

    def see(self, part: str, *_: Any) -> None:
        self.seen[part] = torch.is_autocast_enabled("cpu"), torch.get_default_dtype()

    def on_train_start(self, trainer: Trainer, training: Any) -> None:
        layer: nn.Module = training.model.blocks[0]
        layer.register_forward_hook(lambda *_: self.see("forward"))
        layer.register_full_backward_hook(lambda *_: self.see("backward"))
        trainer.optimizers[0].register_step_pre_hook(lambda *_: self.see("step"))

    def on_before_optimizer_step(self, *_: Any) -> None:
        self.see("clip")


@pytest.mark.parametrize(
    ("precision", "inside"),
    [("bf16-mixed", (True, torch.float32)), ("bf16-true", (False, torch.bfloat16))],
)
def test_the_forward_pass_alone_is_in_the_context_of_a_precision(
    precision: str, inside: tuple[bool, torch.dtype]
) -> None:
    contexts = Contexts()
    fit("adamw", precision, contexts, steps=1)
    outside = (False, torch.float32)
    assert contexts.seen == {"forward": inside, "backward": outside, "clip": outside, "step": outside}


@pytest.mark.parametrize("words", [(), ("optimizer.fused=true",)], ids=["sgd", "fused sgd"])
def test_fp16_gradients_are_unscaled_before_their_norm_also_of_fused_optimizers(
    words: tuple[str, ...],
) -> None:
    exact, half = (fit("sgd", precision, words=words)[0] for precision in ("fp32", "fp16-mixed"))
    assert half.norms == pytest.approx(exact.norms, rel=0.01)


@pytest.mark.parametrize("words", [(), ("optimizer.fused=true",)], ids=["sgd", "fused sgd"])
def test_a_step_that_overflows_is_left_out_whole_and_is_no_divergence(words: tuple[str, ...]) -> None:
    curve, training = fit("sgd", "fp16-mixed", TerminateOnNan(1), steps=40, words=words, scale=2.0**36)
    bad = [step for step, norm in enumerate(curve.norms) if not math.isfinite(norm)]
    skipped = len(bad)
    assert 2 < skipped < 30
    for step in bad:
        assert torch.equal(curve.weights[step - 1], curve.weights[step])
    assert training.trainer.precision_plugin.state_dict()["scale"] == 2.0 ** (36 - skipped)
    # as if it had begun there: momentum has not moved either
    fresh = fit("sgd", "fp16-mixed", steps=40 - skipped, words=words, scale=2.0 ** (36 - skipped))[0]
    assert torch.equal(fresh.weights[-1], curve.weights[-1])


def test_a_loss_scale_that_falls_for_ever_is_divergence() -> None:
    with pytest.raises(Diverged, match=r"step 30: the loss scale fell to 6e-05"):
        fit("sgd", "fp16-mixed", Break(1), TerminateOnNan(1), steps=40)


def test_a_resumed_run_goes_on_with_its_loss_scale(tmp_path: Path) -> None:
    def checkpoint() -> Checkpoint:
        return Checkpoint(Run(tmp_path), CONFIG, 99, None, 2, "val/loss", 30)

    scale, steps = 2.0**20, 3
    before = fit("adamw", "fp16-mixed", checkpoint(), steps=steps, scale=scale)[1].trainer
    after = fit("adamw", "fp16-mixed", checkpoint(), steps=steps + 2)[1].trainer
    assert [path.name for path in list_complete(Run(tmp_path).checkpoints)] == [
        "step-00000003",
        "step-00000005",
    ]
    kept, found = (trainer.precision_plugin.state_dict() for trainer in (before, after))
    assert found["scale"] == kept["scale"] != LossScaler("cpu").get_scale()
    assert (kept["_growth_tracker"], found["_growth_tracker"]) == (steps, steps + 2)


class Break(Callback):
    """Spoil one weight before a step, counted from 1."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Trainer, training: Any, *_: Any) -> None:
        if trainer.global_step == self.step - 1:
            training.model.embedding.weight.data[3] = math.nan


@pytest.mark.parametrize(("every", "good"), [(1, "step-00000003"), (2, "step-00000002")])
def test_bad_numbers_end_the_run_at_their_step_and_name_the_last_good_checkpoint(
    tmp_path: Path, every: int, good: str
) -> None:
    checkpoint = Checkpoint(Run(tmp_path), CONFIG, every, None, 9, "val/loss", 30)
    # looked at every 99 steps, and before each checkpoint; that of step 4 gives the bad gradient
    said = rf"step 5: the gradient is not finite.*{good} starts from the last good checkpoint"
    with pytest.raises(Diverged, match=said):
        fit("adamw", "fp32", TerminateOnNan(99), checkpoint, Break(5), steps=9)
    assert list_complete(Run(tmp_path).checkpoints)[-1].name == "step-00000004"


def test_a_run_without_a_checkpoint_says_so() -> None:
    with pytest.raises(Diverged, match=r"step 2: .*no checkpoint is good"):
        fit("adamw", "fp32", TerminateOnNan(3), Break(2))


def test_all_processes_leave_out_a_step_that_overflows_in_one(tmp_path: Path) -> None:
    script = Path(__file__).with_name("overflow.py")
    assert launch([sys.executable, str(script), str(tmp_path)], 2, 1) == 0
    one, other = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert one == other == {"finite": [3 - 4 / 2, 1 - 6 / 2], "overflow": [1.0, -2.0], "scale": 1.0}
