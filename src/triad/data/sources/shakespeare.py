"""Tiny Shakespeare."""

import hashlib
from functools import partial
from pathlib import Path

from triad.data.sources.malformed import Skipped
from triad.data.sources.opening import Quota, TextFile
from triad.data.sources.published import Published
from triad.data.sources.reading import Pieces
from triad.data.sources.source import Text
from triad.data.sources.splits import split_by_position


def shakespeare(path: str | None, address: str, files: list[list], sha256: str) -> Text:
    """Tiny Shakespeare, split as in nanoGPT: the first 90 % of its characters train, the rest validate.

    Karpathy 2015, https://github.com/karpathy/char-rnn. `path` is the file or its folder; without it the
    file is fetched once. Raises ValueError for another text than that of `sha256`.
    """
    found = Path(path or "").expanduser()
    if not found.is_file():
        found = Path(Published("shakespeare", path, address, files).find("input.txt"))
    file = TextFile("shakespeare", found, Quota(), Skipped())
    _check_sha256(file, sha256)
    return Text("shakespeare", partial(split_by_position, file, 0.1))


def _check_sha256(file: TextFile, sha256: str) -> None:
    digest = hashlib.sha256()
    for piece in Pieces(file):
        digest.update(piece.encode())
    if (found := digest.hexdigest()) != sha256:
        raise ValueError(
            f"{file.path}: not tiny Shakespeare, SHA-256 {found[:12]} where data.sha256 has {sha256[:12]}; "
            "for a text of your own use data=text data.path=FILE"
        )
