"""The tables of a comparison: on a terminal, and as text for a paper or another program."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from triad.analysis.confidence_intervals import Interval, format_interval
from triad.analysis.leaderboard import Board, Goal, Line, compare_paired, find_best_run, rank_runs
from triad.analysis.settings import Setting, format_cell, format_number, load_outcome, shorten_key
from triad.config import tables
from triad.config.errors import Refusal
from triad.config.schema import suggest

SHORT = {"tokens": "train/tokens", "flops": "train/flops", "seconds": "perf/train_s"}
PREFIXES = ("", "val/", "train/", "perf/", "xz/")


def print_runs(
    directories: list[Path],
    states: dict[Path, str] | None = None,
    metric: str = "val/loss",
    goal: Goal = "auto",
) -> None:
    """Print the leaderboard of some run directories; `states` are those known better than from the files."""
    found = [
        load_outcome(directory, (states or {}).get(directory), states is None) for directory in directories
    ]
    print_boards(rank_runs([run._replace(left_out="") for run in found], metric, goal))


def print_boards(boards: list[Board], columns: Sequence[str] = ()) -> None:
    """Print leaderboards as wide as the terminal, the path of each line's best run whole."""
    for number, board in enumerate(boards):
        header, rows, same = tabulate(board, columns)
        caption = "\n".join([*_name_same(same), *_name_best(board), *board.notes])
        title = board.title and f"{board.title}:"
        tables.print_table(header, rows, "\n" * (number > 0) + title, caption, whole=True)


def _name_same(same: list[str]) -> list[str]:
    return [f"all: {', '.join(same)}"] if same else []


def find_columns(words: str, boards: list[Board]) -> list[str]:
    """The figures and keys that columns=tokens,optimizer.lr names; columns=all names all figures.

    Raises Refusal for a word that is neither.
    """
    runs = [run for board in boards for setting in board.together for run in setting.runs]
    figures = dict.fromkeys(key for run in runs for key in run.result)
    keys = dict.fromkeys(key for run in runs for key in run.config)
    if words == "all":
        return [*figures]
    found = []
    for word in filter(None, words.split(",")):
        names = [SHORT.get(word, word), *(prefix + word for prefix in PREFIXES)]
        fits = [name for name in names if name in figures or name in keys]
        if not fits:
            short = [key.partition("/")[2] or key for key in figures]
            raise Refusal(f"columns={word} is no figure or key of these runs{suggest(word, [*short, *keys])}")
        found.append(fits[0])
    return found


def tabulate(board: Board, columns: Sequence[str] = ()) -> tuple[list[str], list[list[str]], list[str]]:
    """The heading, the cells of each line, and what is the same in all lines and so has no column.

    Further figures are means over the seeds. The last column is the path of the best seed's run.
    """
    lines, several = board.lines, len(board.lines) > 1
    keys = {key: [format_cell(line.setting.value(key)) for line in lines] for key in board.columns}
    further = {
        key: [_format_mean(line.setting, key) for line in lines] for key in columns if key != board.metric
    }
    seeds = {"seeds": [str(line.score.n) if line.score else "" for line in lines]}
    verdicts = [_describe_verdict(line, several) for line in lines]
    heading = f"against {_describe_reference(board)}" if several else "state"
    found = {
        "#": [str(place) if line.score else "" for place, line in enumerate(lines, 1)],
        **keys,
        head_score(board): [format_interval(line.score) if line.score else "" for line in lines],
        **(seeds if any(line.score and line.score.n > 1 for line in lines) else {}),
        **({heading: verdicts} if several or any(verdicts) else {}),
        **further,
        "run": [_describe_place(line, board) for line in lines],
    }
    optional = [key for key in found if key in keys | further | seeds]
    readable = [at for at, line in enumerate(lines) if line.setting.runs[0].config]
    values = {key: {found[key][at] for at in readable} for key in optional}
    constant = [key for key in optional if several and len(values[key]) == 1]
    same = [f"{shorten_key(key)} {values[key].pop()}" for key in constant]
    shown = {key: cells for key, cells in found.items() if key not in constant}
    return [shorten_key(key) for key in shown], [list(row) for row in zip(*shown.values(), strict=True)], same


def head_score(board: Board) -> str:
    """The heading of the metric: with its interval where a line has one."""
    has_interval = any(line.score and line.score.half is not None for line in board.lines)
    return f"{board.metric} ± 95%" if has_interval else board.metric


def _format_mean(setting: Setting, key: str) -> str:
    values = setting.figures(key).values()
    return format_number(sum(values) / len(values)) if values else format_cell(setting.value(key))


def _describe_verdict(line: Line, several: bool) -> str:
    """How a line stands to the reference if there are several, and which of its runs are not finished."""
    states = describe_states(line.setting)
    return ", ".join(filter(None, [line.verdict * several, "" if states == "finished" else states]))


def _describe_reference(board: Board) -> str:
    """The reference by its place, or by name where `by` left it out."""
    places = [place for place, line in enumerate(board.lines, 1) if line.setting is board.reference]
    if board.reference is None or places == [1]:
        return "the best"
    return f"line {places[0]}" if places else board.reference.label


def _describe_place(line: Line, board: Board) -> str:
    """The best seed's run, and how many there are besides."""
    more = len(line.setting.runs) - 1
    run = find_best_run(line.setting, board.metric, board.maximize)
    return f"{run.directory}{f'  (+{more})' if more else ''}"


def _name_best(board: Board) -> Iterator[str]:
    """The best run of a board in a line to copy from."""
    scored = [line for line in board.lines if line.score and math.isfinite(line.score.mean)]
    if scored:
        run = find_best_run(scored[0].setting, board.metric, board.maximize)
        seed = f", seed {run.seed}" if len(scored[0].setting.runs) > 1 else ""
        yield f"best run: {run.directory} ({board.metric} {format_number(run.result[board.metric])}{seed})"


def describe_states(setting: Setting) -> str:
    """The state that all runs have, or how many have which."""
    found = [run.state for run in setting.runs]
    counted = {state: found.count(state) for state in found}
    if len(counted) == 1:
        return found[0]
    return ", ".join(f"{count} {state}" for state, count in counted.items())


def to_markdown(boards: list[Board], columns: Sequence[str] = ()) -> str:
    """Leaderboards as tables in markdown."""
    texts = []
    for board in boards:
        header, rows, same = tabulate(board, columns)
        notes = "".join(f"\n{note}\n" for note in [*_name_same(same), *board.notes])
        texts.append(
            (f"## {board.title}\n\n" if board.title else "") + tables.to_markdown(header, rows) + notes
        )
    return "\n".join(texts)


def to_latex(boards: list[Board], columns: Sequence[str] = ()) -> str:
    """Leaderboards as tables of the package booktabs, without paths, the best in bold."""
    texts = []
    for board in boards:
        header, rows, same = tabulate(board, columns)
        kept = [at for at, key in enumerate(header) if key not in ("#", "run")]
        best = [
            place
            for place, line in enumerate(board.lines)
            if line.score and line.score == board.lines[0].score
        ]
        score = kept.index(header.index(head_score(board)))
        note = "\n".join([*filter(None, [board.title]), *_name_same(same), *board.notes])
        cells = [[row[at] for at in kept] for row in rows]
        texts.append(tables.to_latex([header[at] for at in kept], cells, [(at, score) for at in best], note))
    return "\n".join(texts)


def to_csv(boards: list[Board]) -> str:
    """A row for each line, with every figure that some run has and all digits."""
    return tables.to_csv(*make_records(boards))


def make_records(boards: list[Board]) -> tuple[list[str], list[list[str]]]:
    """The heading and the rows of a file: numbers with all their digits, one to a cell."""
    records: list[dict[str, str]] = []
    runs = [run for board in boards for setting in board.together for run in setting.runs]
    figures = dict.fromkeys(key for run in runs for key in run.result)
    for board in boards:
        for place, line in enumerate(board.lines, 1):
            setting, score = line.setting, line.score
            difference = compare_paired(setting, board.reference, board.metric) if board.reference else None
            record = {"group": board.title} if len(boards) > 1 else {}
            record |= {"place": str(place) if score else ""}
            record |= {key: format_cell(setting.value(key)) for key in board.columns}
            record |= {"seeds": str(score.n) if score else "", **_record_interval(board.metric, score)}
            record |= _record_interval("difference", difference) | {"verdict": line.verdict}
            for key in figures:
                if key != board.metric:
                    values = setting.figures(key).values()
                    record[key] = repr(sum(values) / len(values)) if values else ""
            run = find_best_run(setting, board.metric, board.maximize)
            records.append(record | {"state": describe_states(setting), "run": str(run.directory)})
    heads = list(dict.fromkeys(key for record in records for key in record))
    return heads, [[record.get(key, "") for key in heads] for record in records]


def _record_interval(name: str, score: Interval | None) -> dict[str, str]:
    half = None if score is None else score.half
    return {
        name: "" if score is None else repr(score.mean),
        f"{name} ± 95%": "" if half is None else repr(half),
    }
