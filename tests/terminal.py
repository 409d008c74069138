"""What a person sees: a command run in a terminal of some columns, and the screens that it showed.

screens = warm.call(record, ["train.py", ...], folder, environment, 80)
frames = [*replay(screens)]
"""

import fcntl
import os
import pty
import re
import struct
import termios
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.warm import fork, run_words, wait

ROWS = 200  # enough to never scroll
CONTROL = re.compile(r"\x1b\[(\??[\d;]*)([A-Za-z])|[\r\n]|[^\r\n\x1b]+")


def record(words: list[str], folder: Path, environment: dict[str, str], columns: int) -> str:
    """Run `python word ...` in a terminal; what it wrote there. Called in a warm process."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
    without_size = {name: value for name, value in environment.items() if name not in ("COLUMNS", "LINES")}

    def attach() -> None:
        os.chdir(folder)
        for number in range(3):
            os.dup2(theirs, number)

    process = fork(partial(run_words, words), without_size | {"TERM": "xterm-256color"}, attach)
    os.close(theirs)
    written = bytearray()
    try:
        while read := os.read(ours, 1 << 16):
            written += read
    except OSError:  # all processes that had the terminal have ended
        pass
    code = wait(process, 60)
    assert code == 0, written.decode()
    return written.decode()


def replay(written: str) -> Iterator[list[str]]:
    """The lines on the screen before each time that some are erased, and at the end."""
    lines, row, column = [""], 0, 0
    for found in CONTROL.finditer(written):
        if found[0] == "\r":
            column = 0
        elif found[0] == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif found[2] == "A":
            row -= int(found[1] or 1)
        elif found[2] == "K":
            yield [*lines]
            lines[row] = ""
        elif found[2] is None:
            text = found[0]
            lines[row] = lines[row][:column].ljust(column) + text + lines[row][column + len(text) :]
            column += len(text)
    yield lines
