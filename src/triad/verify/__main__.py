"""Check that the hardware axis does not change the mathematics

python -m triad.verify                                  every model in every layout, other choices in turn
python -m triad.verify all=true                         the whole product (hours)
python -m triad.verify layouts=tensor models=moe        some of it
python -m triad.verify model=moe strategy=expert trainer.devices=2        your own configuration
"""

from pathlib import Path

from triad.config.command_line import run_command

GROUP = "Prove"


def verify(
    overrides: list[str],
    layouts: str = "",
    models: str = "",
    all: bool = False,
    markdown: str = "",
    keep: str = "",
    accelerator: str = "auto",
) -> None:
    """Train in every layout and compare losses, gradients and weights with one process in float64.

    Without overrides: the layouts and models of triad.verify.matrix (`layouts=`, `models=` choose some by
    name, `all=true` takes every combination of micro-batches, padding, checkpointing and compilation). With
    overrides of train.py: that configuration, made small by debug=tiny unless it says debug=null. A layout is
    trained on GPUs if each of its processes has one, else on the CPU (`accelerator=` says which). `markdown=`
    writes the table to a file, `keep=` the runs to a folder. The exit code is 1 if anything differs.
    """
    from tempfile import TemporaryDirectory

    from triad.verify import matrix
    from triad.verify.report import show
    from triad.verify.runner import run_cases, run_own

    with TemporaryDirectory() as scratch:
        folder = Path(keep or scratch)
        if overrides:
            results = run_own(overrides, folder, accelerator)
        else:
            cases = matrix.all_cases() if all else matrix.covering_cases()
            chosen = [c for c in cases if _named(c.layout.name, layouts) and _named(c.model, models)]
            results = run_cases(chosen, folder, accelerator=accelerator)
        wrong = show(results, Path(markdown) if markdown else None)
    raise SystemExit(1 if wrong else 0)


def _named(name: str, asked: str) -> bool:
    return not asked or name in asked.split(",")


if __name__ == "__main__":
    run_command(verify)
