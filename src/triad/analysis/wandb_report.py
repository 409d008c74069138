"""A leaderboard as a run of Weights & Biases: a table, and the page if there is one."""

import importlib.util
import os
from pathlib import Path
from typing import Any

from triad.analysis.leaderboard import Board
from triad.analysis.settings import Outcome
from triad.analysis.table import make_records
from triad.config.errors import Refusal, one_line
from triad.loggers import silent_wandb as quiet

PATIENCE_S = 30.0


def send_report(boards: list[Board], page: Path | None) -> str:
    """Log it as a run of job type `report`, in the project and group that the runs have; say where it is.

    Online where someone is logged in, else offline, or what WANDB_MODE says. Raises Refusal if that fails.
    """
    if importlib.util.find_spec("wandb") is None:
        raise Refusal("wandb=true: wandb is not installed; pip install wandb, or leave the word out")
    library = quiet.wandb()
    mode: Any = os.environ.get("WANDB_MODE") or ("online" if library.login(prompt=False) else "offline")
    settings = library.Settings(mode=mode, silent=True, console="off", init_timeout=PATIENCE_S, symlink=False)
    runs = [run for board in boards for line in board.lines for run in line.setting.runs]
    kept = runs[0].directory.parent if runs else Path()
    try:
        with library.init(
            project=_find_common(runs, "project") or "triad",
            group=_find_common(runs, "group"),
            job_type="report",
            dir=kept,
            settings=settings,
        ) as begun:
            begun.log({"leaderboard": _make_table(boards)})
            if page:
                begun.log({"page": library.Html(page.read_text(encoding="utf-8"), inject=False)})
            return f"W&B: {begun.url or begun.dir.removesuffix('files').rstrip('/')}"
    except library.Error as error:
        raise Refusal(f"wandb=true: {one_line(error)}; WANDB_MODE=offline keeps it in {kept}") from None


def _find_common(runs: list[Outcome], key: str) -> str | None:
    """A setting of W&B that all runs share, else None."""
    said = {run.config.get(f"logger.wandb.{key}") for run in runs if run.config}
    return said.pop() if len(said) == 1 else None


def _make_table(boards: list[Board]) -> Any:
    import wandb as library

    header, records = make_records(boards)
    rows = [[_to_number(text) for text in row] for row in records]
    return library.Table(columns=[*header], data=rows, allow_mixed_types=True)


def _to_number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
