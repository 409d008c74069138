"""What a language model is asked for: all of a text, of a pair the completion."""

import pytest
import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from triad.data.tokenizers.byte import Byte
from triad.layers.cross_entropy import IGNORED
from triad.tasks.causal_lm import CausalLM

CONTEXT, END = 12, 256


def task(yields: str = "pairs") -> CausalLM:
    run = {"bytes_per_token": 1.0, "tokenizer": Byte(), "context": CONTEXT, "yields": yields}
    return CausalLM(smoothing=0.0, z_loss=0.0, **run)


def test_of_a_pair_the_completion_and_its_end_are_asked() -> None:
    (row,) = task().encode({"source": "2+3=", "target": "5"})
    assert row == {
        "tokens_BT": [*b"2+3=5"],
        "targets_BT": [IGNORED, IGNORED, IGNORED, ord("5"), END],
        "cut": 0,
    }
    (row,) = task().encode({"source": "a long prompt:", "target": "yes"})
    assert bytes(row["tokens_BT"]) == b"g prompt:yes"
    assert [target for target in row["targets_BT"] if target != IGNORED] == [*b"yes", END]
    assert row["cut"] == 5


def test_the_loss_of_pairs_is_that_of_transformers_with_minus_100_on_the_prompt() -> None:
    torch.manual_seed(0)
    sizes = {
        "n_positions": CONTEXT + 1,
        "n_embd": 12,
        "n_layer": 2,
        "n_head": 2,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    theirs = GPT2LMHeadModel(GPT2Config(vocab_size=END + 1, **sizes)).eval().double()

    def model(tokens_BT, loss):
        return loss(theirs.transformer(tokens_BT).last_hidden_state, theirs.lm_head.weight), ()

    pairs = [("2+3=", "5"), ("12*12=", "144"), ("", "x")]
    nll = count = expected = 0.0
    with torch.no_grad():
        for source, target in pairs:
            ids = torch.tensor([[*source.encode(), *target.encode(), END]])
            labels = ids.clone()
            labels[0, : len(source)] = -100
            asked = int((labels[0, 1:] != -100).sum())
            expected += float(theirs(ids, labels=labels).loss) * asked
            (row,) = task().encode({"source": source, "target": target})
            sums = task().measure(model, *(torch.tensor([row[name]]) for name in task().reads))
            nll, count = nll + float(sums["nll"]), count + int(sums["count"])
            assert int(sums["count"]) == asked
    assert nll == pytest.approx(expected, rel=1e-6)
    figures = task().figures({"nll": torch.tensor(nll), "count": torch.tensor(count)})
    assert set(figures) == {"loss", "perplexity"} == set(task().lower_is_better)


def test_each_token_of_a_text_but_the_first_is_asked_once() -> None:
    text = "the text of a document, in several rows"
    rows = task("text").encode({"text": text})
    asked = [target for row in rows for target in row["targets_BT"]]
    assert asked == [*text.encode()[1:], END]
    assert [len(row["tokens_BT"]) for row in rows] == [12, 12, 12, 3]
    assert "bits_per_byte" in task("text").figures({"nll": torch.tensor(1.0), "count": torch.tensor(1)})


class Constant(nn.Module):
    """The same logits for every token."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(END + 1))

    def empty_cache(self, batch: int) -> None:
        return None

    def forward(self, tokens_BT: Tensor, cache: None) -> tuple[Tensor, tuple]:
        return self.logits.expand(*tokens_BT.shape, -1), ()


@pytest.mark.parametrize(
    ("yields", "example", "begins"),
    [
        ("text", {"text": "GREMIO:\nGood morrow, neighbour Baptista."}, b"GREMIO:\nGood"),
        ("pairs", {"source": "2+3=", "target": "5"}, b"2+3="),
    ],
)
def test_a_sample_continues_the_first_row_of_validation(yields: str, example: dict, begins: bytes) -> None:
    row, *_ = task(yields).encode(example)
    inputs = tuple(torch.tensor([row[name]]) for name in task().reads)
    asked = {"length": 4, "context": CONTEXT, "temperature": 1.0, "vocab_size": END + 1}
    (line,) = task(yields).sample(Constant(), inputs, prompt=None, **asked)
    assert len(line) == len(begins) + 4
    assert line[: len(begins)] == [*begins]
    if yields == "text":
        inputs = torch.tensor([[*b"Ay", END, *b"next"]]), inputs[1]
        assert task(yields).sample(Constant(), inputs, prompt=None, **asked | {"length": 0}) == [[*b"Ay"]]
    (typed,) = task(yields).sample(Constant(), inputs, prompt=[*b"ROMEO"], **asked)
    assert typed[:5] == [*b"ROMEO"]
