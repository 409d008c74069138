"""What is not finite stops the run before it does harm; what is strange is named."""

from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.warm import REPOSITORY, WarmProcess
from triad.callbacks.gradient_check import GradientCheck
from triad.checkpoints.folder import find_checkpoint, list_complete
from triad.checkpoints.tensors import read_weights
from triad.config.errors import Diverged
from triad.optim.clip import Norm
from triad.optim.gradient import Gradient
from triad.optim.parametrisation import Standard
from triad.optim.regularizers import Unpenalized
from triad.optim.update import Update

HERE = Path(__file__).parent
SHARDED = pytest.mark.skipif(find_spec("deepspeed") is None, reason="deepspeed is not installed")


class Run:
    """One step at a time of a small model, with gradients that a test chooses."""

    def __init__(self, **options: Any) -> None:
        torch.manual_seed(0)
        self.model = torch.nn.ModuleDict({"q": torch.nn.Linear(3, 3), "head": torch.nn.Linear(3, 2, False)})
        self.model.roles = {"head.weight": "head"}
        self.update = Update(Unpenalized(), Norm(None), Standard(), [])
        self.task = SimpleNamespace(make_meta_model=lambda: self.model, update=self.update)
        self.logged: list[dict] = []
        logger = SimpleNamespace(
            log_metrics=lambda metrics, step: self.logged.append(metrics | {"step": step})
        )
        self.trainer: Any = SimpleNamespace(
            precision_plugin=None, global_step=0, is_global_zero=True, loggers=[logger], callbacks=[]
        )
        self.trainer.datamodule = SimpleNamespace(first_row=lambda step: 4 * step)
        self.check = GradientCheck(**{"every_steps": 1, "vanishing": 1e-9, "exploding": 1e3} | options)
        self.check.on_train_start(self.trainer, self.task)

    def step(self, **scales: float) -> None:
        self.check.on_train_batch_start(self.trainer, self.task, {"rows": 4}, 0)
        for name, parameter in self.model.named_parameters():
            parameter.grad = torch.full_like(parameter, scales.get(name.replace(".", "_"), 1.0))
        self.update(Gradient(self.model))
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter -= 0.01 * parameter.grad
        self.trainer.global_step += 1
        self.check.on_train_batch_end(self.trainer, self.task)


def test_norms_and_relative_updates_are_told_by_role_every_so_many_steps() -> None:
    run = Run(every_steps=2)
    run.step()
    assert run.logged == []
    before = run.model.q.weight.norm().item()
    run.step()
    (figures,) = run.logged
    assert figures["step"] == 2
    assert figures["train/gradient_norm_matrix"] == pytest.approx(3.0)  # nine ones
    assert figures["train/gradient_norm_head"] == pytest.approx(6**0.5)
    assert figures["train/update_matrix"] == pytest.approx(0.03 / before, rel=1e-4)


def test_the_first_parameter_that_explodes_or_vanishes_is_named(capsys: pytest.CaptureFixture) -> None:
    run = Run()
    run.step(q_bias=1e-12, head_weight=1e6)
    said = capsys.readouterr().out
    assert "step 1: the gradient explodes at head.weight: norm 2.45e+06, above 1000\n" in said
    assert "step 1: the gradient vanishes at q.bias: norm 1.73e-12, below 1e-09\n" in said
    run.step(q_bias=0.0)
    assert capsys.readouterr().out == ""


def test_an_explosion_is_told_between_the_steps_that_are_reported(capsys: pytest.CaptureFixture) -> None:
    run = Run(every_steps=100)
    run.step(q_weight=1e6)
    assert "the gradient explodes at q.weight" in capsys.readouterr().out


def test_bad_numbers_stop_the_run_before_the_weights_change() -> None:
    run = Run(every_steps=100)
    run.step()
    before = run.model.q.weight.detach().clone()
    with pytest.raises(Diverged, match=r"step 2: .* in q.bias \(at least 3 of 3 numbers\); rows 4 to 7: "):
        run.step(q_bias=float("nan"))
    assert torch.equal(run.model.q.weight, before)


def test_a_loss_scaler_looks_after_its_own() -> None:
    run = Run(every_steps=100)
    run.check.scaled = True
    run.step(q_bias=float("inf"))


def test_thresholds_are_in_order() -> None:
    with pytest.raises(ValueError, match=r"vanishing=1.0 exploding=0.1"):
        GradientCheck(1, 1.0, 0.1)


def test_all_processes_stop_with_one_sentence_and_a_checkpoint_of_before(train, tmp_path: Path) -> None:
    words = ("debug=tiny", "trainer.accelerator=cpu", "strategy=fsdp", "trainer.devices=2", "precision=fp32")
    hot = ("optimizer.lr=1e30", "scheduler=constant", "scheduler.warmup=0", "run_id=a")
    done = train(*words, *hot, "callbacks=[default,gradient_check]", code=33)
    sentences = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(sentences) == 1
    assert "step 2: the gradient is not finite in embedding.weight" in sentences[0]
    assert "step-00000001 has the weights before it" in sentences[0]
    run = tmp_path / "outputs" / "a"
    assert [path.name for path in list_complete(run / "checkpoints")] == ["step-00000001"]
    assert all(weight.isfinite().all() for weight in read_weights(find_checkpoint(run)).values())


def test_a_number_that_one_process_alone_has_in_what_others_hold_too_stops_all(warm: WarmProcess) -> None:
    assert warm.launch([str(HERE / "planted_ranks.py")], ranks=2) == 0


@pytest.mark.parametrize(
    "strategy",
    [
        pytest.param("deepspeed strategy.stage=2", marks=SHARDED),
        pytest.param("deepspeed strategy.stage=1", marks=[SHARDED, pytest.mark.slow]),
        pytest.param("deepspeed strategy.stage=3", marks=[SHARDED, pytest.mark.slow]),
        *(
            pytest.param(f"{name} callbacks=[default{more}]", marks=pytest.mark.slow)
            for name in ("ddp", "fsdp", "tensor", "pipeline", "pipeline model.tied=true")
            for more in ("", ",gradient_check")
        ),
    ],
)
def test_a_gradient_that_is_not_finite_on_one_rank_ends_the_run_with_its_code(python, strategy: str) -> None:
    words = f"strategy={strategy} trainer.devices=2 trainer.accelerator=cpu debug=tiny model.width=64"
    words += " precision=fp32 scheduler.warmup=0 trainer.limit_val_batches=0 ~callbacks.sample"
    script = str(HERE / "planted_run.py")
    done = python(script, str(REPOSITORY / "train.py"), "blocks.1.feedforward", *words.split(), code=33)
    assert "step 4: the gradient is not finite" in done.stderr
