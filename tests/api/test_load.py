"""`triad.load`: the model of a run in one's own Python."""

import copy
import json
from pathlib import Path

import pytest
import torch

import triad
from tests.checkpoints.written import written
from tests.made_run import make_run
from triad.checkpoints.tensors import read_weights
from triad.config.errors import Refusal
from triad.config.offers import find_choices, get_declared, read_choices, walk_needing_parts
from triad.generate import generate

CLASSES = {node["_target_"]: name for name, node in reversed(read_choices("model").items())}


def find_data(task: str) -> list[str]:
    """Words for data that a task and its parts take."""
    parts = walk_needing_parts(read_choices("task")[task])
    needs = [get_declared(part, "needs") or {} for _, part in parts]
    needed = [{*need["data.yields"]} for need in needs if "data.yields" in need] or [{"text"}]
    allowed = needed[0].intersection(*needed)
    name = find_choices("data", "yields", (*allowed,))[0]
    missing = [key for key, value in read_choices("data")[name].items() if value == "???"]
    return [f"data={name}", *(f"data.{key}=." for key in missing)]


def find_model(task: str) -> str:
    needs = get_declared(read_choices("task")[task], "needs")
    fitting = [{*find_choices("model", need[6:], needs[need])} for need in needs if need.startswith("model.")]
    return next(name for name in read_choices("model") if all(name in names for names in fitting))


def find_task(model: str) -> str:
    return next(
        name
        for name, task in read_choices("task").items()
        if get_declared(read_choices("model")[model], "sees") in get_declared(task, "needs")["model.sees"]
    )


@pytest.mark.parametrize(
    ("task", "model"),
    sorted(
        {(task, find_model(task)) for task in read_choices("task")}
        | {(find_task(name), name) for name in (*CLASSES.values(), "moe")}
    ),
)
def test_every_task_and_model_is_loaded_and_does_in_python_what_it_is_for(
    tmp_path: Path, task: str, model: str
) -> None:
    words = [f"task={task}", f"model={model}", "model.width=192", *find_data(task)]
    run = make_run(tmp_path / "a", *words, labels=("1", "2"))
    loaded, tokenizer = triad.load(run)
    assert tokenizer.decode(tokenizer.encode("ab").tolist()) == "ab"
    for name, weight in read_weights(run / "checkpoints" / "step-00000005").items():
        assert torch.equal(loaded.state_dict()[name], weight)
    assert hasattr(loaded, "generate") == (loaded.task.__class__.__name__ in _named("takes_prompts"))
    assert hasattr(loaded, "classify") == (loaded.task.predicts in ("a label", "a grade"))
    if hasattr(loaded, "generate"):
        assert isinstance(loaded.generate("1 2 3" if task != "code" else "def f():", tokens=3), str)


def _named(attribute: str) -> set[str]:
    """The classes of tasks that declare an attribute."""
    tasks = (read_choices("task")[name] for name in find_choices("task", attribute, (True,)))
    return {task["_target_"].rpartition(".")[2] for task in tasks}


def test_the_best_checkpoint_with_the_weights_that_the_metric_judged_is_taken_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = make_run(tmp_path / "a")
    weights = read_weights(run / "checkpoints" / "step-00000005")
    for step, metric in ((6, 0.5), (7, 0.2), (8, 0.9)):
        model, ema = ({name: w + step + more for name, w in weights.items()} for more in (0, 1))
        written(run, step, metric, weights=model, ema=ema, validated="ema")

    def shift(*words, **asked) -> float:
        loaded = triad.load(*words, **asked)[0].state_dict()
        return round(float((loaded["embedding.weight"] - weights["embedding.weight"]).mean()))

    assert shift(run) == 7 + 1
    assert capsys.readouterr().err == f"{run}: step 7, the best of 4 by val/loss 0.2; weights: ema\n"
    assert shift(run, weights="model") == 7
    assert shift(run, "last") == 8 + 1
    assert shift(run, checkpoint=6, weights="model") == 6
    assert shift(run / "checkpoints" / "step-00000006") == 6 + 1
    with pytest.raises(ValueError, match="swa"):
        triad.load(run, weights="swa")


def test_texts_are_those_of_the_command(tmp_path: Path) -> None:
    run, prompts = make_run(tmp_path / "a"), ["12 squared", "7", "abc"]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in prompts))
    asked = {"tokens": 9, "temperature": 0.8, "n": 2, "seed": 3}
    generate(str(run), prompts=str(tmp_path / "in.jsonl"), out=str(tmp_path / "out.jsonl"), **asked)
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    model, _ = triad.load(run)
    found = model.generate(prompts, **asked)
    assert found == [[text["text"] for text in line["texts"]] for line in lines]
    assert model.generate(prompts[0], **asked) == found[0]
    assert copy.deepcopy(model).generate(prompts, **asked) == found
    assert [*map(len, model.generate(prompts, 4, allow="0123456789"))] == [4, 4, 4]
    with pytest.raises(Refusal, match="temprature: no decoding has all of them"):
        model.generate("7", temprature=0.8)


def test_labels_have_their_probabilities_in_the_order_of_the_grades(tmp_path: Path) -> None:
    words = ["task=ordinal", "data=labelled", "data.path=."]
    labels = ["1", "10", "2"]  # as the data has them; as numbers 10 is the last
    model, tokenizer = triad.load(make_run(tmp_path / "a", *words, labels=labels))
    assert model.labels == ["1", "2", "10"]
    texts = ["one", "a longer text than the first"]
    found = model.classify(texts)
    for text, probabilities in zip(texts, found, strict=True):
        logits_1K = model(torch.tensor([tokenizer.encode(text).tolist()]))[0]
        above = sorted(logits_1K[0].double().sigmoid().tolist(), reverse=True)
        of_grades = {"1": 1 - above[0], "2": above[0] - above[1], "10": above[1]}  # CORAL: P(y > r_k)
        assert probabilities == pytest.approx(of_grades, abs=1e-6)
        assert [*probabilities.values()] == sorted(probabilities.values(), reverse=True)
    assert model.classify(texts[1]) == pytest.approx(found[1])


def test_a_device_and_a_type_are_asked_for_and_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a")
    for dtype in ("bfloat16", torch.bfloat16):
        model, _ = triad.load(run, dtype=dtype)
        assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
        assert len(model.generate("12", tokens=3).encode()) >= 3
    with pytest.raises(Refusal, match="dtype=half8: use float32"):
        triad.load(run, dtype="half8")
    with pytest.raises(Refusal, match="device=gpux: it is not here"):
        triad.load(run, device="gpux")
    with pytest.raises(FileNotFoundError, match="b: no run is there"):
        triad.load(tmp_path / "b")
