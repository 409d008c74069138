"""What the trials of a claim came to: the figures of each arm, the verdict, and its record on disk."""

from pathlib import Path

from triad.claims.claim import Claim, Figures, Finding, Verdict, conclude, describe
from triad.claims.trials import CONTROL, Trial
from triad.config.errors import Refusal
from triad.config.tables import print_table
from triad.runs.directory import Run
from triad.storage.durable import write
from triad.storage.manifest import fingerprint

RECORD = "claim.json"


def read_figures(claim: Claim, trials: list[Trial]) -> dict[str, list[float]]:
    """The measured number of each arm, by seed."""
    found: dict[str, list[float]] = {}
    for one in trials:
        found.setdefault(one.arm, []).append(claim.measure(one.run))
    return found


def judge(claim: Claim, figures: Figures) -> tuple[Verdict, list[Finding], Verdict]:
    """The verdict, the finding of each expectation, and what the control came to.

    A claim whose control holds, too, fails: something else than the cause was measured.
    """
    ((replaced, _),) = claim.control.items()
    arms = {name: values for name, values in figures.items() if name != CONTROL}
    findings = claim.judge(arms)
    control = conclude(claim.judge({**arms, replaced: figures[CONTROL]}))
    verdict = conclude(findings)
    return ("fails" if control == "holds" else verdict), findings, control


def refuse_unequal(claim: Claim, trials: list[Trial]) -> None:
    """Raise Refusal where arms are not alike in what the claim holds equal, such as FLOPs."""
    for metric, share in claim.equal.items():
        values = [float((one.run.result() or {}).get(metric, "nan")) for one in trials if one.arm != CONTROL]
        if not max(values) <= (1 + share) * min(values):
            raise Refusal(
                f"claim.equal: {metric} is from {min(values):.4g} to {max(values):.4g} in the arms of"
                f" {trials[0].run.path.parent}, more than {share:.1%} apart; make them alike"
            )


def refuse_other_claim(node: dict, trials: list[Trial]) -> None:
    """Raise Refusal for trials that ran under another claim: a threshold is not moved after its runs."""
    for one in trials:
        if one.run.exists and one.run.passport().get("claim") != fingerprint(node):
            raise Refusal(
                f"{one.run} was started under another wording of this claim; fork=NAME tests this one anew"
            )


def print_conclusion(
    experiment: str,
    claim: Claim,
    figures: Figures,
    verdict: Verdict,
    findings: list[Finding],
    control: Verdict,
    seconds: float,
) -> None:
    """Print the paper's sentence, the figures of the arms, and the verdict on each expectation."""
    ((replaced, words),) = claim.control.items()
    arms = [
        [name, *(f"{value:.4g}" for value in values), describe(values)] for name, values in figures.items()
    ]
    seeds = [f"seed {seed}" for seed in range(claim.seeds)]
    title = f"{experiment}: {verdict}\n{claim.paper}, {claim.where}: {claim.theirs}"
    print_table(["arm", *seeds, "mean ± s.d."], arms, title=title)
    print_table(["expected", "found", "verdict"], [[*finding] for finding in findings])
    print(f"control: with {' '.join(words)} in place of {replaced} it {control}, as it is not to hold")
    print(f"{claim.seeds} seeds, {seconds / 60:.1f} min of training; guarded by {claim.guard}")


def write_record(
    folder: Path, node: dict, figures: Figures, verdict: Verdict, control: Verdict, seconds: float
) -> None:
    """Keep what was found, for tables of several claims."""
    arms = {name: describe(values) for name, values in figures.items()}
    found = {"claim": node, "figures": arms, "verdict": verdict, "control": control, "seconds": seconds}
    write(folder / RECORD, found)


def count_seconds(runs: list[Run]) -> float:
    """The seconds that some runs have trained."""
    return sum(float((run.result() or {}).get("perf/train_s", 0.0)) for run in runs)
