"""Every table of every command, read from terminals of 80, 100 and 160 columns."""

import ast
import csv
import io
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from tests.made_run import make_run
from tests.terminal import record, replay
from tests.test_compare import write
from triad.config.locations import PACKAGE
from triad.config.tables import LONGEST, Cells, lay_out, to_csv, to_latex, to_markdown

WIDTHS = (80, 100, 160)
WIDE = 1000  # where no cell needs a second line
RULE = re.compile(r"─{3,}")
CORPUS = "data=text data.path=corpus.txt tokenizer=byte"
SWEEP = """
from pathlib import Path
from triad.sweep.progress import ProgressDisplay
from triad.sweep.trials import Trial
display = ProgressDisplay("val/loss", 3, 1, 1)
for seed in range(3):
    place = Path(f"optimizer.lr-0.00{seed}-model.attention.heads-4-0a1b2c3d")
    display.show_end(Trial(seed, seed, place, []), "finished", 3.25, 63.0)
display.close()
"""
VERIFY = """
from triad.verify.compare import Deviation
from triad.verify.matrix import LAYOUTS, Case
from triad.verify.report import show
from triad.verify.runner import Result
choices = 3, "documents", True, False, "fp64"
cases = [Case(layout, model, *choices) for layout in LAYOUTS for model in ("encoder_decoder", "lstm")]
refused = "refused: model=lstm strategy=tensor: it has no cut along its width: use strategy=fsdp"
found = Deviation({"loss": 1e-16, "gradient": 2e-13}, None)
equal = [Result(case, "equal", found, "as by formula") for case in cases]
show([Result(cases[0], refused, None), *equal], None)
"""
QUERY = "a red dog runs over 3 hills and behind a train"
FIGURES = "columns=tokens,seconds,energy_joules,cost,mfu"
# where tables are printed, and the words of a command that prints them; a new place is asked for below
CLAIM = """
from triad.claims.claim import Claim
from triad.claims.conclusion import judge, print_conclusion
from triad.claims.expectations import Level
arms = {"one_layer": ["model.depth=1"], "two_layers": ["model.depth=2"]}
expects, control = [Level("two_layers", at_least=0.9)], {"two_layers": ["model.depth=1"]}
made = Claim("Olsson et al. 2022", "argument 2", "two do", arms, len, expects, control, "tests/test_laws.py")
figures = {"one_layer": [0.0125, 0.0, 0.25], "two_layers": [0.9875, 1.0, 1.0], "control": [0.1, 0.0, 0.0]}
print_conclusion("olsson2022/induction", made, figures, *judge(made, figures), 754.0)
"""
COMMANDS = {
    "analysis/table.py": f"-m triad.compare outputs {FIGURES}",
    "claims/conclusion.py": f"-c '{CLAIM}'",
    "checkpoint.py": "-m triad.checkpoint show=outputs/made",
    "coordinates.py": "-m triad.coordinates widths=16,32 steps=1 seeds=1 model.depth=1",
    "data/__main__.py": f"-m triad.data show=0 context=32 batch.size=3 {CORPUS}",
    "evaluation/report.py": "-m triad.evaluate run=outputs/made split=val limit=4 resamples=20",
    "fertility.py": f"-m triad.fertility by=none megabytes=0.01 {CORPUS}",
    "memory.py": f"-m triad.memory path=m.sqlite 'query={QUERY}' data=parallel data.source=p.tsv",
    "ngram.py": f"-m triad.ngram order=3 run_id=ngram {CORPUS}",
    "prepare.py": f"-m triad.prepare data/clean=basic {CORPUS}",
    "sweep/progress.py": f"-c '{SWEEP}'",
    "verify/report.py": f"-c '{VERIFY}'",
}


def walk_calls(path: Path) -> Iterator[str]:
    """What a file calls, by name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func).rpartition(".")[2]


def test_every_place_that_prints_a_table_is_read_here() -> None:
    places = [path for path in PACKAGE.rglob("*.py") if {"print_table", "lay_out"} & {*walk_calls(path)}]
    found = {path.relative_to(PACKAGE).as_posix() for path in places} - {"config/tables.py"}
    assert found == COMMANDS.keys(), "say in COMMANDS how to see the table of a new command"


def test_tables_are_made_in_one_place() -> None:
    """None but config/tables.py makes one of rich; a grid lays out a progress bar."""
    for path in PACKAGE.rglob("*.py"):
        if "rich.table" in path.read_text():
            assert "Table" not in walk_calls(path), f"{path}: use print_table of triad.config.tables"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text, pairs of sentences, and runs: one with a checkpoint, others with results."""
    root = tmp_path_factory.mktemp("terminal")
    (root / "corpus.txt").write_text(
        "".join(f"{n} squared is {n * n}; half is {n // 2}.\n" for n in range(900))
    )
    pairs = [f"a red dog runs over {n} hills and behind a long train" for n in range(20)]
    (root / "p.tsv").write_text("".join(f"{pair}\t{pair.upper()}\n" for pair in pairs))
    make_run(root / "outputs" / "made", "data=text", f"data.path={root}/corpus.txt")
    figures = {"train/tokens": 512000, "perf/train_s": 12.5, "perf/energy_joules": 3e5, "perf/cost": 0.25}
    for number, name in enumerate(("adamw", "muon", "schedule_free", "soap")):
        for seed in (0, 1):
            config = {"optimizer": name, "model.attention.heads": number + 1, "seed": seed}
            loss = {"val/loss": 3 + 0.1 * number + 0.01 * seed, "perf/mfu": 0.3 + number}
            costs = {key: value * (1 + number + seed) for key, value in figures.items()}
            place = (
                root / "outputs" / "optimizers-by-heads" / f"{name}-heads-{number + 1}-seed-{seed}-0a1b2c3d"
            )
            write(place, config, loss | costs)
    return root


def read_bodies(screen: list[str]) -> list[str]:
    """The lines below the heading of the first table."""
    lines = [line.rstrip() for line in screen]
    return lines[next(at for at, line in enumerate(lines) if RULE.match(line)) + 1 :]


def is_one_cell(line: str) -> bool:
    """A path or a sentence: it has no gap between columns."""
    return "  " not in line.strip().replace("  (+", " (+")


@pytest.mark.parametrize("place", COMMANDS)
def test_a_table_of_a_command_is_read_in_80_100_and_160_columns(
    warm: Any, environment: dict[str, str], folder: Path, place: str
) -> None:
    words = shlex.split(COMMANDS[place])

    def read(columns: int) -> list[str]:
        shutil.rmtree(folder / "outputs" / "ngram", ignore_errors=True)
        return read_bodies([*replay(warm.call(record, words, folder, environment, columns))][-1])

    wide = {word for line in read(WIDE) for word in line.split() if len(word) <= LONGEST}
    assert len(wide) > 3
    for columns in WIDTHS:
        lines = read(columns)
        assert not [line for line in lines if cell_len(line) > columns and not is_one_cell(line)]
        assert wide <= {word for line in lines for word in line.split()}, "a number or word is broken"


WORD = st.text("abcxyz017.±/_-%,[]&#{}é日", min_size=1, max_size=30)
CELL = st.lists(WORD, max_size=5).map(" ".join)
ROWS = st.integers(1, 9).flatmap(lambda n: st.lists(st.tuples(*[CELL] * n), min_size=1, max_size=6))


@settings(max_examples=200, deadline=None)
@given(table=ROWS, width=st.integers(80, 160), keys=st.integers(1, 2), whole=st.booleans())
def test_any_table_fits_and_loses_nothing(table: list[Cells], width: int, keys: int, whole: bool) -> None:
    header, *rows = table
    lines = str(lay_out(header, rows, width, keys, whole)).splitlines()
    beneath = {f"  {row[-1]}" for row in rows} if whole else set()
    assert all(cell_len(line) <= width for line in lines if line not in beneath)
    shown = {word for line in lines for word in line.split()}
    for row in rows:
        assert {word for cell in row for word in cell.split() if cell_len(word) <= LONGEST} <= shown
    letters = "".join(lines).replace(" ", "")
    for cell in [*header[: -1 if whole else None], *(cell for row in rows for cell in row)]:
        assert all(letters.count(letter) >= cell.count(letter) for letter in {*cell} - {" "})


def test_a_path_stands_last_where_it_fits_and_else_whole_on_a_line_of_its_own() -> None:
    path = "outputs/" + "x" * 60
    header, rows = ["#", "val/loss", "run"], [["1", "3.25 ± 0.5", path]]
    assert str(lay_out(header, rows, 100, whole=True)).splitlines()[2:] == [f"1  3.25 ± 0.5  {path}"]
    assert str(lay_out(header, rows, 80, whole=True)).splitlines()[2:] == ["1  3.25 ± 0.5", f"  {path}"]


def test_what_a_terminal_would_obey_is_no_part_of_a_cell() -> None:
    assert "\x1b" not in str(lay_out(["a"], [["\x1b[2Jx\ny"]], 80))


def test_a_file_has_every_cell_of_a_table() -> None:
    header, rows = ["a|b", "c_d"], [["1 ± 2", "x, y"], ["[3]", "50 %"]]
    assert [*csv.reader(io.StringIO(to_csv(header, rows)))] == [header, *rows]
    assert to_markdown(header, rows).splitlines() == [
        "| a\\|b | c_d |",
        "|---|---|",
        "| 1 ± 2 | x, y |",
        "| [3] | 50 % |",
    ]
    latex = to_latex(header, rows, [(1, 1)], "of 2 runs").splitlines()
    assert latex[0] == "% of 2 runs"
    assert latex[5:7] == [r"1 $\pm$ 2 & x, y \\", r"{[}3] & \textbf{50 \%} \\"]
