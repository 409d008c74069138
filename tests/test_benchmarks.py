"""Each benchmark runs, and finds that its contestants did the same work."""

import csv
import importlib.metadata
import importlib.util
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchmarks.five_minutes import bits_per_byte, rate
from benchmarks.gpu import __main__ as gpu
from benchmarks.one_gpu import BARE, MODELS, compare
from benchmarks.peers import copied
from tests.conftest import REPOSITORY
from triad.config.build import build
from triad.config.compose import compose
from triad.data.sources.text import text as source
from triad.data.token_files import prepare_tokens
from triad.data.tokenizers.byte import byte
from triad.optim.initialise import initialise

SHAPE = ("depth=1", "width=32", "heads=2", "context=16", "batch=4", "threads=1")
TINY_GPT2 = ("model=gpt2", "model.width=32", "model.depth=2", "model.attention.heads=2", "context=16")
Benchmark = Callable[..., str]


@pytest.fixture
def benchmark(python) -> Benchmark:
    """What a benchmark prints."""

    def run(name: str, *words: str) -> str:
        return python(str(REPOSITORY / "benchmarks" / f"{name}.py"), *words).stdout

    return run


@pytest.fixture
def small(text: Path) -> tuple[str, ...]:
    """Words for a small corpus."""
    return "data=text", f"data.path={text}", "tokenizer=byte"


def rows(printed: str, first: str) -> list[str]:
    """The first cells of the table whose head starts with some cell."""
    lines = printed[printed.index(f"| {first} |") :].split("\n\n")[0].splitlines()
    return [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]]


@pytest.mark.slow
def test_a_start_is_measured_until_its_first_step(benchmark: Benchmark, small: tuple[str, ...]) -> None:
    printed = benchmark("start", "rounds=1", "debug=tiny", *small)
    assert rows(printed, "start") == ["as it comes", "without W&B"]
    assert "transformers" not in printed.partition("| without W&B")[2]


@pytest.mark.slow
def test_filters_are_timed_beside_libraries_and_memory_is_measured(
    benchmark: Benchmark, small: tuple[str, ...]
) -> None:
    pytest.importorskip("ftfy", reason="of the extra `data`")
    words = ("megabytes=0.01", "rounds=1", "memory=0.1", *small[:2], "trainer.accelerator=cpu")
    printed = benchmark("data", *words)
    assert {"html", "privacy", "encoding, ftfy"} < {*rows(printed, "pass")}
    assert rows(printed, "text, MB") == ["0.1"]


@pytest.mark.slow
def test_the_trainer_and_a_bare_loop_do_the_same_work(benchmark: Benchmark) -> None:
    words = ("rounds=1", "steps=2", "large_steps=1", "threads=1")
    printed = benchmark("loop", *words, "hardware.micro_batch_size=2")
    assert "the losses of all" in printed
    assert rows(printed, "loop")[0] == "bare PyTorch loop"
    assert "train.py: all its callbacks, CSV" in rows(printed, "loop")
    assert "ms a step to a tiny model" in printed


def test_the_cost_of_showing_a_run_is_measured_on_a_terminal_and_in_a_file(benchmark: Benchmark) -> None:
    printed = benchmark("progress", "calls=20")
    assert rows(printed, "part")[:2] == ["a step, on a terminal", "a step, in a file"]
    assert re.findall(r"^(.*): \d+\.\d us a step", printed, re.MULTILINE) == ["on a terminal", "in a file"]


@pytest.mark.slow
def test_decoding_gives_the_tokens_of_transformers(benchmark: Benchmark) -> None:
    pytest.importorskip("transformers")
    sizes = ("depth=1", "width=16", "heads=2", "context=16", "vocab_size=40", "tokens=4", "prompt=5")
    printed = benchmark("decoding", *sizes, "rounds=1", "batches=3", "threads=1")
    assert rows(printed, "model") == ["gpt2"] * 2 + ["t5"] * 2
    assert "Same tokens" in printed


def test_triad_and_its_peers_reach_the_same_loss(benchmark: Benchmark, small: tuple[str, ...]) -> None:
    printed = benchmark("peers", *SHAPE, *small, "rounds=3", "steps=2", "profile_steps=1")
    assert "Same work" in printed
    installed = all(importlib.util.find_spec(name) for name in ("transformers", "accelerate"))
    assert ("transformers.Trainer" in rows(printed, "contestant")) == installed
    assert ("pip install -e '.[peers]'" in printed) != installed
    assert any(name.startswith("aten::") for name in rows(printed, "operation"))


@pytest.mark.slow
def test_what_a_report_costs_is_timed_part_by_part(benchmark: Benchmark) -> None:
    pytest.importorskip("wandb")
    printed = benchmark("loggers", "reports=2", "every=2", "threads=1")
    assert {"energy and cost", "metrics.csv", "W&B, offline"} <= set(rows(printed, "part"))


@pytest.mark.slow
def test_layouts_are_timed_against_one_process_that_does_half_the_work(benchmark: Benchmark) -> None:
    shape = ("context=16", "model.width=32", "model.depth=1", "model.attention.heads=2")
    words = ("device=cpu", "layouts=two alone,ddp,context", "rounds=1", "steps=2", "warm_up=1", "batch=4")
    printed = benchmark("strategies", *words, *shape)
    assert rows(printed, "layout, 2 processes") == ["two alone", "ddp", "context"]
    assert "Same work" in printed


ROWS = ("rounds=1", "steps=2", "vocab_size=64", "generated=8")


def test_our_lstm_and_a_plain_loop_of_torch_s_do_the_same_work(benchmark: Benchmark) -> None:
    printed = benchmark("models", "models=lstm", *SHAPE, *ROWS)
    assert rows(printed, "pair") == ["lstm against torch.nn.LSTM, a plain loop"]
    assert "Same work" in printed


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_our_models_and_those_of_transformers_do_the_same_work(benchmark: Benchmark, dtype: str) -> None:
    pytest.importorskip("transformers")
    shape = ["context=32" if word.startswith("context") else word for word in SHAPE]
    printed = benchmark("models", *shape, *ROWS, f"dtype={dtype}")
    pairs = rows(printed, "pair")
    assert [pair.split(" against ")[0] for pair in pairs] == ["gpt2", "decoder", "moe", "lstm", "moe"]
    assert rows(printed, "model") == ["gpt2", "decoder", "moe"]
    assert "Same work" in printed
    assert ("Same tokens from both" in printed) == (dtype == "fp32")


@pytest.mark.slow
def test_checkpoints_are_timed_in_every_layout(benchmark: Benchmark) -> None:
    words = ("saves=1", "layouts=single,fsdp", "model.width=32", "model.attention.heads=2", "model.depth=1")
    assert rows(benchmark("checkpoints", *words), "layout") == ["single", "fsdp"]


@pytest.mark.slow
def test_every_optimizer_is_timed_against_adamw_alone_and_sharded(benchmark: Benchmark) -> None:
    shape = ("model.width=32", "model.depth=1", "model.attention.heads=2", "vocab_size=64")
    printed = benchmark("optimizers", "rounds=1", "steps=1", *shape)
    files = {path.stem for path in (REPOSITORY / "conf" / "optimizer").glob("*.yaml")}
    assert set(rows(printed, "optimizer")) == files
    assert "Same work" in printed
    assert "torch.optim.Muon" in printed


def test_a_layout_that_nobody_knows_and_a_gpu_that_is_not_there_are_refused(python) -> None:
    script = str(REPOSITORY / "benchmarks" / "strategies.py")
    for words, remedy in (
        (("device=cpu", "layouts=fdsp"), "use some of two alone, ddp"),
        (("device=gpu",), "use trainer.accelerator=cpu"),
    ):
        assert remedy in python(script, *words, code=2, CUDA_VISIBLE_DEVICES="").stderr


@pytest.mark.parametrize("model", MODELS)
def test_train_py_and_the_bare_loop_of_the_gpu_half_do_the_same_work(
    model: str, text: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRIAD_CACHE", str(text.parent / "cache"))
    monkeypatch.setattr("benchmarks.one_gpu.MODELS", {model: MODELS[model][:1]})
    monkeypatch.setattr(
        "benchmarks.one_gpu.CONTESTANTS", {BARE: "strategy=single", "single": "strategy=single"}
    )
    small = ["data=text", f"data.path={text}", "tokenizer=byte", "hardware.compile=false", "context=16"]
    small += ["model.width=32", "model.depth=1", "model.attention.heads=2", "batch.size=4"]
    compare([*small, "hardware.micro_batch_size=2"], torch.device("cpu"), rounds=1, steps=2, warm_up=1)
    assert rows(capsys.readouterr().out, "contestant") == [BARE, "single"]


def test_five_minutes_writes_a_curve_for_each_learning_rate(
    benchmark: Benchmark, small: tuple[str, ...], tmp_path: Path
) -> None:
    words = ("seconds=0.4", "evaluate_every_s=0.2", "lrs=1e-3,1e-2", "csv=curve.csv")
    printed = benchmark("five_minutes", *SHAPE, *small, *words)
    assert "best: " in printed
    with (tmp_path / "curve.csv").open(newline="") as file:
        points = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    assert {point["lr"] for point in points} == {1e-3, 1e-2}
    for lr in (1e-3, 1e-2):
        curve = [point for point in points if point["lr"] == lr]
        assert len(curve) >= 2
        assert curve[-1]["seconds"] >= 0.4
        assert 0 < curve[-1]["bits_per_byte"] < 8


def test_the_plain_model_computes_what_ours_does() -> None:
    ours = build(compose([*TINY_GPT2])["model"])(vocab_size=50)
    initialise(ours, seed=0)
    for parameter in ours.parameters():  # biases and gains that are not all alike
        torch.nn.init.normal_(parameter, std=0.1)
    tokens_BT = torch.randint(50, (3, 16))
    torch.testing.assert_close(copied(ours)(tokens_BT), ours(tokens_BT)[0])


def test_transformers_computes_what_ours_does() -> None:
    library = pytest.importorskip("transformers")
    from benchmarks.peers import like

    ours = build(compose([*TINY_GPT2])["model"])(vocab_size=50)
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    tokens_BT = torch.randint(50, (3, 16))
    theirs = like(library, copied(ours)).eval()
    torch.testing.assert_close(theirs(tokens_BT).logits, ours(tokens_BT)[0], rtol=1e-4, atol=1e-5)


def test_a_model_that_knows_nothing_needs_the_logarithm_of_the_vocabulary(text: Path, tmp_path: Path) -> None:
    corpus = source(
        path=str(text),
        field="text",
        val_fraction=0.1,
        val_path=None,
        test_path=None,
        max_bytes=None,
        columns=None,
        on_error="raise",
    )
    tokenizer = byte(source=corpus, cache=tmp_path)
    tokens = prepare_tokens(corpus, tokenizer, tmp_path)

    def nothing(tokens_BT: torch.Tensor) -> torch.Tensor:
        return torch.zeros(*tokens_BT.shape, tokenizer.vocab_size)

    expected = math.log2(tokenizer.vocab_size) / tokens.val.bytes_per_token
    assert bits_per_byte(nothing, tokens, context=16, rows=4) == pytest.approx(expected, rel=1e-5)


def test_the_rate_follows_the_clock_up_and_down() -> None:
    assert rate(0.0, warmup=0.1) > 0
    assert rate(0.1, warmup=0.1) == pytest.approx(1)
    assert rate(0.55, warmup=0.1) == pytest.approx(0.55)
    assert rate(1.0, warmup=0.1) == rate(1.2, warmup=0.1) == pytest.approx(0.1)


@pytest.mark.slow
def test_the_checks_of_a_gpu_can_be_tried_out_on_a_cpu_without_wandb(tmp_path: Path) -> None:
    (tmp_path / "wandb.py").write_text("raise ImportError('not installed')")
    started = time.monotonic()
    done = subprocess.run(
        ["make", "gpu", "DEVICE=cpu", f"PYTHON={sys.executable}"],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for name in gpu.CHECKS:
        assert f"\n{name} " in done.stdout
    assert " 0 FAIL\n" in done.stdout
    assert time.monotonic() - started < gpu.TOTAL_S


WORKER = """
import json, os, sys
journal, names = os.path.join(sys.argv[1], "journal.jsonl"), sys.argv[4:]
seen = [json.loads(line) for line in open(journal)]

def note(check, item, verdict, figures=""):
    report = {"check": check, "item": item, "verdict": verdict, "figures": figures, "seconds": 0.0}
    print(json.dumps(report), file=open(journal, "a"))

for name in names:
    for item in ("one", "two"):
        if (name, item) in {(report["check"], report["item"]) for report in seen}:
            continue
        note(name, item, "begun")
        if (name, item) == ("snapshot", "one"):
            print("CUDA error: an illegal memory access")
            os._exit(7)
        if (name, item) == ("repeat", "two"):
            os.kill(os.getpid(), 9)  # as one that does not answer is ended
        note(name, item, "FAIL" if name == "resume" else "PASS", "figures")
        if (name, item) == ("resume", "one"):
            os._exit(3)  # the device is broken
note("", "", "end")
"""


def test_an_item_that_breaks_the_device_or_is_ended_fails_and_the_others_are_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    monkeypatch.setattr(gpu, "WORKER", [str(tmp_path / "worker.py")])
    chosen = ["snapshot", "repeat", "resume", "families"]
    assert gpu.run(chosen, "cpu", tmp_path, time.time() + 60) == 1
    lines = capsys.readouterr().out.splitlines()
    verdicts = {(*line[:52].split(),): line[52:60].strip() for line in lines[1:9]}
    failed = {("snapshot", "one"), ("repeat", "two"), ("resume", "one"), ("resume", "two")}
    every = {(name, item) for name in chosen for item in ("one", "two")}
    assert verdicts == {item: "FAIL" if item in failed else "PASS" for item in every}
    assert "ended with code 7: CUDA error: an illegal memory access" in lines[1]
    assert "no answer" in lines[4]
    assert lines[-1] == "4 PASS, 0 PATH, 0 SKIP, 0 NOT RUN, 4 FAIL"


def test_what_is_not_reached_in_time_is_named_and_no_success(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gpu.run(["snapshot", "speed"], "cpu", tmp_path, time.time() - 1) == 1
    assert capsys.readouterr().out.endswith("\n0 PASS, 0 PATH, 0 SKIP, 2 NOT RUN, 0 FAIL\n")


def test_a_machine_without_a_network_is_told_which_packages_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name in ("hydra-core", "omegaconf", "antlr4-python3-runtime", "wandb"):
            raise importlib.metadata.PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(importlib.metadata, "version", version)
    missing = gpu.find_missing()
    assert [line.partition("==")[0] for line in missing] == [
        "antlr4-python3-runtime",
        "hydra-core",
        "omegaconf",
    ]
    assert all("==" in line for line in missing)
    assert " ".join(missing) in gpu.explain_missing(missing)


def test_near_duplicates_and_their_memory_are_measured(benchmark: Benchmark) -> None:
    printed = benchmark("dedup", "megabytes=0.1", "memory=0.1")
    assert rows(printed, "near-duplicates by")[0] == "ours"
    assert rows(printed, "text, MB") == ["0.1"]
