"""Run identity: what is mathematics, where values come from, whether two runs must coincide and do."""

import json
import math
from functools import cache
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from tests.conftest import REPOSITORY
from triad.config.compose import compose, compose_with_origins, top_level_keys
from triad.config.errors import Refusal
from triad.config.identity import MATHEMATICS, MIXED, OVERLAYS, SYSTEM, fingerprints, is_mathematics, leaves
from triad.config.locations import CONF
from triad.config.offers import list_groups
from triad.diff import diff
from triad.explain import explain
from triad.runs import divergence
from triad.runs.start import prepare_run

BASE = ("trainer.accelerator=cpu", "precision=fp32")
SAME = (
    "strategy=ddp trainer.devices=2",
    "hardware.micro_batch_size=2 hardware.compile=true",
    "logger=csv tags=[x] trainer.log_every_n_steps=3",
    "callbacks=[default,gradient_check,record] callbacks.sample.length=3 callbacks.checkpoint.keep=9",
    "trainer.val_check_interval=7",
)
OTHER = (
    "model.width=96",
    "optimizer.lr=1e-3",
    "seed=1 context=128",
    "precision=fp64",
    "trainer.max_steps=5",
    "trainer.limit_val_batches=1",
    "callbacks=[default,ema]",
    "batch.size=16",
    "scheduler.final=0.1 clip=none",
)


@cache
def config_of(words: str = "") -> dict:
    """The configuration for some words; composed once."""
    return compose([*BASE, *words.split()])


@cache
def known(words: str = "") -> tuple[dict, dict]:
    """Configuration and origins for some words; composed once."""
    return compose_with_origins([*BASE, *words.split()])


def test_every_key_and_group_of_the_configuration_is_classified_once() -> None:
    groups = {*list_groups().values()}
    keys = set(yaml.safe_load((CONF / "train.yaml").read_text())) - {"defaults", "hydra"}
    assert keys == top_level_keys().keys()
    classified = [*MATHEMATICS, *SYSTEM, *MIXED, *OVERLAYS]
    assert sorted(classified) == sorted(groups | {*SYSTEM} & keys)
    # mathematics, unless said
    ours = {"context", "epochs", "pad_vocab_to_multiple_of", "packing", "shuffle", "decay", "seed", "weights"}
    assert keys - {*SYSTEM} == ours


def test_of_the_trainer_only_what_changes_figures_is_mathematics() -> None:
    config = config_of()
    found = {key for key, _ in leaves({"trainer": config["trainer"]}) if is_mathematics(key, config)}
    changing = ("max_steps", "max_epochs", "limit_val_batches", "overfit_batches")
    assert found == {f"trainer.{key}" for key in changing}


@pytest.mark.parametrize("words", ["scheduler=plateau", "callbacks=[default,early_stopping]"])
def test_when_a_run_validates_is_mathematics_where_something_acts_on_it(words: str) -> None:
    assert is_mathematics("trainer.val_check_interval", config_of(words))


@pytest.mark.parametrize("words", SAME)
def test_another_system_has_the_fingerprint_of_the_same_mathematics(words: str) -> None:
    ours, theirs = fingerprints(config_of(words)), fingerprints(config_of())
    assert ours["mathematics"] == theirs["mathematics"]
    assert ours["system"] != theirs["system"]


@pytest.mark.parametrize("words", OTHER)
def test_other_mathematics_has_another_fingerprint(words: str) -> None:
    ours, theirs = fingerprints(config_of(words)), fingerprints(config_of())
    assert ours["mathematics"] != theirs["mathematics"]


def test_a_key_that_is_null_is_like_one_that_is_absent() -> None:
    config = config_of()
    assert fingerprints(config | {"novel": None, "strategy": config["strategy"] | {"novel": None}}) == (
        fingerprints(config)
    )


def test_what_is_not_known_is_taken_for_mathematics() -> None:
    config = config_of() | {"callbacks": {"mine": {"_target_": "torch.nn.Identity"}}, "novel": 1}
    for key in ("callbacks.mine._target_", "trainer.novel", "novel"):
        assert is_mathematics(key, config)


@pytest.mark.parametrize(
    "words",
    [
        "",
        "debug=tiny model=moe router=switch model.norm={eps:1e-6} +trainer.benchmark=false decay=[matrix]",
        "experiment=shakespeare_char model.depth=3",
        "model=bert_base task=masked_lm strategy=mesh strategy.data_shard=1",
        "model=t5_small task=copy callbacks=[default,early_stopping]",
    ],
)
def test_every_value_has_an_origin_which_says_just_that(words: str) -> None:
    config, chains = known(words)
    for key, value in leaves(config):
        origin = chains[key][0]
        while origin.refers:
            assert origin.text.startswith("${")
            key, origin = origin.refers, chains[origin.refers][0]
        read = OmegaConf.from_dotlist([f"said={origin.text}"]).said
        assert value in (origin.text, read), key
        if origin.where.startswith("conf/"):
            name, _, line = origin.where.rpartition(":")
            assert key.rpartition(".")[2] in (REPOSITORY / name).read_text().splitlines()[int(line) - 1]


def test_what_is_typed_stands_over_an_overlay_and_that_over_a_group_and_that_over_a_default() -> None:
    _, chains = known("debug=tiny batch.size=6")
    wheres = [origin.where.partition(":")[0] for origin in chains["batch.size"]]
    assert wheres == ["command line", "conf/debug/tiny.yaml", "conf/batch/fixed.yaml"]
    assert [origin.text for origin in chains["batch.size"]] == ["6", "4", "8"]
    assert chains["optimizer.amsgrad"][0].where == "the default of torch.optim.AdamW"


def test_explain_follows_a_reference_and_tells_what_the_argument_is_for(capsys) -> None:
    explain(["scheduler.steps", "scheduler.final", "hardware.compile", "trainer.max_steps=77"])
    said = capsys.readouterr().out
    assert "scheduler.steps = 77   (mathematics)" in said
    assert "that is trainer.max_steps\n        command line: trainer.max_steps=77" in said
    assert "triad.schedules.learning_rate.wsd: Warm up, stay at 1, and fall to `final`" in said
    assert "hardware.compile = False   (system)" in said
    assert "# buys 5 % on a CPU" in said


def test_explain_answers_an_unknown_key_with_the_nearest(tmp_path: Path) -> None:
    for words, sentence in (
        (["optimizer.lrr"], "did you mean optimizer.lr"),
        (["modle.width"], "did you mean model.width"),
        ([], "name a key"),
    ):
        with pytest.raises(Refusal, match=sentence):
            explain(words)
    _run(tmp_path / "a", config_of(), [])
    with pytest.raises(Refusal, match="has its own words"):
        explain(["seed", "seed=1"], run=str(tmp_path / "a"))
    with pytest.raises(Refusal, match="it has no origins"):
        explain(["seed"], run=str(tmp_path / "a"))


CURVE = [{"step": step, "train/loss": 5 / step, "perf/tokens_per_s": 100.0 * step} for step in (1, 2, 3)]


def _run(directory: Path, config: dict, rows: list[dict], text: str | None = "abc", chains=None) -> Path:
    """A run's directory as a start leaves it, with a curve."""
    prepare_run(config | {"output_dir": str(directory.parent), "run_id": directory.name}, [], chains)
    if text:
        (directory / "data.json").write_text(json.dumps({"tokens": text}))
    if rows:
        names = list(rows[0])
        lines = [",".join(names), *(",".join(repr(row[name]) for name in names) for row in rows)]
        (directory / "metrics.csv").write_text("\n".join(lines) + "\n")
    return directory


def _scaled(by: float) -> list[dict]:
    return [row | {"train/loss": row["train/loss"] * (by if row["step"] > 1 else 1)} for row in CURVE]


DATA = "data=text data.path={}"


@pytest.mark.parametrize(
    ("words", "curve", "text", "said", "code"),
    [
        (("", ""), 1.0, "abc", "must coincide bit for bit", 0),
        (("", ""), 1 + 1e-9, "abc", "must coincide bit for bit", 1),
        (("", "strategy=ddp trainer.devices=2"), 1 + 1e-6, "abc", "must coincide but for rounding", 0),
        (("", "strategy=ddp trainer.devices=2"), 1.01, "abc", "must coincide but for rounding", 1),
        (("model.dropout=0.1", "model.dropout=0.1 strategy=ddp"), 1.0, "abc", "may differ", 0),
        (("", "optimizer.lr=1e-3"), 1.0, "abc", "need not coincide: other mathematics", 1),
        (("", ""), 1.0, "other", "need not coincide: other text", 1),
        (("", ""), 1.0, None, "may differ: the text", 0),
        ((DATA.format("a.txt"), DATA.format("b.txt")), 1.0, "abc", "must coincide bit for bit", 0),
        ((DATA.format("a.txt"), DATA.format("b.txt")), 1.0, "other", "other mathematics and text", 1),
    ],
)
def test_two_runs_must_coincide_as_their_passports_and_do_as_their_curves_say(
    tmp_path: Path, capsys, words, curve: float, text, said: str, code: int
) -> None:
    one = _run(tmp_path / "a", config_of(words[0]), CURVE)
    other = _run(tmp_path / "b", config_of(words[1]), _scaled(curve), text)
    with pytest.raises(SystemExit) as end:
        diff([str(one), str(other)])
    shown = capsys.readouterr().out
    assert said in shown
    assert end.value.code == code
    equal = "equal bit for bit in all 3 figures of the 3 steps"
    assert (equal if curve == 1 else "the first bit that differs is in train/loss of step 2") in shown


def test_the_keys_that_differ_are_shown_with_both_values_and_where_they_come_from(
    tmp_path: Path, capsys
) -> None:
    for name, words in (("a", ""), ("b", "optimizer.lr=1e-3")):
        config, chains = known(words)
        _run(tmp_path / name, config, CURVE, chains=chains)
    with pytest.raises(SystemExit):
        diff([str(tmp_path / "a"), str(tmp_path / "b")])
    shown = capsys.readouterr().out
    assert "    a: 0.004   conf/optimizer/adamw.yaml:4\n" in shown
    assert "    b: 0.001   command line: optimizer.lr=1e-3\n" in shown
    explain(["optimizer.lr"], run=str(tmp_path / "b"))
    assert "over conf/optimizer/adamw.yaml:4   4e-3" in capsys.readouterr().out


@pytest.mark.parametrize("change", ["code", "processor", "torch", "precision", "resumed"])
def test_other_code_another_machine_and_other_starts_are_told(tmp_path: Path, capsys, change: str) -> None:
    one, other = (_run(tmp_path / name, config_of(), CURVE) for name in "ab")
    path = other / "run.json"
    kept = json.loads(path.read_text())
    if change == "resumed":
        kept["starts"].append(kept["starts"][0] | {"mathematics": "another"})
    elif change == "precision":
        for run, choice in ((one, "32-true"), (other, "bf16-mixed")):
            (run / "machine.json").write_text(json.dumps({"precision": {"choice": choice}}))
    else:
        {"code": kept, "processor": kept["machine"], "torch": kept["versions"]}[change][change] = "another"
    path.write_text(json.dumps(kept))
    with pytest.raises(SystemExit) as end:
        diff([str(one), str(other)])
    verdict = {
        "code": ("need not coincide: other code", 1),
        "processor": ("must coincide but for rounding: the same mathematics", 0),
        "torch": ("must coincide but for rounding: the same mathematics", 0),
        "precision": ("need not coincide: other mathematics", 1),
        "resumed": ("may differ: b was resumed with other mathematics", 0),
    }[change]
    assert verdict[0] in capsys.readouterr().out
    assert end.value.code == verdict[1]


def test_a_passport_names_machine_versions_environment_and_code(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("NCCL_ALGO", "Ring")
    monkeypatch.setenv("SECRET_TOKEN", "unspoken")
    run = _run(tmp_path / "a", config_of("hardware.threads=3"), CURVE)
    kept = json.loads((run / "run.json").read_text())
    assert kept["environment"]["NCCL_ALGO"] == "Ring"
    assert "unspoken" not in (run / "run.json").read_text()
    assert kept["machine"]["threads"] == 3
    assert kept["machine"]["processor"]
    assert {"torch", "lightning", "hydra-core", "numpy", "omegaconf"} <= kept["versions"].keys()
    assert len(kept["code"]) == len(kept["mathematics"]) == len(kept["system"]) == 32


def test_diff_wants_two_runs_that_are_there(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="name two runs"):
        diff(["outputs/a"])
    with pytest.raises(FileNotFoundError, match="no run is there"):
        diff([str(tmp_path / "a"), str(tmp_path / "b")])


def test_figures_part_where_one_is_not_a_number_and_not_where_both_are_or_in_speed() -> None:
    ours = [{"step": 1, "b": math.nan, "train/loss": 0.0, "perf/tokens_per_s": 1.0, "only": 1.0}]
    theirs = [{"step": 1, "b": math.nan, "train/loss": 0.0, "perf/tokens_per_s": 2.0}, {"step": 2, "b": 1.0}]
    figures = [*divergence.pair_figures(ours, theirs)]
    assert [figure.key for figure in figures] == ["train/loss", "b"]
    assert divergence.find_first(figures) is None
    other = [{"step": 1, "b": 1.0, "train/loss": 0.0}]
    found = divergence.find_first([*divergence.pair_figures(ours, other)], tolerance=0.5)
    assert found is not None
    assert found.apart == math.inf
