"""The Large Movie Review Dataset."""

import hashlib
import json
import re
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path

from triad.data.sources.labelled import labelled
from triad.data.sources.published import Count, Published, name_source
from triad.data.sources.source import Document, Labelled, Reader, Split
from triad.storage.cache import build_once, cache_home
from triad.storage.manifest import checksum

MEMBER = re.compile(r"aclImdb/(train|test)/(neg|pos)/(\d+)_(\d+)\.txt")
TESTED = 2500  # reviews of each class of the test split
LONGEST = 1 << 20  # bytes of a review


def imdb(
    path: str | None,
    val_fraction: float,
    examples: Count | None,
    licence: str,
    address: str,
    files: list[list],
) -> Labelled:
    """Reviews with the labels 1 (positive) and 0: 25,000, and as a test the first 2,500 of each class.

    Maas et al. 2011, https://aclanthology.org/P11-1015. A share of the 25,000 validates. A review of the
    test that is one of these, too, to the letter, is left out of it.
    """
    published = Published("imdb", path, address, files)
    if published.has("train.jsonl", "test_5k.jsonl"):
        train, test = published.find("train.jsonl"), published.find("test_5k.jsonl")
    else:
        archive = Path(published.find("aclImdb_v1.tar"))
        folder = cache_home() / f"imdb-{checksum(archive)}"
        build_once(folder, partial(_unpack, archive))
        train, test = str(folder / "train.jsonl"), str(folder / "test_5k.jsonl")
    found = labelled(
        train,
        val_path=None,
        val_fraction=val_fraction,
        test_path=test,
        text="text",
        label="label",
        columns=["label", "text"],
        max_bytes=None,
        on_error="raise",
        licence=licence,
    )
    unseen = partial(read_unseen, found.read, found.read_test)
    return name_source(replace(found, read_test=unseen), "imdb", examples)


def read_unseen(read: Reader, read_test: Reader | None, split: Split) -> Iterator[Document]:
    """The documents of the test split whose text is in no other; says how many are left out."""
    seen = {_hash(document) for document in chain(read("train"), read("val"))}
    left_out = 0
    for document in read_test(split) if read_test else ():
        if _hash(document) in seen:
            left_out += 1
        else:
            yield document
    if left_out:
        print(f"data=imdb: left out {left_out} of the test split that training has, too", file=sys.stderr)


def _hash(document: Document) -> bytes:
    return hashlib.blake2b("".join(document.pieces).encode(), digest_size=16).digest()


def _unpack(archive: Path, folder: Path) -> None:
    """Write train.jsonl and test_5k.jsonl, a review a line, in the order of their numbers."""
    reviews: dict[str, dict[tuple[int, str], str]] = {"train": {}, "test": {}}
    try:
        with tarfile.open(archive) as members:
            for member in members:
                match = MEMBER.fullmatch(member.name)
                file = members.extractfile(member) if match and member.size < LONGEST else None
                if match and file:
                    split, label, number, rating = match.groups()
                    review = {"id": f"{split}/{label}/{number}", "label": int(label == "pos")}
                    review |= {"rating": int(rating), "text": file.read().decode()}
                    if split == "train" or int(number) < TESTED:
                        reviews[split][int(number), label] = json.dumps(review, ensure_ascii=False)
    except (tarfile.TarError, EOFError, OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{archive}: cannot be read ({error}); is it aclImdb_v1.tar.gz, and whole?"
        ) from None
    if not all(reviews.values()):
        raise ValueError(f"{archive}: has no reviews as aclImdb_v1.tar.gz has them")
    for split, name in (("train", "train.jsonl"), ("test", "test_5k.jsonl")):
        lines = (reviews[split][key] for key in sorted(reviews[split]))
        (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="")
