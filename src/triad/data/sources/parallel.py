"""Parallel text: sentences and their translations."""

from collections.abc import Iterator
from functools import partial
from hashlib import blake2b
from pathlib import Path

from triad.data.sources import reading as files
from triad.data.sources.source import Document, ParallelText, Split

Pair = tuple[str, str]


def parallel(
    source: str,
    target: str | None,
    fields: list[str],
    val_source: str | None,
    val_target: str | None,
    val_fraction: float,
    licence: str | None = None,
) -> ParallelText:
    """Pairs of lines: of two aligned files, or without `target` of one .tsv, or .jsonl with two `fields`.

    Plain or compressed. Each pair becomes two documents, the source's and the target's, so that one tokenizer
    learns from both. Without `val_source` a hash of its line's number sends a pair to training or validation.
    Pairs of which a side is blank are passed over.
    """
    if len(fields) != 2:
        raise ValueError(f"data.fields={fields}: the names of the source's and of the target's text")
    train = Path(source).expanduser(), target and Path(target).expanduser()
    if val_source is not None:
        val = Path(val_source).expanduser(), val_target and Path(val_target).expanduser()
        read = partial(_read_files, {"train": train, "val": val}, fields)
    else:
        if not 0 < val_fraction < 1:
            raise ValueError(f"data.val_fraction={val_fraction}: must lie between 0 and 1, such as 0.02")
        read = partial(_split_by_line, train, fields, val_fraction)
    return ParallelText("parallel", read, licence)


def _read_files(places: dict, fields: list[str], split: Split) -> Iterator[Document]:
    for number, pair in _read_pairs(*places[split], fields):
        yield from _make_documents(number, pair)


def _split_by_line(place: tuple, fields: list[str], fraction: float, split: Split) -> Iterator[Document]:
    for number, pair in _read_pairs(*place, fields):
        digest = blake2b(str(number).encode(), digest_size=8).digest()
        if (int.from_bytes(digest, "big") / 2**64 < fraction) == (split == "val"):
            yield from _make_documents(number, pair)


def _make_documents(number: int, pair: Pair) -> Iterator[Document]:
    for side, text in zip(("source", "target"), pair, strict=True):
        yield Document(f"{number}:{side}", text)


def _read_pairs(source: Path, target: Path | None, fields: list[str]) -> Iterator[tuple[int, Pair]]:
    """Number and texts of each pair that has both."""
    for number, texts in enumerate(_read_texts(source, target, fields), 1):
        first, second = (text.strip() for text in texts)
        if first and second:
            yield number, (first, second)


def _read_texts(source: Path, target: Path | None, fields: list[str]) -> Iterator[Pair]:
    if target is not None:
        try:
            yield from zip(_read_lines(source), _read_lines(target), strict=True)
        except ValueError:
            sizes = [sum(1 for _ in files.read_lines(path)) for path in (source, target)]
            if sizes[0] == sizes[1]:
                raise  # it is of what the files hold
            raise ValueError(
                f"data.source={source} has {sizes[0]} lines, data.target={target} {sizes[1]}: "
                "aligned files have as many"
            ) from None
    elif files.is_jsonl(source):
        for (_, first), (_, second) in zip(
            *(files.read_json_texts(source, name) for name in fields), strict=True
        ):
            yield first, second
    else:
        yield from _split_columns(source)


def _split_columns(source: Path) -> Iterator[Pair]:
    for number, line in enumerate(_read_lines(source), 1):
        columns = line.split("\t")
        if len(columns) < 2:
            raise ValueError(
                f"{source}, line {number}: one column where a .tsv has source and target; two aligned files "
                "are data.source=FILE data.target=FILE"
            )
        yield columns[0], columns[1]


def _read_lines(path: Path) -> Iterator[str]:
    return (line.removesuffix("\n") for line in files.read_lines(path))
