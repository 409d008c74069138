"""What remains of a run's figures."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from triad.analysis.loss_picture import draw_loads
from triad.callbacks import summary
from triad.callbacks.summary import Summary, _find_opening, _layout, _name_precision, _sizes
from triad.data.tokenizers.byte import Byte
from triad.runs.directory import Run
from triad.runs.metrics import summarize
from triad.schedules.batch_size import ramp


def test_the_result_has_the_best_validation_and_what_all_of_the_run_took() -> None:
    rows = [
        {"step": 1, "val/loss": 2.0, "val/f1": 0.5, "perf/tokens_per_s": 10.0, "train/tokens": 8.0},
        {"step": 2, "perf/energy_joules": 5.0, "perf/tokens_per_s": 30.0, "perf/cost": 1.0},
        {"step": 3, "val/loss": 3.0, "val/f1": 0.6, "perf/tokens_per_s": 20.0, "train/tokens": 24.0},
        {"step": 4, "perf/energy_joules": 9.0, "perf/cost": 2.0},
    ]
    taken = {"train/tokens": 24.0, "perf/energy_joules": 9.0, "perf/cost": 2.0}
    speed = {"perf/tokens_per_s": 20.0}
    assert summarize(rows, "val/loss", "lower") == {"val/loss": 2.0, "val/f1": 0.5, **speed, **taken}
    assert summarize(rows, "val/f1", "higher") == {"val/loss": 3.0, "val/f1": 0.6, **speed, **taken}


def test_energy_that_became_an_estimate_is_one() -> None:
    rows = [{"step": 1, "perf/energy_joules": 5.0}, {"step": 2, "perf/energy_joules_estimate": 9.0}]
    assert summarize(rows, "val/loss", "lower") == {"perf/energy_joules_estimate": 9.0}


def test_a_batch_that_grows_is_shown_with_its_last_size() -> None:
    rule = ramp(
        steps=10, size=8, start=2, increment=2, over=0.5, unit="steps", coupling="none", reference=None
    )
    data = SimpleNamespace(batch_rows=lambda step: rule(step + 1) - rule(step))
    assert _sizes(data, 0, 10) == "2 to 8"
    assert _sizes(data, 9, 10) == "8"
    assert _sizes(data, 10, 10) == "8"


def test_the_layout_names_strategy_and_precision_as_they_are_typed() -> None:
    mesh, typed = (
        SimpleNamespace(degrees={"data_shard": 2, "tensor": 1}),
        {"strategy": "fsdp", "precision": "fp8"},
    )
    assert _layout(mesh, typed) == "strategy=fsdp (data_shard 2)"
    assert _layout(mesh, {}) == "SimpleNamespace (data_shard 2)"
    assert _name_precision("bf16-mixed", typed) == "fp8"
    assert _name_precision("32-true", {"precision": "auto"}) == "fp32"
    assert _name_precision("16-mixed", {}) == "fp16-mixed"


def test_the_loads_of_experts_are_drawn_where_there_are_some(tmp_path: Path) -> None:
    row = {f"train/load/{layer}/{expert}": 0.5 + expert for layer in range(2) for expert in range(2)}
    draw_loads(tmp_path / "none.png", [{"step": 1, "train/loss": 1.0}])
    assert not (tmp_path / "none.png").exists()
    draw_loads(tmp_path / "loads.png", [{"step": 1} | row, {"step": 2, "val/loss": 1.0}, {"step": 3} | row])
    assert (tmp_path / "loads.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_that_cannot_be_drawn_ends_no_run(tmp_path: Path, monkeypatch) -> None:
    def fail(*_) -> None:
        raise OverflowError("cannot convert float infinity to integer")

    monkeypatch.setattr(summary, "draw_losses", fail)
    shown = Summary(Run(tmp_path), None, SimpleNamespace(xz_bits_per_byte=None), context=8, curve=True)
    with pytest.warns(UserWarning, match=r"callbacks.summary: .*curve.png is not drawn: cannot convert"):
        shown.on_fit_end(SimpleNamespace(is_global_zero=True, global_step=3), None)
    assert shown.run.result() == {"steps": 3}


@pytest.mark.parametrize(
    ("text", "opening"),
    [
        ("?\n\nGREMIO:\nGood morrow, neighbour Baptista.\n", "GREMIO:"),
        ("def parse(source, filename='<unknown>', mode='exec'):\n", "def parse(source,"),
        ("Ein sehr langerSatzOhneJedenAbstandDerNichtEndet", "Ein sehr"),
        ("langerSatzOhneJedenAbstandDerNichtEndet", "langerSatzOhneJedenAbsta"),
        ("\n \n", ""),
    ],
)
def test_the_prompt_that_is_offered_begins_the_validation_text(text: str, opening: str) -> None:
    tokens: Any = SimpleNamespace(val=SimpleNamespace(tokens=[*text.encode()]))
    tokens.sources = {"": tokens}
    assert _find_opening(tokens, Byte()) == opening


def test_facts_go_on_below_at_80_columns_and_a_command_stays_whole(monkeypatch, capsys) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    command = "python train.py resume=outputs/" + "a, b-" * 20
    summary._show({"took": "  ".join(f"perf/figure_{n} {n}" for n in range(9)), "resume": command})
    *lines, last = capsys.readouterr().out.splitlines()
    assert last == f"resume   {command}"
    assert max(map(len, lines)) <= 80
    assert " ".join(lines).split() == [
        "took",
        *(word for n in range(9) for word in (f"perf/figure_{n}", f"{n}")),
    ]
