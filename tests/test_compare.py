"""What comes out of a set of runs: the leaderboard, its statistics and its page."""

import csv
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from triad.analysis import wandb_report as sending
from triad.analysis.confidence_intervals import estimate_interval, quantile
from triad.analysis.importance import measure_importance
from triad.analysis.leaderboard import Board, rank_runs
from triad.analysis.settings import Outcome, find_directories, group_by_setting, load_outcome
from triad.analysis.table import find_columns, make_records, print_runs, tabulate, to_latex, to_markdown
from triad.checkpoints import folder
from triad.compare import compare
from triad.config.directions import find_best
from triad.config.errors import Refusal
from triad.config.locations import CONF
from triad.config.schema import read_attribute
from triad.runs.directory import Run
from triad.runs.metrics import summarize

BATCH = {"_target_": "triad.schedules.learning_rate.fixed", "size": 4}
TASK = {"_target_": "triad.tasks.causal_lm.CausalLM"}
CURVE = [{"step": 1, "train/loss": 5.0}, {"step": 9, "train/loss": 3.0, "train/tokens": 900, "val/loss": 3.0}]


def write(
    directory: Path,
    config: dict,
    result: dict | None,
    words: list[str] | None = None,
    curve: list = CURVE,
    better: dict[str, str] | None = None,
) -> Path:
    """A run directory as train.py leaves one; words are those of the configuration unless told."""
    directory.mkdir(parents=True)
    whole = {
        "batch": BATCH,
        "task": TASK,
        "run_id": directory.name,
        "output_dir": str(directory.parent),
        **config,
    }
    (directory / "config.yaml").write_text(yaml.safe_dump(whole))
    told = [f"{key}={value}" for key, value in config.items()] if words is None else words
    (directory / "overrides.json").write_text(json.dumps(told))
    (directory / "run.json").write_text("{}")
    if result is not None:
        (directory / "result.json").write_text(json.dumps(result))
    if better:
        (directory / "metrics.json").write_text(json.dumps(better))
    keys = list({key: None for row in curve for key in row})
    lines = [",".join(str(row.get(key, "")) for key in keys) for row in curve]
    (directory / "metrics.csv").write_text("\n".join([",".join(keys), *lines]) + "\n")
    return directory


def losses(
    root: Path,
    key: str,
    found: dict[object, list[float | None]],
    metric: str = "val/loss",
    better: str | None = None,
) -> None:
    """A run for each value of a key and each of its results, the seeds being 0, 1, ..."""
    for value, results in found.items():
        for seed, loss in enumerate(results):
            result = None if loss is None else {metric: loss}
            said = {metric: better} if better else None
            write(root / f"{value}-{seed}", {key: value, "seed": seed}, result, better=said)


def load(root: Path) -> list[Outcome]:
    return [load_outcome(path) for path in sorted(root.iterdir())]


def ranked(root: Path, metric: str = "val/loss", **words: str) -> Board:
    (board,) = rank_runs(load(root), metric, **words)
    return board


def column(ranking: Board, name: str, *columns: str) -> list[str]:
    header, rows, _ = tabulate(ranking, columns)
    return [row[header.index(name)] for row in rows]


def recorded(ranking: Board, name: str) -> list[str]:
    header, rows = make_records([ranking])
    return [row[header.index(name)] for row in rows]


@pytest.mark.parametrize(
    ("freedom", "at_95", "at_99"),
    [
        (1, 12.706, 63.657),
        (2, 4.303, 9.925),
        (3, 3.182, 5.841),
        (4, 2.776, 4.604),
        (5, 2.571, 4.032),
        (9, 2.262, 3.250),
        (10, 2.228, 3.169),
        (30, 2.042, 2.750),
        (60, 2.000, 2.660),
        (120, 1.980, 2.617),
    ],
)
def test_quantiles_of_t_are_those_of_the_published_tables(freedom: int, at_95: float, at_99: float) -> None:
    assert round(quantile(freedom), 3) == at_95
    assert round(quantile(freedom, 0.99), 3) == at_99


def test_an_interval_is_students() -> None:
    found = estimate_interval([1.0, 2.0, 3.0])
    assert (found.mean, found.n) == (2.0, 3)
    assert found.half == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert estimate_interval([7.0]) == (7.0, None, 1)


def test_seeds_are_one_line_with_a_mean_best_first_and_the_unfinished_last(tmp_path: Path) -> None:
    losses(tmp_path, "optimizer.lr", {0.1: [None, None], 0.2: [3.0, 4.0], 0.3: [1.0, 2.0, 3.0], 0.4: [2.5]})
    (tmp_path / "0.1-0" / "error.txt").write_text("lost")
    ranking = ranked(tmp_path)
    assert column(ranking, "optimizer.lr") == ["0.3", "0.4", "0.2", "0.1"]
    assert column(ranking, "val/loss ± 95%") == ["2.0 ± 2.5", "2.5", "3.5 ± 6.4", ""]
    assert column(ranking, "seeds") == ["3", "1", "2", ""]
    assert column(ranking, "against the best")[3] == "1 failed, 1 unfinished"
    assert recorded(ranking, "state") == ["finished"] * 3 + ["1 failed, 1 unfinished"]
    assert column(ranking, "run")[:2] == [f"{tmp_path}/0.3-0  (+2)", f"{tmp_path}/0.4-0"]


def test_a_seed_that_was_run_twice_counts_once(tmp_path: Path) -> None:
    losses(tmp_path, "context", {8: [1.0, 2.0]})
    write(tmp_path / "again", {"context": 8, "seed": 0}, {"val/loss": 1.0})
    assert recorded(ranked(tmp_path), "seeds") == ["2"]
    assert recorded(ranked(tmp_path), "val/loss") == ["1.5"]


def test_differences_are_paired_over_the_seeds_that_both_have(tmp_path: Path) -> None:
    found = {"best": [2.0, 3.0, 4.0], "close": [2.02, 2.99, 4.01], "worse": [2.1, 3.11, 4.09], "once": [2.5]}
    losses(tmp_path, "model", found)
    write(tmp_path / "apart", {"model": "apart", "seed": 7}, {"val/loss": 9.0})
    verdict = dict(
        zip(*(column(ranked(tmp_path), name) for name in ("model", "against the best")), strict=True)
    )
    assert verdict["once"] == "the best"  # by its one lucky seed
    ranking = ranked(tmp_path, against="best-1")
    told = dict(zip(*(column(ranking, name) for name in ("model", "against line 2")), strict=True))
    assert told["best"] == "the reference"
    assert told["close"] == "+0.007 ± 0.038, within noise"
    assert told["worse"] == "+0.100 ± 0.025, worse"  # though the seeds spread ten times as far
    assert told["once"] == "+0.5, one seed: no telling"
    assert told["apart"] == "no seed in common"
    better = ranked(tmp_path, against="model=worse")
    assert "-0.100 ± 0.025, better" in [line.verdict for line in better.lines]


def test_columns_are_the_keys_that_differ_and_not_those_that_follow(tmp_path: Path) -> None:
    for seed, (steps, optimizer) in enumerate([(5, "AdamW"), (9, "AdamW"), (5, "Muon")]):
        config = {"trainer": {"max_steps": steps}, "scheduler": {"steps": steps}, "seed": seed}
        config |= {"optimizer": {"_target_": f"torch.optim.{optimizer}"}, "tags": [str(seed)]}
        config |= {"logger": {"wandb": {"group": str(seed)}}}
        words = [f"trainer.max_steps={steps}", "context=8"] + ["optimizer=muon"] * (optimizer == "Muon")
        write(tmp_path / str(seed), config, {"val/loss": seed}, words)
    write(tmp_path / "again", config | {"seed": 3}, {"val/loss": 4.0}, [*words, "batch=fixed"])
    ranking = ranked(tmp_path)
    assert ranking.columns == ["trainer.max_steps", "optimizer"]
    assert column(ranking, "optimizer") == ["", "", "muon"]  # empty: the default, which nobody typed
    assert column(ranking, "seeds") == ["1", "1", "2"]


def test_what_nobody_typed_is_told_by_the_configuration(tmp_path: Path) -> None:
    for name in ("torch.optim.AdamW", "triad.optim.muon.Muon"):
        write(tmp_path / name, {"optimizer": {"_target_": name, "lr": len(name)}}, {"val/loss": 1.0}, [])
    assert tabulate(ranked(tmp_path))[0][:3] == ["#", "optimizer", "val/loss"]
    assert sorted(column(ranked(tmp_path), "optimizer")) == ["AdamW", "Muon"]


def test_by_keeps_the_best_of_each(tmp_path: Path) -> None:
    for name, lr, loss in (("adamw", 1, 3.0), ("adamw", 2, 2.0), ("muon", 1, 1.0), ("muon", 2, 4.0)):
        config = {"optimizer.lr": lr, "optimizer": name}
        write(tmp_path / f"{name}-{lr}", config, {"val/loss": loss})
    ranking = ranked(tmp_path, by="optimizer")
    header, rows, _ = tabulate(ranking)
    assert header[:3] == ["#", "optimizer", "optimizer.lr"]
    assert [row[1:3] for row in rows] == [["muon", "1"], ["adamw", "2"]]


def test_which_way_is_better_is_asked_of_the_runs_and_what_is_not_finite_is_worst(tmp_path: Path) -> None:
    losses(tmp_path, "context", {1: [0.2], 2: [0.9], 3: [float("nan")]}, "val/accuracy", "higher")
    assert column(ranked(tmp_path, "val/accuracy"), "context") == ["2", "1", "3"]
    assert column(ranked(tmp_path, "val/accuracy", goal="minimize"), "context") == ["1", "2", "3"]
    assert column(ranked(tmp_path, "val/accuracy"), "against the best")[2] == "not finite"


def test_a_direction_that_no_run_records_is_not_guessed(tmp_path: Path) -> None:
    losses(tmp_path, "context", {1: [0.2], 2: [0.9]}, "val/recall")
    with pytest.raises(Refusal, match="metric=val/recall: no run records which way is better; say goal="):
        ranked(tmp_path, "val/recall")
    assert column(ranked(tmp_path, "val/recall", goal="maximize"), "context") == ["2", "1"]
    losses(tmp_path, "context", {3: [0.2]}, "val/recall", "higher")
    assert column(ranked(tmp_path, "val/recall"), "context") == ["2", "1", "3"]
    losses(tmp_path, "context", {4: [0.2]}, "val/recall", "lower")
    with pytest.raises(Refusal, match="the runs do not agree"):
        ranked(tmp_path, "val/recall")


def test_energy_and_cost_are_shown_where_they_are_known(tmp_path: Path) -> None:
    write(tmp_path / "a", {}, {"val/loss": 1.0, "perf/energy_joules": 12.5, "perf/cost": 0.25})
    ranking = ranked(tmp_path)
    assert "perf/cost" not in tabulate(ranking)[0]
    columns = find_columns("energy_joules,cost", [ranking])
    assert column(ranking, "perf/energy_joules", *columns) == ["12.5"]
    assert column(ranking, "perf/cost", *columns) == ["0.25"]
    assert find_columns("all", [ranking]) == ["val/loss", "perf/energy_joules", "perf/cost"]


def test_a_job_that_was_refused_has_a_line_of_its_own(tmp_path: Path, capsys) -> None:
    done = write(tmp_path / "a", {"context": 8}, {"val/loss": 1.5})
    refused = [Path("context=7 seed=0"), Path("context=7 seed=1")]
    print_runs([*refused, done], dict.fromkeys(refused, "failed (2)"))
    lines = capsys.readouterr().out.splitlines()[2:5]
    assert "1.5" in lines[0]
    assert ["failed (2)" in line for line in lines] == [False, True, True]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"metric": "val/los"}, "metric=val/los is in no result; did you mean val/loss?"),
        ({"by": "contxt"}, "by=contxt is not a key of these runs; did you mean context?"),
        ({"against": "8-00"}, "against=8-00 is none of these runs; did you mean 8-0?"),
        ({"against": "batch.size=4"}, "against=batch.size=4 fits 2 settings: add a key=value word"),
        ({"overrides": ["markdwn=x"]}, "markdwn=x: no run is there; did you mean markdown?"),
    ],
)
def test_mistakes_are_answered_with_a_sentence(tmp_path: Path, words: dict, sentence: str) -> None:
    losses(tmp_path, "context", {8: [1.0], 9: [2.0]})
    with pytest.raises(Refusal) as said:
        compare(**{"overrides": [str(tmp_path)], **words})
    assert str(said.value) == sentence


def test_a_directory_of_sweeps_is_searched_and_a_missing_run_is_named(tmp_path: Path, capsys) -> None:
    losses(tmp_path / "outputs" / "sweep", "context", {8: [1.0], 9: [2.0]})
    compare([str(tmp_path / "outputs")], markdown="-")
    assert len(capsys.readouterr().out.splitlines()) == 4
    with pytest.raises(Refusal, match="8-3: no run is there; did you mean 8-0"):
        compare([str(tmp_path / "outputs" / "sweep" / "8-3")])


def test_markdown_has_every_cell(tmp_path: Path) -> None:
    losses(tmp_path, "data", {"a|b": [1.0, 2.0], "c": [3.0]})
    lines = to_markdown([ranked(tmp_path)]).splitlines()
    assert "a\\|b" in lines[2]
    columns = {len(re.findall(r"(?<!\\)\|", line)) for line in lines}
    assert columns == {len(tabulate(ranked(tmp_path))[0]) + 1}


def test_importance_is_the_share_of_the_variance_that_a_key_explains(tmp_path: Path) -> None:
    grid = [(a, b, 3.0 * a + 1.0 * b) for a in (0, 1) for b in (0, 1, 2, 3)]
    for index, (a, b, loss) in enumerate(grid):
        write(tmp_path / str(index), {"context": a, "batch": b, "seed": 0}, {"val/loss": loss})
    shares, seeds = measure_importance(
        group_by_setting([load_outcome(path) for path in tmp_path.iterdir()]),
        ["context", "batch"],
        "val/loss",
    )
    told = {share.key: share for share in shares}
    variances = 9 * 0.25, 1.25  # of 3a over two values, of b over four
    assert told["context"].found == pytest.approx(variances[0] / sum(variances))
    assert told["batch"].found == pytest.approx(variances[1] / sum(variances))
    assert told["context"].unbiased == pytest.approx(1 - (1 - variances[0] / sum(variances)) * 7 / 6)
    assert seeds is None


def test_importance_says_when_the_runs_do_not_allow_it(tmp_path: Path) -> None:
    losses(tmp_path, "context", {value: [float(value)] for value in range(5)})
    shares, _ = measure_importance(
        group_by_setting([load_outcome(path) for path in tmp_path.iterdir()]), ["context"], "val/loss"
    )
    assert shares[0].found is None
    assert "5 values in 5 results: too few" in shares[0].remark


def test_a_number_that_never_repeats_is_judged_in_bins_and_the_seed_has_a_share(tmp_path: Path) -> None:
    losses(tmp_path, "context", {value: [float(value), value + 1.0] for value in range(12)})
    together = group_by_setting([load_outcome(path) for path in tmp_path.iterdir()])
    shares, seeds = measure_importance(together, ["context"], "val/loss")
    assert shares[0].found is not None
    results = [value for setting in together for value in setting.figures("val/loss").values()]
    mean = sum(results) / len(results)
    assert seeds == pytest.approx(12 * 0.5 / sum((value - mean) ** 2 for value in results))


def test_comparing_imports_no_torch() -> None:
    code = "import sys, triad.compare, triad.analysis.html_page; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_leaderboard_goes_to_wandb_as_a_table(tmp_path: Path, environment: dict[str, str]) -> None:
    pytest.importorskip("wandb")
    losses(tmp_path, "context", {8: [1.25, 1.75], 9: [2.0]})
    command = [sys.executable, "-m", "triad.compare", str(tmp_path), "wandb=true", "page=board.html"]
    there = environment | {"WANDB_MODE": "offline"}
    done = subprocess.run(command, cwd=tmp_path, env=there, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told = json.loads(next((tmp_path / "wandb").rglob("*.table.json")).read_text())
    assert [row[told["columns"].index("val/loss")] for row in told["data"]] == [1.5, 2.0]


def test_without_wandb_a_sentence_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses(tmp_path, "context", {8: [1.0]})
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(Refusal, match="wandb is not installed; pip install wandb"):
        sending.send_report(ranked(tmp_path), None)


def test_what_only_looks_on_makes_no_other_setting(tmp_path: Path) -> None:
    energy, ema = {"_target_": "triad.callbacks.energy.Energy"}, {"_target_": "triad.callbacks.ema.EMA"}
    for seed, price in enumerate((0.1, 0.3)):
        callbacks = {"energy": energy | {"price": price}, "ema": ema | {"decay": 0.9}}
        write(
            tmp_path / str(seed), {"seed": seed, "callbacks": callbacks}, {"val/loss": 3.0 + seed}, words=[]
        )
    assert [line.setting.figures("val/loss") for line in ranked(tmp_path).lines] == [{0: 3.0, 1: 4.0}]
    callbacks = {"energy": energy, "ema": ema | {"decay": 0.5}}
    write(tmp_path / "2", {"seed": 0, "callbacks": callbacks}, {"val/loss": 3.0}, words=[])
    assert len(ranked(tmp_path).lines) == 2


DAMAGE = {
    "empty": ("config.yaml", b""),
    "null": ("config.yaml", b"null\n"),
    "a list": ("config.yaml", b"[1, 2]\n"),
    "no task": ("config.yaml", b"seed: 0\n"),
    "cut yaml": ("config.yaml", b"task: {_target_: [\n"),
    "no text": ("config.yaml", b"\xff\xfe\x00"),
    "no JSON": ("result.json", b'{"val/loss": 3.'),
    "a JSON list": ("result.json", b"[1]"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_run_is_a_row_and_stops_nothing_else(tmp_path: Path, kind: str, capsys) -> None:
    whole = write(tmp_path / "whole", {"seed": 0}, {"val/loss": 2.0})
    broken = write(tmp_path / "broken", {"seed": 0}, {"val/loss": 1.0})
    name, content = DAMAGE[kind]
    (broken / name).write_bytes(content)
    print_runs([whole, broken])
    _, _, best, unreadable, *notes = capsys.readouterr().out.splitlines()
    assert "the best" in best
    assert str(whole) in best
    assert "unreadable" in unreadable
    assert str(broken) in unreadable
    assert any(f"broken/{name}: damaged" in line for line in notes)


@pytest.mark.parametrize("kind", [kind for kind, (name, _) in DAMAGE.items() if name == "config.yaml"])
def test_a_damaged_run_is_one_sentence_of_each_command(tmp_path: Path, kind: str) -> None:
    from triad.average import average
    from triad.checkpoints.trained import trained
    from triad.diff import diff
    from triad.explain import explain
    from triad.generate import generate
    from triad.noise_scale import noise_scale
    from triad.replay import replay

    run = write(tmp_path / "broken", {}, None)
    (run / "config.yaml").write_bytes(DAMAGE[kind][1])
    calls = [
        lambda: generate(str(run)),
        lambda: explain(["seed"], run=str(run)),
        lambda: diff([str(run), str(run)]),
        lambda: replay(str(run), "1:2"),
        lambda: noise_scale(str(run)),
        lambda: trained(run),
    ]
    for call in calls:
        with pytest.raises(Refusal, match=r"config.yaml: damaged: "):
            call()
    with pytest.raises(FileNotFoundError, match="no checkpoint is there"):
        average(str(run))


def test_a_row_cut_short_is_left_out(tmp_path: Path) -> None:
    run = write(tmp_path / "cut", {}, None)
    (run / "metrics.csv").write_bytes(b"step,train/loss,val/loss\n1,5.0,\n2,4.0\n3,x,1\n4,3.")
    assert [row["step"] for row in Run(run).metrics()] == [1, 2]


def test_a_list_in_brackets_is_data_on_a_terminal(tmp_path: Path, capsys) -> None:
    runs = [
        write(tmp_path / name, {"callbacks": acting}, {"val/loss": loss}, words=[f"callbacks={word}"])
        for name, word, acting, loss in (
            ("[bold]", "[default]", {}, 1.0),
            (":x:", "[default,ema]", {"ema": {"_target_": "triad.callbacks.ema.Ema", "decay": 0.9}}, 2.0),
        )
    ]
    print_runs(runs)
    said = capsys.readouterr().out
    for shown in ("[default]", "[default,ema]", "[bold]", ":x:"):
        assert re.search(rf"[ /]{re.escape(shown)}\s", said)
    assert "{}" not in said


@pytest.mark.parametrize("direction", ["lower", "higher"])
def test_the_best_is_never_what_is_no_number(direction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    nan = float("nan")
    values = [nan, 2.0, 1.0, nan]
    assert find_best(values, float, direction) == (1.0 if direction == "lower" else 2.0)
    assert find_best([nan], float, direction) is None
    rows = [{"step": step, "val/loss": value} for step, value in enumerate(values)]
    assert summarize(rows, "val/loss", direction)["val/loss"] == find_best(values, float, direction)
    checkpoints = {
        Path(str(step)): {"name": "val/loss", "value": value, "better": direction}
        for step, value in enumerate(values)
    }
    monkeypatch.setattr(folder, "read_facts", lambda path: {"metric": checkpoints[path]})
    assert folder._rank([*checkpoints])[-1] == Path("2" if direction == "lower" else "1")


LM = {"task": TASK, "data": {"_target_": "triad.data.sources.stdlib.stdlib"}}
BYTE = {"_target_": "triad.data.tokenizers.byte.byte"}
BPE = {"_target_": "triad.data.tokenizers.learning.bpe", "vocab_size": 300}
LABELS = {"task": {"_target_": "triad.tasks.classification.Classification"}}


def read_on(directory: Path, validation: str, tokenizer: str) -> Path:
    """What a run keeps of its text."""
    (directory / "data.json").write_text(json.dumps({"validation": validation, "tokenizer": tokenizer}))
    return directory


def test_only_what_was_measured_on_the_same_is_ranked(tmp_path: Path) -> None:
    found = {"val/loss": 3.0, "val/bits_per_byte": 2.0}
    read_on(write(tmp_path / "a", LM | {"tokenizer": BYTE}, found, []), "text", "byte")
    read_on(
        write(tmp_path / "b", LM | {"tokenizer": BPE}, {**found, "val/bits_per_byte": 1.0}, []), "text", "x"
    )
    read_on(write(tmp_path / "c", LM | {"tokenizer": BYTE}, found, []), "other text", "byte")
    read_on(write(tmp_path / "d", LM | {"tokenizer": BYTE, "seed": 1}, found, []), "text", "byte")
    write(tmp_path / "e", LABELS, {"val/loss": 0.48}, [])

    def groups(metric: str) -> dict[str, list[list[str]]]:
        return {
            board.title: [[run.directory.name for run in line.setting.runs] for line in board.lines]
            for board in rank_runs(load(tmp_path), metric)
        }

    assert groups("val/loss") == {
        "task causal_lm, data stdlib, tokenizer byte (1)": [["a", "d"]],
        "task causal_lm, data stdlib, tokenizer bpe": [["b"]],
        "task causal_lm, data stdlib, tokenizer byte (3)": [["c"]],
        "task classification": [["e"]],
    }
    assert groups("val/bits_per_byte") == {
        "task causal_lm, data stdlib (1)": [["b"], ["a", "d"]],
        "task causal_lm, data stdlib (2)": [["c"]],
    }
    notes = rank_runs(load(tmp_path), "val/bits_per_byte")[-1].notes
    assert notes == ["without val/bits_per_byte (1): task classification"]
    notes = rank_runs(load(tmp_path), "val/loss")[-1].notes
    assert notes == ["metric=val/bits_per_byte ranks runs with other tokenizers, too"]


def test_a_run_that_has_not_read_its_text_yet_stands_with_those_of_its_configuration(tmp_path: Path) -> None:
    read_on(write(tmp_path / "a", LM | {"tokenizer": BYTE, "context": 8}, {"val/loss": 3.0}), "text", "byte")
    write(tmp_path / "b", LM | {"tokenizer": BYTE, "context": 9}, None)
    assert column(ranked(tmp_path), "against the best") == ["the best", "unfinished"]


def test_each_group_has_the_direction_of_its_own_metric(tmp_path: Path) -> None:
    for name, node in (("lm", LM), ("labels", LABELS)):
        for value in (1.0, 2.0):
            better = {"val/score": "lower" if name == "lm" else "higher"}
            write(
                tmp_path / f"{name}{value:.0f}",
                node | {"context": value},
                {"val/score": value},
                better=better,
            )
    boards = rank_runs(load(tmp_path), "val/score")
    assert [board.lines[0].setting.runs[0].directory.name for board in boards] == ["labels2", "lm1"]


def test_tasks_name_the_figures_that_depend_on_the_tokenizer() -> None:
    """Perplexity is one wherever a task has it, and the loss with it; bits per byte is none."""
    tasks = [
        node["_target_"]
        for path in (CONF / "task").glob("*.yaml")
        if (node := yaml.safe_load(path.read_text()))
    ]
    assert len(tasks) > 5
    for task in tasks:
        figures = read_attribute(task, "lower_is_better") or ()
        expected = ("loss", "perplexity") if "perplexity" in figures else None
        assert read_attribute(task, "per_token") == expected, task


def test_failed_starts_and_made_weights_are_counted_and_trials_stay(tmp_path: Path) -> None:
    write(tmp_path / "run", {"context": 8}, {"val/loss": 1.0})
    for name in ("start", "late", "trial", "swept"):
        write(tmp_path / name, {"model": name}, None, curve=CURVE if name == "late" else [])
        (tmp_path / name / "error.txt").write_text("ValueError: x")
    (tmp_path / "trial" / "run.json").write_text(json.dumps({"starts": [{"command": ["train.py", "-m"]}]}))
    (tmp_path / "sweep").mkdir()
    (tmp_path / "swept").rename(tmp_path / "sweep" / "swept")
    (tmp_path / "sweep" / "sweep.yaml").write_text("")
    write(tmp_path / "run-average", {"context": 8}, None, curve=[])
    (tmp_path / "run-average" / "checkpoints" / "step-00000009").mkdir(parents=True)
    (board,) = rank_runs([load_outcome(path) for path in find_directories([str(tmp_path)], [])], "val/loss")
    names = [line.setting.runs[0].directory.name for line in board.lines]
    assert sorted(names) == ["late", "run", "swept", "trial"]
    assert sorted(board.notes) == [
        "failed starts, left out (1): start",
        "weights made of other runs, left out (1): run-average",
    ]


def test_latex_has_mean_and_interval_in_one_cell_and_the_best_in_bold(tmp_path: Path) -> None:
    losses(tmp_path, "model.hidden_act", {"a_b": [1.0, 2.0], "c&d": [4.0, 4.0], "e": [5.0]})
    lines = to_latex([ranked(tmp_path)]).splitlines()
    assert lines == [
        r"\begin{tabular}{lrrl}",
        r"\toprule",
        r"model.hidden\_act & val/loss $\pm$ 95\% & seeds & against the best \\",
        r"\midrule",
        r"a\_b & \textbf{1.5 $\pm$ 6.4} & 2 & the best \\",
        r"c\&d & 4 $\pm$ 0 & 2 & +2.5 $\pm$ 6.4, within noise \\",
        r"e & 5 & 1 & +4, one seed: no telling \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_csv_has_a_number_in_each_cell_with_all_digits(tmp_path: Path, capsys) -> None:
    losses(tmp_path, "context", {8: [1.0, 2.0 + 1e-9], 9: [3.0]})
    compare([str(tmp_path)], csv="-")
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [float(row["val/loss"]) for row in rows] == [1.5 + 5e-10, 3.0]
    assert float(rows[0]["val/loss ± 95%"]) == estimate_interval([1.0, 2.0 + 1e-9]).half
    assert rows[1]["val/loss ± 95%"] == ""
    assert [row["run"] for row in rows] == [f"{tmp_path}/8-0", f"{tmp_path}/9-0"]


def test_the_curves_of_seeds_are_a_mean_with_a_deviation(tmp_path: Path) -> None:
    for seed, (early, late) in enumerate(((4.0, 2.0), (6.0, 5.0))):
        curve = [{"step": 1, "val/loss": early}, {"step": 3, "val/loss": late}]
        write(tmp_path / f"8-{seed}", {"context": 8, "seed": seed}, {"val/loss": late}, curve=curve)
    write(tmp_path / "9-0", {"context": 9, "seed": 0}, {"val/loss": 3.0})
    compare([str(tmp_path)], plot=str(tmp_path / "c.csv"))
    rows = list(csv.reader((tmp_path / "c.csv").read_text().splitlines()))
    assert rows[0][3:] == ["steps", "val/loss", "mean - deviation", "mean + deviation"]
    band = [[float(cell) for cell in row[3:]] for row in rows if row[1] == "context=8"]
    assert band == [
        pytest.approx([1, 5, 5 - 2**0.5, 5 + 2**0.5]),
        pytest.approx([3, 3.5, 3.5 - 4.5**0.5, 3.5 + 4.5**0.5]),
    ]
    assert [row[3:] for row in rows if row[1] == "context=9"] == [["9.0", "3.0", "", ""]]


@pytest.mark.parametrize(("suffix", "begins"), [("pdf", b"%PDF"), ("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_curves_are_drawn(tmp_path: Path, suffix: str, begins: bytes) -> None:
    losses(tmp_path / "runs", "context", {8: [1.0, 2.0], 9: [3.0]})
    compare([str(tmp_path / "runs")], plot=str(tmp_path / f"c.{suffix}"), over="tokens")
    assert (tmp_path / f"c.{suffix}").read_bytes().startswith(begins)
    with pytest.raises(Refusal, match=r"the name ends in one of \.pdf, \.png, \.svg, \.csv"):
        compare([str(tmp_path / "runs")], plot="c.doc")
    with pytest.raises(Refusal, match="no run has logged val/loss over seconds"):
        compare([str(tmp_path / "runs")], plot="c.pdf", over="seconds")
