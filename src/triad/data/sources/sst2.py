"""The Stanford Sentiment Treebank with two classes."""

from triad.data.sources.labelled import labelled
from triad.data.sources.published import Count, Published, name_source
from triad.data.sources.source import Labelled


def sst2(path: str | None, examples: Count | None, licence: str, address: str, files: list[list]) -> Labelled:
    """Whole sentences, lower-cased, with the labels 1 (positive) and 0: 6,920, 872 of dev, 1,821 of test.

    Socher et al. 2013, "Recursive Deep Models for Semantic Compositionality Over a Sentiment Treebank".
    """
    published = Published("sst2", path, address, files)
    columns = ["text", "label"]
    found = labelled(
        published.find("train.tsv"),
        published.find("dev.tsv"),
        test_path=published.find("test.tsv"),
        val_fraction=0.1,
        text="text",
        label="label",
        columns=columns,
        max_bytes=None,
        on_error="raise",
        licence=licence,
    )
    return name_source(found, "sst2", examples)
