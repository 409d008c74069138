"""What a resume is composed of: the run's own configuration, changed by words, whatever the run is called."""

import hashlib
import json
import re
from pathlib import Path

import pytest
import yaml
from hydra.errors import HydraException

from tests.checkpoints.written import written
from tests.runs.test_directory import TINY, losses
from triad.config.changes import change, read_flags
from triad.config.compose import compose, compose_written, validate
from triad.config.errors import Refusal
from triad.config.locations import TRAIN
from triad.config.messages import explain_error
from triad.config.own_code import permitting
from triad.launch import command
from triad.launch.resume import Resume, drop_repeated, find_resume, refuse_taken
from triad.runs.directory import Run
from triad.runs.start import prepare_run
from triad.storage.locks import hold
from triad.storage.manifest import read_manifest, write_manifest

SHORT = (*TINY, "trainer.max_steps=2", "scheduler.warmup=0", "scheduler=constant")
NAMES = (
    *(
        "2024_01_05",
        "1e-3",
        "null",
        "true",
        "José",
        "数据",
        "run (1)",
        "a#b",
        "it's",
        "x,y",
        "p=q",
        'say "a"',
    ),
    *("back\\slash", "[a]", "{b}", "~", "a b ", "${seed}", "-m", "auto"),
)


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The directories whose ranks `train.py` would have started in this process."""
    found: list[Path] = []

    def launch(script: str, run: Path, *_: float) -> int:
        found.append(run)
        return 0

    monkeypatch.setattr(command, "launch_ranks", launch)
    return found


def started(*words: str) -> int:
    """The exit code of `train.py` with some words that name a run to resume."""
    with permitting(list(words)) as typed:
        resume = find_resume(typed)
        assert resume is not None
        return command._resume(lambda **_: None, str(TRAIN), resume, typed)


def begun(path: Path, *words: str) -> Run:
    """A run that has logged a step and no more, as train.py writes it."""
    run = failed(path, *words)
    run.metrics_file.write_text("step,train/loss\n1,5.0\n")
    return run


def failed(path: Path, *words: str) -> Run:
    """A run whose start failed before its first step."""
    words = (*words, *([] if "debug=tiny" in words else ["debug=tiny"]))
    place = {"run_id": path.name, "output_dir": str(path.parent)}
    asked, choices = compose_written([*words])
    return prepare_run(compose([*words]) | place, [*words], {"seed": []}, asked | place, choices)


def changed(run: Run, *words: str) -> dict:
    """The configuration that a resume of a run comes to."""
    resume = Resume(run, False)
    found = change(resume.read_base([]), resume.read_choices(), [*words])
    return validate(found.composed, found.choices)


def hashes(run: Path) -> dict[str, str]:
    """Of every file of a run but what a start keeps for itself."""
    own = (".pending", ".lock")
    files = [
        path for path in run.rglob("*") if path.is_file() and not {*path.relative_to(run).parts} & {*own}
    ]
    return {str(file.relative_to(run)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.parametrize("name", NAMES)
def test_the_directory_of_a_resumed_run_is_the_one_that_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launched: list[Path], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    begun(Path("out puts, José", name))
    assert started(f"resume=out puts, José/{name}", "trainer.max_steps=40") == 0
    assert launched == [Path("out puts, José", name)]
    run = Run(launched[0])
    run.accept()
    assert (run.config()["run_id"], run.config()["output_dir"]) == (name, "out puts, José")
    assert run.config()["scheduler"]["steps"] == 40
    assert [path.name for path in Path().iterdir()] == ["out puts, José"]


def test_a_run_is_resumed_from_within_and_as_a_copy_where_it_was_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launched: list[Path]
) -> None:
    run = begun(tmp_path / "outputs" / "a")
    monkeypatch.chdir(run.path)
    started("resume=.")
    assert launched.pop() == run.path
    moved = tmp_path / "elsewhere" / "b"
    moved.parent.mkdir()
    run.path.rename(moved)
    monkeypatch.chdir(tmp_path)
    started("resume=elsewhere/b/")
    assert launched == [Path("elsewhere/b")]
    assert not (tmp_path / "outputs" / "a").exists()


def test_references_follow_their_key_and_typed_values_stay(tmp_path: Path) -> None:
    run = begun(tmp_path / "a", "model=moe", "optimizer.lr=0.5", "callbacks=[default,ema]", "batch.size=8")
    config = changed(run, "trainer.max_steps=40", "trainer.val_check_interval=7")
    assert config["scheduler"]["steps"] == 40
    assert config["callbacks"]["checkpoint"]["every_steps"] == 7
    assert config["optimizer"]["lr"] == 0.5
    assert config["batch"]["size"] == 8
    assert "router" not in config
    assert config["model"] == run.config()["model"]
    assert changed(run) == run.config()


@pytest.mark.parametrize(
    "words",
    [
        ("optimizer=sgd",),
        ("callbacks=[default,early_stopping]", "callbacks.early_stopping.patience=7"),
        ("router=switch",),
        ("model.feedforward.router=switch",),
        ("experiment=shakespeare_char", "data=stdlib", "precision=fp32", "batch=fixed"),
        ("scheduler=cosine", "trainer.max_steps=40", "scheduler.warmup=3"),
        ("~callbacks.sample", "+trainer.benchmark=true", "logger=[]"),
        ("model.norm={_target_:torch.nn.LayerNorm,bias:true}",),
    ],
    ids=lambda words: words[0],
)
def test_words_change_a_run_as_if_they_had_been_typed_at_its_start(tmp_path: Path, words: tuple) -> None:
    at_first = ("model=moe", "seed=3", "tags=[x]")
    run = begun(tmp_path / "a", *at_first)
    place = {"run_id": "a", "output_dir": str(tmp_path)}
    fresh = compose([*at_first, "debug=tiny", *words]) | place
    if words[0].startswith("experiment"):  # its keys come last here, and debug=tiny's there
        found = changed(run, *words)
        assert (
            found["trainer"]["max_steps"] == compose(["experiment=shakespeare_char"])["trainer"]["max_steps"]
        )
        assert found["batch"] == fresh["batch"]
        return
    assert changed(run, *words) == fresh


def test_what_the_machine_decided_is_asked_of_the_next_machine(tmp_path: Path, monkeypatch) -> None:
    run = begun(tmp_path / "a", "strategy=fsdp", "trainer.accelerator=cpu", "+trainer.profiler=null")
    assert run.config()["trainer"]["devices"] == 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    config = changed(run)
    assert (config["trainer"]["devices"], config["trainer"]["num_nodes"]) == (2, 2)
    assert config["strategy"]["data_shard"] == 4
    assert run.passport()["asked"] == {"strategy.data_shard": -1, "trainer.devices": "auto"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["trainer.max_stesp=3"], r"did you mean trainer\.max_steps"),
        (["optimizer=adamm"], "did you mean adam"),
        (["hydra.run.dir=x"], "only the run's own keys and groups"),
        (["optimizer@model=sgd"], "only the run's own keys and groups|Could not override"),
        (["seed=0,1"], "Ambiguous value"),
        (["tags=[${oc.env:HOME}]"], "type the value"),
        (["model._target_=os.system"], "os.system is not allowed"),
        (["router=switch"], "no experts|refers to it"),
    ],
)
def test_a_mistake_beside_resume_is_one_sentence(tmp_path: Path, words: list[str], sentence: str) -> None:
    run = begun(tmp_path / "a")
    with pytest.raises((ValueError, HydraException)) as caught:
        changed(run, *words)
    assert re.search(sentence, explain_error(caught.value) or "")


@pytest.mark.parametrize(
    "words",
    [
        ["-m"],
        ["--multirun", "seed=0,1"],
        ["--experimental-rerun=evil.pickle"],
        ["--cfg", "hydra"],
        ["--package", "x"],
        ["--info"],
        ["--config-name=evil"],
        ["--config-path", "evil"],
        ["--hydra-help"],
        ["--unknown"],
    ],
)
def test_options_of_hydra_beside_resume_are_refused(words: list[str]) -> None:
    with pytest.raises(Refusal, match="beside resume= are known --config-dir DIR and --cfg job"):
        read_flags(["resume=outputs/a", *words])


def test_a_folder_of_files_serves_one_resume(tmp_path: Path, monkeypatch, launched: list[Path]) -> None:
    folder = tmp_path / "conf"
    (folder / "experiment").mkdir(parents=True)
    overlay = (
        "# @package _global_\ndefaults:\n  - override /optimizer: lion\noptimizer:\n  lr: 1e-3\nseed: 7\n"
    )
    (folder / "experiment" / "mine.yaml").write_text(overlay)
    run = begun(tmp_path / "a")
    with pytest.raises(Refusal, match="seed is not what the run was started with"):
        started(f"resume={run}", "--config-dir", str(folder), "experiment=mine")
    (folder / "experiment" / "mine.yaml").write_text(overlay.replace("seed: 7", "tags: [mine]"))
    started(f"resume={run}", "--config-dir", str(folder), "experiment=mine", "optimizer.weight_decay=0.5")
    run.accept()
    config = run.config()
    assert config["optimizer"]["_target_"].endswith("Lion")
    assert (config["optimizer"]["lr"], config["optimizer"]["weight_decay"]) == (1e-3, 0.5)
    assert config["tags"] == ["mine"]
    started(f"resume={run}", "trainer.max_steps=11")  # what it had is in its configuration
    assert len(launched) == 2


def test_a_place_beside_resume_is_refused_and_beside_weights_only_is_the_new_runs(
    tmp_path: Path, launched: list[Path]
) -> None:
    run = begun(tmp_path / "a")
    for word in ("run_id=b", f"output_dir={tmp_path / 'x'}"):
        with pytest.raises(Refusal, match="continues the run where it lies"):
            started(f"resume={run}", word)
    with pytest.raises(FileNotFoundError, match="no checkpoint is there"):
        started(f"resume={run}", "resume.weights_only=true", "run_id=b")
    assert not (tmp_path / "b" / "run.json").exists()
    assert not launched


def test_words_that_a_start_was_given_have_had_their_effect(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("sys.argv", ["train.py", "run_id=a", "resume=auto", "trainer.max_steps=5min"])
    run = begun(tmp_path / "a")
    words = ["run_id=a", "resume=auto", "trainer.max_steps=5min", "strategy=ddp"]
    assert drop_repeated(words, run) == ["strategy=ddp"]


def test_a_name_is_needed_to_continue_or_start_a_run() -> None:
    for words in (["resume=auto"], ["resume=auto", "resume.weights_only=true", "run_id=a"]):
        with pytest.raises(Refusal, match=r"add run_id=\.\.\."):
            find_resume(words)


def test_a_requeued_job_starts_its_run_and_then_continues_it(train, tmp_path: Path) -> None:
    words = (*SHORT, "run_id=2024_01_05", "resume=auto")
    assert "resuming" not in train(*words).stdout
    done = train(*words, "tags=[again]")
    assert "resuming outputs/2024_01_05 at step 2" in done.stdout
    assert yaml.safe_load((tmp_path / "outputs/2024_01_05/config.yaml").read_text())["tags"] == ["again"]
    assert [path.name for path in (tmp_path / "outputs").iterdir()] == ["2024_01_05"]


def test_a_refused_resume_leaves_every_byte_as_it_was(train, tmp_path: Path) -> None:
    run = tmp_path / "out (1), José" / "2024_01_05"
    train(*SHORT, "run_id=2024_01_05", "output_dir=out (1), José")
    (run / "result.json").unlink()  # as after a kill
    before = hashes(run)
    for words in (["optimizer=adagrad", "trainer.max_steps=4"], ["model.depth=3"], ["trainer.max_stesp=4"]):
        said = train(f"resume={run.relative_to(tmp_path)}", *words, code=2).stderr
        assert said.count("error: ") == 1
        assert hashes(run) == before
    train(f"resume={run.relative_to(tmp_path)}", "trainer.max_steps=3")
    assert losses(run).keys() == {1, 2, 3}
    assert not (run / ".pending").exists()
    assert not (run / "error.txt").exists()
    assert json.loads((run / "overrides.json").read_text())[-1] == "trainer.max_steps=3"
    assert len(json.loads((run / "run.json").read_text())["starts"]) == 2


RECORD = ("config.yaml", "metrics.json", "origins.json", "overrides.json", "code.diff", "run.json")


@pytest.mark.parametrize("kept", range(len(RECORD) + 1))
def test_a_refused_resume_or_kill_while_the_record_is_put_in_place_loses_nothing(
    tmp_path: Path, launched: list[Path], kept: int
) -> None:
    run = begun(tmp_path / "a")
    started(f"resume={run}", "trainer.max_steps=40")
    assert {path.name for path in run.pending.iterdir()} == {*RECORD}
    assert run.config()["trainer"]["max_steps"] == 10
    assert run.arguments()["scheduler"]["steps"] == 40
    run.pending.rename(run.accepted)  # a kill within `accept`, after some files
    for name in RECORD[:kept]:
        (run.accepted / name).rename(run.path / name)
    assert run.exists
    assert run.config()["trainer"]["max_steps"] == 40
    started(f"resume={run}", "trainer.val_check_interval=3")
    run.accept()
    assert not run.accepted.exists()
    config = run.config()
    assert (config["trainer"]["max_steps"], config["trainer"]["val_check_interval"]) == (40, 3)
    assert run.overrides()[-2:] == ["trainer.max_steps=40", "trainer.val_check_interval=3"]


@pytest.mark.parametrize("kept", range(len(RECORD)))
def test_a_start_that_was_killed_while_it_wrote_is_started_again(tmp_path: Path, kept: int) -> None:
    run = begun(tmp_path / "outputs" / "a")
    for name in RECORD[kept:]:
        (run.path / name).unlink()
    assert not run.exists
    config = compose([*SHORT, "seed=4"]) | {"run_id": "a", "output_dir": str(run.path.parent)}
    assert prepare_run(config, []).config() == config
    assert run.exists


def test_checkpoints_without_a_record_are_not_gone_on_from(tmp_path: Path) -> None:
    written(tmp_path / "a", 3)
    with pytest.raises(Refusal, match=r"has checkpoints and no run\.json"):
        refuse_taken(Run(tmp_path / "a"))


def test_a_start_that_trained_nothing_gives_its_name_back(tmp_path: Path) -> None:
    run = failed(tmp_path / "a", "seed=4")
    (run.path / "log.txt").write_text("of a sweep")
    (run.path / "error.txt").write_text("ValueError: text")
    run.pin(tokens="of another text")
    refuse_taken(run)
    run.clear(record=True)
    assert [path.name for path in run.path.iterdir()] == ["log.txt"]
    assert begun(run.path, "seed=5").config()["seed"] == 5
    assert len(run.passport()["starts"]) == 1
    with pytest.raises(Refusal, match=r"exists; resume="):
        refuse_taken(run)


def test_a_start_that_trained_nothing_is_gone_on_from_with_any_corrected_word(
    tmp_path: Path, launched: list[Path], capsys: pytest.CaptureFixture
) -> None:
    run = failed(tmp_path / "a")
    run.pin(tokens="of another text")
    assert started(f"resume={run}", "model.width=96") == 0
    assert "an earlier start trained nothing: training starts at step 0" in capsys.readouterr().out
    assert run.arguments()["model"]["width"] == 96
    assert not run.data_file.exists()
    run.metrics_file.write_text("step,train/loss\n1,5.0\n")
    with pytest.raises(Refusal, match=r"model.width is not what the run was started with"):
        started(f"resume={run}", "model.width=64")
    assert started(f"resume={run}") == 0
    assert "no checkpoint is there: training starts at step 0" in capsys.readouterr().out


def test_a_start_that_another_process_holds_keeps_its_name(tmp_path: Path, launched: list[Path]) -> None:
    run = failed(tmp_path / "a")
    with hold(run.path), pytest.raises(BlockingIOError, match="another process"):
        started(f"resume={run}", "model.width=96")
    assert run.config()["model"]["width"] != 96


def with_checkpoint(run: Run, step: int) -> Path:
    """A checkpoint of a run, with its configuration."""
    path = written(run.path, step)
    facts, files = read_manifest(path)
    write_manifest(path, facts | {"config": run.config()}, files)
    return path


def test_a_resume_beyond_the_end_says_what_the_rate_does_and_what_else_may_be_meant(
    tmp_path: Path, launched: list[Path], capsys: pytest.CaptureFixture
) -> None:
    run = begun(tmp_path / "a", "trainer.max_steps=20", "optimizer.lr=0.008")
    before, end = with_checkpoint(run, 10), with_checkpoint(run, 20)
    assert started(f"resume={run}", "trainer.max_steps=40") == 0
    said = capsys.readouterr().out
    assert "learning rate: 0 at step 20 (its schedule ended); 0.008 from here on, or with" in said
    assert "scheduler=constant scheduler.from=20 optimizer.lr=0.0008" in said
    assert f"resume={before} trainer.max_steps=40   a branch" in said
    words = ("scheduler=linear", "scheduler.from=20", "optimizer.lr=0.004")
    assert started(f"resume={run}", "trainer.max_steps=40", *words) == 0
    assert "(its schedule ended); 0.001 from here on, rising to 0.004\n" in capsys.readouterr().out
    with pytest.raises(Refusal, match=r"scheduler.from=21: .* begins at step 20: use scheduler.from=20"):
        started(f"resume={run}", "trainer.max_steps=40", "scheduler.from=21")
    assert end.is_dir()


def test_a_branch_is_a_new_run_that_begins_with_a_checkpoint_of_another(
    tmp_path: Path, launched: list[Path], capsys: pytest.CaptureFixture
) -> None:
    run = begun(tmp_path / "a", "trainer.max_steps=20", "seed=4")
    run.pin(tokens="these")
    run.metrics_file.write_text("step,train/loss\r\n5,5.0\r\n10,4.0\r\n15,3.0\r\n")
    kept, at = hashes(run.path), with_checkpoint(run, 10)
    with_checkpoint(run, 20)
    assert started(f"resume={at}", "run_id=b", "trainer.max_steps=40", f"output_dir={tmp_path}") == 0
    assert "learning rate" not in capsys.readouterr().out  # both are before the fall
    branch = Run(tmp_path / "b")
    assert launched == [branch.path]
    assert [path.name for path in (branch.checkpoints).iterdir()] == [at.name]
    assert hashes(branch.checkpoints / at.name) == hashes(at)
    assert branch.pinned() == run.pinned()
    assert [row["step"] for row in branch.metrics()] == [5, 10]
    assert branch.config()["trainer"]["max_steps"] == branch.config()["scheduler"]["steps"] == 40
    assert branch.config()["seed"] == 4
    assert kept.items() <= hashes(run.path).items()
    with pytest.raises(Refusal, match=r"run_id=b: .* exists"):
        started(f"resume={at}", "run_id=b", f"output_dir={tmp_path}")
    with pytest.raises(Refusal, match=r"seed is not what the run was started with"):
        started(f"resume={at}", "run_id=c", "seed=5", f"output_dir={tmp_path}")


TOUCH = {"_target_": "os.system", "command": "touch exploded"}
EVIL = ["--experimental-rerun=evil.pickle", "--config-dir=evil", "-m", "--cfg=job"]
EVIL += ["+hydra.callbacks.x={_target_: os.system, command: touch exploded}"]


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("tags", ["${oc.env:SECRET}"], "type the value"),
        ("hydra", {"callbacks": {"x": TOUCH}}, "hydra is not a key"),
        ("model", TOUCH, "os.system is not allowed"),
        ("seed", "${hydra:runtime.cwd}", "type the value"),
    ],
)
def test_a_strangers_configuration_executes_and_tells_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launched: list[Path], key: str, value, sentence: str
) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    monkeypatch.chdir(tmp_path)
    run = begun(tmp_path / "a")
    whole = yaml.safe_load(run.config_file.read_text())
    run.config_file.write_text(yaml.safe_dump(whole | {key: value}))
    with pytest.raises(Refusal, match=sentence) as caught:
        started("resume=a")
    assert "hunter2" not in str(caught.value)
    assert not launched
    assert not Path("exploded").exists()
    assert not run.pending.exists()


def test_a_strangers_words_are_a_record_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launched: list[Path]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = begun(tmp_path / "a")
    run.overrides_file.write_text(json.dumps([*EVIL, "output_dir=elsewhere", "seed=${oc.env:SECRET}"]))
    record = json.loads(run.passport_file.read_text())
    evil = {
        "model": "../../evil",
        "optimizer": "adamw hydra.run.dir=x",
        "hydra/launcher": "evil",
        "data": ["text"],
    }
    asked = {"trainer.devices": 1, "model._target_.x": 3, "trainer.plugins": {"_target_": "os.system"}}
    run.passport_file.write_text(json.dumps(record | {"choices": evil, "asked": asked}))
    started("resume=a", "optimizer=sgd", "trainer.max_steps=12")
    assert launched == [Path("a")]
    run.accept()
    assert run.config()["optimizer"]["_target_"] == "torch.optim.SGD"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_the_word_of_a_stranger_is_no_option_for_train_py(train, tmp_path: Path) -> None:
    run = begun(tmp_path / "outputs" / "a", "trainer.max_steps=2", "scheduler.warmup=0", "logger=csv")
    evil = tmp_path / "evil.pickle"
    evil.write_bytes(b"cos\nsystem\n(S'touch exploded'\ntR.")
    run.overrides_file.write_text(json.dumps(EVIL))
    train("resume=outputs/a", *TINY[1:])
    assert losses(run.path).keys() == {1, 2}
    assert not list(tmp_path.rglob("exploded"))
