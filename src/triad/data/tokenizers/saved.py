"""A tokenizer that a run carries, for training on other data."""

from pathlib import Path

from triad.data.sources.source import Source
from triad.data.tokenizers.tokenizer import Tokenizer, load_tokenizer


def saved(path: str, source: Source, cache: Path) -> Tokenizer:
    """The tokenizer in a folder that a run wrote; nothing is learned from the source.

    Raises FileNotFoundError where none is there, ValueError for a damaged one.
    """
    if not (folder := Path(path)).is_dir():
        raise FileNotFoundError(f"tokenizer.path={path}: no folder is there; give outputs/<run_id>/tokenizer")
    return load_tokenizer(folder)
