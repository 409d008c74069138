"""lm-evaluation-harness runs a local task file on a run, and asks what our own functions answer."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.evaluation.small import make_system
from triad.decoding.likelihood import score_continuations
from triad.evaluation.harness import make_harness_model

lm_eval = pytest.importorskip("lm_eval", reason="of the extra `lmeval`")
tasks = pytest.importorskip("lm_eval.tasks", reason="of the extra `lmeval`")

TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: {kind}
doc_to_text: "{{{{question}}}}"
{rest}
metadata: {{version: 1.0}}
"""
CHOICE = """doc_to_choice: "{{choices}}"
doc_to_target: answer
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]"""
ROWS = [
    {"question": "abc", "choices": ["abd", "ba"], "answer": 0},
    {"question": "bcd", "choices": ["ad", "bab"], "answer": 1},
    {"question": "dda", "choices": ["c", "d"], "answer": 0},
]


@pytest.fixture(scope="module")
def model():
    return make_harness_model(make_system(context=16))


@pytest.mark.filterwarnings("ignore")  # of the harness and its packages
def test_a_local_task_file_has_the_accuracy_of_our_own_scores(model, tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    task = TASK.format(name="tiny", data=data, kind="multiple_choice", rest=CHOICE)
    (tmp_path / "tiny.yaml").write_text(task)
    manager = tasks.TaskManager(include_path=str(tmp_path), include_defaults=False)
    found = lm_eval.simple_evaluate(
        model=model, tasks=["tiny"], task_manager=manager, bootstrap_iters=0, log_samples=True
    )
    right = 0
    for row in ROWS:
        pairs = [(row["question"], f" {choice}") for choice in row["choices"]]
        scores = score_continuations(model.system.model, model.system.tokenizer, pairs, context=16)
        right += max(range(2), key=lambda at: scores[at].log_probability) == row["answer"]
    assert found["results"]["tiny"]["acc,none"] == pytest.approx(right / len(ROWS))
    logged = {tuple(one["arguments"][0]) for one in found["samples"]["tiny"]}
    assert ("abc", " abd") in logged


def request(*arguments):
    return SimpleNamespace(args=arguments)


def test_a_rolling_likelihood_is_that_of_a_context_that_holds_all(model) -> None:
    (whole,) = model.loglikelihood_rolling([request("abcab dab")])
    ((score, _),) = model.loglikelihood([request("", "abcab dab")])
    assert whole == pytest.approx(score, rel=1e-5)
    assert whole < 0


def test_generated_text_ends_before_a_stop_string_and_within_its_length(model) -> None:
    asked = {"until": [], "max_gen_toks": 6}
    prompts = [f"{first}{second}" for first in "abcd" for second in "abcd"]
    free = model.generate_until([request(prompt, asked) for prompt in prompts])
    assert max(map(len, free)) == 6
    for prompt, text in zip(prompts, free, strict=True):
        if stop := text[1:3]:
            (cut,) = model.generate_until([request(prompt, asked | {"until": [stop]})])
            assert cut == text[: text.index(stop)]
    (long,) = model.generate_until([request("abcd" * 9, asked)])  # longer than the context
    (ended,) = model.generate_until([request(("abcd" * 9)[-16:], asked)])
    assert len(long) <= 6
    assert ended == long
