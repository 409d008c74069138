"""`triad.model`: a model of conf/model in one's own Python."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

import triad
from triad.config.errors import Refusal


def test_gpt2_has_the_parameters_that_are_published_and_no_weights_on_meta() -> None:
    gpt2 = triad.model("gpt2", vocab_size=50257, context=1024, device="meta")
    assert sum(weight.numel() for weight in gpt2.parameters()) == 124_439_808  # Hugging Face's gpt2
    assert {weight.device.type for weight in gpt2.parameters()} == {"meta"}


def test_keys_and_words_change_the_model_and_the_rest_is_its_file(train, tmp_path) -> None:
    small = triad.model("moe", "router=switch", vocab_size=256, width=64, depth=1, attention={"heads": 2})
    assert type(small.blocks[0].feedforward.router).__name__ == "Switch"
    assert (small.embedding.weight.shape, len(small.blocks)) == ((256, 64), 1)
    words = ("debug=tiny", "optimizer.lr=0.0", "trainer.max_steps=1", "run_id=a", "trainer.accelerator=cpu")
    train(*words, "seed=3", "precision=fp32")
    trained, tokenizer = triad.load(tmp_path / "outputs" / "a")  # its weights have stayed as they started
    made = triad.model("decoder", vocab_size=tokenizer.vocab_size, context=32, depth=2, seed=3).state_dict()
    assert made.keys() == trained.state_dict().keys()
    for name, weight in trained.state_dict().items():
        assert torch.equal(made[name], weight), name


def test_a_model_is_trained_by_a_loop_of_ones_own() -> None:
    model = triad.model("decoder", vocab_size=16, context=8, width=32, depth=1, attention={"heads": 2})
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    tokens_BT = torch.arange(9).repeat(4, 1)
    losses = []
    for _ in range(40):
        logits_BTV, _ = model(tokens_BT[:, :-1])
        loss = F.cross_entropy(logits_BTV.flatten(0, 1), tokens_BT[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 < losses[0]


@pytest.mark.parametrize(
    ("name", "words", "keys", "sentence"),
    [
        ("gtp2", (), {}, "model=gtp2 does not exist; did you mean gpt2?"),
        ("gpt2", (), {"widht": 3}, "model.widht does not exist; did you mean model.width?"),
        ("gpt2", (), {"width": 7}, "model.attention.heads=12 does not divide model.width=7"),
        ("gpt2", ("optimizer.lr=3",), {}, "optimizer.lr=3 is nothing of a model"),
        ("gpt2", (), {"vocab_size": 0}, "vocab_size=0: the number of rows of the embedding, at least 1"),
        ("gpt2", (), {"device": "gpux"}, "device=gpux: it is not here"),
    ],
)
def test_what_is_no_model_is_refused_in_one_sentence(name, words, keys, sentence: str) -> None:
    with pytest.raises(Refusal) as refused:
        triad.model(name, *words, **{"vocab_size": 10} | keys)
    assert sentence in str(refused.value)


def test_a_model_of_ones_own_package_is_made_where_its_word_is_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "ownmodels.py").write_text(
        "from torch import nn\n\n"
        "class Tiny(nn.Module):\n"
        "    sees = 'past'\n\n"
        "    def __init__(self, vocab_size: int, context: int, width: int) -> None:\n"
        "        super().__init__()\n"
        "        self.embedding = nn.Embedding(vocab_size, width)\n"
    )
    (tmp_path / "mine" / "model" / "tiny.yaml").write_text(
        "# Mine.\n_target_: ownmodels.Tiny\n_partial_: true\ncontext: ${context}\nwidth: 8\n"
    )
    folder = ("--config-dir", str(tmp_path / "mine"))
    made = triad.model("tiny", "packages=[ownmodels]", *folder, vocab_size=5, width=3, device="meta")
    assert (type(made).__name__, made.embedding.weight.shape) == ("Tiny", (5, 3))
    with pytest.raises(Refusal, match=r"packages=\[ownmodels\]"):  # it was permitted for that call alone
        triad.model("tiny", *folder, vocab_size=5, device="meta")
