"""What a run has measured, read back from its metrics.csv; nothing here needs torch."""

import csv
from pathlib import Path


def read(path: Path) -> list[dict[str, float]]:
    """The rows of a metrics file, without empty cells; a last line cut short by a kill is left out."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    rows = []
    for line in csv.DictReader(text[: text.rfind("\n") + 1].splitlines()):
        try:
            row = {key: float(value) for key, value in line.items() if value}
        except (TypeError, ValueError):
            continue
        if "step" in row:
            rows.append(row | {"step": int(row["step"])})
    return rows
