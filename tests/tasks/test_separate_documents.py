"""Training and validation on rows of several documents is training and validation on the documents alone."""

from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from triad.config.build import build
from triad.config.compose import compose
from triad.data.packing import pack
from triad.data.token_files import TokenFile
from triad.layers.cross_entropy import cross_entropy_sum
from triad.optim.initialise import initialise
from triad.tasks.causal_lm import CausalLM
from triad.tasks.module import Training

LENGTHS = (9, 1, 4, 20, 2, 7)
CONTEXT, WORDS = 14, 23
PLACES = np.array([0, 14, 28])  # of the first tokens of rows


def write_tokens(folder: Path) -> TokenFile:
    """A token file of documents of these lengths."""
    firsts = np.cumsum(LENGTHS) - LENGTHS
    np.random.default_rng(0).integers(0, WORDS, sum(LENGTHS)).astype("uint16").tofile(folder / "train.bin")
    np.stack((firsts, firsts), 1).astype(np.int64).tofile(folder / "train.documents.bin")
    return TokenFile(folder, "train", "uint16", sum(LENGTHS))


@torch.no_grad()
def test_a_batch_of_documents_has_the_sum_of_their_losses(tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path)
    rows = pack(tokens, CONTEXT, "documents")
    words = [f"context={CONTEXT}", "model.width=32", "model.depth=2", "model.attention.heads=4"]
    model = build(compose(words)["model"])(vocab_size=WORDS, initial=lambda **_: 0.3)
    initialise(model, 0)
    task = CausalLM(0.0, 0.0, 1.0, tokenizer=None, context=CONTEXT)
    batch = rows.read(PLACES) | rows.measure(PLACES)
    hardware = SimpleNamespace(rows=lambda _: 2)  # two micro-batches, of two rows and of one
    training: Any = SimpleNamespace(task=task, hardware=hardware, network=model.double(), training=True)
    training.read = partial(Training.read, training)
    training.objective = partial(Training.objective, training)
    parts = Training.micro_batches(training, batch)
    trained = sum(float(Training.losses(training, *part)[0]) for part in parts)
    validated = [task.measure(model, *part) for part in parts]

    expected = pieces = 0
    for first, length in zip(np.cumsum(LENGTHS) - LENGTHS, LENGTHS, strict=True):
        cuts = sorted({first, first + length, *(at for at in PLACES.tolist() if first < at < first + length)})
        for begin, end in pairwise(cuts):
            ids = torch.from_numpy(tokens.tokens[begin : min(end + 1, first + length)].astype(np.int64))[None]
            pieces += 1
            if ids.shape[1] > 1:
                objective = partial(cross_entropy_sum, targets_BT=ids[:, 1:])
                expected += float(model(ids[:, :-1], loss=objective)[0])
    assert pieces == len(batch["document_lengths_D"]) > len(LENGTHS)
    torch.testing.assert_close(trained, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(float(sum(sums["nll"] for sums in validated)), expected, rtol=1e-12, atol=0)
    assert sum(int(sums["count"]) for sums in validated) == batch["count"]
    leaking = float(
        model(batch["tokens_BT"], loss=partial(cross_entropy_sum, targets_BT=batch["targets_BT"]))[0]
    )
    assert abs(leaking - expected) > 0.1
