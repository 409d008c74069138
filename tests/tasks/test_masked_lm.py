"""What is hidden from an encoder, and how: a pure function of seed, step and row."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch

from tests.data.test_offsets import make as make_tokenizer
from triad.data.tokenizers.char import Char
from triad.layers.cross_entropy import IGNORED
from triad.layers.full_attention import PADDING
from triad.optim.clip import Norm
from triad.optim.parametrisation import Standard
from triad.optim.regularizers import Unpenalized
from triad.optim.update import Update
from triad.tasks.counter_rng import random_integers
from triad.tasks.masked_lm import MaskedLM, count_hidden
from triad.tasks.module import Training

WORDS = 50


def task(rank: int = 0, seed: int = 3, **changes) -> Training:
    options = {"share": 0.15, "masked": 0.8, "random": 0.1, "smoothing": 0.0, "z_loss": 0.0}
    options |= {"whole_words": False, "tokenizer": None} | changes
    made = Training(
        task=MaskedLM(vocab_size=WORDS, **options),
        model=partial(torch.nn.Embedding, embedding_dim=4),
        optimizer=partial(torch.optim.Adam),
        schedule=lambda step: 1.0,
        hardware=None,
        vocab_size=WORDS,
        seed=seed,
        update=Update(Unpenalized(), Norm(None), Standard(), []),
        weights=None,
    )
    made.kept = SimpleNamespace(strategy=SimpleNamespace(data_rank=rank))  # Lightning holds a weak one
    made.trainer = made.kept
    return made


def batch(rows: int = 64, length: int = 40, step: int = 7, lengths=None) -> dict:
    tokens = torch.randint(WORDS, (rows, length), generator=torch.Generator().manual_seed(0))
    targets = tokens.roll(-1, 1)
    lengths = torch.full((rows,), length) if lengths is None else torch.tensor(lengths)
    targets[torch.arange(length) >= lengths[:, None]] = IGNORED
    return {"tokens_BT": tokens, "targets_BT": targets, "step": step, "rows": rows, "lengths_R": lengths}


def test_of_the_chosen_most_become_the_mask_some_any_word_and_the_others_stay() -> None:
    rows = batch(2000)
    found = task().inputs(rows)
    chosen = found["targets_BT"] != IGNORED
    assert (chosen.sum(-1) == 6).all()  # 0.15 of 40
    assert found["count"] == chosen.sum()
    assert torch.equal(found["targets_BT"][chosen], rows["tokens_BT"][chosen])
    assert torch.equal(found["tokens_BT"][~chosen], rows["tokens_BT"][~chosen])
    shown, was = found["tokens_BT"][chosen], rows["tokens_BT"][chosen]
    assert (shown == WORDS).double().mean() == pytest.approx(0.8, abs=0.015)
    assert (shown == was).double().mean() == pytest.approx(0.1 + 0.1 / WORDS, abs=0.01)
    other = shown[(shown != WORDS) & (shown != was)]
    assert len(other.unique()) == WORDS


def test_every_place_is_chosen_as_often() -> None:
    often = (task().inputs(batch(4000))["targets_BT"] != IGNORED).double().mean(0)
    assert often.sub(0.15).abs().max() < 0.03


def test_the_ends_of_rows_are_padding_and_are_never_chosen() -> None:
    lengths = [40, 1, 0, 13] * 4
    found = task().inputs(batch(16, lengths=lengths))
    for row, length in enumerate(lengths):
        assert (found["tokens_BT"][row, length:] == PADDING).all()
        assert (found["targets_BT"][row, length:] == IGNORED).all()
        assert (found["targets_BT"][row] != IGNORED).sum() == count_hidden(torch.tensor(length), 0.15)
    assert count_hidden(torch.tensor([0, 1, 2, 10, 100]), 0.15).tolist() == [0, 1, 1, 2, 15]


def test_processes_hide_what_one_process_hides() -> None:
    whole = batch(8)
    one = task().inputs(whole)
    for rank in range(4):
        share = {name: whole[name][2 * rank : 2 * rank + 2] for name in ("tokens_BT", "targets_BT")}
        part = task(rank).inputs(whole | share)
        assert part["count"] == one["count"]
        for name in share:
            assert torch.equal(part[name], one[name][2 * rank : 2 * rank + 2])


def test_another_step_or_seed_hides_others_but_validation_always_the_same() -> None:
    def chosen(which: Training, step: int = 7) -> torch.Tensor:
        return which.inputs(batch(step=step))["targets_BT"]

    assert torch.equal(chosen(task()), chosen(task()))
    assert not torch.equal(chosen(task()), chosen(task(), step=8))
    assert not torch.equal(chosen(task()), chosen(task(seed=4)))
    assert torch.equal(chosen(task().eval()), chosen(task(seed=4).eval()))
    assert not torch.equal(chosen(task().eval(), step=0), chosen(task().eval(), step=1))


def test_rows_of_validation_keep_their_mask_when_batches_are_of_another_size() -> None:
    wide = task().eval().inputs(batch(8, step=0))["targets_BT"] != IGNORED
    narrow = [task().eval().inputs(batch(4, step=step))["targets_BT"] != IGNORED for step in (0, 1)]
    assert torch.equal(wide, torch.cat(narrow))


@pytest.mark.parametrize("name", ["bpe", "unigram", "byte", "word piece"])
def test_tokens_of_a_word_are_hidden_together(name: str, tmp_path) -> None:
    tokenizer = make_tokenizer(name, tmp_path)
    text = "the tall houses stood taller than the house of taller tales "
    ids = [
        *tokenizer.encode(text),
        *([tokenizer.separator] if name != "word piece" else []),
        *tokenizer.encode(text),
    ]
    tokens = torch.tensor(ids).expand(200, len(ids)).clone()
    rows = {"tokens_BT": tokens, "targets_BT": tokens, "step": 7, "rows": 200}
    rows["lengths_R"] = torch.full((200,), len(ids))
    made = task(whole_words=True, tokenizer=tokenizer)
    hidden = made.inputs(rows)["targets_BT"] != IGNORED
    assert (hidden.sum(-1) == round(0.15 * len(ids))).all()
    # of words that are split at blanks, by the characters of the text
    word_of, count = [], -1
    for at, token in enumerate(ids):
        piece = tokenizer.pieces[token]
        fresh = not piece.startswith(b"##") if name == "word piece" else piece[:1] in (b"", b" ")
        after = at == 0 or ids[at - 1] == tokenizer.separator
        count += fresh or after
        word_of.append(count)
    words, sizes = torch.tensor(word_of), torch.bincount(torch.tensor(word_of))
    for row in hidden:
        chosen = torch.bincount(words[row], minlength=len(sizes))
        assert ((chosen != 0) & (chosen != sizes)).sum() <= 1
    often = torch.stack([hidden[:, words == word].double().mean() for word in range(len(sizes))])
    assert often.min() > 0.03  # each is chosen sometimes


def test_a_tokenizer_that_knows_no_blanks_hides_no_whole_words() -> None:
    with pytest.raises(ValueError, match="tokenizer=char does not tell where words begin"):
        task(whole_words=True, tokenizer=Char("abc"))
    assert task(whole_words=True, tokenizer=Char("ab c")).task.words is not None


def test_fractions_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match=r"masked=0.8 random=0.3"):
        task(random=0.3)


def test_draws_are_even_and_each_purpose_has_its_own() -> None:
    rows = torch.arange(500)
    one = random_integers("a", rows, 100)
    assert one.min() >= 0
    assert (one.double() / 2**63).mean() == pytest.approx(0.5, abs=0.01)
    assert one.unique().numel() == one.numel()
    assert not torch.equal(one, random_integers("b", rows, 100))
    assert torch.equal(one[7:9, :10], random_integers("a", rows[7:9], 10))
    bits = torch.stack([(one >> bit) & 1 for bit in range(63)]).double().mean((1, 2))
    assert bits.sub(0.5).abs().max() < 0.02


@pytest.mark.timeout(240)
def test_an_encoder_learns_hidden_words(train, tmp_path, text) -> None:
    from triad.runs.metrics import read_metrics

    words = (
        "model=encoder",
        "task=masked_lm",
        "debug=tiny",
        "data=text",
        f"data.path={text}",
        "precision=fp32",
    )
    train(*words, "run_id=a", "trainer.accelerator=cpu")
    train(*words, "run_id=b", "trainer.accelerator=cpu", "packing=none", "trainer.max_steps=3")
    rows = read_metrics(tmp_path / "outputs" / "a" / "metrics.csv")
    assert not any(key.endswith("bits_per_byte") and row[key] for row in rows for key in row)
    losses = [row["train/loss"] for row in rows if "train/loss" in row]
    assert losses[-1] < losses[0] - 1


@pytest.mark.parametrize(
    "words",
    [
        pytest.param("strategy=ddp packing=none hardware.micro_batch_size=1", marks=pytest.mark.slow),
        "strategy=fsdp",
    ],
)
def test_two_processes_compute_what_one_computes(python, text, words) -> None:
    asked = ["model=encoder", "model.width=48", "task=masked_lm", *words.split(), "trainer.devices=2"]
    done = python("-m", "triad.verify", *asked, "data=text", f"data.path={text}")
    assert "1 compared, 0 depart" in done.stdout
