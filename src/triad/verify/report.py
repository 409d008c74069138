"""The table of a verification: the deviations of each layout from one process, red if too large."""

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

KINDS = ("loss", "auxiliary", "load", "norm", "gradient", "weight", "val", "sample")


def show(results: list, markdown: Path | None) -> int:
    """Print a row for each comparison, write it as markdown if asked; return how many are wrong."""
    table = Table("layout", "model", "micro", "rows", "also", *KINDS, "bytes", "verdict")
    for result in results:
        table.add_row(*_row(result), style="red" if result.wrong else None)
    Console(width=None if sys.stdout.isatty() else 200, markup=False, emoji=False).print(table)
    compared = [result for result in results if result.deviation]
    wrong = sum(result.wrong for result in results)
    refused = len(results) - len(compared) - sum(r.wrong and not r.deviation for r in results)
    print(f"{len(compared)} compared, {wrong} depart or failed, {refused} refused as impossible")
    if markdown:
        markdown.write_text(as_markdown(results), encoding="utf-8")
    return wrong


def as_markdown(results: list) -> str:
    """One row for each layout, one column for each model: the largest difference of any kind."""
    models = list(dict.fromkeys(result.case.model for result in results))
    lines = ["| layout | " + " | ".join(models) + " |", "|---|" + "---|" * len(models)]
    for layout in dict.fromkeys(result.case.layout.name for result in results):
        cells = []
        for model in models:
            here = [r for r in results if (r.case.layout.name, r.case.model) == (layout, model)]
            cells.append(_cell(here))
        lines.append(f"| {layout} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(results: list) -> str:
    if any(result.wrong for result in results):
        return "**departs**"
    worst = [max(result.deviation.worst.values()) for result in results if result.deviation]
    return f"{max(worst):.0e}" if worst else "-"


def _row(result) -> list[str]:
    case = result.case
    worst = result.deviation.worst if result.deviation else {}
    figures = [f"{worst[kind]:.0e}" if kind in worst else "" for kind in KINDS]
    switches = [name for name in ("checkpointing", "compile") if getattr(case, name)]
    return [
        case.layout.name,
        case.model,
        str(case.parts),
        case.packing,
        " ".join(switches),
        *figures,
        result.traffic,
        result.verdict,
    ]
