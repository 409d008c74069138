"""Training the cases of a matrix, one launch for each world size, and comparing each with its reference."""

import json
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from triad.config.command_line import key_of
from triad.config.compose import compose, refuse_unmeasured
from triad.config.errors import Refusal
from triad.config.identity import leaves
from triad.config.own_code import repeat_words
from triad.config.processes import count_gpus, data_ranks, ranks_here
from triad.launch.supervisor import launch
from triad.runs.directory import Run
from triad.runs.start import prepare_run
from triad.verify.compare import Deviation, compare_runs
from triad.verify.matrix import ROWS, SMALL, Case, Layout
from triad.verify.traffic_check import ALL, HELD, check_traffic

COMMAND = [sys.executable, "-m", "triad.verify.worker"]
TOLERANCE = {"fp64": 1e-9, "fp32": 1e-4}
PROOF = (
    "callbacks=[default,record]",
    "callbacks.summary.curve=false",
    "hardware.attention=flash",
    "logger=csv",
)
KEY_SHIFT = "{_target_: triad.layers.key_shift.KeyShift, _partial_: true, fraction: 0.5}"


class Result(NamedTuple):
    """The result of a case: refused or failed with a sentence, or compared."""

    case: Case
    verdict: str
    deviation: Deviation | None
    traffic: str = ""  # of bytes and messages

    @property
    def wrong(self) -> bool:
        """Neither equal nor impossible."""
        return not self.verdict.startswith("refused") if self.deviation is None else self.verdict != "equal"


def choose_accelerator(ranks: int, asked: str = "auto") -> str:
    """cpu or gpu for a layout of so many processes; auto: GPUs where each process has one, as nccl needs it.

    Raises Refusal for gpu where there are fewer.
    """
    if asked not in ("auto", "cpu", "gpu"):
        raise Refusal(f"accelerator={asked}: use auto, cpu or gpu")
    if asked == "auto":
        return "gpu" if count_gpus() >= ranks else "cpu"
    if asked == "gpu" and count_gpus() < ranks:
        raise Refusal(f"{ranks} processes need as many GPUs, here are {count_gpus()}: use accelerator=auto")
    return asked


def run_cases(
    cases: Iterable[Case], folder: Path, command: list[str] = COMMAND, accelerator: str = "auto"
) -> list[Result]:
    """Train each case and its reference, and compare."""
    cases = list(cases)
    if accelerator == "auto" and 0 < count_gpus() < max((case.layout.ranks for case in cases), default=0):
        print(f"Layouts of more than {count_gpus()} processes, one for each GPU, are checked on the CPU.")
    corpus = write_corpus(folder)
    refused: dict[Case, str] = {}
    prepared: dict[int, list[str]] = {}
    for case in dict.fromkeys([*(case.reference for case in cases), *cases]):
        try:
            ranks, run = prepare_case(case, folder, corpus, accelerator)
            prepared.setdefault(ranks, []).append(str(run))
        except Refusal as error:
            refused[case] = f"refused: {error}"
    failed = {
        run: verdict
        for ranks in sorted(prepared)
        for run, verdict in train_all(prepared[ranks], ranks, command)
    }
    return [_result(case, folder, refused, failed) for case in cases]


def run_own(words: list[str], folder: Path, accelerator: str = "auto") -> list[Result]:
    """Compare a user's configuration with the same in one process, both on the same kind of device."""
    numbers = "fp32" if "strategy=deepspeed" in words else "fp64"
    small = [] if any(key_of(word) == "debug" for word in words) else ["debug=tiny"]
    words = [word for word in words if word != "debug=null"]  # ours: Hydra does not take it
    ours = [*PROOF, f"precision={numbers}", f"output_dir={folder}"]
    kept = [word for word in words if not key_of(word).startswith(("precision", "callbacks"))]
    same = [word for word in kept if not key_of(word).startswith(("strategy", "hardware", "trainer.devices"))]
    if not any(key_of(word) == "trainer.accelerator" for word in kept):
        ranks = ranks_here(compose([*small, *ours, "trainer.accelerator=cpu", *kept]))
        ours.append(f"trainer.accelerator={choose_accelerator(ranks, accelerator)}")
    dropped = _name_dropout(compose([*small, *ours, *same, "strategy=single", "trainer.devices=1"]))
    if dropped:
        print(f"without dropout, whose masks differ between layouts: {' '.join(dropped)}", flush=True)
    for run in ("one", "many"):
        alone = [*same, "strategy=single", "trainer.devices=1"]
        asked = [*small, *ours, *(alone if run == "one" else kept), *dropped, f"run_id={run}"]
        config = compose(asked)
        refuse_unmeasured(config)
        for _, verdict in train_all([str(prepare_fresh(config, asked))], ranks_here(config), COMMAND):
            raise Refusal(f"{run} process: {verdict}")
    deviation = compare_runs(Run(folder / "many"), Run(folder / "one"), TOLERANCE[numbers])
    layout = Layout(" ".join(words), ranks_here(config), "")
    case = Case(layout, "yours", 0, config["packing"], False, False, numbers)
    return [Result(case, deviation.first or "equal", deviation)]


def _name_dropout(config: dict) -> list[str]:
    """The words that set all dropout of a model to 0."""
    values = leaves({"model": config["model"]})
    return [f"{key}=0.0" for key, value in values if key.endswith("dropout") and value]


def prepare_fresh(config: dict, words: list[str]) -> Path:
    """Prepare a new run directory, replacing an old one."""
    shutil.rmtree(Run.of(config).path, ignore_errors=True)
    return prepare_run(config, words).path


def prepare_case(case: Case, folder: Path, corpus: Path, accelerator: str = "auto") -> tuple[int, Path]:
    """Write the run directory of a case; return its number of processes and the directory."""
    words = [*SMALL, *PROOF, *case.layout.words.split(), f"trainer.devices={case.layout.ranks}"]
    words += [f"trainer.accelerator={choose_accelerator(case.layout.ranks, accelerator)}"]
    if case.model == "decoder":  # the parts that none of the small models has
        words.append(f"model.attention.key_shift={KEY_SHIFT}")
    if case.model == "moe":  # a loss whose terms go from stage to stage
        words.append("router.over_layers=pool")
    words += [f"model={case.model}", "data=text", f"data.path={corpus}", f"precision={case.precision}"]
    words += [f"packing={case.packing}", f"hardware.checkpointing={case.checkpointing}"]
    words += [f"hardware.compile={case.compile}", f"run_id={case.name}", f"output_dir={folder}"]
    config = compose(words)
    config["hardware"]["micro_batch_size"] = -(-ROWS // data_ranks(config) // case.parts)
    return case.layout.ranks, prepare_fresh(config, words)


def train_all(directories: list[str], ranks: int, command: list[str] = COMMAND) -> list[tuple[str, str]]:
    """Train all runs, continuing after one that fails; return the failed ones with their last message."""
    failed = []
    left = directories
    while left:
        code = launch([*command, *repeat_words(), *left], ranks, threads=1)
        unfinished = [run for run in left if not Run(run).result()]
        if not unfinished:
            break
        failed.append((unfinished[0], _last_words(Run(unfinished[0]), code)))
        left = unfinished[1:]
    return failed


def _last_words(run: Run, code: int) -> str:
    path = run.error_file
    lines = path.read_text(encoding="utf-8").strip().splitlines() if path.exists() else []
    return f"failed: {lines[-1] if lines else f'exit code {code}'}"


def _result(case: Case, folder: Path, refused: dict[Case, str], failed: dict[str, str]) -> Result:
    for one in (case, case.reference):
        if verdict := refused.get(one) or failed.get(str(folder / one.name)):
            return Result(case, verdict, None)
    run, reference = Run(folder / case.name), Run(folder / case.reference.name)
    deviation = compare_runs(run, reference, TOLERANCE[case.precision])
    books = check_traffic(run, case.parts)
    verdict = deviation.first or ("equal" if books in (ALL, HELD) else books)
    return Result(case, verdict, deviation, books)


def write_corpus(folder: Path) -> Path:
    """Write short documents of different lengths, so that padding and number of targets differ by row."""
    path = folder / "corpus.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for n in range(2000):
            text = "".join(f"{k} squared is {k * k}. " for k in range(n, n + n % 3 + 1))[: 5 + n % 37]
            file.write(json.dumps({"text": text}) + "\n")
    return path
