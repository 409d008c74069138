"""The length of a run that is given as a time of training: its pace is measured by a probe of some seconds.

The run itself gets a number of steps, in its configuration and its overrides: schedules know its length, and
to resume and to replay it takes no clock.
"""

import shutil

from triad.config.compose import UNMEASURED, read_time
from triad.config.errors import Refusal
from triad.config.identity import is_observer
from triad.runs.directory import Run, read_json
from triad.storage.durable import write

SHARE, SHORTEST_S, LONGEST_S = 0.03, 2.0, 30.0  # of the time, for the probe, and its bounds


def configure_probe(config: dict) -> dict:
    """A run's configuration for its probe: what acts on training stays, nothing is validated or logged."""
    time_s = read_time(config["trainer"]["max_steps"])
    assert time_s
    acting = {name: node for name, node in config["callbacks"].items() if node and not is_observer(node)}
    seconds = min(LONGEST_S, max(SHORTEST_S, SHARE * time_s))
    pace = {"_target_": "triad.callbacks.pace.Pace", "_partial_": True, "seconds": seconds}
    endless = {"max_steps": UNMEASURED, "limit_val_batches": 0}
    return config | {
        "run_id": f".pace-{config['run_id']}",
        "callbacks": acting | {"pace": pace},
        "logger": {},
        "trainer": config["trainer"] | endless,
    }


def read_steps(probe: Run, length: str) -> int:
    """The steps that training makes in a time, by its probe. Raises Refusal if that did not end by itself."""
    result, time_s = probe.result(), read_time(length)
    if result is None or time_s is None:
        raise Refusal(
            f"trainer.max_steps={length}: its probe {probe} measured nothing; give a number of steps"
        )
    return max(1, round(time_s * result["steps_per_s"]))


def keep_choices(probe: Run, run: Run, length: str) -> None:
    """Record in a run what its probe measured and chose, and remove the probe."""
    steps, pace = read_steps(probe, length), probe.result() or {}
    print(f"trainer.max_steps={steps}: {length} at {pace['steps_per_s']:.4g} steps a second", flush=True)
    chosen = {f"trainer.max_steps={length}": {"choice": str(steps)} | pace}
    write(
        run.machine_file, (read_json(probe.machine_file) or {}) | (read_json(run.machine_file) or {}) | chosen
    )
    shutil.rmtree(probe.path, ignore_errors=True)
