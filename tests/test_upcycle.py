"""A mixture made of a dense run computes what the dense model did, and is ready to be trained."""

import json
from pathlib import Path

import pytest
import torch

from tests.checkpoints.written import written
from triad.checkpoints.folder import find_checkpoint
from triad.checkpoints.tensors import read_weights
from triad.config.build import build
from triad.config.compose import compose
from triad.config.errors import Refusal
from triad.optim.initialise import initialise
from triad.runs.directory import Run
from triad.runs.start import prepare_run
from triad.upcycle import upcycle

WORDS = ["debug=tiny", "model.width=48", "model.attention.heads=2", "model.feedforward.hidden=40"]


def dense_run(run: Path, *words: str) -> torch.nn.Module:
    """A run of nothing but its configuration and random weights."""
    words = (*WORDS, *words)
    config = compose([*words])
    model = build(config["model"])(vocab_size=19)
    initialise(model, 3)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, 0, 0.2)
    written(run, 5, weights=model.state_dict())
    prepare_run(config | {"run_id": run.name, "output_dir": str(run.parent)}, [*words])
    (run / "tokenizer").mkdir()
    return model.eval()


def test_a_mixture_of_copies_gives_the_logits_of_the_dense_model(tmp_path: Path) -> None:
    dense = dense_run(tmp_path / "a")
    upcycle(str(tmp_path / "a"), ["model.feedforward.experts=4"])
    target = tmp_path / "a-upcycled"
    held = read_weights(find_checkpoint(target))
    mixture = build(Run(target).config()["model"])(vocab_size=19).eval()
    mixture.load_state_dict(held)
    assert held["blocks.0.feedforward.experts.gate_EDF"].shape == (4, 48, 40)
    assert held["blocks.0.feedforward.router.weight"].any()
    tokens = torch.randint(19, (2, 12))
    torch.testing.assert_close(mixture(tokens)[0], dense(tokens)[0], rtol=1e-4, atol=1e-5)


def test_the_new_run_says_what_it_was_made_of_and_its_layers_refer_to_the_router(tmp_path: Path) -> None:
    dense_run(tmp_path / "a")
    upcycle(str(tmp_path / "a"), ["router=deepseek_v3"], to=str(tmp_path / "b"))
    run = Run(tmp_path / "b")
    words = json.loads((tmp_path / "b" / "overrides.json").read_text())
    assert compose(words)["model"] == run.config()["model"]
    assert run.read_written()["model"]["feedforward"]["router"] == "${router}"
    assert not read_weights(find_checkpoint(tmp_path / "b"))["blocks.1.feedforward.router.bias"].any()


def test_another_kind_of_layer_or_of_model_and_a_folder_that_is_there_are_refused(tmp_path: Path) -> None:
    dense_run(tmp_path / "a")
    with pytest.raises(Refusal, match=r"model\.width of the mixture is not that of the dense model"):
        upcycle(str(tmp_path / "a"), ["model.width=96"])
    (tmp_path / "a-upcycled").mkdir()
    with pytest.raises(Refusal, match="it exists"):
        upcycle(str(tmp_path / "a"), [])
    from triad.upcycle import mixture_overrides

    with pytest.raises(Refusal, match="only SwiGLU layers become experts"):
        mixture_overrides([], {"blocks.0.feedforward.up.weight": torch.zeros(2, 2)})
