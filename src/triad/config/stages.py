"""What a start is about to do: one line on standard error before each stage that takes seconds."""

import os
import sys


def announce(stage: str) -> None:
    """Print a stage at once, on the first rank alone: `announce("composing")`."""
    if os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")) == "0":
        print(f"{stage} ...", file=sys.stderr, flush=True)
