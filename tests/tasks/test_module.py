"""What holds of every task: see triad.tasks.module."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from triad.checkpoints.trained import make_task
from triad.config.build import build
from triad.config.compose import compose
from triad.config.directions import directions, read_task_directions
from triad.config.errors import Refusal
from triad.config.offers import read_choices, read_own_choices
from triad.data.tokenizers.byte import Byte
from triad.runs.metrics import read_metrics
from triad.tasks import module

CLASSIFICATION = ("task=classification", "data=packages", "model=lstm")
OFFERS = {"vocab_size": 20, "bytes_per_token": 1.0, "labels": ("0", "1")}
CHINESE = "{_target_: triad.metrics.bleu.BLEU, tokenize: zh, lowercase: false}"
COPY = ("task=copy", "model=encoder_decoder")


@pytest.mark.parametrize("name", read_choices("task"))
def test_the_directions_that_are_read_from_the_source_are_those_of_the_task_and_its_metrics(
    name: str,
) -> None:
    chosen = read_own_choices(f"task/{name}").get("metrics", [])
    config = {"task": read_choices("task")[name]}
    config["metrics"] = {part: node for one in chosen for part, node in read_choices("metrics")[one].items()}
    declared = read_task_directions(config)
    assert declared == module.directions(make_task(build(config) | {"model": None}, OFFERS, Byte(), 8))
    assert declared["val/loss"] == "lower"


def test_accuracy_is_to_rise_and_time_to_fall() -> None:
    known = directions(compose([*CLASSIFICATION]))
    assert known["val/accuracy"] == known["val/macro_f1"] == known["perf/mfu"] == "higher"
    assert known["val/loss"] == known["perf/train_s"] == "lower"
    assert "val/bits_per_byte" not in known


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            (*CLASSIFICATION, "callbacks.checkpoint.monitor=val/acuracy"),
            "callbacks.checkpoint.monitor=val/acuracy is no metric of this task: use one of val/loss,"
            " val/accuracy, val/macro_f1, val/micro_f1",
        ),
        (
            ("callbacks=[default,early_stopping]", "callbacks.early_stopping.monitor=val/accuracy"),
            "callbacks.early_stopping.monitor=val/accuracy is no metric of this task: use one of val/loss,"
            " val/perplexity, val/bits_per_byte",
        ),
        (
            (*COPY, "scheduler=plateau", "scheduler.monitor=val/bits_per_byte", "trainer.max_steps=500"),
            "scheduler.monitor=val/bits_per_byte is no metric of this task: use one of val/loss,"
            " val/perplexity, val/exact_match",
        ),
    ],
)
def test_what_is_not_measured_is_not_watched(words: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(Refusal) as refused:
        compose([*words])
    assert str(refused.value) == sentence


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            (*CLASSIFICATION, "metrics=[bleu]"),
            "metrics.bleu needs a task that predicts a sequence or an answer; task=classification predicts a"
            " label: use metrics=accuracy, ece, matthews, precision or 2 more, or leave metrics.bleu out",
        ),
        (
            (*COPY, "metrics=[bleu]", f"+metrics.chinese={CHINESE}"),
            "metrics.bleu and metrics.chinese both measure val/bleu: leave one of them out",
        ),
        (
            (*COPY, "metrics=[bleu]", "metrics.bleu.tokenize=14a"),
            "metrics.bleu.tokenize=14a: input should be '13a', 'intl', 'zh', 'char' or 'none'",
        ),
    ],
)
def test_metrics_that_fit_neither_the_task_nor_each_other_are_refused(words, sentence: str) -> None:
    with pytest.raises(Refusal) as refused:
        compose([*words])
    assert str(refused.value) == sentence


def test_a_metric_whose_package_is_missing_is_refused_before_a_run_starts(monkeypatch) -> None:
    monkeypatch.setattr("triad.data.refusals.find_spec", lambda name: None if name == "sacrebleu" else True)
    with pytest.raises(Refusal, match=r"^metrics.bleu needs the package sacrebleu: pip install '.\[eval\]'"):
        compose([*COPY, "metrics=[bleu]"])


def test_a_metric_that_this_run_does_not_measure_is_refused_before_it_trains(train) -> None:
    words = [*COPY, "debug=tiny", "callbacks.checkpoint.monitor=val/exact_match", "task.generated=0"]
    said = train(*words, "trainer.accelerator=cpu", code=2).stderr
    assert "val/exact_match is no metric of this task: use one of val/loss, val/perplexity" in said


def test_early_stopping_waits_for_what_is_to_rise(train) -> None:
    words = [*CLASSIFICATION, "debug=tiny", "callbacks=[default,early_stopping]", "optimizer.lr=0.0"]
    words += ["callbacks.early_stopping.monitor=val/accuracy", "callbacks.early_stopping.patience=1"]
    done = train(*words, "trainer.max_steps=40", "trainer.accelerator=cpu", "precision=fp32")
    assert "step 10/40  val" in done.stdout  # as good as at step 5, and no better
    assert "step 15/40" not in done.stdout


def test_dropout_on_a_gpu_follows_from_seed_step_and_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed", seeds.append)
    before = torch.default_generator.get_state()

    def reseed(device: str, seed: int, step: int, rank: int) -> int:
        trainer = SimpleNamespace(strategy=SimpleNamespace(data_rank=rank))
        training: Any = SimpleNamespace(seed=seed, trainer=trainer, device=torch.device(device))
        module.Training._reseed(training, step)
        return torch.default_generator.initial_seed()

    places = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0)]
    on_cpu = [reseed("cpu", *place) for place in places]
    assert seeds == []
    assert [reseed("cuda", *place) for place in places] == on_cpu == seeds
    assert len({*seeds}) == 4
    torch.default_generator.set_state(before)


def test_the_schedule_goes_on_where_batches_are_repeated(train, tmp_path: Path) -> None:
    words = ("debug=tiny", "trainer.overfit_batches=2", "trainer.max_steps=6", "trainer.log_every_n_steps=1")
    train(*words, "scheduler=linear", "scheduler.warmup=5", "run_id=a")
    rates = [row["train/lr"] for row in read_metrics(tmp_path / "outputs" / "a" / "metrics.csv")]
    assert rates[:5] == pytest.approx([rates[0] * step for step in range(1, 6)])
