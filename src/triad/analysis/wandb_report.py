"""A leaderboard as a run of Weights & Biases: a table, and the page if there is one."""

import importlib.util
import os
from pathlib import Path
from typing import Any

from triad.analysis.leaderboard import Board, make_cells, make_header
from triad.config.errors import Refusal, one_line
from triad.loggers import silent_wandb as quiet

PATIENCE_S = 30.0


def send_report(ranking: Board, page: Path | None) -> str:
    """Log it as a run of job type `report`, in the project and group that the runs have; say where it is.

    Online where someone is logged in, else offline, or what WANDB_MODE says. Raises Refusal if that fails.
    """
    if importlib.util.find_spec("wandb") is None:
        raise Refusal("wandb=true: wandb is not installed; pip install wandb, or leave the word out")
    library = quiet.wandb()
    mode: Any = os.environ.get("WANDB_MODE") or ("online" if library.login(prompt=False) else "offline")
    settings = library.Settings(mode=mode, silent=True, console="off", init_timeout=PATIENCE_S, symlink=False)
    kept = ranking.lines[0].setting.runs[0].directory.parent
    try:
        with library.init(
            project=_find_common(ranking, "project") or "triad",
            group=_find_common(ranking, "group"),
            job_type="report",
            dir=kept,
            settings=settings,
        ) as begun:
            begun.log({"leaderboard": _make_table(ranking)})
            if page:
                begun.log({"page": library.Html(page.read_text(encoding="utf-8"), inject=False)})
            return f"W&B: {begun.url or begun.dir.removesuffix('files').rstrip('/')}"
    except library.Error as error:
        raise Refusal(f"wandb=true: {one_line(error)}; WANDB_MODE=offline keeps it in {kept}") from None


def _find_common(ranking: Board, key: str) -> str | None:
    """A setting of W&B that all runs share, else None."""
    runs = [run for line in ranking.lines for run in line.setting.runs if run.config]
    said = {run.config.get(f"logger.wandb.{key}") for run in runs}
    return said.pop() if len(said) == 1 else None


def _make_table(ranking: Board) -> Any:
    import wandb as library

    rows = [[_to_number(text) for text in row] for row in make_cells(ranking)]
    return library.Table(columns=[*make_header(ranking)], data=rows, allow_mixed_types=True)


def _to_number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
