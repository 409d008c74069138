"""Dialogues: messages by turns, in the three layouts that are common."""

from collections.abc import Iterator
from typing import Annotated, Any

from triad.data.sources.examples import Dialogues, Paths, read_splits
from triad.data.sources.malformed import Malformed, OnError
from triad.data.sources.opening import TextFile
from triad.data.sources.records import Record, get_part, read_objects
from triad.data.sources.source import Document

ROLES = {"human": "user", "gpt": "assistant"}  # ShareGPT's, as others call them
KNOWN = ("system", "user", "assistant", "tool")
LAYOUTS = "a dialogue has messages (role, content), conversations (from, value) or instruction and output"


def dialogues(
    path: Paths,
    val_path: Paths | None,
    val_fraction: float,
    test_path: Paths | None,
    max_bytes: Annotated[int, ">= 1"] | None,
    on_error: OnError,
    licence: str | None = None,
) -> Dialogues:
    """Dialogues out of .jsonl or .json, an object each.

    `messages` of role and content, of weight 0 where nothing is to be learned; ShareGPT's `conversations` of
    from and value; Alpaca's `instruction`, `input` and `output` (Taori et al. 2023), of which the input is a
    paragraph of its own. An object's `slots`, texts by name, stay. Without `val_path` a hash of its texts
    sends a dialogue to training or validation. Raises ValueError, naming file and line, for a role that is
    none and a dialogue in which nobody answers, unless on_error=skip.
    """
    paths = path, val_path, test_path
    rest = val_fraction, max_bytes, on_error, licence
    return read_splits(Dialogues, "dialogues", _read_dialogues, paths, *rest)


def _read_dialogues(file: TextFile) -> Iterator[Document]:
    for number, dialogue in read_objects(file, "dialogues", _get_dialogue):
        yield Dialogues.describe(f"{file.name}:{number}", dialogue)


def _get_dialogue(record: Record) -> dict[str, Any]:
    fields = record.fields if isinstance(record.fields, dict) else {}
    if "messages" in fields:
        messages = [*_read_messages(record, "messages", "role", "content")]
    elif "conversations" in fields:
        messages = [*_read_messages(record, "conversations", "from", "value")]
    else:
        asked = [get_part(record, "instruction", LAYOUTS)]
        asked += [get_part(record, "input", LAYOUTS)] if fields.get("input") else []
        answer = get_part(record, "output", LAYOUTS)
        messages = [_make_message("user", "\n\n".join(asked)), _make_message("assistant", answer)]
    if not any(message["role"] == "assistant" and message["content"].strip() for message in messages):
        raise Malformed(f"{record.where}: nobody answers; {LAYOUTS}", "no answer", record.number)
    slots = fields.get("slots")
    if slots is None:
        return {"messages": messages}
    if not isinstance(slots, dict):
        raise Malformed(f"{record.where}: slots are texts by name", "no text", record.number)
    named = record._replace(fields=slots, where=f"{record.where}, slots")
    return {"messages": messages, "slots": {name: get_part(named, name, "give it one") for name in slots}}


def _read_messages(record: Record, name: str, role: str, content: str) -> Iterator[dict[str, Any]]:
    messages = record.fields[name]
    if not isinstance(messages, list):
        raise Malformed(f"{record.where}: no list under {name!r}; {LAYOUTS}", "no text", record.number)
    for at, message in enumerate(messages):
        one = record._replace(fields=message, where=f"{record.where}, {name}[{at}]")
        said = get_part(one, role, LAYOUTS)
        if (speaker := ROLES.get(said, said)) not in KNOWN:
            known = ", ".join([*KNOWN, *ROLES])
            raise Malformed(f"{one.where}: {role}={said!r}: one of {known}", "unknown role", record.number)
        if (weight := message.get("weight", 1)) not in (0, 1):
            fault = f"{one.where}: weight={weight!r}: 1, or 0 where nothing is to be learned"
            raise Malformed(fault, "unknown weight", record.number)
        yield _make_message(speaker, get_part(one, content, LAYOUTS)) | ({} if weight else {"weight": 0})


def _make_message(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}
