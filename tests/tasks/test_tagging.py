"""Tags of words: which tokens stand for them, and what metrics read."""

from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForTokenClassification

from tests.tasks.labelling import BODIES, CONTEXT, RUN, TOKENIZER, fit, make_batch, make_model, measure, sees
from triad.tasks.tagging import Tagging

TAGS = ("B-PER", "I-PER", "O")
SENTENCES = [
    {"words": ["Ada", "Byron", "saw", "Bob"], "tags": ["B-PER", "I-PER", "O", "B-PER"]},
    {"words": ["he", "ran"], "tags": ["O", "O"]},
    {"words": ["so", "did", "Ada"], "tags": ["O", "O", "B-PER"]},
]


class Right:
    """The share of sentences whose tags are all right."""

    higher_is_better, size = ("right",), 2

    def count(self, prediction: list[str], references: list[list[str]]) -> tuple[float, float]:
        assert len(prediction) == len(references[0])
        return float(prediction == references[0]), 1.0

    def compute(self, sums: Any) -> dict[str, float]:
        return {"right": float(sums[0] / max(sums[1], 1))}


def make(name: str = "encoder", context: int = CONTEXT, tokenizer: Any = TOKENIZER) -> Tagging:
    run = {"tokenizer": tokenizer, "context": context, "model_sees": sees(name), "metrics": {"r": Right()}}
    return Tagging(smoothing=0.0, z_loss=0.0, dropout=0.0, labels=TAGS, **run)


def test_the_first_token_of_a_word_is_asked_or_the_last_of_a_model_that_sees_the_past() -> None:
    (row,) = make().encode({"words": ["Ada", "ran"], "tags": ["B-PER", "O"]})
    assert row == {"tokens_BT": [*b"Ada ran"], "targets_BT": [0, -100, -100, 2, -100, -100, -100]}
    (row,) = make("lstm").encode({"words": ["Ada", "ran"], "tags": ["B-PER", "O"]})
    assert row["targets_BT"] == [-100, -100, 0, -100, -100, -100, 2]


@pytest.mark.parametrize("name", ["encoder", "lstm"])
def test_a_long_sentence_is_several_rows_whose_tags_are_joined(name: str) -> None:
    task = make(name, context=9)
    example = {
        "words": ["Ada", "Byron", "met", "Wilhelmina-Theodora"],
        "tags": ["B-PER", "I-PER", "O", "B-PER"],
    }
    rows = task.encode(example)
    assert ["".join(map(chr, row["tokens_BT"])) for row in rows] == ["Ada Byron", " met", " Wilhelmi"]
    batch = make_batch(task, [example])
    found = task.predict(make_model(task, name), batch["tokens_BT"], batch["targets_BT"])
    assert [len(tags) for tags in found] == [2, 1, 1]
    assert task.combine(found) == [tag for tags in found for tag in tags]
    assert task.references(example) == [example["tags"]]
    assert task.encode({"words": [], "tags": []}) == []


def test_other_numbers_of_tags_and_unknown_tags_are_told() -> None:
    with pytest.raises(ValueError, match="'Ada ran': 2 words have 1 tags; give one for each"):
        make().encode({"words": ["Ada", "ran"], "tags": ["O"]})
    with pytest.raises(
        ValueError, match="'Ada' has the tag 'B-LOC', which training never saw: its tags are B-PER"
    ):
        make().encode({"words": ["Ada"], "tags": ["B-LOC"]})
    with pytest.raises(ValueError, match="tags O: two at least"):
        Tagging(0.0, 0.0, 0.0, labels=("O",), model_sees="past", metrics={}, **RUN)


def test_a_word_that_a_tokenizer_drops_is_its_unknown_token() -> None:
    class Dropping:
        kind, unknown = "dropping", 7

        def encode(self, text: str) -> torch.Tensor:
            return torch.tensor([] if "~" in text else [1, 2])

    task = make(tokenizer=Dropping())
    (row,) = task.encode({"words": ["a", "~"], "tags": ["O", "B-PER"]})
    assert row == {"tokens_BT": [1, 2, 7], "targets_BT": [2, -100, 0]}
    Dropping.unknown = None
    with pytest.raises(ValueError, match="tokenizer=dropping makes no token of the word '~'"):
        task.encode({"words": ["~"], "tags": ["O"]})


def test_the_loss_is_that_of_transformers() -> None:
    torch.manual_seed(0)
    sizes = {"vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    theirs = (
        BertForTokenClassification(BertConfig(**sizes, intermediate_size=32, num_labels=3)).eval().double()
    )
    tokens, targets = torch.randint(30, (4, 9)), torch.randint(3, (4, 9))
    targets[torch.rand(4, 9) < 0.5] = -100
    expected = theirs(input_ids=tokens, labels=targets).loss
    hidden, last = theirs.bert(input_ids=tokens).last_hidden_state, theirs.classifier
    found = make().loss(targets, True)(hidden, last.weight, bias_V=last.bias) / (targets != -100).sum()
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(loss, last.weight, retain_graph=True)[0] for loss in (found, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("name", BODIES)
def test_every_family_learns_tags_and_padding_changes_nothing(name: str) -> None:
    task = make(name)
    model, batch = make_model(task, name), make_batch(task, SENTENCES)
    assert batch["count"] == 9
    before = measure(task, model, batch)
    fit(task, model.train(), batch, 40, lr=1e-2)
    found = measure(task, model.eval(), batch)
    assert found["right"] > before["right"]
    assert found["loss"] < before["loss"] / 4
    assert measure(task, model, make_batch(task, SENTENCES, padded=2), parts=2) == pytest.approx(found)


def test_a_sample_shows_tags() -> None:
    task = make()
    batch = make_batch(task, SENTENCES)
    row = tuple(batch[name][:1] for name in task.reads)
    guess, tags = task.sample(make_model(task, "encoder"), row, length=3, vocab_size=257)
    assert guess.startswith("guess: ")
    assert tags == "tags: B-PER I-PER O"
