"""Questions about a context, as SQuAD has them."""

import json
import reprlib
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

from triad.data.sources.examples import Paths, Questions, read_splits
from triad.data.sources.malformed import Malformed, OnError
from triad.data.sources.opening import TextFile
from triad.data.sources.records import JSON, Record, get_part, read_json
from triad.data.sources.source import Document

MEND = "SQuAD's layout is data, paragraphs, context and qas"


def questions(
    path: Paths,
    val_path: Paths | None,
    val_fraction: float,
    test_path: Paths | None,
    max_bytes: Annotated[int, ">= 1"] | None,
    on_error: OnError,
    licence: str | None = None,
) -> Questions:
    """Questions, contexts and answers out of SQuAD's JSON, v1.1 and v2.0.

    Rajpurkar et al. 2016, arXiv:1606.05250; Rajpurkar et al. 2018, arXiv:1806.03822, where `is_impossible`
    marks a question without answer. An answer has to stand at its offset, counted in characters. Without
    `val_path` a hash of the context sends all of its questions to training or validation. Raises ValueError,
    naming file and place, for what is malformed unless on_error=skip, which leaves out the question.
    """
    paths = path, val_path, test_path
    rest = val_fraction, max_bytes, on_error, licence
    return read_splits(Questions, "questions", _read_questions, paths, *rest, get_key=_get_context)


def _get_context(document: Document) -> str:
    return json.loads(document.label)["context"]


def _read_questions(file: TextFile) -> Iterator[Document]:
    if file.kind not in JSON:
        raise ValueError(f"{file.path}: questions come as .json, in SQuAD's layout")
    asked = 0

    def walk(records: Iterable[Record], name: str) -> Iterator[Record]:
        for record in records:
            try:
                yield from _list_items(record._replace(number=asked + 1), name)
            except Malformed as error:
                file.skipped.meet(file.path, error)

    try:
        for paragraph in walk(walk(read_json(file), "data"), "paragraphs"):
            for question in walk([paragraph], "qas"):
                asked += 1
                try:
                    example = _read_question(paragraph, question._replace(number=asked))
                except Malformed as error:
                    file.skipped.meet(file.path, error)
                else:
                    yield Questions.describe(f"{file.name}:{example['id']}", example)
    except Malformed as error:
        file.skipped.meet(file.path, error)
    if not asked and file.path not in file.skipped.last:
        raise ValueError(f"{file.path}: no question; {MEND}")


def _list_items(record: Record, name: str) -> list[Record]:
    """The items of a list that a record has, with their places."""
    items = record.fields.get(name) if isinstance(record.fields, dict) else None
    if not isinstance(items, list):
        raise Malformed(f"{record.where}: no list under {name!r}; {MEND}", "no text", record.number)
    return [Record(record.number, f"{record.where}, {name}[{at}]", item) for at, item in enumerate(items)]


def _read_question(paragraph: Record, asked: Record) -> dict[str, Any]:
    context = get_part(paragraph._replace(number=asked.number), "context", MEND)
    question, name = (get_part(asked, part, MEND) for part in ("question", "id"))
    answers = []
    if not asked.fields.get("is_impossible", False):
        for answer in _list_items(asked, "answers"):
            text = get_part(answer, "text", MEND)
            start = answer.fields.get("answer_start")
            if type(start) is not int or start < 0 or not text or context[start : start + len(text)] != text:
                found = context[start : start + len(text)] if type(start) is int and start >= 0 else ""
                fault = f"{reprlib.repr(text)} does not stand at answer_start={start}, counted in characters"
                where = f"{answer.where} ({name})"
                sentence = f"{where}: {fault}, where the context has {reprlib.repr(found)}; mend it"
                raise Malformed(sentence, "answer elsewhere", asked.number)
            answers.append({"text": text, "answer_start": start})
    return {"id": name, "question": question, "context": context, "answers": answers}
