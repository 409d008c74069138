"""Published files, fetched once into a cache: resumed after a break, verified before anybody sees them."""

import hashlib
import http.client
import os
import re
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path

from triad.storage.cache import build_once, cache_home
from triad.storage.durable import open_in_place

TIMEOUT_S = 30  # without a byte
BREAKS = 20  # after so many a download gives up, and sooner after one that brought nothing
AT_ONCE = 1 << 16
PARTIAL_CONTENT = 206

Advance = Callable[[int], None]


def fetch_once(url: str, sha256: str, size_bytes: int, advance: Advance) -> Path:
    """The file at an address, out of the cache; `advance` is told the bytes as they come.

    What has come before a break, or before this process is killed, is kept, and the rest is asked for. The
    file appears in the cache by a rename, after its size and SHA-256 were compared. Raises OSError where
    nothing comes, and ValueError for another file than the published one.
    """
    name = url.rpartition("/")[2]
    folder = cache_home() / f"{name}-{sha256[:16]}"
    build_once(folder, partial(_fetch, url, sha256, size_bytes, advance, folder.with_suffix(".part")))
    return folder / name


def _fetch(url: str, sha256: str, size_bytes: int, advance: Advance, part: Path, folder: Path) -> None:
    """Complete `part`, which nobody else writes, since the caller holds the lock of the cache's folder."""
    if part.is_file() and part.stat().st_size > size_bytes:
        part.unlink()
    advance(have := _measure(part))
    for _ in range(BREAKS):
        if have == size_bytes:
            break
        fault = "it breaks off"
        try:
            _receive(url, size_bytes, have, part, advance)
        except (OSError, http.client.HTTPException) as error:
            fault = " ".join(str(error).split())
        before, have = have, _measure(part)
        if have <= before:
            raise OSError(f"{fault}; {have:,} of {size_bytes:,} bytes have come")
    if have < size_bytes:
        raise OSError(f"it breaks off again and again; {have:,} of {size_bytes:,} bytes have come")
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        part.unlink()
        raise ValueError(
            f"{url}: other bytes than were published, SHA-256 {found[:12]} where {sha256[:12]} is expected"
        )
    os.replace(part, folder / url.rpartition("/")[2])


def _measure(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _receive(url: str, size_bytes: int, have: int, part: Path, advance: Advance) -> None:
    """Append to `part` what comes of the bytes from `have` on; a server that knows no ranges begins anew."""
    headers = {"Range": f"bytes={have}-"} if have else {}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S) as answer:
        begin = 0
        if getattr(answer, "status", None) == PARTIAL_CONTENT:
            place = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
            begin = int(place[1]) if place else -1
        if begin not in (0, have):
            raise ValueError(f"{url}: sent other bytes than it was asked for, those from {have:,} on")
        announced = answer.headers.get("Content-Length", "")
        if announced.isdigit() and begin + int(announced) != size_bytes:
            length = begin + int(announced)
            raise ValueError(f"{url}: has {length:,} bytes where the published file has {size_bytes:,}")
        with open(part, "ab", opener=open_in_place) as file:
            if begin < have:
                file.truncate(begin)
                advance(begin - have)
            while block := answer.read(AT_ONCE):
                begin += len(block)
                if begin > size_bytes:
                    raise ValueError(f"{url}: sends more than the {size_bytes:,} bytes of the published file")
                file.write(block)
                advance(len(block))
