"""`train.py -m`: a sweep of every combination of values, a folder of runs that are named by their words."""

from pathlib import Path
from typing import Any, NamedTuple

from triad.checkpoints.folder import list_complete
from triad.config.command_line import key_of
from triad.config.errors import Refusal
from triad.config.identity import find_changed_mathematics, find_differing, leaves
from triad.config.overrides import PLACE
from triad.config.processes import DECIDED
from triad.runs.directory import Run
from triad.runs.trial_names import make_sweep_id, make_trial_id


class Multirun(NamedTuple):
    """A sweep: its folder and the keys whose values it goes through, with Hydra's `+` and `@package`."""

    folder: Path
    keys: list[str]

    @classmethod
    def of(cls, words: list[str], swept: dict[str, str], output_dir: str, named: str | None) -> "Multirun":
        """The sweep of a command line, which sweeps over some keys, by word; `named` by run_id=."""
        for word, key in swept.items():
            if key in PLACE:
                raise Refusal(f"{word}: a sweep is one folder, <output_dir>/<run_id>/; give one value")
        others = [word for word in words if word not in swept and key_of(word) not in PLACE]
        fixed = [word for word in others if word not in ("-m", "--multirun")]
        keys = [*dict.fromkeys(swept.values())]
        return cls(Path(output_dir, named or make_sweep_id(keys, fixed)), keys)

    def find_trial(self, typed: list[str]) -> Run:
        """The run of the job of these words."""
        return Run(
            self.folder / make_trial_id([word for word in typed if word.partition("=")[0] in self.keys])
        )


def refuse_other(run: Run, config: dict, typed: list[str]) -> None:
    """Refuse to take a run that is there for the trial of its name if it was started as another one.

    What the machine decides may have changed, and so may what was not typed and is no mathematics; all of
    it where nothing was trained.
    """
    if not (run.result() or list_complete(run.checkpoints)):
        return
    before = run.config()
    names = {key_of(word) for word in typed} - {*PLACE, *DECIDED, "weights"}
    changed = find_differing(dict(leaves(before)), dict(leaves(config)))
    named = [key for key in changed if any(key == name or key.startswith(f"{name}.") for name in names)]
    for key in [*named, *find_changed_mathematics(before, config)]:
        if key != "weights" or not _lies_in(before.get("weights"), config["weights"]):
            raise Refusal(
                f"{run}: {key} is not what this trial was started with; run_id=NAME makes another sweep"
            )


def _lies_in(pinned: Any, asked: Any) -> bool:
    """Whether the checkpoint that a run started from is one of the run that is asked for."""
    return bool(pinned and asked) and Path(pinned).absolute().is_relative_to(Path(asked).absolute())
