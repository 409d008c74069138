"""What a model costs is what its layers say: held against torch's counter of FLOPs, and against the masks."""

from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tests.conftest import REPOSITORY
from triad.config.build import build
from triad.layers import full_attention
from triad.layers.attention import plain
from triad.layers.cross_entropy import cross_entropy_sum
from triad.layers.flops import Rows
from triad.layers.pooling import first, last, mean
from triad.layers.routers import base_layer
from triad.models.classifier import Classifier
from triad.models.count import count
from triad.optim.initialise import initialise

WORDS = 19
MODELS = sorted(path.stem for path in (REPOSITORY / "conf/model").glob("*.yaml"))
ROUTERS = sorted(path.stem for path in (REPOSITORY / "conf/router").glob("*.yaml"))
WINDOW = "model.attention.mask.size=5"  # shorter than the rows of these tests
# whose gain has a gradient that is no product; that of ours is one on a CPU
LAYER_NORM = "model.norm={_target_:torch.nn.LayerNorm,_partial_:true} model.attention.query_key_norm=null"
CHANGES = {"mistral_7b": [WINDOW]}


def make(*words: str) -> Any:
    """A model of at most four layers, without storage."""
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        config: Any = OmegaConf.to_container(compose("train", [*words, "context=24"]), resolve=True)["model"]
    config["depth"] = min(config["depth"], 4)
    with torch.device("meta"):
        return build(config)(vocab_size=WORDS)


def grouped_product_flops(x: Any, weight: Any, *_: Any, **__: Any) -> int:
    """rows x inner size x columns, as for torch.mm: each row meets one expert."""
    return 2 * x[0] * x[1] * weight[-1]


def product_in_place_flops(total: Any, left: Any, right: Any, **_: Any) -> int:
    return 2 * left[0] * left[1] * right[1]


# what torch's counter leaves out
ATEN = torch.ops.aten
COUNTED = {ATEN._grouped_mm: grouped_product_flops, ATEN.addmm_: product_in_place_flops}


def measure(model: Any, *inputs: Tensor) -> int:
    """What torch counts in a forward and a backward pass, the loss included."""
    targets = inputs[-1][:, 0] if isinstance(model, Classifier) else inputs[-1]

    def loss(hidden: Tensor, weight: Tensor, vocabulary: Any = None, bias_V: Tensor | None = None) -> Tensor:
        return cross_entropy_sum(hidden, weight, targets, bias_V=bias_V)

    with FlopCounterMode(display=False, custom_mapping=COUNTED) as counter:
        model(*inputs, loss=loss)[0].backward()
    return counter.get_total_flops()


def fill(*lengths: int, rows: int = 3, device: str = "meta") -> list[Tensor]:
    return [torch.ones(rows, length, dtype=torch.long, device=device) for length in lengths]


def lengths_of(model: Any, target: int, source: int) -> list[int]:
    """As forward takes them: a source comes first."""
    return [source, target] if model.sees == "source" else [target]


def computed(model: Any, rows: int, *lengths: int) -> int:
    return count(model).computed_flops(*(torch.full((rows,), length) for length in reversed(lengths)))


@pytest.mark.parametrize("name", MODELS)
def test_what_is_computed_is_what_torch_counts(name: str) -> None:
    model = make(f"model={name}", *CHANGES.get(name, []))
    counted, lengths = count(model), lengths_of(model, 23, 17)
    found = measure(model, *fill(*lengths))
    for parameter in model.parameters():
        parameter.data = torch.empty(0, device="meta")  # as where another process holds them
    assert counted.computed_flops(*(torch.full((3,), length) for length in reversed(lengths))) == found


@pytest.mark.parametrize("name", ["decoder", "bloom_7b1", "deepseek_v3", "mlp"])
def test_hiding_other_documents_by_a_mask_costs_what_one_document_does(name: str) -> None:
    model = make(f"model={name}")
    assert computed(model, 3, 23) == measure(model, *fill(23, 23))


@pytest.mark.filterwarnings("ignore:TF32 acceleration on top of oneDNN")  # of the switch itself
@pytest.mark.parametrize("words", ["gpt2", f"hybrid {LAYER_NORM}", "lstm", "mlp"])
def test_a_document_computed_in_turn_costs_what_a_row_of_its_own_does(words: str) -> None:
    model = make(*f"model={words}".split()).to_empty(device="cpu")
    for module in model.modules():
        if hasattr(module, "kernel"):
            module.kernel = plain  # the counter knows no fused kernel of a CPU
    for parameter in model.parameters():
        parameter.data.zero_()
    lengths = torch.tensor([[5, 1, 12, 5], [2, 2, 2, 17]])
    firsts = lengths.cumsum(1) - lengths
    starts_BT = firsts.flatten().repeat_interleave(lengths.flatten()).unflatten(0, (2, -1))
    with torch.backends.mkldnn.flags(enabled=False):  # whose LSTM the counter does not know, either
        found = measure(model, torch.zeros_like(starts_BT), starts_BT)
    assert count(model).computed_flops(lengths.flatten()) == found


@pytest.mark.parametrize("name", ROUTERS)
def test_what_routers_compute_is_what_torch_counts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # an assignment looks at numbers, which the meta device does not have; no product is in it
    monkeypatch.setattr(base_layer, "assign_balanced", lambda score_BTE, real_BT: score_BTE.argmax(-1))
    model = make("model=encoder_moe", f"router={name}")
    assert computed(model, 3, 23) == measure(model, *fill(23))


@pytest.mark.parametrize("pool", [None, last, first, mean])
@pytest.mark.parametrize("name", ["decoder", "encoder", "lstm", "encoder_moe"])
def test_what_a_classifier_computes_is_what_torch_counts(name: str, pool: Any) -> None:
    with torch.device("meta"):
        model = Classifier(make(f"model={name}"), 5, pool, 0.0)
    assert computed(model, 3, 23) == measure(model, *fill(23))


def test_a_pooler_costs_once_a_row_and_only_where_it_is_called() -> None:
    pooler = "{_target_: triad.layers.bert_head.Pooler, _partial_: true}"
    body = make("model=encoder", f"model.pooler={pooler}")
    assert computed(body, 3, 23) == measure(body, *fill(23))
    with torch.device("meta"):
        model = Classifier(body, 5, None, 0.0)
    assert computed(model, 3, 23) == measure(model, *fill(23))


def count_hidden(model: Any, monkeypatch: pytest.MonkeyPatch, *inputs: Tensor) -> int:
    """FLOPs of pairs that the masks hide, by looking at every entry of every mask that attention gets."""
    hidden = []

    def add(q: Tensor, v: Tensor, seen: Tensor) -> Tensor:
        while seen.ndim < 4:
            seen = seen[None]
        none = seen[:, :1].expand(len(q), 1, q.shape[2], v.shape[2]).logical_not().sum()
        hidden.append(6 * q.shape[1] * (q.shape[-1] + v.shape[-1]) * int(none))
        return q.new_zeros(*q.shape[:3], v.shape[-1])

    def kernel(q: Tensor, k: Tensor, v: Tensor, dropout: float, mask: Any = None, *_: Any) -> Tensor:
        length = q.shape[2]
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        added = mask(torch.zeros(1, q.shape[1], length, 1), length) if mask else None
        return add(q, v, causal if added is None else added.isfinite())

    def fused(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, *_: Any, **__: Any) -> Tensor:
        return add(q, v, mask if mask.dtype == torch.bool else mask.isfinite())

    monkeypatch.setattr(full_attention.F, "scaled_dot_product_attention", fused)
    for module in model.modules():
        if hasattr(module, "kernel"):
            module.kernel = kernel
    with torch.no_grad():
        model(*inputs)
    return sum(hidden)


SEEN = ["decoder", "moe", "mistral_7b", "bloom_7b1", "deepseek_v3", "hybrid", "lstm", "mlp"]
SEEN += ["encoder", "encoder_decoder", "t5_small"]


@pytest.mark.parametrize("name", SEEN)
def test_what_is_visible_is_what_torch_counts_without_what_masks_hide(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row alone, so that there is no padding; rows are shorter and longer than the window.

    None has a single token: for that experts have a path of their own, for generation.
    """
    model = make(f"model={name}", *CHANGES.get(name, []))
    rows = [lengths_of(model, target, source) for target, source in ((2, 3), (4, 2), (23, 17))]
    for module in model.modules():
        if hasattr(module, "kernel"):
            module.kernel = plain  # which multiplies every pair, also outside of a window
    expected = sum(measure(model, *fill(*lengths, rows=1)) for lengths in rows)
    device = "cpu" if model.sees != "past" and name != "mlp" else "meta"
    if device == "cpu":  # its masks come as tensors
        model.to_empty(device=device)
        initialise(model, 0)
    for lengths in rows:
        expected -= count_hidden(model, monkeypatch, *fill(*lengths, rows=1, device=device))
    given = [torch.tensor(each) for each in zip(*rows, strict=True)]
    assert count(model).flops(*reversed(given)).exact == expected


def test_padding_is_computed_and_is_not_visible() -> None:
    counted = count(make("model=encoder"))
    real, width = torch.tensor([3, 23]), torch.tensor([23, 23])
    assert counted.flops(real).exact == sum(counted.computed_flops(length[None]) for length in real)
    assert counted.computed_flops(width) > counted.flops(real).exact


def test_the_padding_mask_of_an_encoder_shows_the_pairs_that_are_counted() -> None:
    lengths = torch.tensor([3, 7, 1])
    tokens_BS = torch.where(torch.arange(7) < lengths[:, None], 1, -1)
    seen_BTS = full_attention.visible_mask(tokens_BS)[:, 0] & (tokens_BS >= 0)[..., None]
    assert seen_BTS.sum() == Rows(lengths, None, all_pairs=False).count_both_sides().sum()


def test_a_token_of_gpt2_costs_what_nanogpt_says() -> None:
    """N = 124,439,808 - 1,024 x 768; 6 N + 12 L H Q T, as in the estimate_mfu of Karpathy's nanoGPT."""
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        config: Any = OmegaConf.to_container(compose("train", ["model=gpt2", "context=1024"]), resolve=True)
    with torch.device("meta"):
        counted = count(build(config["model"])(vocab_size=50257))
    flops = counted.flops(torch.tensor([1024]))
    assert flops.six_n == 1024 * 6 * 123_653_376
    assert flops.palm == flops.six_n + 1024 * 12 * 12 * 768 * 1024
    # a causal mask shows 1,025 of 2 x 1,024 pairs; neither biases nor gains are products
    vectors = 12 * (2 * 2 * 768 + 3 * 768 + 768 + 4 * 768 + 768) + 2 * 768
    assert flops.exact == 1024 * 6 * (123_653_376 - vectors) + 12 * 12 * 768 * 1024 * 1025 // 2


class Retention(nn.Module):
    """A layer that looks at tokens before, made nowhere in the source."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q = nn.Linear(width, width, bias=False)

    def mixing_flops(self, rows: Rows) -> Tensor:
        return 100 * rows.count_past()


class Scan(Retention):
    """A layer with a state: each token costs the same."""

    def mixing_flops(self, rows: Rows) -> Tensor:
        return 7000 * rows.tokens_R


def test_attention_of_another_class_and_a_state_are_counted() -> None:
    model = nn.Module()
    with torch.device("meta"):
        layers = Retention(8), Scan(8), nn.LayerNorm(8)
        model.embedding, model.layers = nn.Embedding(11, 8), nn.Sequential(*layers)
        model.head = nn.Linear(8, 11, bias=False)
    found = count(model)
    products = 2 * 64 + 88
    assert found.total == found.active == products + 16 + 88
    assert found.multiplying == products + 16
    six_n = 10 * 6 * (products + 16)
    assert found.flops(torch.tensor([10])) == (
        six_n,
        six_n + 100 * 100 + 70_000,
        10 * 6 * products + 100 * 55 + 70_000,
    )


def test_sums_over_many_long_rows_are_exact() -> None:
    """More than 2^63 FLOPs, as a step of the largest models takes."""
    counted = count(make("model=deepseek_v3"))
    one = counted.flops(torch.tensor([1_000_001])).exact
    assert counted.flops(torch.full((100_003,), 1_000_001)).exact == 100_003 * one > 2**63
