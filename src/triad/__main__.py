"""`triad <command> ...`, the same as `python -m triad.<command> ...`; alone it lists the commands."""

import ast
import re
import runpy
import sys
from pathlib import Path

from triad.config.locations import PACKAGE, TRAIN
from triad.config.messages import MISTAKE, report_interrupt
from triad.config.neighbours import find_command
from triad.config.schema import suggest


def list_commands() -> dict[str, Path]:
    """The file of each command, by name: what lies directly in the package, and folders that can be run."""
    files = {file.stem: file for file in PACKAGE.glob("*.py") if not file.stem.startswith("__")}
    folders = {file.parent.name: file for file in PACKAGE.glob("*/__main__.py")}
    return {"train": TRAIN, **dict(sorted((files | folders).items()))}


def main() -> None:
    """Run a command as if it had been started by itself."""
    known = list_commands()
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print("triad <command> [key=value] ...     --help of a command says more\n")
        print("\n".join(f"  {name:<12} {_read_purpose(file)}" for name, file in known.items()))
        return
    command = sys.argv.pop(1)
    if command not in known:
        ours = find_command(command)
        near = f": here that is triad {ours}" if ours else suggest(command, [*known])
        print(f"error: triad {command} is no command{near}", file=sys.stderr)
        sys.exit(MISTAKE)
    try:
        _run(command)
    except KeyboardInterrupt:  # while the command was being imported
        sys.exit(report_interrupt())


def _run(command: str) -> None:
    if command == "train":  # a script and no module: its ranks are started by its path
        sys.argv[0] = str(TRAIN)
        runpy.run_path(sys.argv[0], run_name="__main__")
    else:
        runpy.run_module(f"triad.{command}", run_name="__main__", alter_sys=True)


def _read_purpose(file: Path) -> str:
    """The first line of a command's docstring, without its example."""
    line = (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").partition("\n")[0]
    return re.sub(r":? ?`python [^`]*`[:.]? ?", "", line)


if __name__ == "__main__":
    main()
