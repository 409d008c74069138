"""A sample never ends a run."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from triad.callbacks.sample import Sample
from triad.data.tokenizers.byte import Byte
from triad.decoding.decode import decode
from triad.decoding.sampling import Sampling
from triad.runs.directory import Run


class Constant(nn.Module):
    """The same logits for every token."""

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.full((257,), logit))

    def empty_cache(self, batch: int) -> None:
        return None

    def forward(self, tokens_BT: Tensor, cache: None) -> tuple[Tensor, tuple]:
        return self.logits.expand(*tokens_BT.shape, -1), ()


def test_a_model_that_no_token_can_be_drawn_from_has_no_sample_and_the_run_goes_on(tmp_path: Path) -> None:
    strategy = SimpleNamespace(full_model=lambda model: model)
    plugin = SimpleNamespace(val_step_context=nullcontext)
    trainer: Any = SimpleNamespace(
        strategy=strategy, precision_plugin=plugin, is_global_zero=True, global_step=7, loggers=[]
    )

    def draw(model: nn.Module, prompt: list[int], length: int, context: int, temperature: float) -> list:
        asked = {"ends": (), "max_tokens": length, "context": context, "vocab_size": 257}
        return [[*prompt, *decode(model, [prompt], Sampling(temperature), **asked)[0][0].tokens]]

    callback = Sample(Run(tmp_path), Byte(), context=8, prompt="a", length=4, temperature=1.0)
    for logit in (0.0, float("nan"), float("inf")):
        callback.on_validation_epoch_end(trainer, SimpleNamespace(model=Constant(logit), sample=draw))
    first, *others = (tmp_path / "samples.txt").read_text().split("--- step 7\n")[1:]
    assert first.startswith("a")
    assert others == ["no sample: no token can be drawn: the model's logits are not finite\n"] * 2


def test_a_resumed_run_writes_no_entry_twice_and_keeps_none_that_was_cut_short(tmp_path: Path) -> None:
    def sample(step: int, text: str) -> None:
        """A start of the run, whose first sample this is."""
        Sample(Run(tmp_path), Byte(), 8, "a", 4, 1.0)._append(step, text)

    file = tmp_path / "samples.txt"
    sample(3, "one\n--- no head")
    sample(6, "two")
    sample(6, "two")  # killed between the sample and the checkpoint of its step
    assert file.read_text() == "--- step 3\none\n--- no head\n--- step 6\ntwo\n"
    with file.open("a") as torn:
        torn.write("--- ste")
    sample(9, "three")
    assert file.read_text() == "--- step 3\none\n--- no head\n--- step 6\ntwo\n--- step 9\nthree\n"
    sample(3, "one")
    assert file.read_text() == "--- step 3\none\n"


def test_what_fails_in_a_sample_is_a_warning_and_the_run_goes_on(tmp_path: Path) -> None:
    def fail(model: nn.Module) -> nn.Module:
        raise RuntimeError("no memory is left")

    trainer: Any = SimpleNamespace(strategy=SimpleNamespace(full_model=fail), global_step=7)
    callback = Sample(Run(tmp_path), Byte(), context=8, prompt="a", length=4, temperature=1.0)
    with pytest.warns(UserWarning, match=r"callbacks.sample: step 7 has no sample: no memory is left"):
        callback.on_validation_epoch_end(trainer, SimpleNamespace(model=None))
