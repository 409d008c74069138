"""What a general compressor makes of the validation text: a yardstick for val/bits_per_byte."""

import json
import lzma
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread, get_native_id

from triad.data.sources.source import Document
from triad.storage.durable import write

LIMIT_BYTES = 16 << 20  # a longer validation text would keep xz busy for minutes
LEAST_PRIORITY = 19


class Compression:
    """`xz -9e` of a text of `size` bytes, measured once and kept in a file.

    It takes 0.3 to 1 s of CPU time a megabyte: `begin` has a thread do it while a run trains, with the least
    priority, and whoever asks for the figure waits for it. None of a text above LIMIT_BYTES and of one that
    cannot be read again.
    """

    def __init__(self, documents: Callable[[], Iterator[Document]], size: int, file: Path) -> None:
        self.documents, self.size, self.file = documents, size, file
        self.thread: Thread | None = None
        self.measured: float | None = None

    def begin(self) -> None:
        """Measure in a thread, unless the file has the figure."""
        if self.size <= LIMIT_BYTES and not self._read() and self.thread is None:
            self.thread = Thread(target=self._measure, name="xz", daemon=True)
            self.thread.start()

    @property
    def bits_per_byte(self) -> float | None:
        """Bits per byte of the text."""
        self.begin()
        if self.thread and self.thread.is_alive():
            size = f"{self.size / 1e6:.1f} MB of validation text"
            print(f"compressing {size} with xz, for comparison ...", file=sys.stderr, flush=True)
        if self.thread:
            self.thread.join()
        return self.measured

    def _read(self) -> bool:
        with suppress(OSError, ValueError, KeyError):  # absent or damaged: measured again
            self.measured = json.loads(self.file.read_text(encoding="utf-8"))["bits_per_byte"]
        return self.measured is not None

    def _measure(self) -> None:
        if sys.platform == "linux":  # where a thread has a priority of its own
            os.setpriority(os.PRIO_PROCESS, get_native_id(), LEAST_PRIORITY)
        with suppress(OSError, ValueError):  # a text that is gone by now
            self.measured = measure_xz(self.documents(), self.size)
            write(self.file, {"bits_per_byte": self.measured})


def measure_xz(documents: Iterator[Document], size: int) -> float:
    """Bits per byte of `xz -9e` on these `size` bytes of text."""
    # a dictionary of the text's size packs as well as the usual 64 MiB, which ask for 674 MiB of memory
    options = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": max(size, 4096)}
    compressor = lzma.LZMACompressor(filters=[options])
    pieces = (piece for document in documents for piece in document.pieces)
    packed = sum(len(compressor.compress(piece.encode())) for piece in pieces)
    return 8 * (packed + len(compressor.flush())) / size
