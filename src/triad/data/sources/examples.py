"""Kinds of examples that have parts: a task makes rows of them.

labelled pairs   {text, second, label}
tags             {words, tags}                                          a tag for each word
questions        {id, question, context, answers: [{text, answer_start}]}   none where there is no answer
dialogues        {messages: [{role, content}]}, and {slots} where a record has them
programs         {task_id, prompt, canonical_solution, test, entry_point}
drafts           {source, draft, target}
choices          {question, choices, answer}                            the answer's place among the choices
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, TypeVar

from triad.data.sources.malformed import OnError, Skipped
from triad.data.sources.opening import Quota, TextFile
from triad.data.sources.source import Contents, Document, Source, Split
from triad.data.sources.splits import (
    ReadFile,
    find_splits,
    find_test,
    get_document_text,
    make_test_reader,
    read_split,
)

Paths = str | list[str]


@dataclass(frozen=True)
class Examples(Source):
    """Examples with parts: a document is one, with all of it as JSON for its label.

    `text_of` names the parts that are text, which a tokenizer learns from. What changes texts is refused,
    since other parts may be places in them; whole examples may be left out.
    """

    keeps_texts = True
    needs = {"batch.sizes": ("one",)}  # rows of neighbouring lengths
    text_of: ClassVar[tuple[str, ...]]

    @classmethod
    def describe(cls, name: str, example: dict[str, Any]) -> Document:
        """An example as a document."""
        return Document(name, cls.get_text(example), json.dumps(example, ensure_ascii=False))

    @classmethod
    def get_text(cls, example: dict[str, Any]) -> str:
        """The texts of an example, a line each."""
        parts = (example[part] for part in cls.text_of)
        return "\n".join(text for part in parts for text in ([part] if isinstance(part, str) else part))

    def examples(self, split: Split) -> Iterator[dict[str, Any]]:
        for document in self.documents(split):
            yield json.loads(document.label)

    def _read_contents(self) -> dict[Split, Contents]:
        contents = super()._read_contents()
        train, val = contents.values()
        if train.documents and (unknown := {*val.labels}.difference(train.labels)):
            raise ValueError(
                f"data={self.name}: {min(unknown)!r} is in the val split only, where nothing can learn it; "
                "give more examples, another data.val_fraction or data.val_path"
            )
        return contents


class LabelledPairs(Examples):
    """Two texts and a label of both."""

    yields = "labelled pairs"
    text_of = ("text", "second")

    def get_labels(self, document: Document) -> Iterable[str]:
        return (json.loads(document.label)["label"],)


class Tags(Examples):
    """Words with a tag each."""

    yields = "tags"
    text_of = ("words",)

    @classmethod
    def get_text(cls, example: dict[str, Any]) -> str:
        return " ".join(example["words"])

    def get_labels(self, document: Document) -> Iterable[str]:
        return json.loads(document.label)["tags"]


class Questions(Examples):
    """Questions whose answers stand in a context."""

    yields = "questions"
    text_of = ("question", "context")


class Dialogues(Examples):
    """Messages by turns."""

    yields = "dialogues"

    @classmethod
    def get_text(cls, example: dict[str, Any]) -> str:
        slots = (f"{name} {value}" for name, value in example.get("slots", {}).items())
        return "\n".join([*(message["content"] for message in example["messages"]), *slots])


class Programs(Examples):
    """The beginnings of programs, how they go on, and tests."""

    yields = "programs"
    text_of = ("prompt", "canonical_solution")


class Drafts(Examples):
    """Sources, drafts of their translation, and better ones."""

    yields = "drafts"
    text_of = ("source", "draft", "target")


class Choices(Examples):
    """Questions with several answers, of which one is right."""

    yields = "choices"
    text_of = ("question", "choices")


Kind = TypeVar("Kind", bound=Examples)


def read_splits(
    kind: type[Kind],
    name: str,
    read: ReadFile,
    paths: tuple[Paths, Paths | None, Paths | None],
    val_fraction: float,
    max_bytes: int | None,
    on_error: OnError,
    licence: str | None,
    get_key: Callable[[Document], str] = get_document_text,
    check: Callable[[list[TextFile]], None] | None = None,
) -> Kind:
    """The source of what `read` finds in files; `paths` are those of training, validation and test.

    Without any for validation a hash of `get_key` sends an example there; `check` looks at all files first.
    """
    path, val_path, test_path = paths
    quota = Quota(max_bytes)
    files = find_splits(path, val_path, val_fraction, quota, Skipped(on_error))
    test = find_test(test_path, files, quota, on_error)
    if check:
        check([file for found in (*files.values(), test) for file in found])
    reader = partial(read_split, read, files, get_key, val_fraction)
    return kind(name, reader, licence, read_test=make_test_reader(read, test))
