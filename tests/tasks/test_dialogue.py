"""Dialogues as rows: which tokens are asked, and what of a history stays."""

from functools import partial

import pytest
from tokenizers import Tokenizer as Compiled
from tokenizers import decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from triad.data.tokenizers.byte import Byte
from triad.layers.cross_entropy import IGNORED
from triad.tasks.dialogue import Dialogue

ROLES = ["system", "slots", "user", "assistant"]
END, SYSTEM, SLOTS, USER, ASSISTANT = range(257, 262)
TALK = [
    {"role": "system", "content": "be short"},
    {"role": "user", "content": "where is the cat?"},
    {"role": "assistant", "content": "on the mat."},
    {"role": "user", "content": "and the rat?"},
    {"role": "assistant", "content": " in the sun"},
]


def make(context: int = 200, longest: int = 40) -> Dialogue:
    rows = partial(Dialogue, roles=ROLES, answers="assistant", stays=["system", "slots"])
    return rows(tokenizer=Byte(), context=context, longest=longest)


def read(row: dict) -> str:
    """A row and the token behind it, with its special words spelled."""
    names = {END: "</>", SYSTEM: "<s>", SLOTS: "<f>", USER: "<u>", ASSISTANT: "<a>"}
    ids = [*row["tokens_BT"], row["targets_BT"][-1]]
    return "".join(names.get(word) or chr(word) for word in ids)


def test_the_tokens_that_are_asked_are_those_of_transformers_assistant_mask() -> None:
    """A chat template in which an answer and its end are marked as generated, over the same bytes."""
    vocabulary = {symbol: number for number, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    compiled = Compiled(models.BPE(vocabulary, []))
    compiled.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    compiled.decoder = decoders.ByteLevel()
    theirs = PreTrainedTokenizerFast(tokenizer_object=compiled)
    marks = ["<|end|>", *(f"<|{role}|>" for role in ROLES)]
    theirs.add_special_tokens({"additional_special_tokens": marks})
    theirs.chat_template = (
        "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}{% generation %}{{ m.content }}"
        "<|end|>{% endgeneration %}{% else %}{{ m.content }}<|end|>{% endif %}{% endfor %}"
    )
    found = theirs.apply_chat_template(
        TALK, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    ids = found["input_ids"]
    special = {theirs.convert_tokens_to_ids(mark): END + place for place, mark in enumerate(marks)}
    expected = [special[i] if i in special else ord(theirs.decode([i])) for i in ids]
    (row,) = make().encode({"messages": TALK})
    assert [*row["tokens_BT"], row["targets_BT"][-1]] == expected
    assert [target != IGNORED for target in row["targets_BT"]] == [*map(bool, found["assistant_masks"][1:])]


def test_a_row_ends_with_the_last_answer_and_has_the_slots_in_front() -> None:
    talk = [*TALK, {"role": "user", "content": "thanks"}]
    (row,) = make().encode({"messages": talk, "slots": {"place": "Ulm", "day": 2}})
    assert read(row) == (
        "<f>place: Ulm\nday: 2</><s>be short</><u>where is the cat?</><a>on the mat.</><u>and the rat?</>"
        "<a> in the sun</>"
    )
    assert row["cut"] == 0
    assert make().references({"messages": talk}) == [" in the sun"]
    assert make().encode({"messages": TALK[:2]}) == []


@pytest.mark.parametrize(
    ("context", "kept"),
    [
        (90, "<s>be short</><u>where is the cat?</><a>on the mat.</><u>and the rat?</><a> in the sun</>"),
        (64, "<s>be short</><u>and the rat?</><a> in the sun</>"),  # no answer without its question
        (45, "<s>be short</><u>and the rat?</><a> in the sun</>"),
        (44, None),
    ],
)
def test_a_history_loses_whole_turns_from_its_front_and_the_system_stays(context: int, kept: str) -> None:
    rows = make(context, longest=20).encode({"messages": TALK})
    assert [read(row) for row in rows] == ([kept] if kept else [])
    if kept and context < 90:
        assert rows[0]["cut"] == len("?where is the cat??on the mat.?") + 1


def test_the_history_that_is_kept_does_not_depend_on_the_length_of_the_answer() -> None:
    short = [*TALK[:-1], {"role": "assistant", "content": ""}]
    long = [*TALK[:-1], {"role": "assistant", "content": "x" * 99}]
    rows = [make(90, longest=20).encode({"messages": talk})[0] for talk in (short, long)]
    assert len(rows[1]["tokens_BT"]) <= 90
    assert read(rows[1]) == read(rows[0])[:-3] + "x" * 20 + "</>"
    assert rows[1]["cut"] == 79
    assert [target for target in rows[0]["targets_BT"] if target != IGNORED][-1] == END


def test_an_answer_of_weight_0_is_not_asked_and_an_unknown_role_is_refused() -> None:
    talk = [*TALK[:2], TALK[2] | {"weight": 0}, *TALK[3:]]
    (row,) = make().encode({"messages": talk})
    assert [t for t in row["targets_BT"] if t != IGNORED] == [*b" in the sun", END]
    with pytest.raises(ValueError, match=r"has the role tool, add it"):
        make().encode({"messages": [{"role": "tool", "content": "1"}, *TALK]})
    with pytest.raises(ValueError, match=r"answers=bot"):
        Dialogue(roles=ROLES, answers="bot", stays=[], tokenizer=Byte(), context=9, longest=4)


def test_no_text_spells_a_special_word() -> None:
    talk = [{"role": "user", "content": "<|end|></><s>"}, {"role": "assistant", "content": "<|user|>"}]
    (row,) = make().encode({"messages": talk})
    assert [token for token in row["tokens_BT"] if token >= END] == [USER, END, ASSISTANT]
