"""The report of an evaluation: JSON, markdown, LaTeX (booktabs), and tables for a terminal."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from triad.config import tables
from triad.storage.durable import replace, write

SHOWN = 200  # characters of a text in a table
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


def make_tables(report: Report) -> dict[str, list[list[str]]]:
    """The figures, the comparisons and the examples, as far as there are any: a heading and rows each."""
    found = {"": [*make_rows(report)]}
    if report["comparisons"]:
        found["runs compared"] = [*make_comparison_rows(report)]
    examples = {name: report[name] for name in ("worst", "best", "samples") if report[name]}
    return found | {name: [*make_example_rows(rows)] for name, rows in examples.items()}


def to_markdown(report: Report) -> str:
    """All tables of a report."""
    text = [f"# {report['run']}, {report['split']}\n\n", *(f"* {said}\n" for said in describe(report))]
    for title, (header, *rows) in make_tables(report).items():
        text += [f"\n## {title.capitalize()}\n" if title else "", "\n", tables.to_markdown(header, rows)]
    return "".join(text)


def to_latex(report: Report) -> str:
    """The figures as a table of the package booktabs."""
    header, *rows = make_rows(report)
    return tables.to_latex(header, rows, note="\n".join(describe(report)))


def print_report(report: Report) -> None:
    """Print the figures, and the examples of which there are some."""
    for said in describe(report):
        print(said)
    for title, (header, *rows) in make_tables(report).items():
        print()
        tables.print_table(header, rows, title)
