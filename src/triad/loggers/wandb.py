"""Weights & Biases: one W&B run for each run id; its failures do not stop training."""

import glob
import importlib.util
import json
import os
import shutil
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from typing import Annotated, Any, Literal

import yaml
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from triad.config.errors import Refusal, one_line
from triad.config.provenance import LOADER
from triad.config.secrets import mask, mask_tree
from triad.loggers import silent_wandb as quiet
from triad.runs.directory import Run, make_wandb_id
from triad.storage.durable import replace

LOADS = "train/load/"
FOLDERS = "wandb/*run-*"  # of a run directory, one for each time that it was begun
STEP = "trainer/global_step"  # as Lightning's logger calls it
LEAVING = 2  # times `patience_s`: how long the end waits for a thread whose service does not answer
MODES = ("online", "offline", "disabled")


def wandb(
    run: Run,
    config: dict,
    tags: list[str],
    project: str,
    group: str | None,
    job_type: str | None,
    mode: Literal["auto", "online", "offline", "disabled"],
    artifacts: bool,
    patience_s: Annotated[float, "> 0"],
) -> Logger | None:
    """The W&B run of a run directory, or None where the package is not installed (it says so).

    `mode=auto` is what WANDB_MODE says, else online where someone is logged in, else offline. `artifacts`
    uploads the checkpoints that are kept when the run ends. At its beginning and at its end a run waits at
    most `patience_s` seconds for W&B.
    """
    if importlib.util.find_spec("wandb") is None:
        if rank_zero_only.rank == 0:
            where = f"figures go to {run.metrics_file.name} only"
            print(f"wandb is not installed: {where} (pip install wandb, or logger=csv)")
        return None
    asked = {"project": project, "group": group, "job_type": job_type, "tags": tags}
    logger = WandB(run, config, asked, mode, artifacts, patience_s)
    logger.start()
    return logger


class WandB(Logger):
    """Send figures, samples and, at the end, pictures and files to the run of W&B that has the run's id.

    A new run whose name W&B knows is refused: its history would be mixed with another's. Rows bear the
    optimizer's step, so that a resumed run goes on in the same W&B run: what it computes again
    is there already. `wandb sync` numbers the rows of a second folder behind those of the first: figures are
    drawn over STEP, not over W&B's own count. `summary` holds the last of every figure, and under best/
    those of the best validation. The load of each expert would be a chart for each: it is in metrics.csv, and
    in a picture at the end. Only the process with rank 0 has a W&B run, and a thread of it speaks with W&B,
    also to begin: neither the start of a run waits for the package and its service nor training.
    """

    def __init__(
        self, run: Run, config: dict, asked: dict[str, Any], mode: str, artifacts: bool, patience_s: float
    ) -> None:
        super().__init__()
        self.run, self.config, self.asked, self.mode = run, config, asked, mode
        self.artifacts, self.patience_s = artifacts, patience_s
        self.begun: Any = None
        self.told = False  # of a failure, which is said once
        self.best: float | None = None  # until the first validation
        self.monitored = ("val/loss", "lower")  # read from the run then
        self.queue: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self.sender = Thread(target=self._serve, name="wandb", daemon=True)
        self.has_begun = Event()  # or has failed to
        self.refused: Refusal | None = None
        self.place: str | None = None  # where it writes, until it is said

    @property
    def name(self) -> str:
        return self.asked["project"]

    @property
    def version(self) -> str:
        return self.run.id

    @property
    def save_dir(self) -> str:
        return str(self.run)

    @rank_zero_only
    def start(self) -> None:
        """Begin the run of W&B in the thread."""
        if self.sender.ident is None:
            self.sender.start()

    @property
    def experiment(self) -> Any:
        """The run of W&B, which Lightning asks for before training; None of other ranks.

        The first to ask waits until it has begun, and says where it writes.
        """
        if rank_zero_only.rank != 0:
            return None
        self.start()
        self.has_begun.wait()
        if self.refused:
            raise self.refused
        if self.place:
            print(f"W&B      {self.place}", flush=True)
            self.place = None
        return self.begun

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """The run of W&B has the whole configuration already."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        row = {key: value for key, value in metrics.items() if key != "epoch" and not key.startswith(LOADS)}
        row |= {} if step is None else {STEP: step}
        self._send(lambda: self.experiment.log(row, step=step))
        if step is not None and any(key.startswith("val/") for key in row):
            self._send(lambda: self._remember(row, step))

    @rank_zero_only
    def log_text(self, key: str, columns: list[str | int], data: list[list[Any]], step: int) -> None:
        """Rows of a table; `runs.history.concat` shows those of all steps."""
        import wandb as library

        self._send(lambda: self.experiment.log({key: library.Table(columns, data)}, step=step))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Send what the run directory has by now, and end the run of W&B."""
        if self.sender.ident:
            self.has_begun.wait()
        if self.begun is None or not self.sender.is_alive():
            return
        if status == "success":
            self._send(self._close)
        self._send(lambda: self.begun.finish(exit_code=int(status != "success")))
        self.queue.put(None)
        self.sender.join(LEAVING * self.patience_s)
        if self.sender.is_alive():
            self._try(self._hang)

    def _send(self, work: Callable[[], object]) -> None:
        """Have the thread do something with W&B."""
        if self.experiment is not None:
            self.queue.put(work)

    def _serve(self) -> None:
        try:
            self._try(self._begin)
        except Refusal as error:
            self.refused = error
        finally:
            self.has_begun.set()
        while (work := self.queue.get()) is not None:
            self._try(work)

    def _try(self, work: Callable[[], object]) -> None:
        """Do something with W&B, which may fail: the first time it does is said."""
        try:
            work()
        except Refusal:
            raise
        except Exception as error:  # no failure of the service may end training
            if self.told:
                return
            self.told = True
            kept = (
                f"; wandb sync --include-online {self.run}/wandb/*run-* uploads the rest"
                if self.begun
                else ""
            )
            file = self.run.metrics_file.name
            print(f"W&B: {one_line(error)}; the run goes on, {file} has all figures{kept}", flush=True)

    def _hang(self) -> None:
        raise TimeoutError(f"it has not answered for {LEAVING * self.patience_s:g} s")

    def _begin(self) -> None:
        library = quiet.wandb()
        mode = self.mode if self.mode != "auto" else os.environ.get("WANDB_MODE", "")
        mode = {"dryrun": "offline", "run": "online"}.get(mode, mode)  # W&B's own old words
        try:
            if mode not in MODES:
                mode = "online" if library.login(prompt=False, verify=False) else "offline"
            self.begun = self._init(library, mode)
        except (library.Error, TimeoutError, ValueError) as error:
            if isinstance(error, library.UsageError) and "already exists" in str(error):
                # or a resume would take it for this run's own
                shutil.rmtree(self.run.path / "wandb", ignore_errors=True)
                raise Refusal(
                    f"run_id={self.run.id}: project {self.asked['project']} of W&B has a run of this name;"
                    " choose another run_id, or logger.wandb.mode=offline"
                ) from None
            if mode in ("offline", "disabled"):
                raise
            mode = "offline"
            library.teardown()  # the service holds on to the id
            quiet.wandb()
            print(f"W&B: {one_line(error)}; this run is kept offline: wandb sync {self.run}/wandb/offline-*")
            self.begun = self._init(library, mode)
        else:
            offline = f"offline: wandb sync {self.run}/wandb/offline-* uploads it"
            self.place = offline if mode == "offline" else self.begun.url  # disabled: None
        if self.artifacts and mode != "online":
            self.artifacts = False
            print(f"logger.wandb.artifacts: W&B is {mode}, so checkpoints stay in {self.run.checkpoints}")

    def _init(self, library: Any, mode: str) -> Any:
        settings = library.Settings(
            mode=mode,
            silent=True,
            console="off",
            symlink=False,
            x_disable_stats=mode != "online",
            init_timeout=self.patience_s,
            finish_timeout=self.patience_s,
            finish_timeout_raises=True,
        )
        passport = {"run": self.run.passport(), "overrides": self.run.overrides()}
        if commit := passport["run"].get("git_commit"):
            settings.git_commit = commit
        begun = library.init(
            **self.asked,
            id=make_wandb_id(self.run.id),
            name=self.run.id,
            dir=str(self.run),
            config=mask_tree(self.config | passport),
            resume="never" if mode == "online" and not [*self.run.path.glob(FOLDERS)] else "allow",
            settings=settings,
        )
        begun.define_metric(STEP)
        begun.define_metric("*", step_metric=STEP, step_sync=True)
        self._save(begun)
        return begun

    def _remember(self, row: dict[str, float], step: int) -> None:
        """Keep the figures of the best validation in the summary, also of those before a resume."""
        if self.best is None:
            self.monitored = self.run.monitored()
        metric, direction = self.monitored
        sign = -1 if direction == "higher" else 1
        if self.best is None:
            earlier = (old for old in self.run.metrics() if old["step"] < step and metric in old)
            self.best = min((sign * old[metric] for old in earlier), default=float("inf"))
        if metric in row and sign * row[metric] < self.best:
            self.best = sign * row[metric]
            figures = {key.partition("/")[2]: value for key, value in row.items() if key.startswith("val/")}
            self.begun.summary.update(
                {f"best/{key}": value for key, value in figures.items()} | {"best/step": step}
            )

    def _close(self) -> None:
        import wandb as library

        pictures = {path.stem: library.Image(str(path)) for path in sorted(self.run.path.glob("*.png"))}
        if pictures:
            self.begun.log({f"pictures/{name}": picture for name, picture in pictures.items()})
        self._save(self.begun, self.run.result_file, self.run.metrics_file, self.run.samples_file)
        for manifest in sorted(self.run.checkpoints.glob("step-*/manifest.json")) if self.artifacts else ():
            artifact = library.Artifact(make_wandb_id(self.run.id), type="model")
            artifact.add_dir(str(manifest.parent))
            self.begun.log_artifact(artifact, aliases=[manifest.parent.name])

    def _save(self, begun: Any, *results: Path) -> None:
        """Files of the run directory, so that the run can be understood and started anew from W&B alone.

        Of one that holds a password or a key a masked copy is sent.
        """
        for path in (*self.run.settings_files, *results):
            if path.is_file():
                if (masked := _mask_file(path)) is not None:
                    path = Path(begun.dir, self.run.id, path.name)
                    path.parent.mkdir(exist_ok=True)
                    replace(path, masked)
                base = path.parents[1]  # both are patterns to W&B
                begun.save(glob.escape(str(path)), base_path=glob.escape(str(base)), policy="now")


def _mask_file(path: Path) -> str | None:
    """A text file of a run without its secrets; None if it has none."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix not in (".json", ".yaml"):
        masked = mask(text)
        return masked if masked != text else None
    tree = json.loads(text) if path.suffix == ".json" else yaml.load(text, Loader=LOADER)
    if (masked := mask_tree(tree)) == tree:
        return None
    return json.dumps(masked, indent=1) if path.suffix == ".json" else yaml.safe_dump(masked)
