"""A published file is fetched once, resumed, verified and put into the cache whole, or it is not there."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.storage.publisher import DATA, Publisher
from triad.storage.download import BREAKS, fetch_once

SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def publisher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    monkeypatch.setenv("TRIAD_CACHE", str(tmp_path / "cache"))
    server = Publisher()
    yield server
    server.close()


def fetch(url: str, told: list[int] | None = None, size_bytes: int = len(DATA)) -> bytes:
    counts = [] if told is None else told
    return fetch_once(url, SHA256, size_bytes, counts.append).read_bytes()


def left(tmp_path: Path) -> list[bytes]:
    """What a download that failed left of the file."""
    assert not [*tmp_path.rglob("data.bin")], "a file that was not verified is in the cache"
    return [part.read_bytes() for part in tmp_path.rglob("*.part")]


def test_a_file_is_fetched_once(publisher: Publisher, tmp_path: Path) -> None:
    told: list[int] = []
    assert fetch(publisher.url, told) == DATA
    assert sum(told) == len(DATA)
    assert fetch(publisher.url) == DATA
    assert publisher.asked == [("/data.bin", None)]
    assert not [*tmp_path.rglob("*.part")]


def test_a_damaged_file_of_the_cache_is_fetched_again(publisher: Publisher, tmp_path: Path) -> None:
    path = fetch_once(publisher.url, SHA256, len(DATA), [].append)
    path.write_bytes(DATA[:-1] + b"?")
    with pytest.warns(UserWarning, match="wrong checksum; building it again"):
        assert fetch(publisher.url) == DATA


def test_what_breaks_off_is_resumed_where_it_broke(publisher: Publisher) -> None:
    publisher.most = len(DATA) // 3 + 1
    told: list[int] = []
    assert fetch(publisher.url, told) == DATA
    starts = [0 if asked is None else int(asked[6:-1]) for _, asked in publisher.asked]
    assert starts == [0, publisher.most, 2 * publisher.most]
    assert sum(told) == len(DATA)


def test_a_download_that_failed_is_resumed_by_the_next(publisher: Publisher, tmp_path: Path) -> None:
    publisher.most = len(DATA) // BREAKS // 2
    with pytest.raises(OSError, match=r"breaks off again and again; 15\d,\d+ of 307,200 bytes have come"):
        fetch(publisher.url)
    (kept,) = left(tmp_path)
    assert kept == DATA[: BREAKS * publisher.most]
    publisher.most, publisher.asked = len(DATA), []
    assert fetch(publisher.url) == DATA
    assert publisher.asked == [("/data.bin", f"bytes={len(kept)}-")]


def test_a_server_that_knows_no_ranges_begins_anew(publisher: Publisher, tmp_path: Path) -> None:
    publisher.most, publisher.knows_ranges = 1000, False
    with pytest.raises(OSError, match="it breaks off; 1,000 of 307,200 bytes have come"):
        fetch(publisher.url)
    publisher.most = len(DATA)
    told: list[int] = []
    assert fetch(publisher.url, told) == DATA
    assert sum(told) == len(DATA)


def test_a_range_that_begins_elsewhere_is_refused(publisher: Publisher, tmp_path: Path) -> None:
    publisher.most, publisher.shift = 1000, 7
    with pytest.raises(ValueError, match="sent other bytes than it was asked for"):
        fetch(publisher.url)
    assert left(tmp_path) == [DATA[:1000]]


@pytest.mark.parametrize("announced", [len(DATA) - 1, len(DATA) + 1])
def test_a_server_that_announces_another_length_is_refused(
    publisher: Publisher, tmp_path: Path, announced: int
) -> None:
    publisher.announced = announced
    with pytest.raises(ValueError, match=rf"has {announced:,} bytes where the published file has 307,200"):
        fetch(publisher.url)
    assert left(tmp_path) == []


def test_a_server_that_sends_less_than_it_announces_is_asked_for_the_rest(publisher: Publisher) -> None:
    publisher.most = len(DATA) - 1  # the length that it announces is that of the whole
    assert fetch(publisher.url) == DATA
    assert publisher.asked[1:] == [("/data.bin", f"bytes={len(DATA) - 1}-")]


def test_a_server_that_sends_without_end_is_cut_off(publisher: Publisher, tmp_path: Path) -> None:
    publisher.data, publisher.announced, publisher.most = DATA * 9, None, len(DATA) * 9
    with pytest.raises(ValueError, match="sends more than the 307,200 bytes"):
        fetch(publisher.url)
    assert all(len(part) <= len(DATA) for part in left(tmp_path))


def test_other_bytes_of_the_same_length_are_refused_and_not_kept(
    publisher: Publisher, tmp_path: Path
) -> None:
    publisher.data = DATA[:-1] + b"?"
    with pytest.raises(ValueError, match="other bytes than were published, SHA-256"):
        fetch(publisher.url)
    assert left(tmp_path) == []
    publisher.data = DATA
    assert fetch(publisher.url) == DATA


def test_a_redirection_is_followed_also_when_it_is_resumed(publisher: Publisher) -> None:
    publisher.most = len(DATA) - 5
    moved = publisher.url.replace("data.bin", "moved")
    assert fetch(moved) == DATA
    resumed = f"bytes={len(DATA) - 5}-"
    assert publisher.asked == [
        ("/moved", None),
        ("/data.bin", None),
        ("/moved", resumed),
        ("/data.bin", resumed),
    ]


@pytest.mark.parametrize("path", ["absent", "loop"])
def test_what_is_not_there_is_an_error_of_the_system(publisher: Publisher, path: str) -> None:
    with pytest.raises(OSError, match=r"HTTP Error.*0 of 307,200 bytes have come"):
        fetch(publisher.url.replace("data.bin", path))


def test_no_server_is_an_error_of_the_system(publisher: Publisher) -> None:
    publisher.close()
    with pytest.raises(OSError, match="refused"):
        fetch(publisher.url)
