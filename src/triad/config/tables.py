"""Tables as text: on a terminal of any width, in a file, as markdown, as CSV and as LaTeX (booktabs).

Every table that a command prints goes through `print_table`.
"""

import csv
import io
import os
import re
import sys
from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

GAP = 2  # blanks between two columns
LONGEST = 24  # characters of a word that no column breaks
UNBOUNDED = 1 << 16  # columns of a file: every row is one line
NUMBER = re.compile(r"[-+]?[\d,]*\.?\d+(e[-+]?\d+)?( ?%)?( ± \S+)?( \[.*\])?|[-+]?inf|nan|-|")
BREAKS = re.compile(r"[^\s/_.]*[/_.]+|[^\s/_.]+|\s+")  # where a heading may go on in the next line
LATEX = str.maketrans(
    {c: rf"\{c}" for c in "&%$#_{}"}
    | {"~": r"\~{}", "^": r"\^{}", "\\": r"\textbackslash{}", "±": r"$\pm$", "<": r"$<$", ">": r"$>$"}
)
WORDS = re.compile(r"\S+ ± \S+|\S+|\s+")
BLANKS = re.compile(r"\S+|\s+")
Cells = Sequence[str]


def open_console() -> Console:
    """Standard output, as wide as the terminal or COLUMNS says; a file or pipe takes lines of any length."""
    bounded = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    return Console(width=None if bounded else UNBOUNDED, highlight=False, markup=False, emoji=False)


def print_table(
    header: Cells,
    rows: Sequence[Cells],
    title: str = "",
    caption: str = "",
    keys: int = 1,
    whole: bool = False,
    styles: Sequence[str] = (),
) -> None:
    """Print a table so that it can be read at the width of the terminal.

    Cells go on in a further line at blanks; where that does not suffice, the columns are cut into several
    tables that each begin with the first `keys` columns. With `whole` the last column, such as a path, is
    never broken: where the table is too wide with it, each of its cells has a line of its own below the row.
    `styles` has a style of rich for each row.
    """
    console = open_console()
    for line in (title, lay_out(header, rows, console.width, keys, whole, styles), caption):
        if line:
            console.print(line, soft_wrap=True)


def fold_line(line: str, width: int, breaks: str = "  ", indent: str = "") -> list[str]:
    """A line of figures as several where it is wider, cut behind one of `breaks`, a regular expression."""
    lines = [""]
    for piece in re.findall(rf".+?(?:{breaks}|$)", line):
        if lines[-1].strip() and len(lines[-1] + piece.rstrip()) > width:
            lines.append(indent)
        lines[-1] += piece
    return [one.rstrip() for one in lines]


def lay_out(
    header: Cells,
    rows: Sequence[Cells],
    width: int,
    keys: int = 1,
    whole: bool = False,
    styles: Sequence[str] = (),
) -> Text:
    """The lines of a table, none but those of a `whole` column wider than `width`."""
    cells = [[_clean(cell) for cell in row] for row in (header, *rows)]
    columns = [[row[at] for row in cells] for at in range(len(header))]
    beneath = []
    if whole and len(columns) > 1 and sum(max(map(cell_len, one)) + GAP for one in columns) - GAP > width:
        beneath = columns.pop()[1:]
    keys = min(keys, len(columns))
    longest = min(LONGEST, (width - GAP * keys) // (keys + 1))  # so that the keys and one more fit
    least = [_find_least(column, longest) for column in columns]
    blocks = _cut(least, width, keys)
    text = Text()
    for number, block in enumerate(blocks):
        below = beneath if number == len(blocks) - 1 else []
        text.append("\n" if number else "")
        chosen = [columns[at] for at in block]
        text.append_text(_lay_out_block(chosen, [least[at] for at in block], width, below, styles))
    text.right_crop(1)
    return text


def _lay_out_block(
    columns: list[list[str]], least: list[int], width: int, beneath: Sequence[str], styles: Sequence[str]
) -> Text:
    widths = _choose_widths(columns, least, width - GAP * (len(columns) - 1))
    right = [all(NUMBER.fullmatch(cell) for cell in column[1:]) for column in columns]
    text = Text()
    for place, cells in enumerate(zip(*columns, strict=True)):
        style = "bold" if not place else styles[place - 1] if styles else ""
        for line in _lay_out_row(cells, widths, right, place == 0):
            text.append(f"{line}\n", style)
        if not place:
            text.append("─" * (sum(widths) + GAP * (len(widths) - 1)) + "\n", "dim")
        elif beneath and beneath[place - 1]:
            text.append(f"  {beneath[place - 1]}\n", "dim")
    return text


def _lay_out_row(cells: Cells, widths: list[int], right: list[bool], heading: bool) -> Iterator[str]:
    """The lines of one row."""
    wrapped = [_wrap(cell, width, heading) for cell, width in zip(cells, widths, strict=True)]
    for number in range(max(map(len, wrapped))):
        parts = []
        for lines, width, flush in zip(wrapped, widths, right, strict=True):
            part = lines[number] if number < len(lines) else ""
            blanks = " " * (width - cell_len(part))
            parts.append(blanks + part if flush else part + blanks)
        yield (" " * GAP).join(parts).rstrip()


def _cut(least: list[int], width: int, keys: int) -> list[list[int]]:
    """Columns, by number, that stand side by side; the first ones stand in every block."""
    first = list(range(keys))
    blocks = [first]
    for at in range(keys, len(least)):
        block = [*blocks[-1], at]
        if sum(least[i] + GAP for i in block) - GAP > width and len(block) > keys + 1:
            blocks.append([*first, at])
        else:
            blocks[-1] = block
    return blocks


def _find_least(column: list[str], longest: int) -> int:
    """The width at which a column breaks no word of usual length."""
    pieces = [*_split(column[0], True), *(piece for cell in column[1:] for piece in _split(cell, False))]
    return max(1, min(max(map(cell_len, pieces), default=1), longest))


def _choose_widths(columns: list[list[str]], least: list[int], room: int) -> list[int]:
    """The width of each column: what it takes or, in less room, what makes the fewest lines."""
    most = [max(1, *map(cell_len, column)) for column in columns]
    if sum(most) <= room:
        return most
    widths = [min(pair) for pair in zip(least, most, strict=True)]
    for _ in range(room - sum(widths)):
        at = max(range(len(most)), key=lambda at: most[at] / widths[at])
        widths[at] = min(widths[at] + 1, most[at])
    return widths


def _split(cell: str, heading: bool) -> list[str]:
    """The pieces of a cell that stay together; a number with its interval does."""
    if heading:
        return [piece for piece in BREAKS.findall(cell) if not piece.isspace()]
    return [cell] if NUMBER.fullmatch(cell) else [piece for piece in WORDS.findall(cell) if piece.strip()]


def _wrap(cell: str, width: int, heading: bool) -> list[str]:
    """The lines of a cell: broken between pieces, and inside one only where it is wider than the column."""
    if cell_len(cell) <= width:
        return [cell]
    lines = [""]
    whole = (BREAKS if heading else WORDS).findall(cell)
    pieces = [part for one in whole for part in ([one] if cell_len(one) <= width else BLANKS.findall(one))]
    for piece in pieces:
        if cell_len(lines[-1] + piece.rstrip()) > width and not piece.isspace() and lines[-1]:
            lines.append("")
        if piece.isspace():
            lines[-1] += piece if lines[-1] or len(lines) == 1 else ""
            continue
        while cell_len(piece) > width:
            head = _take(piece, width)
            lines[-1:] = [head, ""]
            piece = piece[len(head) :]
        lines[-1] += piece
    return [line.rstrip() for line in lines if line.strip()] or [""]


def _clean(cell: str) -> str:
    """A cell without line ends and what else a terminal would obey."""
    return "".join(c if c.isprintable() else " " for c in cell)


def _take(text: str, width: int) -> str:
    """The longest beginning of a text that a column takes, at least a character."""
    end = 1
    while end < len(text) and cell_len(text[: end + 1]) <= width:
        end += 1
    return text[:end]


def to_markdown(header: Cells, rows: Sequence[Cells]) -> str:
    """A table in markdown."""
    head, *body = (
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in [header, *rows]
    )
    return "\n".join([head, "|" + "---|" * len(header), *body]) + "\n"


def to_csv(header: Cells, rows: Sequence[Cells]) -> str:
    """A table as comma-separated values."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()


def to_latex(
    header: Cells, rows: Sequence[Cells], bold: Sequence[tuple[int, int]] = (), note: str = ""
) -> str:
    """A table of the package booktabs; `bold` are cells by row and column, `note` is a comment above it."""
    numeric = [all(NUMBER.fullmatch(row[at]) for row in rows) for at in range(len(header))]
    lines = [
        *(f"% {line}" for line in note.splitlines()),
        rf"\begin{{tabular}}{{{''.join('r' if each else 'l' for each in numeric)}}}",
        r"\toprule",
        " & ".join(cell.translate(LATEX) for cell in header) + r" \\",
        r"\midrule",
    ]
    for place, row in enumerate(rows):
        cells = [cell.translate(LATEX).replace("[", "{[}", cell.startswith("[")) for cell in row]
        cells = [rf"\textbf{{{cell}}}" if (place, at) in bold else cell for at, cell in enumerate(cells)]
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])
