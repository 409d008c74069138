"""`triad <command> ...`, the same as `python -m triad.<command> ...`; alone it lists the commands."""

import runpy
import sys

from triad.config.commands import format_commands, list_commands
from triad.config.locations import TRAIN
from triad.config.messages import MISTAKE, report_interrupt
from triad.config.neighbours import find_command
from triad.config.schema import suggest


def main() -> None:
    """Run a command as if it had been started by itself."""
    known = list_commands()
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print("triad <command> [key=value] ...     --help of a command says more\n")
        print(format_commands())
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


if __name__ == "__main__":
    main()
