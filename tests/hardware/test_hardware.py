"""Choices of the machine: measured once, recorded, and taken from the record on resume."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from triad.config.build import build
from triad.config.compose import compose as make_config
from triad.hardware import autotune, execution, precision
from triad.hardware.autotune import Measured
from triad.hardware.device import compute_dtype
from triad.hardware.execution import Hardware
from triad.hardware.precision import recurrent_to_fp32
from triad.layers.attention import Attention, flash
from triad.layers.latent_attention import LatentAttention
from triad.layers.mask import ALiBi, Window
from triad.layers.norm import RMSNorm
from triad.layers.position import Rotary

clock = SimpleNamespace(now_s=0.0)


@pytest.fixture(autouse=True)
def time_that_only_work_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autotune, "time", SimpleNamespace(perf_counter=lambda: clock.now_s))


def slow() -> None:
    clock.now_s += 0.003


def fast() -> None:
    clock.now_s += 0.001


def never() -> None:
    raise AssertionError("measured again")


def recurrent(vocab_size: int) -> torch.nn.LSTM:
    return torch.nn.LSTM(4, 4, batch_first=True)


def test_the_fastest_is_chosen_and_measured_once_per_machine(tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    first = Measured(tmp_path / "cache", tmp_path / "run-1" / "machine.json", cpu)
    assert first.fastest("which?", {"slow": slow, "fast": fast}) == "fast"
    second = Measured(tmp_path / "cache", tmp_path / "run-2" / "machine.json", cpu)
    assert second.fastest("which?", {"slow": never, "fast": never}) == "fast"


@pytest.mark.parametrize("order", [("slow", "fast"), ("fast", "slow")])
def test_one_fast_run_among_slow_ones_decides(tmp_path: Path, order: tuple[str, ...]) -> None:
    """The best of several: another process may slow down some."""
    disturbed = iter([9.0, 9.0, 0.0, 9.0, 9.0, 9.0])

    def sometimes() -> None:
        clock.now_s += 0.001 + next(disturbed)

    candidates = {"slow": slow, "fast": sometimes}
    measured = Measured(tmp_path / "cache", tmp_path / "run" / "machine.json", torch.device("cpu"))
    assert measured.fastest("which?", {name: candidates[name] for name in order}) == "fast"


def test_a_resumed_run_keeps_its_choice_whatever_the_machine_says_now(tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    Measured(tmp_path / "cache", tmp_path / "run" / "machine.json", cpu).fastest(
        "which?", {"slow": slow, "fast": fast}
    )
    record = tmp_path / "run" / "machine.json"
    recorded = json.loads(record.read_text())
    recorded["which?"]["choice"] = "slow"
    record.write_text(json.dumps(recorded))
    again = Measured(tmp_path / "cache", tmp_path / "run" / "machine.json", cpu)
    assert again.fastest("which?", {"slow": never, "fast": never}) == "slow"


def test_a_damaged_cache_is_measured_again_and_a_damaged_record_of_a_run_is_named(tmp_path: Path) -> None:
    measured = Measured(tmp_path / "cache", tmp_path / "run" / "machine.json", torch.device("cpu"))
    measured.fastest("which?", {"slow": slow, "fast": fast})
    measured.cache.write_text("{")
    measured.record.write_text("")
    with pytest.raises(ValueError, match=r"machine.json: it is no JSON .* remove the file"):
        measured.fastest("which?", {"slow": slow, "fast": fast})
    measured.record.unlink()
    assert measured.fastest("which?", {"slow": slow, "fast": fast}) == "fast"


@pytest.mark.slow  # a CPU without bf16 units takes seconds for a product
def test_automatic_precision_is_one_that_lightning_knows(tmp_path: Path) -> None:
    measured = Measured(tmp_path / "cache", tmp_path / "run" / "machine.json", torch.device("cpu"))
    chosen = precision.auto(measured)
    assert chosen in ("32-true", "bf16-mixed")
    assert compute_dtype(chosen) in (torch.float32, torch.bfloat16)


class Dtypes(TorchDispatchMode):
    """The dtypes of the matrix products that are computed."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.mm.default:
            self.found |= {args[0].dtype, args[1].dtype}
        return func(*args, **(kwargs or {}))


class Products:
    """In place of Measured: notes the dtypes of each candidate's products, and says which is the fastest."""

    device = torch.device("cpu")

    def __init__(self, winner: str) -> None:
        self.winner = winner
        self.dtypes: dict[str, set[torch.dtype]] = {}

    def fastest(self, question: str, candidates: dict[str, Callable[[], None]]) -> str:
        for name, run in candidates.items():
            with Dtypes() as dtypes:
                run()
            self.dtypes[name] = dtypes.found
        return self.winner


@pytest.mark.parametrize("winner", ["32-true", "bf16-mixed"])
def test_automatic_precision_is_the_faster_of_the_two_products(winner: str) -> None:
    products: Any = Products(winner)
    assert precision.auto(products) == winner
    assert products.dtypes == {"32-true": {torch.float32}, "bf16-mixed": {torch.bfloat16}}


@pytest.mark.parametrize("able", [True, False])
def test_automatic_precision_on_a_gpu_is_bf16_where_it_has_units_for_it(monkeypatch, able: bool) -> None:
    asked = []
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **how: asked.append(how) or able)
    measured: Any = SimpleNamespace(device=torch.device("cuda", 0))
    assert precision.auto(measured) == ("bf16-mixed" if able else "32-true")
    assert asked == [{"including_emulation": False}]


@pytest.mark.parametrize("compile", [True, False])
def test_each_block_of_a_model_is_compiled_if_asked_for_and_nothing_else(monkeypatch, compile: bool) -> None:
    model, compiled = build(make_config(["debug=tiny"])["model"])(vocab_size=9), []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda block: compiled.append(block))
    Hardware(None, None, "flash", False, compile).tune(model)
    assert compiled == (list(model.blocks) if compile else [])


def test_single_precision_is_not_shortened_to_tf32(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    measured = Measured(tmp_path / "cache", tmp_path / "run" / "machine.json", torch.device("cpu"))
    Hardware(None, None, "flash", False, False).settle(measured, lambda _: "32-true", recurrent, 2, 4)
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize("has_kernels", [True, False])
def test_recurrent_layers_are_computed_in_fp32_where_the_precision_has_no_kernel_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_kernels: bool
) -> None:
    monkeypatch.setattr(execution, "has_recurrent_kernels", lambda device, precision: has_kernels)
    measured = Measured(tmp_path / "cache", tmp_path / "run" / "machine.json", torch.device("cpu"))
    hardware = Hardware(None, None, "flash", False, False)
    hardware.settle(measured, lambda _: "bf16-mixed", recurrent, 2, 4)
    recorded = json.loads(measured.record.read_text())["recurrent layers"]["choice"]
    assert recorded == ("bf16-mixed" if has_kernels else "32-true")
    assert hardware.recurrent_fp32 == (not has_kernels)
    # a resumed run goes on as it began, also where there are kernels
    monkeypatch.setattr(execution, "has_recurrent_kernels", lambda device, precision: True)
    resumed = Hardware(None, None, "flash", False, False)
    resumed.settle(measured, lambda _: "bf16-mixed", recurrent, 2, 4)
    assert resumed.recurrent_fp32 == hardware.recurrent_fp32


def test_recurrent_layers_in_fp32_compute_under_autocast_what_they_compute_without() -> None:
    layer, x, state = recurrent(2), torch.ones(1, 3, 4), (torch.ones(1, 1, 4), torch.ones(1, 1, 4))
    first, exact = layer(x)[0], layer(x, state)[0]
    recurrent_to_fp32(layer)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(x.bfloat16())[0], first)
        assert torch.equal(layer(x, (state[0].bfloat16(), state[1]))[0], exact)


@pytest.mark.parametrize(("model", "precision"), [("recurrent", "32-true"), ("linear", "bf16-mixed")])
def test_nothing_is_recorded_of_recurrent_layers_where_there_are_none_or_all_is_fp32(
    tmp_path: Path, model: str, precision: str
) -> None:
    measured = Measured(tmp_path / "cache", tmp_path / "run" / "machine.json", torch.device("cpu"))
    hardware = Hardware(None, None, "flash", False, False)
    make = recurrent if model == "recurrent" else lambda vocab_size: torch.nn.Linear(4, 4)
    hardware.settle(measured, lambda _: precision, make, 2, 4)
    assert not hardware.recurrent_fp32
    assert "recurrent layers" not in json.loads(measured.record.read_text())


def test_a_micro_batch_is_never_larger_than_the_batch() -> None:
    rows = torch.zeros(5, 3)
    assert Hardware(None, None, "flash", False, False).rows(rows) == 5
    assert Hardware(2, None, "flash", False, False).rows(rows) == 2
    assert Hardware(9, None, "flash", False, False).rows(rows) == 5
    with pytest.raises(ValueError, match="micro_batch_size=0"):
        Hardware(0, None, "flash", False, False)


def mixer(heads: int, kv_heads: int, mask: Callable | None = None, dropout: float = 0.0) -> Attention:
    return Attention(heads * 8, heads, kv_heads, 8, False, dropout, mask, None, None, None)


def latent() -> LatentAttention:
    def rotary(head_size: int) -> Rotary:
        return Rotary(head_size, 1e4)

    return LatentAttention(32, 2, None, 8, 6, 2, 4, 0.0, lambda size: RMSNorm(size, 1e-6), rotary)


LAYERS: dict[str, Callable[[], Any]] = {
    "causal": lambda: mixer(4, 4),
    "grouped": lambda: mixer(4, 2),
    "dropout": lambda: mixer(4, 4, dropout=0.5),
    "short window": lambda: mixer(4, 4, lambda: Window(3)),
    "long window": lambda: mixer(4, 4, lambda: Window(5)),
    "alibi": lambda: mixer(4, 4, lambda: ALiBi(4)),
    "latent": latent,
}


def describe_call(q: Tensor, k: Tensor, v: Tensor, dropout: float, mask: Any) -> tuple:
    return tuple(q.shape), tuple(k.shape), tuple(v.shape), dropout, repr(mask)


def note_call(
    calls: dict[tuple, str],
    name: str,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    dropout: float = 0.0,
    mask: Any = None,
    _: Tensor | None = None,
) -> Tensor:
    calls[describe_call(q, k, v, dropout, mask)] = name
    return flash(q, k, v, dropout, mask)


@pytest.mark.parametrize("faster_plain", [True, False])
def test_each_kind_of_attention_gets_the_kernel_that_is_faster_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faster_plain: bool
) -> None:
    """Kernels are measured with what the layers of the model call them with, and take an injected time."""
    timed: list[tuple] = []
    preferring_plain = {"causal", "short window", "latent"} if faster_plain else {"grouped", "alibi"}
    expected: dict[tuple, str] = {}  # what each kind of layer calls its kernel with, as the layer itself does
    for name, make in LAYERS.items():
        layer = make()
        layer.kernel = partial(note_call, expected, name)
        layer.train()(torch.randn(3, 6, 32))

    def kernel(plain: bool) -> Callable:
        def run(q: Tensor, k: Tensor, v: Tensor, dropout: float = 0.0, mask: Any = None, *_: Any) -> Tensor:
            call = describe_call(q, k, v, dropout, mask)
            timed.append(call)
            clock.now_s += 0.001 if plain == (expected[call] in preferring_plain) else 0.002
            return flash(q, k, v, dropout, mask)

        return run

    kernels = {"flash": kernel(plain=False), "plain": kernel(plain=True)}
    monkeypatch.setattr(execution, "KERNELS", kernels)
    measured = Measured(tmp_path / "cache", tmp_path / "run" / "machine.json", torch.device("cpu"))
    hardware = Hardware(3, None, "auto", False, False)

    def model(vocab_size: int) -> torch.nn.Module:
        return torch.nn.ModuleDict({name: make() for name, make in LAYERS.items()})

    hardware.settle(measured, lambda _: "32-true", model, 8, 6)
    assert set(timed) == set(expected)
    made: Any = model(2)
    hardware.tune(made)
    for name, layer in made.items():
        assert layer.kernel is kernels["plain" if name in preferring_plain else "flash"], name


def test_plain_attention_is_not_tried_where_its_scores_would_not_fit(tmp_path: Path) -> None:
    measured = Measured(tmp_path / "cache", tmp_path / "run" / "machine.json", torch.device("cpu"))
    hardware = Hardware(None, None, "auto", False, False)
    hardware.settle(measured, lambda _: "32-true", lambda vocab_size: mixer(4, 4), 1, 1 << 14)
    made: Any = mixer(4, 4)
    hardware.tune(made)
    assert made.kernel is flash
