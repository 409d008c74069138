"""The Annotated Enron Subject Line Corpus."""

import hashlib
import json
import re
from functools import partial
from pathlib import Path

from triad.data.sources.parallel import parallel
from triad.data.sources.published import Count, Published, name_source
from triad.data.sources.source import ParallelText
from triad.storage.cache import build_once, cache_home
from triad.storage.manifest import fingerprint

PARTS = re.compile(r"^@(subject|ann0|ann1|ann2)$\n?", re.MULTILINE)  # what begins behind each


def aeslc(
    path: str | None, examples: Count | None, licence: str, address: str, files: list[list]
) -> ParallelText:
    """E-mails and their subject lines: 14,436, 1,960 of dev validate, 1,906 are the test split.

    Zhang and Tetreault 2019, arXiv:1906.03497. The three lines that annotators wrote for each e-mail of the
    test are further references. `path` is a clone of the publisher's repository, or a folder with
    train.jsonl, dev.jsonl and test.jsonl, packed or not. Raises ValueError for a clone of other e-mails than
    those of `files`.
    """
    clone = Path(path or "").expanduser() / "enron_subject_line"
    if path is not None and clone.is_dir():
        folder = cache_home() / f"aeslc-{fingerprint(files)}"
        build_once(folder, partial(_gather, clone, files))
        path = str(folder)
    find = Published("aeslc", path, address, files).find
    found = parallel(
        find("train.jsonl"),
        None,
        fields=["body", "subject"],
        val_source=find("dev.jsonl"),
        val_target=None,
        val_fraction=0.1,
        test_source=find("test.jsonl"),
        test_target=None,
        references=["annotations"],
        max_bytes=None,
        on_error="raise",
        licence=licence,
    )
    return name_source(found, "aeslc", examples)


def _gather(clone: Path, files: list[list], folder: Path) -> None:
    """Write the e-mails of each split, one a line in the order of their names."""
    for name, sha256, _ in files:
        split = name.partition(".")[0]
        emails = sorted((clone / split).glob("*.subject"))
        lines = "".join(f"{_read_email(email, split)}\n" for email in emails).encode()
        if hashlib.sha256(lines).hexdigest() != sha256:
            raise ValueError(
                f"{clone / split}: {len(emails):,} e-mails, which are not those of data.files; is the clone "
                "complete and unchanged?"
            )
        (folder / name).write_bytes(lines)


def _read_email(path: Path, split: str) -> str:
    body, *rest = PARTS.split(path.read_text(encoding="utf-8"))
    parts = {name: text.strip("\n") for name, text in zip(rest[::2], rest[1::2], strict=True)}
    email = {"id": path.stem, "body": body.strip("\n"), "subject": parts.pop("subject", "")}
    if split != "train":
        email["annotations"] = [parts[name] for name in sorted(parts)]
    return json.dumps(email, ensure_ascii=False)
