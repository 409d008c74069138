"""Make the pictures of README.md anew: `python docs/picture.py`, some five minutes on one core.

docs/run.svg is what a run shows in a terminal; docs/board.png the page of four settings with three seeds
each, in Chromium, which must be installed.
"""

import fcntl
import io
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.text import Text

from triad.config.command_line import run_command
from triad.config.errors import Refusal
from triad.config.locations import REPOSITORY

COLUMNS, ROWS = 100, 200
RUN = ["debug=laptop", "logger=csv"]
SWEEP = ["-m", *RUN, "optimizer=adamw,lion,muon,sgd", "seed=0,1,2"]
SCREEN = 1280, 940
COLOURS = 64  # of the picture, a third of the size of all
CONTROL = re.compile(r"\x1b\[([\d;]*)m|\x1b\[(\??[\d;]*)([A-Za-ln-z])|[\r\n]|[^\r\n\x1b]")
FONTS = re.compile(r"@font-face \{.*?\}", re.DOTALL)  # of another host
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def draw(folder: str = "") -> None:
    """Make both pictures; the runs lie in `folder`, or in one that is removed again."""
    chromium = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    if chromium is None:
        raise Refusal(
            "docs/board.png is a picture of the page in Chromium: install it (Debian's package chromium)"
        )
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(folder or temporary).resolve()
        words = ["train.py", *RUN]
        screen = record(words, place / "run")
        draw_screen(f"$ python {' '.join(words)}\r\n{screen}", REPOSITORY / "docs" / "run.svg")
        record(["train.py", *SWEEP], place / "sweep")
        record(["-m", "triad.compare", "outputs", "page=board.html"], place / "sweep")
        draw_page(chromium, place / "sweep" / "board.html", REPOSITORY / "docs" / "board.png")


def record(words: list[str], folder: Path) -> str:
    """Run Python with these words in a folder and a terminal of its own; what it wrote there."""
    folder.mkdir(parents=True, exist_ok=True)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    script = [str(REPOSITORY / words[0])] if words[0].endswith(".py") else words[:1]
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}
    command = [sys.executable, *script, *words[1:]]
    child = subprocess.Popen(command, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    written = bytearray()
    try:
        while read := os.read(ours, 1 << 16):
            written += read
    except OSError:  # nobody has the terminal any more
        pass
    if child.wait():
        raise Refusal(f"{' '.join(words)} failed:\n{written.decode()[-2000:]}")
    return written.decode()


def draw_screen(written: str, to: Path) -> None:
    """The last screen of a terminal as SVG."""
    lines: list[list[tuple[str, str]]] = [[]]  # of characters and the codes of their style
    row, column, style = 0, 0, ""
    for found in CONTROL.finditer(written):
        if found[0] == "\r":
            column = 0
        elif found[0] == "\n":
            row += 1
            lines += [[]] * (row + 1 - len(lines))
        elif found[1] is not None:
            style = "" if found[1] in ("", "0") else f"{style};{found[1]}"
        elif found[3] == "A":
            row -= int(found[2] or 1)
        elif found[3] == "K":
            lines[row] = []
        elif found[3] is None:
            line = lines[row] + [(" ", "")] * (column - len(lines[row]))
            lines[row] = [*line[:column], (found[0], style), *line[column + 1 :]]
            column += 1
    text = "\n".join("".join(f"\x1b[0{style}m{letter}" for letter, style in line) for line in lines)
    console = Console(width=COLUMNS, record=True, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(text.rstrip("\n")))
    to.write_text(FONTS.sub("", console.export_svg(title="triad")), encoding="utf-8")


def draw_page(chromium: str, page: Path, to: Path) -> None:
    """The first screen of a page as PNG."""
    with tempfile.TemporaryDirectory() as profile:
        options = "--headless --no-sandbox --disable-gpu --no-first-run --hide-scrollbars --disable-sync "
        options += "--disable-background-networking --disable-component-update"
        size = f"--window-size={SCREEN[0]},{SCREEN[1]}"
        where = [f"--user-data-dir={profile}", f"--screenshot={to}", size, page.as_uri()]
        subprocess.run([chromium, *options.split(), *where], check=True, stderr=subprocess.DEVNULL)
    Image.open(to).convert("RGB").quantize(COLOURS).save(to, optimize=True)


if __name__ == "__main__":
    run_command(draw)
