"""A run is a directory: its settings, its metrics and its results.

outputs/<run_id>/, and of a sweep outputs/<sweep>/<trial>/ (triad.runs.trial_names)
    config.yaml     the config, with its references   overrides.json  what was typed
    origins.json    where each value comes from       code.diff       uncommitted changes
    run.json        commands, choices, code, versions, machine, fingerprints; without it no run has begun
    data.json       fingerprints of text, labels      machine.json    what was measured and chosen
    tokenizer/      the vocabulary, to decode with    metrics.csv     every metric logged
    checkpoints/    step-00000500/ ...                result.json     written last: the run is finished
    curve.png       loss over steps                   error.txt       the traceback, if it failed or diverged
    loads.png       load of each expert               samples.txt     a text sample at each validation
    log.txt         what a trial of a sweep printed   record/         for triad.verify
    metrics.json    which way each metric is better  evaluations/    reports of `triad evaluate`
    .pending/       the record of a resumed start, until its checkpoint has been accepted; .accepted/: from
                    then on, until it lies in its place
"""

import json
import math
import os
import re
import shlex
import shutil
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import yaml

from triad.config.errors import Diverged, Refusal, one_line
from triad.config.provenance import LOADER
from triad.config.references import keep_references, resolve
from triad.config.schema import suggest
from triad.runs.metrics import read_metrics
from triad.storage.durable import replace, write


class Run:
    """One run directory: the names of its files, and what is read from and written to them."""

    def __init__(self, path: Path | str) -> None:
        self.path = path = Path(path)
        self.id = path.name
        self.config_file, self.overrides_file = path / "config.yaml", path / "overrides.json"
        self.origins_file, self.diff_file = path / "origins.json", path / "code.diff"
        self.passport_file, self.machine_file = path / "run.json", path / "machine.json"
        self.data_file, self.tokenizer = path / "data.json", path / "tokenizer"
        self.metrics_file, self.checkpoints = path / "metrics.csv", path / "checkpoints"
        self.result_file, self.error_file = path / "result.json", path / "error.txt"
        self.curve_file, self.loads_file = path / "curve.png", path / "loads.png"
        self.samples_file, self.log_file = path / "samples.txt", path / "log.txt"
        self.directions_file = path / "metrics.json"
        self.record, self.evaluations = path / "record", path / "evaluations"
        self.pending, self.accepted = path / ".pending", path / ".accepted"

    @classmethod
    def of(cls, config: dict) -> "Run":
        """The run of a configuration."""
        return cls(Path(config["output_dir"], config["run_id"]))

    def __str__(self) -> str:
        return str(self.path)

    @property
    def exists(self) -> bool:
        """Whether a run is there: its start wrote run.json, the last of what a start writes."""
        return self.passport_file.is_file() and self.config_file.is_file()

    def clear(self, record: bool) -> None:
        """Remove what a start that trained nothing has left of its text, and with `record` of itself.

        Other files stay, such as what a sweep keeps of a trial.
        """
        shutil.rmtree(self.tokenizer, ignore_errors=True)
        self.data_file.unlink(missing_ok=True)
        if record:
            for folder in (self.pending, self.accepted):
                shutil.rmtree(folder, ignore_errors=True)
            files = [self.directions_file, self.error_file, self.metrics_file, self.samples_file]
            last = self.passport_file, self.config_file  # killed here, it is still a run that trained nothing
            for file in sorted((*files, *self.settings_files), key=last.__contains__):
                file.unlink(missing_ok=True)

    @property
    def is_trial(self) -> bool:
        """Whether a sweep started it: that of a sweep file, whose folder it lies in, or `train.py -m`."""
        commands = [start.get("command", []) for start in self.passport().get("starts", [])]
        several = any(word in ("-m", "--multirun") for command in commands for word in command)
        return several or (self.path.parent / "sweep.yaml").is_file()

    @property
    def siblings(self) -> list[str]:
        """The names of the runs beside this one, and its own."""
        return _list_runs(self.path.parent)

    @property
    def trials(self) -> list[str]:
        """The names of the runs in the directory, which is then no run but the folder of a sweep."""
        return _list_runs(self.path)

    @property
    def resume_command(self) -> str:
        """The command that continues it, for a shell."""
        return shlex.join(["python", "train.py", f"resume={self}", *self.packages_word])

    @property
    def packages_word(self) -> list[str]:
        """The word that each command on the run needs where its configuration names one's own code.

        The record only names the packages: whoever types the word permits them.
        """
        named = self.passport().get("packages")
        return [f"packages=[{','.join(named)}]"] if isinstance(named, dict) and named else []

    @property
    def settings_files(self) -> list[Path]:
        """The files that say what was run, on what."""
        said = [self.config_file, self.origins_file, self.overrides_file, self.passport_file]
        return [*said, self.data_file, self.machine_file, self.diff_file]

    def config(self, has_task: bool = True) -> dict:
        """The configuration, references resolved.

        Raises FileNotFoundError and Refusal as `read_written`, and Refusal for one without a task, which only
        a program of a sweep that is not train.py may be without.
        """
        config = _resolve(self.read_written())
        if has_task and not isinstance(config.get("task"), dict):
            raise Refusal(f"{self.config_file}: damaged: it is no configuration of a run, which has a task")
        return config

    def read_written(self) -> dict:
        """The configuration as its file has it, with references.

        Raises FileNotFoundError, naming runs that are there, and Refusal for a file that holds none.
        """
        if not self.exists and (trials := self.trials):
            raise FileNotFoundError(
                f"{self}: it holds runs and is none; name one, such as {self}/{trials[0]}"
            )
        if not self.exists:
            raise FileNotFoundError(f"{self}: no run is there{suggest(self.id, self.siblings)}")
        try:
            found = yaml.load(self._find(self.config_file).read_text(encoding="utf-8"), Loader=LOADER)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise Refusal(f"{self.config_file}: damaged: {one_line(error)}") from error
        if not isinstance(found, dict):
            raise Refusal(f"{self.config_file}: damaged: it is no configuration of a run")
        return found

    def arguments(self) -> dict:
        """What `train` is called with: the configuration without the run's own name and place.

        For the processes of a start: of one that is not accepted yet it is what that was started with.
        """
        start = Run(self.pending)
        config = _resolve(start.read_written()) if start.exists else self.config()
        return {key: value for key, value in config.items() if key not in ("run_id", "output_dir")}

    def write_config(self, config: dict, written: dict | None = None) -> None:
        """The configuration as YAML for people, the ranks and a resume, with the references of `written`."""
        replace(self.config_file, yaml.safe_dump(keep_references(written or {}, config), sort_keys=False))

    def overrides(self) -> list[str]:
        """What was typed to start the run and to resume it: a record, which nothing replays."""
        return read_json(self._find(self.overrides_file), list) or []

    def passport(self) -> dict:
        """run.json: of a resumed start that is not accepted yet that start's, else the run's, {} of none."""
        return read_json(Run(self.pending).passport_file) or read_json(self.passport_file) or {}

    @property
    def report_file(self) -> Path:
        """Where a rank that fails writes its traceback: beside the record where that is not the run's yet."""
        return (self.pending if self.pending.is_dir() else self.path) / self.error_file.name

    def draft(self) -> "Run":
        """Where a start writes its record: the place itself, or, where a run is there, a folder beside it.

        A start that was killed is cleared away: what it had accepted is put in place, the rest removed.
        """
        self._put_in_place()
        shutil.rmtree(self.pending, ignore_errors=True)
        return Run(self.pending) if self.exists else self

    def accept(self) -> None:
        """Make a resumed start's record the run's, if there is one: a kill leaves the old one or the new."""
        if self.pending.is_dir():
            os.replace(self.pending, self.accepted)
        self._put_in_place()

    def _put_in_place(self) -> None:
        if not self.accepted.is_dir():
            return
        self.error_file.unlink(missing_ok=True)  # of an earlier start
        for file in sorted(self.accepted.iterdir(), key=lambda file: file.name == self.passport_file.name):
            os.replace(file, self.path / file.name)
        self.accepted.rmdir()

    def _find(self, file: Path) -> Path:
        """A file of the record: the accepted one, if a kill kept it from its place."""
        accepted = self.accepted / file.name
        return accepted if accepted.is_file() else file

    def metrics(self) -> list[dict[str, float]]:
        """What was logged, a row for each step."""
        return read_metrics(self.metrics_file)

    def directions(self) -> dict[str, str]:
        """Which way each metric is better, "lower" or "higher", as far as the run says so."""
        return read_json(self.directions_file) or {}

    def monitored(self) -> tuple[str, str]:
        """The metric that the best checkpoint goes by, and whether "lower" or "higher" is better."""
        known = {name: way for name, way in self.directions().items() if name.startswith("val/")}
        usual = next(iter(known), "val/loss")
        callbacks = self.config()["callbacks"] if self.exists else {}
        metric = (callbacks.get("checkpoint") or {}).get("monitor", usual)
        return metric, known.get(metric, "lower")

    @property
    def state(self) -> Literal["finished", "diverged", "failed", "unfinished"]:
        """How far the run has come, as its files say."""
        if self.result() is not None:
            return "finished"
        if not self.error_file.is_file():
            return "unfinished"
        error = self.error_file.read_text(encoding="utf-8", errors="replace")
        return "diverged" if f"{Diverged.__name__}: " in error else "failed"

    def result(self) -> dict | None:
        """What a finished run came to, or None; figures that are not finite are NaN."""
        found = read_json(self.result_file)
        return found and {key: math.nan if value is None else value for key, value in found.items()}

    def finish(self, result: dict) -> None:
        """Write the result; from now on the run is finished."""
        write(self.result_file, result)

    def pin(self, continued: bool = False, **text: Any) -> None:
        """Keep what is known of the text that is trained on: fingerprints, and the facts that tasks ask for.

        Raises ValueError if a resumed run has others, unless it `continued` its own: then only the text is
        another, and that is kept when the start is accepted.
        """
        if not self.data_file.is_file():
            write(self.data_file, text)
            return
        kept, text = self.pinned(), json.loads(json.dumps(text))
        if kept == {key: text.get(key) for key in kept}:  # an older record may lack a key
            return
        if not continued or kept["tokenizer"] != text["tokenizer"]:
            raise ValueError(
                f"resume={self}: the text or its tokenizer is not what the run was started with;"
                " start a new run"
            )
        write(Run(self.pending).data_file, text)

    def pinned(self) -> dict[str, Any]:
        """What `pin` kept. Raises FileNotFoundError where training has not begun."""
        if (text := read_json(self.data_file)) is None:
            raise FileNotFoundError(f"{self.data_file}: it is missing; the run has not begun to train")
        return text


def _resolve(written: dict) -> dict:
    """A configuration without references, and without the router, which models that refer to it hold."""
    return {key: value for key, value in resolve(written).items() if key != "router"}


def _list_runs(folder: Path) -> list[str]:
    """The names of the runs in a folder; hidden ones are a replay's or a probe's."""
    return sorted(path.name for path in folder.glob("[!.]*") if Run(path).exists)


def find_run_of(checkpoint: Path) -> Run | None:
    """The run that a checkpoint lies in, if it lies in one."""
    run = Run(checkpoint.parent.parent)
    return run if run.checkpoints == checkpoint.parent else None


def make_run_id(model: str) -> str:
    """Sortable, readable, and distinct when two start in one second."""
    return f"{datetime.now():%Y%m%d-%H%M%S}-{model}-{os.urandom(2).hex()}"


def make_wandb_id(run_id: str) -> str:
    """The id of a run at W&B, which takes only some characters, and 128 of them at most.

    It follows from the run's own id, so that a resumed run goes on in the same W&B run: `a#b` is `a-b-` and
    eight hexadecimal digits of its digest, by which it differs from that of `a b`.
    """
    if re.fullmatch(r"[A-Za-z0-9_.-]{1,128}", run_id):
        return run_id
    clean = re.sub(r"[^A-Za-z0-9_.-]+", "-", run_id)[:100].strip("-") or "run"
    return f"{clean}-{blake2b(run_id.encode(), digest_size=4).hexdigest()}"


def read_json(path: Path, kind: type = dict) -> Any:
    """What a file of a run holds, None where there is none. Raises Refusal if it is no JSON of its kind."""
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except ValueError as error:
        raise Refusal(f"{path}: damaged: it is no JSON ({one_line(error)})") from error
    if not isinstance(found, kind | None):
        raise Refusal(f"{path}: damaged: it holds no {kind.__name__}")
    return found
