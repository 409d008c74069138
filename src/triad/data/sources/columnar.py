"""Rows out of .parquet and .arrow files, a few in memory at a time, by pyarrow."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from triad.data.sources.malformed import Malformed
from triad.data.sources.opening import TextFile

COLUMNAR = (".parquet", ".arrow")
ROWS = 64  # of .parquet that are decoded at once: a dictionary may make a long text of every one
IPC_FILE = b"ARROW1"  # how a file of the random access format begins; others are streams

Choose = Callable[[list[str]], list[str]]  # of the names that there are, those that are read


def read_columns(file: TextFile, choose: Choose) -> Iterator[dict[str, Any] | Malformed]:
    """The rows of a file by the names of their columns, as Python's values; Malformed in the place of one
    whose text is not UTF-8.

    Raises Malformed for what is no such file or is damaged, and ValueError without pyarrow.
    """
    if file.packed:
        raise ValueError(f"{file.path}: compressed as a whole, where its parts are read; unpack it")
    read = _read_parquet if file.kind == ".parquet" else _read_arrow
    unpacked = number = 0
    with _guard(file):
        size = file.path.stat().st_size
        for batch in read(file, choose):
            columns = dict(zip(batch.schema.names, batch.columns, strict=True))
            for row in range(len(batch)):
                number += 1
                made = _read_row(columns, row, file, number)
                if isinstance(made, dict):
                    unpacked += sum(len(value) for value in made.values() if isinstance(value, str))
                    file.quota.charge(file.path, unpacked, size)
                yield made


def _read_row(columns: dict[str, Any], row: int, file: TextFile, number: int) -> dict[str, Any] | Malformed:
    try:
        return {name: column[row].as_py() for name, column in columns.items()}
    except UnicodeDecodeError:
        return Malformed(f"{file.path}, row {number}: not UTF-8; leave the row out", "not UTF-8", number)


def _read_parquet(file: TextFile, choose: Choose) -> Iterator[Any]:
    parquet: Any = import_module("pyarrow.parquet")
    # a buffer has pages read as they are needed, not a column's whole share of a row group
    with parquet.ParquetFile(file.path, buffer_size=1 << 16, pre_buffer=False) as table:
        columns = choose(table.schema_arrow.names)
        yield from table.iter_batches(ROWS, columns=columns, use_threads=False)


def _read_arrow(file: TextFile, choose: Choose) -> Iterator[Any]:
    """The batches of a file as `save_to_disk` of Hugging Face's datasets writes it, or of Feather."""
    pa: Any = import_module("pyarrow")
    with pa.OSFile(str(file.path)) as opened:
        begins = opened.read(len(IPC_FILE))
        opened.seek(0)
        if begins == IPC_FILE:
            reader = pa.ipc.open_file(opened)
            batches = (reader.get_batch(index) for index in range(reader.num_record_batches))
        else:
            reader = batches = pa.ipc.open_stream(opened)
        columns = choose(reader.schema.names)
        for batch in batches:
            yield batch.select(columns)


@contextmanager
def _guard(file: TextFile) -> Generator[None]:
    """A fault inside a file is reported by its name."""
    try:
        pa: Any = import_module("pyarrow")
    except ImportError:
        raise ValueError(f"{file.path}: {file.kind} needs the package pyarrow: pip install pyarrow") from None
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        said = str(error).partition("\n")[0].rstrip(".")
        raise Malformed(f"{file.path}: cannot be read ({said}); is it damaged?") from None
