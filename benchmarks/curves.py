"""Draw docs/five_minutes.png: validation bits per byte over seconds of training, ours and the plain loop's.

python benchmarks/curves.py run=outputs/<run_id> csv=five_minutes.csv out=docs/five_minutes.png
"""

import csv as csv_module
from pathlib import Path

from matplotlib.figure import Figure

from triad.config.command_line import run_command
from triad.runs.directory import Run


def curves(run: str, csv: str, out: str) -> None:
    """Draw the run's validations and, from five_minutes.py's CSV, the plain loop's at each learning rate."""
    axes = (figure := Figure(figsize=(7, 4), layout="constrained")).subplots()
    rows = [row for row in Run(run).metrics() if {"val/bits_per_byte", "perf/train_s"} <= row.keys()]
    axes.plot(
        [row["perf/train_s"] for row in rows],
        [row["val/bits_per_byte"] for row in rows],
        marker="o",
        label="make train",
    )
    with Path(csv).open(newline="") as file:
        plain = list(csv_module.DictReader(file))
    for lr in dict.fromkeys(row["lr"] for row in plain):
        points = [(float(row["seconds"]), float(row["bits_per_byte"])) for row in plain if row["lr"] == lr]
        axes.plot(
            [s for s, _ in points], [b for _, b in points], marker=".", label=f"plain fp32 loop, lr {lr}"
        )
    axes.set(xlabel="seconds of training", ylabel="validation bits per byte", ylim=(1.2, 3.0))
    axes.legend()
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    run_command(curves)
