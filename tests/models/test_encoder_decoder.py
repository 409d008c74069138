"""Encoder-decoders: what they see, what they remember, how large they are."""

import json
import math

import pytest
import torch

from tests.conftest import REPOSITORY
from tests.models.test_encoder import COUNTS, build
from triad.decoding.decode import decode
from triad.decoding.greedy import Greedy
from triad.layers.cross_entropy import cross_entropy_sum
from triad.layers.full_attention import PADDING
from triad.models.count import count
from triad.optim.initialise import initialise

TABLE_3 = REPOSITORY.parent / "shared" / "papers" / "attention_is_all_you_need.json"
NAMES = ["encoder_decoder", "transformer_base", "t5_small", "switch_base_8"]
every_model = pytest.mark.parametrize("name", NAMES)


def small(name: str):
    changes = {"width": 32, "depth": 2, "dropout": 0.0, "attention__heads": 4, "attention__dropout": 0.0}
    if name == "switch_base_8":
        changes["pattern__parts__sparse__feedforward__hidden"] = 128
    model = build(name, 17, 16, feedforward__dropout=0.0, **changes)
    initialise(model, 0)
    return model


def words(seed: int, batch: int = 3, length: int = 9) -> torch.Tensor:
    return torch.randint(17, (batch, length), generator=torch.Generator().manual_seed(seed))


def decode_greedily(model, source: torch.Tensor, length: int) -> list[list[int]]:
    sources = {"sources": source.tolist(), "context": 16, "vocab_size": 17}
    found = decode(model, [[16]] * len(source), Greedy(), ends=(), max_tokens=length, **sources)
    return [best.tokens for (best,) in found]


@every_model
def test_a_word_of_the_target_changes_no_logit_before_it(name: str) -> None:
    model, source, target = small(name), words(0), words(1)
    changed = target.clone()
    changed[:, 5] = (target[:, 5] + 1) % 17
    apart = (model(source, target)[0] - model(source, changed)[0]).abs().amax(-1)
    assert (apart[:, :5] < 1e-6).all()
    assert (apart[:, 5:] > 1e-6).all()


@every_model
def test_every_word_of_the_source_changes_every_logit(name: str) -> None:
    model, source, target = small(name), words(0), words(1)
    for at in (0, 4, 8):
        changed = source.clone()
        changed[:, at] = (source[:, at] + 1) % 17
        assert ((model(source, target)[0] - model(changed, target)[0]).abs().amax(-1) > 1e-6).all()


@every_model
def test_padding_of_source_and_target_changes_no_logit(name: str) -> None:
    model, source, target = small(name).double().eval(), words(0), words(1)
    wide = [torch.nn.functional.pad(x, (0, more), value=PADDING) for x, more in ((source, 5), (target, 3))]
    torch.testing.assert_close(model(*wide)[0][:, :9], model(source, target)[0], rtol=1e-12, atol=1e-12)


@every_model
def test_rows_of_padding_alone_spoil_no_gradient(name: str) -> None:
    model = small(name)
    source = torch.cat((words(0, 1), torch.full((1, 9), PADDING)))
    targets = source.where(source >= 0, -100)
    loss = model(source, source, lambda h, w, vocabulary: cross_entropy_sum(h, w, targets))[0]
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@every_model
@pytest.mark.parametrize("pieces", [[1] * 9, [4, 1, 4]])
@torch.no_grad()
def test_a_cache_gives_the_logits_of_the_whole(name: str, pieces: list[int]) -> None:
    model, source, target = small(name).double().eval(), words(0), words(1)
    source[0, 6:] = PADDING
    cache = model.empty_cache(3)
    parts = [model(source, part, cache=cache)[0] for part in target.split(pieces, dim=1)]
    torch.testing.assert_close(torch.cat(parts, 1), model(source, target)[0])


@every_model
@torch.no_grad()
def test_greedy_generation_with_a_cache_is_that_without(name: str) -> None:
    model, source = small(name).double(), words(0)
    told = torch.full((3, 1), 16)
    for _ in range(12):
        told = torch.cat((told, model(source, told)[0][:, -1:].argmax(-1)), 1)
    assert decode_greedily(model, source, 12) == told[:, 1:].tolist()


@every_model
def test_one_batch_can_be_learned_by_heart(name: str) -> None:
    """Each word gets more than half of the probability, for the sum of the losses is below log 2.

    First as in training, where experts that are full leave words out, then without, as in generation. Seeds 0
    to 7 get there in 44 to 125 steps (switch_base_8: 188 to 220, then 3 to 81); targets in another order at
    each step stay above 67.
    """
    model, source, target = small(name), words(0), words(1)
    read = torch.cat((torch.full((3, 1), 16), target[:, :-1]), 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for training in (True, False):
        model.train(training)
        for _ in range(400):
            loss = model(source, read, lambda h, w, vocabulary: cross_entropy_sum(h, w, target))[0]
            if loss < math.log(2):
                break
            (loss / 27).backward()
            optimizer.step()
            optimizer.zero_grad()
        assert loss < math.log(2)
    assert decode_greedily(model, source, 9) == target.tolist()


@every_model
def test_a_model_made_on_the_meta_device_is_the_same_model(name: str) -> None:
    with torch.device("meta"):
        hollow = small(name)
        like = torch.zeros(2, 9, dtype=torch.long)
        assert hollow(like, like)[0].shape == (2, 9, 17)
    hollow.to_empty(device="cpu")
    initialise(hollow, 0)
    torch.testing.assert_close(
        hollow(words(0), words(1))[0], small(name)(words(0), words(1))[0], rtol=0, atol=0
    )


@every_model
def test_bfloat16_autocast_is_near_fp32(name: str) -> None:
    model = small(name)
    exact = model(words(0), words(1))[0]
    with torch.autocast("cpu", torch.bfloat16):
        low = model(words(0), words(1))[0]
    assert (low - exact).norm() < 0.03 * exact.norm()


def test_more_words_than_the_context_are_refused() -> None:
    with pytest.raises(ValueError, match="17 tokens do not fit into context=16"):
        small("encoder_decoder")(words(0, length=17), words(1))


def test_experts_may_stand_in_both_stacks() -> None:
    experts = {"_target_": "triad.layers.moe.MixtureOfExperts", "_partial_": True, "hidden": 8, "experts": 4}
    router = {"_target_": "triad.layers.routers.top_k.TopK", "_partial_": True, "top_k": 2, "normalize": True}
    experts |= {
        "shared": 0,
        "expert": None,
        "router": router | {"balance": 0.01, "z": 0.0, "over_layers": "sum"},
    }
    changes = {"width": 32, "depth": 2, "attention__heads": 4, "feedforward": experts}
    model = build("encoder_decoder", 17, 16, **changes)
    initialise(model, 0)
    assert len(model(words(0), words(1))[1]) == 4
    encoder = build("encoder", 17, 16, **changes)
    initialise(encoder, 0)
    assert len(encoder(words(0))[1]) == 2


BASE = {"width": 768, "depth": 12, "attention__heads": 12}


@pytest.mark.parametrize(
    ("published", "size", "changes"), [("t5-small", 60_506_624, {}), ("t5-base", 222_903_552, BASE)]
)
def test_exact_counts_of_t5(published: str, size: int, changes: dict) -> None:
    with torch.device("meta"):
        model = build("t5_small", 32128, **changes)
    assert count(model).total == size
    if COUNTS.exists():
        assert json.loads(COUNTS.read_text())["counts"][published] == size


def test_exact_counts_of_the_switch_transformer_in_all_and_in_use() -> None:
    with torch.device("meta"):
        model = build("switch_base_8", 32128)
    dense = 222_903_552  # T5 base: of the experts one works, and the router
    assert count(model)[:2] == (619_339_008, dense + 12 * 8 * 768)
    if COUNTS.exists():
        assert json.loads(COUNTS.read_text())["counts"]["switch-base-8"] == 619_339_008


# the rows of table 3 that print a size, in millions, and what they change
ROWS = {
    "base": (65, {}),
    "B, d_k 16": (58, {"attention__head_size": 16, "attention__value_size": 64}),
    "B, d_k 32": (60, {"attention__head_size": 32, "attention__value_size": 64}),
    "C, N 2": (36, {"depth": 2}),
    "C, N 4": (50, {"depth": 4}),
    "C, N 8": (80, {"depth": 8}),
    "C, d_model 256": (28, {"width": 256, "attention__head_size": 32, "feedforward__hidden": 2048}),
    "C, d_model 1024": (168, {"width": 1024, "attention__head_size": 128, "feedforward__hidden": 2048}),
    "C, d_ff 1024": (53, {"feedforward__hidden": 1024}),
    "C, d_ff 4096": (90, {"feedforward__hidden": 4096}),
    "big": (213, {"width": 1024, "attention__heads": 16}),
}


def millions(row: str) -> float:
    with torch.device("meta"):
        return count(build("transformer_base", 37_000, **ROWS[row][1])).total / 1e6


@pytest.mark.parametrize("row", ROWS)
def test_exact_counts_of_table_3_differ_as_the_paper_prints(row: str) -> None:
    """No one vocabulary gives every printed total, so those hold to 7 %, but differences to rounding."""
    printed, ours = ROWS[row][0], millions(row)
    assert ours == pytest.approx(printed, rel=0.07 if "256" not in row else 0.1)
    if "width" not in ROWS[row][1]:
        assert ours - millions("base") == pytest.approx(printed - ROWS["base"][0], abs=1.0)


def test_exact_counts_of_the_base_and_the_big_transformer() -> None:
    assert millions("base") == 63.045632
    assert millions("big") == 214.171648
    if TABLE_3.exists():
        known = json.loads(TABLE_3.read_text())
        check = known["table3_parameter_check"]["result_M"]
        assert {name: round(millions(name), 2) for name in check} == check
        printed = [row["params_M"] for row in known["table3"]["rows"] if row["params_M"]]
        assert printed == [size for size, _ in ROWS.values()]
