"""Multi30k: descriptions of images and their translations."""

from typing import Literal

from triad.data.sources.parallel import parallel
from triad.data.sources.published import Count, Published, name_source
from triad.data.sources.source import ParallelText

Language = Literal["en", "de"]


def multi30k(
    path: str | None,
    source: Language,
    target: Language,
    examples: Count | None,
    licence: str,
    address: str,
    files: list[list],
) -> ParallelText:
    """Multi30k task 1, 29,000 pairs; 1,014 of val validate, 1,000 of test_2016_flickr are the test split.

    Elliott et al. 2016, arXiv:1605.00459. Raises ValueError for a language with itself.
    """
    if source == target:
        raise ValueError(f"data.source={source} data.target={target}: two languages, such as en and de")
    find = Published("multi30k", path, address, files).find
    found = parallel(
        find(f"train.{source}"),
        find(f"train.{target}"),
        fields=["source", "target"],
        val_source=find(f"val.{source}"),
        val_target=find(f"val.{target}"),
        val_fraction=0.1,
        test_source=find(f"test_2016_flickr.{source}"),
        test_target=find(f"test_2016_flickr.{target}"),
        references=[],
        max_bytes=None,
        on_error="raise",
        licence=licence,
    )
    return name_source(found, "multi30k", examples)
