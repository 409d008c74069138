"""Multi30k: descriptions of images and their translations."""

from typing import Literal

from triad.data.sources.parallel import parallel
from triad.data.sources.published import Published
from triad.data.sources.source import ParallelText

Language = Literal["en", "de"]


def multi30k(
    path: str | None, source: Language, target: Language, licence: str, address: str, files: list[list]
) -> ParallelText:
    """Multi30k task 1, 29,000 pairs; 1,014 of val validate, 1,000 of test_2016_flickr are the test split.

    Elliott et al. 2016, arXiv:1605.00459. Raises ValueError for a language with itself.
    """
    if source == target:
        raise ValueError(f"data.source={source} data.target={target}: two languages, such as en and de")
    published = Published("multi30k", path, address, files)
    sides = {"source": source, "target": target}
    places = {
        f"{prefix}{side}": published.find(f"{part}.{language}")
        for prefix, part in (("", "train"), ("val_", "val"), ("test_", "test_2016_flickr"))
        for side, language in sides.items()
    }
    rest = {"fields": ["source", "target"], "val_fraction": 0.1, "max_bytes": None, "on_error": "raise"}
    return parallel(**places, **rest, licence=licence)
