"""What a classifier is trained on and how it is judged."""

import gzip
import json
from functools import partial
from pathlib import Path

import pytest
import torch
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from tests.checkpoints.written import said
from triad.checkpoints.folder import checkpoint_path, list_complete, read_facts
from triad.checkpoints.saving import write_checkpoint
from triad.checkpoints.tensors import start_part_from
from triad.checkpoints.trained import trained
from triad.data.tokenizers.byte import Byte
from triad.layers.bert_head import Pooler, Transform
from triad.layers.initialisation import fan_in
from triad.metrics.accuracy import Accuracy
from triad.metrics.f1 import F1
from triad.models.classifier import Classifier
from triad.models.lstm import LSTM
from triad.optim.clip import Norm
from triad.optim.initialise import initialise
from triad.optim.parametrisation import Standard
from triad.optim.regularizers import Unpenalized
from triad.optim.update import Update
from triad.runs.metrics import read_metrics
from triad.tasks.body import HEADS
from triad.tasks.classification import Classification
from triad.tasks.module import Training

WORDS = 9


def body(tied: bool = False, width: int = 8) -> LSTM:
    initial = partial(fan_in, embedding=0.5, head="fan_in")
    return LSTM(vocab_size=WORDS, width=width, depth=1, dropout=0.0, tied=tied, initial=initial)


def task(labels: tuple[str, ...] = ("a", "b", "c")) -> Classification:
    metrics = {"accuracy": Accuracy(), "f1": F1(labels, None)}
    run = {"tokenizer": Byte(), "context": 16, "model_sees": "past", "metrics": metrics}
    return Classification(smoothing=0.0, z_loss=0.0, pool=None, dropout=0.0, labels=labels, **run)


@torch.no_grad()
def test_the_loss_is_a_sum_over_rows_to_be_divided_by_the_rows_of_the_whole_batch() -> None:
    made = Training(
        task=task(),
        model=partial(LSTM, width=8, depth=1, dropout=0.0, tied=True, initial=fan_in),
        optimizer=partial(torch.optim.Adam),
        schedule=lambda step: 1.0,
        hardware=None,
        vocab_size=WORDS,
        seed=0,
        update=Update(Unpenalized(), Norm(None), Standard(), []),
        weights=None,
    )
    tokens, labels = torch.randint(WORDS, (4, 6)), torch.tensor([2, 0, -100, 1])
    assert task().inputs({"rows": 12, "count": 500}, draw=None)["count"] == 12
    made.network = made.model = made.task.wrap(body())
    initialise(made.model, 0)
    nll, auxiliary, _ = made.losses(tokens, labels)
    log_p = made.model(tokens)[0].double().log_softmax(-1)
    expected = -(log_p[0, 2] + log_p[1, 0] + log_p[3, 1])
    assert float(nll) == pytest.approx(float(expected), rel=1e-6)
    assert float(auxiliary) == 0
    halves = sum(made.losses(tokens[rows], labels[rows])[0] for rows in (slice(0, 1), slice(1, 4)))
    assert float(halves) == pytest.approx(float(nll), rel=1e-6)


def test_the_metrics_of_all_micro_batches_are_torchmetrics_of_the_rows_that_are_not_padded() -> None:
    draw = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(300, 6, generator=draw), torch.randint(5, (300,), generator=draw)
    logits[:, 5] -= 9  # a label that is in neither
    labels[::7] = -100
    made, sums = task(labels=tuple("abcdef")), []
    for part in torch.arange(300).split(64):
        model = lambda tokens: (logits[tokens], ())  # noqa: E731
        sums.append(made.measure(model, part, labels[part]))
    figures = made.figures({name: sum(each[name] for each in sums[1:]) + sums[0][name] for name in sums[0]})
    options = {"num_classes": 6, "ignore_index": -100}
    accuracy = float(MulticlassAccuracy(average="micro", **options)(logits, labels))
    assert figures["accuracy"] == pytest.approx(accuracy)
    macro_f1 = float(MulticlassF1Score(average="macro", **options)(logits, labels))
    assert figures["macro_f1"] == pytest.approx(macro_f1)
    assert figures["loss"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits, labels)))


def test_one_label_is_nothing_to_tell() -> None:
    with pytest.raises(ValueError, match="labels a: two at least"):
        task(labels=("a",))


def saved(folder: Path, model: torch.nn.Module) -> Path:
    path = checkpoint_path(folder, 1)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    write_checkpoint(path, {"model": weights}, said(1))
    return path


def test_the_body_starts_from_a_language_model_and_the_head_anew(tmp_path: Path) -> None:
    before = body()
    initialise(before, 7)
    before.transform = Transform(8, torch.nn.LayerNorm)  # what encoders have for words
    path = saved(tmp_path, before)
    model = Classifier(body(tied=True), 3, None, 0.0)
    initialise(model, 0)
    head = model.head.weight.clone()
    task().start(path, model, model)
    for name in ("embedding.weight", "recurrent.weight_hh_l0", "recurrent.bias_ih_l0"):
        assert torch.equal(model.state_dict()[f"body.{name}"], before.state_dict()[name]), name
    assert torch.equal(model.head.weight, head)


def test_a_classifier_starts_from_a_classifier_with_its_head(tmp_path: Path) -> None:
    before, model = (Classifier(body(tied=True), 3, None, 0.0) for _ in range(2))
    initialise(before, 7)
    initialise(model, 0)
    task().start(saved(tmp_path, before), model, model)
    for name, tensor in before.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


def test_weights_of_another_body_are_refused_and_a_pooler_may_be_new(tmp_path: Path) -> None:
    path = saved(tmp_path, body())
    wide = body(tied=True, width=16)
    with pytest.raises(
        ValueError, match=r"another model \(embedding.weight is \(9, 8\) there, \(9, 16\) here"
    ):
        start_part_from(path, wide, wide, absent=("pooler.",), unused=HEADS)
    pooled: torch.nn.Module = body(tied=True)
    pooled.pooler = Pooler(8)
    start_part_from(path, pooled, pooled, absent=("pooler.",), unused=HEADS)
    with pytest.raises(ValueError, match=r"pooler.dense.bias is nothing there"):
        start_part_from(path, pooled, pooled, absent=(), unused=HEADS)


@pytest.mark.timeout(240)
def test_a_run_learns_a_planted_rule_and_says_so(train, tmp_path: Path) -> None:
    path = tmp_path / "rule.tsv.gz"
    with gzip.open(path, "wt") as file:
        for n in range(1200):
            word = "yes" if n % 3 else "no"
            file.write(f"{word}\t{n * 7919 % 1000} {'+' if n % 3 else '-'} {n * 31 % 1000}\n")
    words = (
        "model=lstm task=classification data=labelled debug=tiny model.width=32 model.depth=1 batch.size=64"
    )
    words += " trainer.max_steps=120 trainer.val_check_interval=120 trainer.limit_val_batches=null"
    words += f" optimizer.lr=2e-2 data.path={path} precision=fp32 trainer.accelerator=cpu run_id=a"
    done = train(*words.split())
    last = read_metrics(tmp_path / "outputs" / "a" / "metrics.csv")[-1]
    assert (last["val/accuracy"], last["val/macro_f1"]) == (1.0, 1.0)
    assert "val/bits_per_byte" not in last
    assert "guess" in done.stdout

    model, tokenizer = trained(tmp_path / "outputs" / "a")  # the classifier out of the run, from its labels
    documents = [torch.tensor([tokenizer.encode(f"1 {sign} 2").tolist()]) for sign in "+-"]
    assert [int(model(tokens_1T)[0].argmax()) for tokens_1T in documents] == [1, 0]  # labels: no, yes


def test_the_checkpoint_with_the_highest_accuracy_is_kept(train, tmp_path: Path) -> None:
    words = "task=classification data=packages model=lstm debug=tiny trainer.max_steps=40 run_id=a"
    words += " callbacks.checkpoint.monitor=val/accuracy callbacks.checkpoint.keep=1 trainer.accelerator=cpu"
    train(*words.split(), "precision=fp32")
    run = tmp_path / "outputs" / "a"
    rows = read_metrics(run / "metrics.csv")
    accuracies = {row["step"]: row["val/accuracy"] for row in rows if "val/accuracy" in row}
    first_best = max(accuracies, key=accuracies.__getitem__)
    assert len(set(accuracies.values())) > 1
    assert [read_facts(path)["step"] for path in list_complete(run / "checkpoints")] == sorted(
        {first_best, 40}
    )
    assert read_facts(list_complete(run / "checkpoints")[0])["metric"]["better"] == "higher"
    assert json.loads((run / "metrics.json").read_text())["val/accuracy"] == "higher"


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", ["model=lstm strategy=ddp hardware.micro_batch_size=1", "model=encoder strategy=fsdp"]
)
def test_two_processes_classify_as_one_does(python, words: str) -> None:
    asked = [*words.split(), "model.width=48", "task=classification", "data=packages", "trainer.devices=2"]
    done = python("-m", "triad.verify", *asked)
    assert "1 compared, 0 depart" in done.stdout
