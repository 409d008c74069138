"""Find translations made before: `python -m triad.memory path=memory.sqlite query="two dogs run"`."""

from collections.abc import Iterable, Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from triad.config.errors import Refusal

GROUP = "Use a trained model"

BREAK = "@@@"  # between a source and the target of its match
ROOTS = ("data",)


def memory(
    overrides: list[str],
    path: str,
    query: str | None = None,
    augment: str | None = None,
    out: str | None = None,
    least: float = 0.6,
    most: int = 5,
) -> None:
    """Fill a translation memory, look a text up in it, or put matches behind the sources of a file.

    With words of `data=`, as train.py takes them, the pairs of the training split are added; validation and
    test are not. `query` prints the exact target, or the `most` entries of a score of `least` or more.

    `augment` is a file with a source a line. Each is written to `out`, with a match of score `least` behind
    it: "source @@@ target of the match". The same source is no match, so that a training file can be
    augmented from its own pairs (Bulte and Tezcan 2019, Neural fuzzy repair, ACL P19-1175: their threshold is
    0.5 of an edit distance in words). Train on the written file as `data.source`.
    """
    from triad.config.locations import tell_install
    from triad.data.progress import track
    from triad.data.translation_memory import TranslationMemory

    if find_spec("rapidfuzz") is None:
        raise Refusal(f"triad memory needs the package rapidfuzz: {tell_install('eval')}")
    if not (0 <= least <= 1 and most >= 1):
        raise Refusal(f"least={least} most={most}: a score from 0 to 1, and at least one entry")
    if (augment is None) != (out is None):
        raise Refusal("augment=FILE and out=FILE go together: the sources to read, and where to write them")
    if not (overrides or query or augment):
        raise Refusal('nothing to do: add pairs by data=parallel data.source=..., or ask by query="..."')
    source = _open_source(overrides) if overrides else None
    with closing(TranslationMemory(Path(path), make=source is not None)) as found:
        if source is not None:
            before = len(found)
            found.add(track(read_pairs(source), f"adding {source.name}", None, "pairs"))
            print(f"{path}: {len(found):,} sources, {len(found) - before:,} of them new")
        if query is not None:
            _show(found, query, least, most)
        if augment is not None and out is not None:
            augment_file(found, Path(augment), Path(out), least)


def _open_source(overrides: list[str]) -> Any:
    """The source of parallel text that some words name."""
    from triad.config.build import build
    from triad.config.command_line import key_of
    from triad.config.compose import compose_parts

    for word in overrides:
        if key_of(word).replace("/", ".").split(".")[0] not in ROOTS:
            raise Refusal(f"{word}: a memory takes path=, query=, augment=, out= and words of data=")
    source = build(compose_parts(overrides, ROOTS)["data"])
    if source.yields != "pairs":
        raise Refusal(f"data={source.name}: it has no translations; use data=parallel")
    return source


def read_pairs(source: Any) -> Iterator[tuple[str, str]]:
    """Source and target of each pair of the training split."""
    texts = (document.text for document in source.documents("train"))
    return zip(texts, texts, strict=True)


def augment_file(found: Any, sources: Path, out: Path, least: float) -> None:
    """Write each line of a file, with the target of its match behind it, if there is one."""
    from triad.data.progress import show_progress
    from triad.data.sources.finding import find_file
    from triad.data.sources.opening import Quota
    from triad.data.sources.reading import read_lines
    from triad.storage.durable import replacing

    if out.exists():
        raise Refusal(f"out={out}: it exists; choose another name or remove it")
    lines = (line.strip() for line in read_lines(find_file(str(sources), "augment", Quota())))
    matched = total = 0
    with replacing(out) as file, show_progress("matching", sources.stat().st_size) as advance:
        for line in append_matches(found, lines, least):
            file.write(f"{line}\n".encode())
            matched, total = matched + (f" {BREAK} " in line), total + 1
            advance(len(line.partition(f" {BREAK} ")[0].encode()) + 1)
    print(f"{out}: {total:,} sources, {matched:,} of them with a match of {least:g} or more")


def append_matches(found: Any, sources: Iterable[str], least: float) -> Iterator[str]:
    """Each source, with the target of the entry most like it behind it, if there is one."""
    for source in sources:
        matches = found.find_similar(source, least, identical=False) if source else []
        yield " ".join([source, *(f"{BREAK} {match.target}" for match in matches)])


def _show(found: Any, query: str, least: float, most: int) -> None:
    from triad.config.tables import print_table

    matches = found.find_similar(query, least, most)
    if rows := [[f"{match.score:.2f}", match.source, match.target] for match in matches]:
        print_table(["score", "source", "target"], rows)
    else:
        print(f"nothing of score {least:g} or more is there")


if __name__ == "__main__":
    from triad.config.command_line import run_command

    run_command(memory)
