"""Datasets of Hugging Face: out of a folder, or from the hub."""

import json
import re
from functools import partial
from pathlib import Path
from typing import Annotated

from triad.data.sources.finding import walk_files
from triad.data.sources.malformed import OnError, Skipped
from triad.data.sources.opening import Quota, TextFile
from triad.data.sources.records import check_columns, is_table
from triad.data.sources.source import Split, Text
from triad.data.sources.splits import (
    check_fraction,
    get_document_text,
    make_test_reader,
    read_documents,
    read_split,
    split_by_hash,
)

SPLITS = {  # the words of a file's or folder's name that say its split, as the package datasets has them
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
STATE = "state.json"  # of a split that save_to_disk wrote
HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


def huggingface(
    path: str,
    name: str | None,
    field: str,
    split: str,
    val_split: str | None,
    val_fraction: float,
    max_bytes: Annotated[int, ">= 1"] | None,
    on_error: OnError,
    licence: str | None = None,
) -> Text:
    """A column of text of a dataset: a folder, or a name on the hub, such as Salesforce/wikitext.

    The folder is one that `save_to_disk` wrote, or one that was downloaded from the hub, with files of
    .parquet, .arrow, .jsonl, .json or .csv whose names or folders say their split; `name` is the subset,
    which is a folder of it. Without `val_split` validation is the split of this name, or else documents of
    training by the hash of their name; the test split is that of the name. Raises ValueError for a split,
    subset or column that is not there.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        root = _download(path)
    quota, skipped = Quota(max_bytes), Skipped(on_error)
    found = _find_splits(_choose_subset(root, name), quota, skipped)
    if split not in found or (val_split is not None and val_split not in found):
        key = "data.split" if split not in found else "data.val_split"
        said = split if split not in found else val_split
        raise ValueError(f"{key}={said}: {root} has {', '.join(found) or 'no file of records'}")
    if val_split is None and split != "validation" and "validation" in found:
        val_split = "validation"
    if val_split == split:
        raise ValueError(f"data.val_split={val_split}: is data.split, too; leave it out or name another")
    chosen: dict[Split, list[TextFile]] = {"train": found[split], "val": found.get(val_split or "", [])}
    check_columns(chosen["train"] + chosen["val"], {field: "data.field"})
    read = partial(read_documents, field, None)
    left = found.get("test", []) if "test" not in (split, val_split) else []
    test = make_test_reader(read, [file._replace(skipped=Skipped(on_error)) for file in left])
    if val_split:
        listed = partial(read_split, read, chosen, get_document_text, val_fraction)
        return Text("huggingface", listed, licence, read_test=test)
    check_fraction(val_fraction)
    hashed = partial(split_by_hash, chosen["train"], field, None, val_fraction)
    return Text("huggingface", hashed, licence, read_test=test)


def _choose_subset(root: Path, name: str | None) -> Path:
    if name is None or (root / name).is_dir():
        return root / (name or "")
    folders = ", ".join(sorted(one.name for one in root.iterdir() if one.is_dir()))
    raise ValueError(f"data.name={name}: {root} has no such folder (it has: {folders or 'none'})")


def _find_splits(root: Path, quota: Quota, skipped: Skipped) -> dict[str, list[TextFile]]:
    """The files of each split, in the order of their names; files that belong to none are left."""
    if (root / STATE).is_file():
        return {"train": _read_state(root, "", quota, skipped)}
    if saved := sorted(root.glob(f"*/{STATE}")):
        names = [file.parent.name for file in saved]
        return {name: _read_state(root / name, f"{name}/", quota, skipped) for name in names}
    files = [file for file in walk_files(root, quota=quota, skipped=skipped) if is_table(file)]
    found: dict[str, list[TextFile]] = {}
    for file in files:
        if said := _find_split(file.name):
            found.setdefault(said, []).append(file)
    for split, of_split in found.items():
        subsets = sorted({Path(file.name).parent.as_posix() for file in of_split})
        if len(subsets) > 1:
            raise ValueError(
                f"{root}: files of the split {split} lie in {len(subsets)} folders ({', '.join(subsets)}); "
                "choose a subset with data.name"
            )
    return found or ({"train": files} if files else {})


def _find_split(name: str) -> str | None:
    """The split that a file's name says, or else the folder that is nearest to it."""
    for part in reversed(Path(name).parts):
        words = re.split(r"[^a-z]+", part.lower())
        for split, known in SPLITS.items():
            if any(word in known for word in words):
                return split
    return None


def _read_state(folder: Path, prefix: str, quota: Quota, skipped: Skipped) -> list[TextFile]:
    """The files of a split in the order in which it was saved."""
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        names, chosen = [file["filename"] for file in state["_data_files"]], state.get("_indices_data_files")
    except (ValueError, LookupError, TypeError):
        raise ValueError(f"{folder / STATE}: not what save_to_disk writes; is it damaged?") from None
    if chosen:
        raise ValueError(f"{folder}: has an order of its own; save it after flatten_indices()")
    return [TextFile(prefix + name, folder / name, quota, skipped) for name in names]


def _download(name: str) -> Path:
    """The folder of a dataset of the hub, in its own cache."""
    if not HUB_NAME.fullmatch(name):
        raise FileNotFoundError(f"data.path={name}: no such folder, and no name on the hub; check data.path")
    remedy = (
        f"where there is a network run `hf download {name} --repo-type dataset --local-dir FOLDER` and give "
        "data.path=FOLDER"
    )
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise ValueError(
            f"data.path={name}: no such folder, and the hub needs pip install huggingface_hub; or {remedy}"
        ) from None
    try:
        return Path(snapshot_download(name, repo_type="dataset"))
    except Exception as error:  # of the network, whose library differs from release to release
        said = str(error).partition("\n")[0]
        raise FileNotFoundError(
            f"data.path={name}: no such folder, nor from the hub ({said}); {remedy}"
        ) from None
