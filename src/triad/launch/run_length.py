"""The length of a run that is given as a time of training, or in epochs: a probe finds the steps of it.

Of a time it trains for some seconds and measures the pace; of epochs it makes the rows and counts them,
without a model. The run itself gets a number of steps, in its configuration and its overrides: schedules know
its length, and to resume and to replay it takes no clock.
"""

import shutil
from pathlib import Path

from triad.config.compose import read_epochs, read_time
from triad.config.errors import Refusal
from triad.config.identity import is_observer
from triad.config.processes import ranks_are_here
from triad.runs.directory import Run, read_json
from triad.runs.start import prepare_run
from triad.storage.durable import write

SHARE, SHORTEST_S, LONGEST_S = 0.03, 2.0, 30.0  # of the time, for the probe, and its bounds


def configure_probe(config: dict, time_s: float) -> dict:
    """A run's configuration for its probe: what acts on training stays, nothing is validated or logged."""
    acting = {name: node for name, node in config["callbacks"].items() if node and not is_observer(node)}
    seconds = min(LONGEST_S, max(SHORTEST_S, SHARE * time_s))
    pace = {"_target_": "triad.callbacks.pace.Pace", "_partial_": True, "seconds": seconds}
    return config | {
        "run_id": f".pace-{config['run_id']}",
        "callbacks": acting | {"pace": pace},
        "logger": {},
        "trainer": config["trainer"] | {"limit_val_batches": 0},
    }


def configure_count(config: dict, epochs: float) -> dict:
    """A run's configuration for one process that counts its rows."""
    trainer = config["trainer"] if ranks_are_here() else config["trainer"] | {"devices": 1, "num_nodes": 1}
    alone = {"run_id": f".epochs-{config['run_id']}", "callbacks": {}, "logger": {}}
    return config | alone | {"epochs": epochs, "trainer": trainer}


def prepare_probe(config: dict, run: Run) -> Path:
    """Write the folder of a probe, with the tokenizer of its run where that goes on."""
    probe = prepare_run(config, [])
    if run.tokenizer.is_dir():
        shutil.copytree(run.tokenizer, probe.tokenizer, dirs_exist_ok=True)
    return probe.path


def finish_probe(probe: Run, length: str) -> tuple[int, dict, dict]:
    """The steps of a time or of epochs, what was measured, and what else the probe chose; it is removed.

    Raises Refusal if the probe ended before it had measured anything.
    """
    result, time_s = probe.result(), read_time(length)
    if result is None or (time_s is None and read_epochs(length) is None):
        raise Refusal(f"trainer.max_steps={length}: {probe} measured nothing; give a number of steps")
    if time_s is None:
        steps = result["steps"]
        said = f"{length} of {result['rows']:,} rows"
    else:
        steps = max(1, round(time_s * result["steps_per_s"]))
        said = f"{length} at {result['steps_per_s']:.4g} steps a second"
    print(f"trainer.max_steps={steps}: {said}", flush=True)
    choices = read_json(probe.machine_file) or {}
    shutil.rmtree(probe.path, ignore_errors=True)
    return steps, {f"trainer.max_steps={length}": {"choice": str(steps)} | result}, choices


def record_pace(run: Run, pace: dict, choices: dict) -> None:
    """Record in a run the pace, and its probe's choices where the run has made none before."""
    write(run.machine_file, choices | (read_json(run.machine_file) or {}) | pace)
