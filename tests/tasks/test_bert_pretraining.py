"""Pairs of texts for BERT's two objectives, their joint loss, and what starts from it."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForPreTraining

from tests.tasks.labelling import CONTEXT, RUN, TOKENIZER, WORDS, loss, make_body, make_model, measure
from tests.tasks.test_classification import saved
from triad.data.tokenizers.char import Char
from triad.layers.bert_head import NextSentence
from triad.models.next_sentence_encoder import NextSentenceEncoder
from triad.optim.initialise import initialise
from triad.tasks.bert_pretraining import FOLLOWS, IS_RANDOM, BertPretraining
from triad.tasks.counter_rng import random_integers
from triad.tasks.masked_lm import MaskedLM
from triad.tasks.tagging import Tagging

SEPARATOR = TOKENIZER.separator
HIDING = {"share": 0.15, "masked": 0.8, "random": 0.1, "whole_words": False, "smoothing": 0.0, "z_loss": 0.0}
DOCUMENTS = [{"text": f"{n} and " * (20 + n % 30)} for n in range(100, 180)]


def make(**changes: Any) -> BertPretraining:
    return BertPretraining(
        **HIDING | {"vocab_size": TOKENIZER.vocab_size, "context": CONTEXT} | RUN | changes
    )


def make_rows(task: BertPretraining) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return [(example, row) for example in DOCUMENTS for row in task.encode(example)]


def make_batch(task: BertPretraining, rows: list[dict[str, Any]], padded: int = 0, step: int = 0) -> dict:
    widest = max(len(row["tokens_BT"]) for row in rows)
    wide = {
        name: torch.tensor(
            [[*row[name], *[-1] * (widest - len(row[name]))] for row in rows] + [[-1] * widest] * padded
        )
        for name in ("tokens_BT", "segments_BT")
    }
    labels = torch.tensor([row["labels_B"] for row in rows] + [-100] * padded)
    lengths = torch.tensor([len(row["tokens_BT"]) for row in rows] + [0] * padded)
    batch = wide | {"labels_B": labels, "lengths_R": lengths, "rows": len(rows), "count": 0}
    draw = partial(_draw, len(labels), step)
    return batch | task.inputs(batch, draw)


def _draw(rows: int, step: int, purpose: str, length: int) -> torch.Tensor:
    return random_integers(f"{step}/{purpose}", torch.arange(rows), length)


def test_half_of_the_second_texts_follow_and_the_others_stood_before() -> None:
    before: list[str] = []
    labels = []
    for example, row in make_rows(make()):
        tokens, segments = row["tokens_BT"], np.array(row["segments_BT"])
        assert len(tokens) == len(segments) <= CONTEXT
        cut = int(segments.argmax())
        assert [tokens[0], tokens[cut - 1], tokens[-1]] == [SEPARATOR] * 3
        first, second = (bytes(part).decode() for part in (tokens[1 : cut - 1], tokens[cut:-1]))
        assert first
        assert second
        if row["labels_B"] == FOLLOWS:
            assert first + second in example["text"]
        else:
            assert first in example["text"]
            assert any(second in text for text in before)
        if not before or before[-1] != example["text"]:
            before.append(example["text"])
        labels.append(row["labels_B"])
    assert labels[0] == FOLLOWS
    assert 0.4 < np.mean(np.array(labels) == IS_RANDOM) < 0.6
    assert [row for _, row in make_rows(make())] == [row for _, row in make_rows(make())]


def test_all_of_a_document_is_read_and_a_short_one_has_no_pair() -> None:
    task = make()
    firsts = [row for row in task.encode({"text": "abcdefgh" * 40}) if row["labels_B"] == FOLLOWS]
    read = "".join(bytes(token for token in row["tokens_BT"] if token < 256).decode() for row in firsts)
    assert read == "abcdefgh" * 40
    assert task.encode({"text": "a"}) == task.encode({"text": ""}) == []
    with pytest.raises(ValueError, match="tokenizer=char has no separator to put between two texts"):
        make(tokenizer=Char("abc"))
    with pytest.raises(ValueError, match="context=4: two texts and three separators need context=5"):
        make(context=4)


def test_separators_and_padding_are_never_hidden_and_others_are_at_each_step() -> None:
    task, rows = make(), [row for _, row in make_rows(make())][:40]
    batch, other = make_batch(task, rows, padded=2), make_batch(task, rows, step=1)
    targets, original = batch["targets_BU"][:, :-3], torch.tensor(-100)
    hidden = targets != original
    lengths = [len(row["tokens_BT"]) - 3 for row in rows] + [0, 0]
    assert hidden.sum(-1).tolist() == [min(max(round(0.15 * n), 1), n) for n in lengths]
    assert batch["count"] == hidden.sum()
    for at, row in enumerate(rows):
        tokens = torch.tensor(row["tokens_BT"])
        assert not hidden[at, : len(tokens)][tokens == SEPARATOR].any()
        assert torch.equal(
            targets[at, : len(tokens)][hidden[at, : len(tokens)]], tokens[hidden[at, : len(tokens)]]
        )
        assert torch.equal(
            batch["tokens_BT"][at, : len(tokens)][~hidden[at, : len(tokens)]],
            tokens[~hidden[at, : len(tokens)]],
        )
    assert not torch.equal(hidden[:40], other["targets_BU"][:, :-3] != original)


def test_the_loss_is_that_of_transformers_whatever_the_micro_batches() -> None:
    torch.manual_seed(0)
    sizes = {"vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    theirs = BertForPreTraining(BertConfig(**sizes, intermediate_size=32)).eval().double()
    tokens, targets, labels = torch.randint(30, (4, 9)), torch.randint(30, (4, 9)), torch.tensor([0, 1, 1, 0])
    targets[torch.rand(4, 9) < 0.6] = -100
    expected = theirs(input_ids=tokens, labels=targets, next_sentence_label=labels).loss
    out, head = theirs.bert(input_ids=tokens), theirs.cls.predictions
    hidden, relation = head.transform(out.last_hidden_state), theirs.cls.seq_relationship(out.pooler_output)
    count = (targets != -100).sum()
    numbers = torch.tensor([int(count), 4]).expand(4, 2)
    packed = torch.cat((targets, labels[:, None], numbers), 1)

    def ours(rows: slice) -> torch.Tensor:
        sums = make().loss(packed[rows], True)
        last = {"bias_V": head.decoder.bias, "relation_B2": relation[rows]}
        return sums(hidden[rows], head.decoder.weight, **last) / count

    torch.testing.assert_close(ours(slice(4)), expected)
    torch.testing.assert_close(ours(slice(1)) + ours(slice(1, 4)), expected)


def test_the_wrapped_encoder_computes_what_an_encoder_with_that_pooler_does() -> None:
    whole, body = (make_body("encoder, segments", pooler=None) for _ in range(2))
    whole.pooler = NextSentence(32)
    initialise(whole, 0)
    wrapped = NextSentenceEncoder(body)
    names = {
        name.removeprefix("body.").replace("next_sentence.", "pooler."): name for name in wrapped.state_dict()
    }
    wrapped.load_state_dict({names[name]: value for name, value in whole.state_dict().items()})
    tokens, segments = torch.randint(257, (3, 12)), torch.randint(2, (3, 12))
    for model in (whole, wrapped):
        model.double().eval()
    (logits, relation), _ = wrapped(tokens, segments)
    torch.testing.assert_close(logits, whole(tokens, segments_BT=segments)[0])
    torch.testing.assert_close(relation, whole.pool(tokens, segments))


@pytest.mark.parametrize("name", ["encoder", "encoder, segments"])
def test_both_objectives_are_learned_and_every_parameter_has_a_gradient(name: str) -> None:
    task = make()
    model = make_model(task, name).train()
    rows = [row for _, row in make_rows(task)][3:9]
    batch = make_batch(task, rows, padded=1)
    before = measure(task, model.eval(), batch)
    found = loss(task, model.train(), batch)
    assert float(found.detach()) == pytest.approx(before["loss"])
    found.backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(30):
        optimizer.zero_grad()
        loss(task, model, batch).backward()
        optimizer.step()
    after = measure(task, model.eval(), batch, parts=4)
    assert after["loss"] < before["loss"] / 2
    assert after["perplexity"] < before["perplexity"] / 2


def test_a_sample_shows_the_relation_and_the_words() -> None:
    task = make()
    batch = make_batch(task, [row for _, row in make_rows(task)][:1])
    row = tuple(batch[name] for name in task.reads)
    told, words = task.sample(make_model(task, "encoder"), row, length=8, vocab_size=257)
    assert told in ("guess follows, label follows:", "guess is random, label follows:")
    shown = row[0][0, :8][row[2][0, :8] == -100]
    assert torch.tensor(words)[row[2][0, :8] == -100].tolist() == shown.tolist()


def test_tasks_start_from_it_and_it_starts_from_hidden_words(tmp_path: Path) -> None:
    task, tags = (
        make(),
        Tagging(0.0, 0.0, 0.0, labels=("B-X", "O"), model_sees="both sides", metrics={}, **RUN),
    )
    masked = MaskedLM(**HIDING, vocab_size=TOKENIZER.vocab_size, tokenizer=None)
    assert (masked.special_tokens, task.special_tokens) == (1, WORDS - TOKENIZER.vocab_size)
    for name in ("words", "pairs"):
        (tmp_path / name).mkdir()
    words, pretrained = make_body("encoder"), make_model(task, "encoder", seed=7)
    initialise(words, 5)
    task.start(saved(tmp_path / "words", words), pretrained.float(), pretrained)
    held = pretrained.state_dict()
    for name, value in words.state_dict().items():
        name = name if name.startswith(("transform.", "readout.")) else f"body.{name}"
        assert torch.equal(held[name], value), name
    tagger = make_model(tags, "encoder").float()
    head = tagger.token_head.weight.clone()
    tags.start(saved(tmp_path / "pairs", pretrained), tagger, tagger)
    assert torch.equal(tagger.token_head.weight, head)
    for name, value in tagger.body.state_dict().items():
        assert torch.equal(value, held[f"body.{name}"]), name
