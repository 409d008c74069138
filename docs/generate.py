"""Write the tables of the docs that follow from the code and conf/: `make docs`, or check=true.

A table stands between `<!-- name -->` and `<!-- end -->` in README.md or a page of docs/.
"""

import re
from collections.abc import Callable

from triad.config.command_line import run_command
from triad.config.errors import Refusal
from triad.config.help import list_by_axis
from triad.config.locations import CONF, REPOSITORY
from triad.config.offers import find_choices, get_declared, list_groups, read_choices, walk_needing_parts
from triad.config.refusals import TABLE, tables
from triad.config.trainer_arguments import ARGUMENTS

SHOWN = 3  # examples of what fits


def generate(check: bool = False) -> None:
    """Write all tables; with `check` change nothing and refuse what is out of date."""
    for page in (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))):
        text = page.read_text(encoding="utf-8")
        fresh = re.sub(r"(<!-- (\w+) -->\n).*?(<!-- end -->)", _table, text, flags=re.DOTALL)
        if fresh != text and check:
            raise Refusal(f"{page.relative_to(REPOSITORY)} is not what the code says: run `make docs`")
        if fresh != text:
            page.write_text(fresh, encoding="utf-8")


def _table(found: re.Match) -> str:
    return "".join([found[1], *(f"{line}\n" for line in TABLES[found[2]]()), found[3]])


def of_choices() -> list[str]:
    """Every group of conf/ with its choices, by axis."""
    lines = ["| axis | group | choices |", "|---|---|---|"]
    axis = ""
    for group in list_by_axis():
        names = " ".join(f"`{name}`" for name in read_choices(group.name))
        lines.append(f"| {'' if group.axis == axis else group.axis} | `{group.name}` | {names} |")
        axis = group.axis
    return lines


def of_metrics() -> list[str]:
    """What each metric judges, its figures, which way they are better, and what its file says of it."""
    lines = ["| metric | judges | figures | what it is |", "|---|---|---|---|"]
    for name, nodes in read_choices("metrics").items():
        (node,) = nodes.values()
        judged = (get_declared(node, "needs") or {}).get("task.predicts", ("anything",))
        figures = [
            f"`{figure}` ({better})"
            for better in ("higher", "lower")
            for figure in get_declared(node, f"{better}_is_better") or ()
        ]
        head = (CONF / "metrics" / f"{name}.yaml").read_text(encoding="utf-8").partition("\n")[0]
        lines.append(f"| `{name}` | {', '.join(judged)} | {' '.join(figures)} | {head.removeprefix('# ')} |")
    return lines


def of_needs() -> list[str]:
    """What parts declare that they need, and some of the choices that fit."""
    lines = ["| part | needs | fits |", "|---|---|---|"]
    for group in sorted(list_groups()):
        for name, node in read_choices(group).items():
            needs = [
                need
                for _, part in walk_needing_parts(node)
                for need in (get_declared(part, "needs") or {}).items()
            ]
            for key, allowed in needs:
                asked, _, attribute = key.partition(".")
                fits = [f"`{choice}`" for choice in find_choices(asked, attribute, allowed)]
                said = " or ".join("null" if value is None else str(value) for value in allowed)
                more = f" and {len(fits) - SHOWN} more" if len(fits) > SHOWN else ""
                listed = f"`{asked}`: {' '.join(fits[:SHOWN])}{more}" if fits[:SHOWN] else ""
                lines.append(f"| `{group}={name}` | `{key}` {said} | {listed} |")
    return lines


def of_refusals() -> list[str]:
    """The rows of arithmetic, with the words of their examples."""
    rows = [*TABLE, *(row for module in tables() for row in module.TABLE)]
    return ["| refused | why |", "|---|---|", *(f"| `{row.example}` | {row.why} |" for row in rows)]


def of_trainer() -> list[str]:
    """The arguments of Lightning's Trainer, and what to write."""
    rows = [f"| `{name}` | {argument.otherwise} |" for name, argument in ARGUMENTS.items()]
    return ["| `trainer.` | what to write |", "|---|---|", *rows]


def of_papers() -> list[str]:
    """Every experiment of a paper, with the first line of its head."""
    lines = ["| experiment | what |", "|---|---|"]
    for path in sorted((CONF / "experiment").glob("*/*.yaml")):
        name = path.relative_to(CONF / "experiment").with_suffix("").as_posix()
        first = next(line for line in path.read_text(encoding="utf-8").splitlines() if line[:3] != "# @")
        lines.append(f"| `{name}` | {first.removeprefix('# ')} |")
    return lines


TABLES: dict[str, Callable[[], list[str]]] = {
    "choices": of_choices,
    "metrics": of_metrics,
    "needs": of_needs,
    "papers": of_papers,
    "refusals": of_refusals,
    "trainer": of_trainer,
}

if __name__ == "__main__":
    run_command(generate)
