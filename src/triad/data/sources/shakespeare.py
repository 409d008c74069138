"""Tiny Shakespeare."""

import hashlib
import urllib.request
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from triad.data.sources.malformed import Skipped
from triad.data.sources.opening import Quota, TextFile
from triad.data.sources.reading import Pieces
from triad.data.sources.source import Text
from triad.data.sources.splits import split_by_position
from triad.storage.cache import build_once, cache_home


def shakespeare(path: str | None, url: str, sha256: str) -> Text:
    """Tiny Shakespeare, split as in nanoGPT: the first 90 % of its characters train, the rest validate.

    Karpathy 2015, https://github.com/karpathy/char-rnn. Without `path` it is downloaded once.
    """
    if path is None:
        folder = cache_home() / f"shakespeare-{sha256[:16]}"
        build_once(folder, partial(_download, url, sha256))
        found = folder / "input.txt"
    else:
        found = Path(path).expanduser()
    file = TextFile("shakespeare", found, Quota(), Skipped())
    _check_sha256((piece.encode() for piece in Pieces(file)), sha256, str(found))
    return Text("shakespeare", partial(split_by_position, file, 0.1))


def _download(url: str, sha256: str, folder: Path) -> None:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            data = answer.read()
    except OSError as error:
        raise FileNotFoundError(
            f"cannot download {url} ({error}); fetch it elsewhere and give data.path=FILE"
        ) from None
    _check_sha256([data], sha256, url)
    (folder / "input.txt").write_bytes(data)


def _check_sha256(data: Iterable[bytes], sha256: str, where: str) -> None:
    digest = hashlib.sha256()
    for block in data:
        digest.update(block)
    if (found := digest.hexdigest()) != sha256:
        raise ValueError(
            f"{where}: not tiny Shakespeare, SHA-256 {found[:12]} where data.sha256 has {sha256[:12]}; "
            "for a text of your own use data=text data.path=FILE"
        )
