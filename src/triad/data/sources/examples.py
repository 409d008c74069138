"""Kinds of examples that have parts: a task makes rows of them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from triad.data.sources.source import Document, Source, Split


@dataclass(frozen=True)
class Examples(Source):
    """Examples with parts: a document is one, with all of it as JSON for its label.

    `text_of` names the parts that are text, which a tokenizer learns from. What changes texts is refused,
    since other parts may be places in them; whole examples may be left out.
    """

    keeps_texts = True
    needs = {"batch.sizes": ("one",)}  # rows of neighbouring lengths
    text_of: ClassVar[tuple[str, ...]]
    joined_by: ClassVar[str] = "\n"

    @classmethod
    def describe(cls, name: str, example: dict[str, Any]) -> Document:
        """An example as a document."""
        text = cls.joined_by.join(_find_texts([example[part] for part in cls.text_of]))
        return Document(name, text, json.dumps(example, ensure_ascii=False))

    def examples(self, split: Split) -> Iterator[dict[str, Any]]:
        for document in self.documents(split):
            yield json.loads(document.label)


def _find_texts(part: Any) -> Iterator[str]:
    """All strings of a part of an example, in their order."""
    if isinstance(part, str):
        yield part
    elif isinstance(part, dict | list):
        for one in part.values() if isinstance(part, dict) else part:
            yield from _find_texts(one)
