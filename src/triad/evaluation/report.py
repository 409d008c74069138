"""The report of an evaluation: JSON, markdown, LaTeX (booktabs), and tables for a terminal."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from triad.storage.durable import replace, write

SHOWN = 200  # characters of a text in a table
LATEX = str.maketrans(
    {c: rf"\{c}" for c in "&%$#_{}"} | {"~": r"\~{}", "^": r"\^{}", "\\": r"\textbackslash{}"}
)
Report = dict[str, Any]
Figure = dict[str, float | None]


def write_report(report: Report, stem: Path) -> list[Path]:
    """Write all of it as JSON, and its tables as markdown and LaTeX; return the files."""
    files = [stem.with_name(f"{stem.name}.{kind}") for kind in ("json", "md", "tex")]
    stem.parent.mkdir(parents=True, exist_ok=True)
    write(files[0], report)
    replace(files[1], to_markdown(report))
    replace(files[2], to_latex(report))
    return files


def list_systems(report: Report) -> dict[str, dict[str, Figure]]:
    """The figures of the run and of each baseline, by name."""
    return {report["run"]: report["figures"]} | report["baselines"]


def format_figure(figure: Figure | None) -> str:
    """A figure with its interval: 27.3 [26.1, 28.4]."""
    if figure is None:
        return "-"
    value, low, high = (
        None if figure[key] is None else f"{figure[key]:.4g}" for key in ("value", "low", "high")
    )
    return str(value) if low is None else f"{value} [{low}, {high}]"


def make_rows(report: Report) -> Iterator[list[str]]:
    """A row for each figure: its name, and the figures of the run and of the baselines."""
    systems = list_systems(report)
    yield ["figure", *systems]
    for name in report["figures"]:
        yield [name, *(format_figure(figures.get(name)) for figures in systems.values())]


def make_comparison_rows(report: Report) -> Iterator[list[str]]:
    """A row for each pair of runs and figure."""
    yield ["figure", "first", "second", "second - first", "p"]
    for one in report["comparisons"]:
        cells = [one["figure"], one["first"], one["second"], format_figure(one), f"{one['p_value']:.3g}"]
        yield cells


def make_example_rows(examples: list[dict[str, Any]]) -> Iterator[list[str]]:
    """A row for each example: what was read, predicted and right."""
    yield ["", "input", "prediction", "reference"]
    for one in examples:
        score = "" if one["score"] is None else f"{one['score']:.4g}"
        yield [score, *(cut(one[name]) for name in ("input", "prediction", "reference"))]


def cut(text: str) -> str:
    """A text on one line, and no longer than a table shows."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[:SHOWN]}..."


def describe(report: Report) -> Iterator[str]:
    """What was evaluated on what, in sentences."""
    data, checkpoint = report["data"], report["checkpoint"]
    yield (
        f"run {report['run']}, step {checkpoint['step']:,}, weights {checkpoint['weights']}; "
        f"{data['examples']:,} examples of the {report['split']} split of data={data['name']}"
    )
    if data["left_out"]:
        yield f"{data['left_out']:,} examples make no row of this task and are left out"
    if data["seen"] is None:
        yield "the training split is not there, so nothing is known of examples that stand in it, too"
    elif data["seen"]:
        kept = "they are left out" if data["exclude_seen"] else "exclude_seen=true leaves them out"
        yield f"{data['seen']:,} examples stand word for word in the training split: {kept}"
    if report["remembered"]:
        yield f"{report['remembered']:,} predictions are entries of the translation memory, not the run's"
    yield (
        f"intervals hold 95 % of {report['resamples']:,} bootstrap resamples of rows, seed {report['seed']}"
    )
    yield from (f"{name}: {signature}" for name, signature in report["signatures"].items())
    if report["decoding"]:
        yield f"decoding: {json.dumps(report['decoding'])}"


def to_markdown(report: Report) -> str:
    """All tables of a report."""
    lines = [f"# {report['run']}, {report['split']}", "", *(f"* {said}" for said in describe(report)), ""]
    lines += _draw_markdown([*make_rows(report)])
    if report["comparisons"]:
        lines += ["", "## Runs compared", "", *_draw_markdown([*make_comparison_rows(report)])]
    for name in ("worst", "best", "samples"):
        if report[name]:
            lines += ["", f"## {name.capitalize()}", "", *_draw_markdown([*make_example_rows(report[name])])]
    return "\n".join(lines) + "\n"


def _draw_markdown(rows: list[list[str]]) -> list[str]:
    spelled = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    head, *body = (f"| {' | '.join(row)} |" for row in spelled)
    return [head, "|" + "---|" * len(rows[0]), *body]


def to_latex(report: Report) -> str:
    """The figures as a table of the package booktabs."""
    head, *body = (" & ".join(cell.translate(LATEX) for cell in row) + r" \\" for row in make_rows(report))
    columns = "l" + "r" * len(list_systems(report))
    lines = [f"% {said}" for said in describe(report)]
    lines += [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", head, r"\midrule", *body]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def print_report(report: Report) -> None:
    """Print the figures, and the examples of which there are some."""
    from rich.console import Console
    from rich.table import Table

    console = Console(markup=False, emoji=False, highlight=False)
    console = (
        console if console.is_terminal else Console(width=160, markup=False, emoji=False, highlight=False)
    )
    for said in describe(report):
        console.print(said)
    tables = {"": [*make_rows(report)]}
    if report["comparisons"]:
        tables["runs compared"] = [*make_comparison_rows(report)]
    tables |= {
        name: [*make_example_rows(report[name])] for name in ("worst", "best", "samples") if report[name]
    }
    for title, (head, *body) in tables.items():
        table = Table(*head, title=title or None)
        for row in body:
            table.add_row(*row)
        console.print(table)
