"""Sources, targets, and what is told of them."""

import pytest
import torch

from triad.data.tokenizers.char import Char
from triad.decoding.greedy import Greedy
from triad.layers.cross_entropy import IGNORED
from triad.layers.full_attention import PADDING
from triad.metrics.exact_match import ExactMatch
from triad.runs.metrics import read_metrics
from triad.tasks.pairs import copy, given, reverse, sort
from triad.tasks.sequence_to_sequence import SequenceToSequence

WORDS = 9


def task(pairs=copy, smoothing: float = 0.0) -> SequenceToSequence:
    run = {"vocab_size": WORDS, "tokenizer": Char("abcdefghi"), "metrics": {"exact_match": ExactMatch()}}
    run |= {"context": 4, "model_sees": "source", "decoding": Greedy(), "target_tokens": None}
    run["predicts"] = "a sequence"
    return SequenceToSequence(smoothing=smoothing, z_loss=0.0, pairs=pairs, generated=1, **run)


def batch() -> dict:
    tokens = torch.tensor([[3, 1, 2, 8], [7, 4, 0, 0], [0, 0, 0, 0]])
    targets = torch.tensor([[1, 2, 8, 5], [4, 6, IGNORED, IGNORED], [IGNORED] * 4])
    return {"tokens_BT": tokens, "targets_BT": targets, "lengths_R": torch.tensor([4, 2, 0]), "step": 0}


@pytest.mark.parametrize(
    ("rule", "first", "second"),
    [(copy, [3, 1, 2], [7, 4]), (reverse, [2, 1, 3], [4, 7]), (sort, [1, 2, 3], [4, 7])],
)
def test_the_rules_do_what_they_are_called(rule, first, second) -> None:
    source, target = rule(batch())
    assert source.tolist() == [[3, 1, 2], [7, 4, PADDING], [PADDING] * 3]
    assert target.tolist() == [first, [*second, PADDING], [PADDING] * 3]


def test_a_target_begins_and_ends_with_a_word_of_its_own() -> None:
    found = task().inputs(batch(), draw=None)
    assert found["tokens_BT"].tolist() == [[9, 3, 1, 2], [9, 7, 4, -1], [9, -1, -1, -1]]
    assert found["targets_BT"].tolist() == [[3, 1, 2, 9], [7, 4, 9, IGNORED], [IGNORED] * 4]
    assert found["count"] == (found["targets_BT"] != IGNORED).sum() == 7
    targets, sources = found["lengths"]
    assert targets.tolist() == (found["tokens_BT"] >= 0).sum(-1).tolist() == [4, 3, 1]
    assert sources.tolist() == (found["source_BS"] >= 0).sum(-1).tolist() == [3, 2, 0]


def test_sources_and_targets_of_pairs_have_lengths_of_their_own() -> None:
    pairs = {
        "source_BS": torch.tensor([[3, 1, 2], [7, 4, -1]]),
        "target_BU": torch.tensor([[5, -1], [6, 8]]),
        "source_lengths_R": torch.tensor([3, 2]),
        "lengths_R": torch.tensor([1, 2]),
    }
    found = task(given).inputs(pairs, draw=None)
    assert [lengths.tolist() for lengths in found["lengths"]] == [[2, 3], [3, 2]]
    assert found["lengths"][0].tolist() == (found["tokens_BT"] >= 0).sum(-1).tolist()


def test_targets_are_smoothed_in_training_only() -> None:
    made, hidden, weight = task(smoothing=0.1), torch.randn(1, 4, 8), torch.randn(10, 8)
    targets = torch.tensor([[3, 1, IGNORED, 2]])
    plain = torch.nn.functional.cross_entropy(
        (hidden @ weight.mT)[0], targets[0], ignore_index=IGNORED, reduction="sum"
    )
    smooth = torch.nn.functional.cross_entropy(
        (hidden @ weight.mT)[0], targets[0], ignore_index=IGNORED, reduction="sum", label_smoothing=0.1
    )
    torch.testing.assert_close(made.loss(targets, training=True)(hidden, weight), smooth)
    torch.testing.assert_close(made.loss(targets, training=False)(hidden, weight), plain)
    with pytest.raises(ValueError, match="smoothing=1"):
        task(smoothing=1.0)


def test_what_is_told_is_right_when_its_text_is_the_target() -> None:
    class Parrot(torch.nn.Linear):
        """Tell words 3 1 2 and the end, whatever is asked."""

        def empty_cache(self, batch: int) -> list:
            return []

        def forward(self, source, tokens, cache):
            cache.append(None)
            answer = torch.tensor([3, 1, 2, 9])[len(cache) - 1]
            return torch.nn.functional.one_hot(answer, 10).float().expand(len(tokens), 1, 10), ()

    targets = torch.tensor([[3, 1, 2, 9], [3, 1, 9, IGNORED], [3, 1, 4, 9], [IGNORED] * 4])
    source = torch.zeros(4, 3, dtype=torch.long)
    made = task()
    assert made.predict(Parrot(1, 1), source, source, targets) == ["dbc", "dbc", "dbc", None]
    sums = made.measure_generated(Parrot(1, 1), source, source, targets, lockstep=False)
    assert made.figures(sums | {"nll": torch.tensor(0.0), "count": torch.tensor(1)})["exact_match"] == 1 / 3


COPY = (
    "model=encoder_decoder task=copy data=letters data.words=10 tokenizer=char debug=tiny context=8"
    " model.width=64 batch.size=64 optimizer.lr=5e-3 trainer.max_steps=250 trainer.val_check_interval=250"
    " precision=fp32 trainer.limit_val_batches=4 trainer.log_every_n_steps=50 trainer.accelerator=cpu"
)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_an_encoder_decoder_learns_to_copy_without_a_fault(train, tmp_path) -> None:
    train(*COPY.split(), "run_id=copy")
    rows = read_metrics(tmp_path / "outputs" / "copy" / "metrics.csv")
    assert rows[-1]["val/exact_match"] > 0.98
    source, told = (tmp_path / "outputs" / "copy" / "samples.txt").read_text().splitlines()[-2:]
    assert source == told
    assert len(source) == 7


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("words", ["strategy=ddp packing=none hardware.micro_batch_size=1", "strategy=fsdp"])
def test_two_processes_compute_what_one_computes(python, text, words) -> None:
    asked = ["model=encoder_decoder", "model.width=48", "task=reverse", *words.split(), "trainer.devices=2"]
    done = python("-m", "triad.verify", *asked, "data=text", f"data.path={text}")
    assert "1 compared, 0 depart" in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("rule", ["reverse", "sort"])
def test_an_encoder_decoder_learns_to_reverse_and_to_sort(train, tmp_path, rule) -> None:
    train(
        *COPY.replace("task=copy", f"task={rule}").split(), "trainer.max_steps=1000", "run_id=a", timeout=600
    )
    assert read_metrics(tmp_path / "outputs" / "a" / "metrics.csv")[-1]["val/exact_match"] > 0.95
