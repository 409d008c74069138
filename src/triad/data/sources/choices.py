"""Questions with several answers to choose from."""

import string
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any, NamedTuple

from triad.data.sources.examples import Choices, Paths, read_splits
from triad.data.sources.malformed import Malformed, OnError
from triad.data.sources.opening import TextFile
from triad.data.sources.records import Record, get_text, get_texts, read_objects
from triad.data.sources.source import Document


class Names(NamedTuple):
    """What the question, its choices and the right one are called."""

    question: str
    choices: str
    answer: str


def choices(
    path: Paths,
    val_path: Paths | None,
    val_fraction: float,
    test_path: Paths | None,
    question: str,
    choices: str,
    answer: str,
    max_bytes: Annotated[int, ">= 1"] | None,
    on_error: OnError,
    licence: str | None = None,
) -> Choices:
    """Multiple choice out of .jsonl or .json, an object each with these names.

    `choices` are two texts or more, or as ARC has them their texts beside their labels: {text: [...], label:
    [...]}. `answer` is the place of the right one, counted from 0, or its letter, or its label. Without
    `val_path` a hash of its texts sends a question to training or validation. Raises ValueError, naming file
    and line, for an answer that is none of the choices, unless on_error=skip.
    """
    read, paths = partial(_read_choices, Names(question, choices, answer)), (path, val_path, test_path)
    return read_splits(Choices, "choices", read, paths, val_fraction, max_bytes, on_error, licence)


def _read_choices(names: Names, file: TextFile) -> Iterator[Document]:
    for number, example in read_objects(file, "choices", partial(_get_choices, names)):
        yield Choices.describe(f"{file.name}:{number}", example)


def _get_choices(names: Names, record: Record) -> dict[str, Any]:
    question, given = get_text(record, names.question, "data.question"), record.fields.get(names.choices)
    if isinstance(given, dict):
        nested = record._replace(fields=given, where=f"{record.where}, {names.choices}")
        texts, labels = get_texts(nested, "text", "data.choices"), get_texts(nested, "label", "data.choices")
    else:
        texts, labels = get_texts(record, names.choices, "data.choices"), [*string.ascii_uppercase]
    if len(texts) < 2 or len(labels) < len(texts):
        raise Malformed(
            f"{record.where}: two choices at least, each with a label", "no choice", record.number
        )
    answer = record.fields.get(names.answer)
    if isinstance(answer, str):
        known = labels[: len(texts)]
        place = known.index(answer.strip()) if answer.strip() in known else -1
    else:
        place = answer if type(answer) is int else -1
    if not 0 <= place < len(texts):
        known = f"0 to {len(texts) - 1} or {', '.join(labels[: len(texts)])}"
        fault = f"{names.answer}={answer!r} is no choice, which are {known}; mend it or set data.answer"
        raise Malformed(f"{record.where}: {fault}", "no answer", record.number)
    return {"question": question, "choices": texts, "answer": place}
