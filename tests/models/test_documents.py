"""Documents of one row do not see each other: each is computed as if it stood in a row of its own."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention

from triad.config.build import build
from triad.config.compose import compose
from triad.hardware.precision import recurrent_to_fp32
from triad.layers import documents
from triad.layers.attention import flash, plain
from triad.layers.cross_entropy import IGNORED, cross_entropy_sum
from triad.layers.documents import run_within_documents
from triad.layers.mask import Window
from triad.optim.initialise import initialise

LENGTHS = ((5, 1, 1, 6, 3), (16,), (2, 2, 2, 7))  # of documents; behind the last there is padding
CONTEXT, WORDS = 16, 17
SMALL = f"context={CONTEXT} model.width=32 model.depth=2"
HEADS = f"{SMALL} model.attention.heads=4"
GROUPED = f"{HEADS} model.attention.kv_heads=2 model.feedforward.hidden=64"
LATENT = "query_rank=16 key_value_rank=8 content_size=8 rotary_size=4 value_size=8"
SHIFT = "{_target_:triad.layers.key_shift.KeyShift,_partial_:true,fraction:0.5}"
SINUSOIDAL = "{_target_:triad.layers.sinusoidal.Sinusoidal,_partial_:true}"
MODELS = {
    "rotary": f"model=decoder {SMALL}",
    "key shift": f"model=decoder {HEADS} model.attention.kv_heads=2 model.attention.key_shift={SHIFT}",
    "learned": f"model=gpt2 {HEADS}",
    "learned behind padding": f"model=opt_6_7b {HEADS}",
    "sinusoidal": f"model=gpt2 {HEADS} model.position={SINUSOIDAL}",
    "rotary of a part": f"model=pythia_70m {HEADS}",
    "rotary of a long context": f"model=llama3_2_1b {GROUPED}",
    "window": f"model=mistral_7b {GROUPED} model.attention.mask.size=2",
    "distance": f"model=bloom_7b1 {HEADS}",
    "latent": f"model=deepseek_v3 {HEADS} model.pattern=null model.feedforward.experts=8 "
    "model.feedforward.hidden=8 model.feedforward.router.groups=2 model.feedforward.router.top_groups=1 "
    "model.feedforward.router.top_k=2 " + " ".join(f"model.attention.{size}" for size in LATENT.split()),
    "recurrent": f"model=hybrid {SMALL} model.depth=4",
    "lstm": f"model=lstm context={CONTEXT} model.width=32",
    "n-grams": f"model=mlp context={CONTEXT} model.width=32",
    "hash": f"model=moe router=hash {SMALL}",
    "encoder": f"model=encoder task=masked_lm {HEADS}",
    "experts in an encoder": f"model=encoder_moe task=masked_lm model.pooler=null router=mixtral {HEADS}",
}
every_model = pytest.mark.parametrize("name", MODELS)


def make(words: str) -> Any:
    model = build(compose(words.split())["model"])(vocab_size=WORDS, initial=lambda **_: 0.3)
    initialise(model, 0)
    return model.double()


def rows() -> tuple[Tensor, Tensor]:
    tokens_BT = torch.randint(WORDS, (len(LENGTHS), CONTEXT), generator=torch.Generator().manual_seed(0))
    starts_BT = torch.arange(CONTEXT).repeat(len(LENGTHS), 1)
    for row, first, length in places():
        starts_BT[row, first : first + length] = first
    tokens_BT[2, sum(LENGTHS[2]) :] = -1
    return tokens_BT, starts_BT


def places() -> Iterator[tuple[int, int, int]]:
    """The row, first token and length of every document."""
    for row, lengths in enumerate(LENGTHS):
        yield from ((row, sum(lengths[:at]), length) for at, length in enumerate(lengths))


def differentiate(model: Any, run: Callable[[Any], Tensor]) -> dict[str, Tensor]:
    model.zero_grad()
    loss = run(model)
    loss.backward()
    grads = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return {"loss": loss.detach()} | grads


@every_model
@pytest.mark.parametrize("in_turn", [True, False])
def test_a_document_in_a_row_is_the_document_alone(
    name: str, in_turn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logits, loss and gradients, whether documents are computed in turn or hidden by a mask."""
    if not in_turn:
        monkeypatch.setattr(documents, "runs_on_cpu", lambda _: False)
    model, (tokens_BT, starts_BT) = make(MODELS[name]), rows()
    logits_BTV, _ = model(tokens_BT, starts_BT)
    targets_BT = torch.full_like(tokens_BT, IGNORED)
    for row, first, length in places():
        alone = tokens_BT[row : row + 1, first : first + length]
        found, expected = logits_BTV[row, first : first + length], model(alone)[0][0]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12 * float(expected.detach().abs().max()))
        targets_BT[row, first : first + length - 1] = alone[0, 1:]

    def together(model: Any) -> Tensor:
        return model(tokens_BT, starts_BT, loss=objective(targets_BT))[0]

    def apart(model: Any) -> Tensor:
        parts = [(slice(row, row + 1), slice(first, first + length)) for row, first, length in places()]
        return sum((model(tokens_BT[at], loss=objective(targets_BT[at]))[0] for at in parts), torch.zeros(()))

    torch.testing.assert_close(
        differentiate(model, together), differentiate(model, apart), rtol=1e-9, atol=1e-10
    )


def objective(targets_BT: Tensor) -> Callable:
    def loss(hidden: Tensor, weight: Tensor, **more: Any) -> Tensor:
        return cross_entropy_sum(hidden, weight, targets_BT=targets_BT, **more)

    return loss


@every_model
def test_the_logits_of_a_document_do_not_move_by_a_bit_when_its_neighbours_change(name: str) -> None:
    model, (tokens_BT, starts_BT) = make(MODELS[name]), rows()
    others_BT = ((tokens_BT + 5) % WORDS).where(tokens_BT >= 0, -1)
    others_BT[0, 7:13] = tokens_BT[0, 7:13]
    one, other = (model(each, starts_BT)[0][0, 7:13] for each in (tokens_BT, others_BT))
    if hasattr(model, "blocks") and any(hasattr(layer, "router") for layer in model.modules()):
        torch.testing.assert_close(
            one, other, rtol=0, atol=1e-13
        )  # a product with as many rows as an expert has
    else:
        assert torch.equal(one, other)
    assert not torch.equal(model(tokens_BT)[0][0, 7:13], model(others_BT)[0][0, 7:13])


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("reach", [None, 2])
@torch.no_grad()
def test_the_kernel_of_a_gpu_sees_the_same_keys(reach: int | None) -> None:
    """FlexAttention, not compiled, since it has no backward pass on a CPU."""
    _, starts_BS = rows()
    q_BNTH, k_BKSH, v_BKSH = torch.randn(3, 4, 9, 16), *torch.randn(2, 3, 2, CONTEXT, 16)
    mask = Window(reach) if reach else None
    expected = flash(q_BNTH, k_BKSH, v_BKSH, 0.0, mask, starts_BS)
    ours = documents.attend_in_blocks(q_BNTH, k_BKSH, v_BKSH, mask, starts_BS, flex_attention)
    torch.testing.assert_close(ours, expected)


def test_an_lstm_in_fp32_under_autocast_keeps_documents_apart() -> None:
    """As where the device has no kernel for it in bf16."""
    model, (tokens_BT, starts_BT) = make(MODELS["lstm"]).float(), rows()
    exact_BTV = model(tokens_BT, starts_BT)[0]
    recurrent_to_fp32(model)
    with torch.autocast("cpu", torch.bfloat16):
        hidden_BTD = run_within_documents(
            model.recurrent, torch.ones(2, 3, 32), torch.tensor([[0, 0, 2]] * 2)
        )
        logits_BTV = model(tokens_BT, starts_BT)[0]
    assert hidden_BTD.dtype == torch.float32
    torch.testing.assert_close(logits_BTV.float(), exact_BTV, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("kernel", [flash, plain])
@pytest.mark.parametrize("in_turn", [True, False])
def test_queries_behind_earlier_keys_see_their_own_document(
    kernel: Callable, in_turn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in context parallelism, against torch's attention with an explicit mask."""
    if not in_turn:
        monkeypatch.setattr(documents, "runs_on_cpu", lambda _: False)
    _, starts_BS = rows()
    q_BNSH = torch.randn(3, 4, CONTEXT, 8, dtype=torch.float64)
    k_BKSH, v_BKSH = torch.randn(2, 3, 2, CONTEXT, 8, dtype=torch.float64)
    index = torch.arange(CONTEXT)
    visible = (starts_BS[:, None, :, None] <= index) & (index <= index[:, None])
    expected = torch.nn.functional.scaled_dot_product_attention(
        q_BNSH, k_BKSH, v_BKSH, visible, enable_gqa=True
    )
    for first, end in ((0, 4), (3, 9), (8, 16), (15, 16)):
        ours = kernel(
            q_BNSH[:, :, first:end], k_BKSH[:, :, :end], v_BKSH[:, :, :end], starts_BS=starts_BS[:, :end]
        )
        torch.testing.assert_close(ours, expected[:, :, first:end])
