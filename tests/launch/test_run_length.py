"""A run whose length is a time gets a number of steps, once, before it begins."""

import json
from pathlib import Path

import pytest
from hydra import initialize_config_dir

from triad.config.compose import (
    compose,
    compose_unchecked,
    compose_with_origins,
    read_time,
    validate,
)
from triad.config.errors import Refusal
from triad.config.locations import CONF
from triad.curves import curves
from triad.explain import describe_key
from triad.launch.run_length import configure_count, configure_probe, finish_probe, record_pace
from triad.runs.directory import Run, read_json
from triad.storage.durable import write
from triad.verify.runner import run_own

SHORT = (
    "debug=tiny",
    "trainer.accelerator=cpu",
    "precision=fp32",
    "model.width=32",
    "model.attention.heads=2",
)


@pytest.mark.parametrize(("length", "seconds"), [("5min", 300), ("90s", 90), ("1.5h", 5400), ("0min", None)])
def test_a_time_is_read_with_its_unit(length: str, seconds: float | None) -> None:
    assert read_time(length) == seconds
    assert read_time(5) is read_time("5") is read_time("5minutes") is None


def test_all_that_follows_from_the_length_gets_the_measured_number() -> None:
    words = ["experiment=speedrun", "batch.size=8"]
    assert compose(words)["trainer"]["max_steps"] == "5min"
    assert compose([*words, "trainer.max_steps=40"])["scheduler"]["steps"] == 40
    assert compose([*words, "debug=tiny"])["trainer"]["max_steps"] == 10
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = compose_unchecked(words)
        assert validate(*composed)["scheduler"]["steps"] == "5min"
        measured = validate(*composed, steps=77)
        assert measured["trainer"]["max_steps"] == measured["scheduler"]["steps"] == 77
        assert validate(*composed)["trainer"]["max_steps"] == "5min"
        composed = compose_unchecked([*words, "scheduler.warmup=500"])
        validate(*composed)
        with pytest.raises(Refusal, match=r"scheduler.warmup=500.0 is longer than trainer.max_steps=77"):
            validate(*composed, steps=77)


def test_what_does_not_measure_says_so_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"trainer.max_steps=5min needs a batch of one size: use batch=fixed"):
        compose(["trainer.max_steps=5min", "batch=ramp"])
    for command in (
        lambda: curves(["trainer.max_steps=5min"], to=str(tmp_path / "curves.png")),
        lambda: run_own(["debug=overfit", "trainer.max_steps=5min"], tmp_path),
    ):
        with pytest.raises(Refusal, match=r"trainer.max_steps=5min is measured by train.py"):
            command()
    for word in ("trainer.max_steps=5minutes", "trainer.max_steps=0min"):
        with pytest.raises(Refusal, match=r"trainer.max_steps="):
            compose([word])


def test_a_probe_trains_as_its_run_does_and_leaves_its_choices(tmp_path: Path) -> None:
    words = ["trainer.max_steps=5min", "callbacks=[default,ema]", f"output_dir={tmp_path}", "run_id=a"]
    config = compose(words)
    short = configure_probe(config, 300.0)
    assert short["callbacks"].keys() == {"ema", "pace"}
    assert short["callbacks"]["pace"]["seconds"] == pytest.approx(9.0)
    assert {key for key in config if short[key] != config[key]} == {
        "run_id",
        "callbacks",
        "logger",
        "trainer",
    }
    probe, run = Run(tmp_path / short["run_id"]), Run(tmp_path / "a")
    for folder in (probe, run):
        folder.path.mkdir()
    with pytest.raises(Refusal, match="measured nothing"):
        finish_probe(probe, "5min")
    probe.finish({"steps_per_s": 9.1})
    write(probe.machine_file, {"attention": {"choice": "flash"}, "precision": {"choice": "bf16-mixed"}})
    write(run.machine_file, {"precision": {"choice": "32-true"}})  # of a run that is made longer
    steps, pace, choices = finish_probe(probe, "5min")
    assert steps == 2730
    record_pace(run, pace, choices)
    kept = read_json(run.machine_file)
    assert {name: one["choice"] for name, one in kept.items()} == {
        "attention": "flash",
        "precision": "32-true",
        "trainer.max_steps=5min": "2730",
    }
    assert not probe.path.exists()


def test_the_length_is_measured_once_and_kept_when_a_run_goes_on(train, tmp_path: Path) -> None:
    words = ("-m", *SHORT, "trainer.max_steps=0.2s", "trainer.val_check_interval=99999", "seed=0")
    done = train(*words)
    (passport,) = (tmp_path / "outputs").rglob("run.json")
    assert not list((tmp_path / "outputs").rglob(".pace*"))
    run, steps = Run(passport.parent), Run(passport.parent).config()["trainer"]["max_steps"]
    assert f"trainer.max_steps={steps}: 0.2s at " in done.stdout
    assert run.config()["scheduler"]["steps"] == steps == run.result()["steps"]
    assert run.overrides()[-1] == f"trainer.max_steps={steps}"
    run.result_file.unlink()
    again = train(*words)
    assert "measuring" not in again.stdout
    assert run.config()["trainer"]["max_steps"] == steps == run.result()["steps"]
    late = train(*SHORT, "trainer.max_steps=0.1s", "scheduler.warmup=99999", code=2)
    assert "scheduler.warmup=99999.0 is longer than trainer.max_steps=" in late.stderr
    assert [*(tmp_path / "outputs").rglob("run.json")] == [passport]
    assert "command line" in json.dumps(read_json(run.origins_file)["trainer.max_steps"][0])


def test_all_that_follows_from_epochs_gets_the_number_of_their_steps() -> None:
    words = ["experiment=speedrun", "epochs=3"]  # whose own length is a time
    config = compose(words)
    assert config["epochs"] == 3
    assert config["trainer"]["max_steps"] == config["scheduler"]["steps"] == "3 epochs"
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = compose_unchecked(words)
        counted = validate(*composed, steps=77)
        assert counted["epochs"] is None
        assert counted["trainer"]["max_steps"] == counted["scheduler"]["steps"] == 77
        assert validate(*composed)["scheduler"]["steps"] == "3 epochs"


@pytest.mark.parametrize(
    ("words", "said"),
    {
        ("epochs=0",): "epochs=0: must be above 0",
        ("epochs=many",): "epochs=many: input should be a valid number",
        ("epochs=2", "batch=ramp"): "epochs=2 needs a batch of one size: use batch=fixed",
    }.items(),
)
def test_epochs_that_are_none_are_refused(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(Refusal, match=said):
        compose([*words])


def test_epochs_are_counted_by_train_alone(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"epochs=3 is measured by train.py"):
        curves(["epochs=3"], to=str(tmp_path / "curves.png"))


def test_what_the_length_of_a_run_of_epochs_follows_from_is_explained() -> None:
    config, chains = compose_with_origins(["epochs=3"])
    said = "\n".join(describe_key("scheduler.steps", config, chains))
    assert said.startswith("scheduler.steps = 3 epochs")
    assert "counted by train.py   3 epochs" in said
    assert "command line: epochs=3" in said


def test_a_count_has_one_process_and_no_callbacks(tmp_path: Path) -> None:
    config = compose(
        ["epochs=0.5", "strategy=ddp", "trainer.devices=2", "trainer.accelerator=cpu", "run_id=a"]
    )
    short = configure_count(config | {"output_dir": str(tmp_path)}, 0.5)
    assert (short["epochs"], short["trainer"]["devices"], short["callbacks"]) == (0.5, 1, {})
    probe = Run.of(short)
    probe.path.mkdir()
    probe.finish({"steps": 12, "rows": 96})
    assert finish_probe(probe, "0.5 epochs")[:2] == (
        12,
        {"trainer.max_steps=0.5 epochs": {"choice": "12", "steps": 12, "rows": 96}},
    )


EPOCHS = ("trainer.val_check_interval=99999", "trainer.limit_val_batches=1", "callbacks=[default]")


def test_a_run_of_epochs_reads_each_row_as_often_and_records_its_steps(train, tmp_path: Path) -> None:
    book = tmp_path / "book.txt"
    book.write_text("".join(f"line {number} of a book\n" for number in range(60)))
    words = (*SHORT, *EPOCHS, "data=text", f"data.path={book}", "run_id=a")
    done = train(*words, "epochs=2")
    run = Run(tmp_path / "outputs" / "a")
    steps = run.config()["trainer"]["max_steps"]
    assert f"trainer.max_steps={steps}: 2 epochs of " in done.stdout
    assert not list((tmp_path / "outputs").glob(".epochs*"))
    assert run.config()["epochs"] is None
    assert run.config()["scheduler"]["steps"] == steps == run.result()["steps"]
    assert run.overrides()[-1] == f"trainer.max_steps={steps}"
    assert not [word for word in run.overrides() if word.startswith("epochs=")]
    tokens = run.metrics()[-1]["train/tokens"]
    text = book.read_bytes()
    assert tokens >= 2 * 0.9 * (len(text) - 40)  # the last tenth is validated on
    assert tokens - 2 * 0.9 * len(text) < 4 * 32  # less than a step more
    longer = train("resume=outputs/a", "epochs=3")
    assert "trainer.max_steps=" in longer.stdout
    assert run.config()["trainer"]["max_steps"] == run.result()["steps"] == round(1.5 * steps) or steps % 2
    late = train(*words, "run_id=b", "epochs=2", "trainer.max_steps=5", code=2)
    assert "epochs=2 and trainer.max_steps=5 both say how long the run is" in late.stderr
