"""Examples of an evaluated split that stand in the training split, too."""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

# What is asked of an example, or only names it: the rest is what a model reads.
ASKED = {"label", "tags", "target", "references", "answers", "answer", "id", "task_id", "canonical_solution"}


def find_seen(examples: list[dict[str, Any]], training: Iterable[dict[str, Any]]) -> set[int]:
    """The numbers of the examples whose texts stand word for word in an example of training."""
    known = {hash_texts(example) for example in training}
    return {number for number, example in enumerate(examples) if hash_texts(example) in known}


def hash_texts(example: dict[str, Any]) -> bytes:
    """A hash of the texts of an example that a model reads."""
    texts = {name: value for name, value in example.items() if name not in ASKED}
    spelled = json.dumps(texts, sort_keys=True)
    return hashlib.blake2b(spelled.encode(), digest_size=16).digest()


def fingerprint_examples(examples: list[dict[str, Any]]) -> str:
    """A hash of examples, all of each, in their order."""
    digest = hashlib.blake2b(digest_size=16)
    for example in examples:
        digest.update(json.dumps(example, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()
