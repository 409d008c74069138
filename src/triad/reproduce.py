"""Check what papers claim, by runs with controls and seeds

triad reproduce experiment=olsson2022/induction   # the claim of one experiment, or what is left of it
triad reproduce quick                             # those that take some minutes
triad reproduce all jobs=2                        # every one, two trials side by side
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triad.config.errors import Interrupted, Refusal

if TYPE_CHECKING:
    from triad.claims.claim import Claim

GROUP = "Prove"


def reproduce(overrides: list[str], jobs: int = 1, fork: str | None = None) -> None:
    """Run the claim of an experiment with all its arms and seeds, and say whether it holds.

    Trials lie in outputs/reproduce/<experiment>/; started again, it goes on where it stopped. Other words go
    to every trial. `jobs=` runs so many side by side; `fork=` is another name, for a claim that was changed.
    """
    from triad.claims.claim import Claim
    from triad.config.build import build
    from triad.config.compose import compose

    experiments, words = _read_words(overrides)
    for experiment in experiments:
        asked = [f"experiment={experiment}", "logger=csv", *words]
        config = compose(asked)
        node = config.get("claim")
        if not node:
            raise Refusal(
                f"experiment={experiment} has no claim; those that have: {', '.join(list_claims())}"
            )
        claim: Claim = build(node)
        folder = Path(config["output_dir"], "reproduce", *experiment.split("/"), *([fork] if fork else []))
        try:
            _check(experiment, claim, config, asked, folder, jobs)
        except Interrupted as signal:
            print("interrupted: the same command goes on", file=sys.stderr)
            sys.exit(signal.args[0])


def list_claims(quick: bool = False) -> list[str]:
    """The experiments whose YAML has a claim."""
    import yaml

    from triad.config.locations import CONF
    from triad.config.provenance import LOADER

    found = []
    for path in sorted((CONF / "experiment").glob("*/*.yaml")):
        claim = yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER).get("claim")
        if claim and (claim.get("quick") or not quick):
            found.append(path.relative_to(CONF / "experiment").with_suffix("").as_posix())
    return found


def _read_words(overrides: list[str]) -> tuple[list[str], list[str]]:
    """The experiments that are asked for, and the words for their trials."""
    named = [word.partition("=")[2] for word in overrides if word.startswith("experiment=")]
    groups = [word for word in overrides if "=" not in word]
    if len(named) + len(groups) != 1 or {*groups} - {"quick", "all"}:
        raise Refusal("one claim is needed: experiment=<paper>/<name>, quick or all")
    words = [word for word in overrides if "=" in word and not word.startswith("experiment=")]
    return named or list_claims(groups == ["quick"]), words


def _check(experiment: str, claim: "Claim", config: dict, asked: list[str], folder: Path, jobs: int) -> None:
    """Run what is left of a claim's trials, print and keep what they came to."""
    from triad.claims import conclusion
    from triad.claims.trials import list_trials, run_trials

    node = config["claim"]
    trials = list_trials(claim, asked, folder)
    conclusion.refuse_other_claim(node, trials)
    if any(one.run.result() is None for one in trials):
        _warm_up(config)
        run_trials(trials, jobs, _show)
    conclusion.refuse_unequal(claim, trials)
    figures = conclusion.read_figures(claim, trials)
    verdict, findings, control = conclusion.judge(claim, figures)
    seconds = conclusion.count_seconds([one.run for one in trials])
    conclusion.print_conclusion(experiment, claim, figures, verdict, findings, control, seconds)
    conclusion.write_record(folder, node, figures, verdict, control, seconds)


def _show(ended: Any, left: int) -> None:
    print(f"{ended.run}: finished, {left} left", file=sys.stderr, flush=True)


def _warm_up(config: dict) -> None:
    """Import what runs of a configuration import, once: trials are forked from this process."""
    from importlib import import_module

    from triad.config.offers import walk_parts
    from triad.launch.forking import fork_ranks
    from triad.launch.supervisor import SPINS

    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # OpenMP reads it when torch is imported
    parts = {node["_target_"].rpartition(".")[0] for _, node in walk_parts(config)}
    for module in ("lightning.pytorch", "triad.tasks.module", "triad.data.rows", *sorted(parts)):
        import_module(module)
    fork_ranks()


if __name__ == "__main__":
    from triad.config.command_line import run_command

    run_command(reproduce)
