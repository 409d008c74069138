"""The hardware axis never changes the mathematics: real processes over gloo against one process."""

from itertools import product
from pathlib import Path

import pytest

from tests.warm import WarmProcess
from triad.config.compose import compose
from triad.verify.matrix import LAYOUTS, MAIN, PACKINGS, PARTS, Case, all_cases, covering_cases, small_models
from triad.verify.runner import Result, _name_dropout, run_cases

COVERING = list(covering_cases())
# one model for each layout in `make test`; where none is named, moe. test_closed_form.py has decoder.
QUICK = {"single": "gpt1", "ddp": "lstm", "fsdp": "decoder", "hsdp": "mlp", "tensor": "gpt1"}
QUICK |= {"tensor, sequence": "gpt2", "gpipe": "gpt1", "1f1b": "gpt2", "interleaved": "hybrid"}
QUICK |= {
    "context 2 x tensor 2": "gpt2",
    "pipeline 2 x tensor 2": "decoder",
    "zero 1": "lstm",
    "zero 2": "hybrid",
}


def is_quick(case: Case) -> bool:
    return case.model == QUICK.get(case.layout.name, "moe")


@pytest.fixture(scope="module")
def results(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, cache: Path, warm: WarmProcess
) -> dict[Case, Result]:
    """Those of the covering slice that are asked for, one launch for each world size."""
    asked = [
        item for item in request.session.items if item.path == request.path and hasattr(item, "callspec")
    ]
    cases = [item.callspec.params["case"] for item in asked]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIAD_CACHE", str(cache))
        results = warm.call(run_cases, cases, tmp_path_factory.mktemp("matrix"))
    return {result.case: result for result in results}


@pytest.mark.timeout(900)  # the first test trains them all
@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=[] if is_quick(case) else pytest.mark.slow) for case in COVERING],
    ids=lambda case: case.name,
)
def test_a_layout_computes_what_one_process_computes(results: dict[Case, Result], case: Case) -> None:
    result = results[case]
    if result.verdict.startswith("refused"):
        pytest.skip(result.verdict)
    assert not result.wrong, result.verdict


def test_the_slice_covers_every_layout_with_the_main_models_and_every_other_choice() -> None:
    pairs = {(case.layout, case.model) for case in COVERING}
    assert pairs >= {(layout, model) for layout in LAYOUTS for model in MAIN}
    for model in small_models():
        assert 4 * sum(model == of for _, of in pairs) >= len(LAYOUTS)
    for layout in LAYOUTS:
        mine = [case for case in COVERING if case.layout is layout]
        assert {case.parts for case in mine} == set(PARTS)
        assert {case.packing for case in mine} == set(PACKINGS)
        assert {case.checkpointing for case in mine} == {False, True}
    quick = [case for case in COVERING if is_quick(case)]
    assert [case.layout for case in quick] == LAYOUTS  # one for each
    assert {case.model for case in quick} == set(small_models())
    assert {case.parts for case in quick} == set(PARTS)
    assert {(case.packing, case.checkpointing) for case in quick} == set(product(PACKINGS, (False, True)))
    assert len(set(all_cases())) == len(LAYOUTS) * len(small_models()) * len(PARTS) * len(PACKINGS) * 4


@pytest.mark.slow
@pytest.mark.timeout(6 * 3600)
def test_every_combination_computes_what_one_process_computes(tmp_path: Path) -> None:
    wrong = [
        f"{result.case.name}: {result.verdict}" for result in run_cases(all_cases(), tmp_path) if result.wrong
    ]
    assert wrong == []


@pytest.mark.slow
def test_verify_takes_a_configuration_of_ones_own(python, text: Path) -> None:
    words = ["model=lstm", "model.dropout=0.1", "strategy=fsdp", "trainer.devices=2", "data=text"]
    words.append(f"data.path={text}")
    done = python("-m", "triad.verify", *words)
    assert "1 compared, 0 depart" in done.stdout


def test_all_dropout_of_a_model_is_named() -> None:
    named = _name_dropout(compose(["model=t5_small", "task=copy"]))
    assert named == [f"model.{part}dropout=0.0" for part in ("", "attention.", "feedforward.")]
    assert not _name_dropout(compose([*named, "model=t5_small", "task=copy"]))
