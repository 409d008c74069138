"""The Stanford Question Answering Dataset."""

from triad.data.sources.published import Count, Published, name_source
from triad.data.sources.questions import Questions, questions


def squad(
    path: str | None,
    val_fraction: float,
    examples: Count | None,
    licence: str,
    address: str,
    files: list[list],
) -> Questions:
    """SQuAD v1.1: 87,599 questions, those of a share of the contexts validate; dev is the test split.

    Rajpurkar et al. 2016, arXiv:1606.05250. The official test set is not published, so figures of dev are
    given as those of a test. In a folder dev may be dev-v1.1-a.json, every other article of it.
    """
    published = Published("squad", path, address, files)
    found = questions(
        published.find("train-v1.1.json"),
        val_path=None,
        val_fraction=val_fraction,
        test_path=published.find("dev-v1.1.json", "dev-v1.1-a.json"),
        max_bytes=None,
        on_error="raise",
        licence=licence,
    )
    return name_source(found, "squad", examples)
