"""An optimizer calls the closure that its step is given: gradients are clipped in it."""

from pathlib import Path

from tests.warm import REPOSITORY

DEAF = """
import torch


class Deaf(torch.optim.SGD):
    def __init__(self, params, lr: float, weight_decay: float = 0.0):
        super().__init__(params, lr=lr, weight_decay=weight_decay)

    def step(self, closure=None):
        return super().step()
"""


def test_an_optimizer_whose_step_does_not_call_its_closure_is_told_so(python, tmp_path: Path) -> None:
    (tmp_path / "hearing.py").write_text(DEAF)
    words = ("packages=[hearing]", "optimizer={_target_: hearing.Deaf, _partial_: true, lr: 0.1}")
    small = ("debug=tiny", "trainer.accelerator=cpu", "run_id=deaf")
    done = python(str(REPOSITORY / "train.py"), *words, *small, code=2)
    assert "error: optimizer=Deaf: its step does not call the closure that it is given" in done.stderr
    assert "loss = closure()" in done.stderr
