"""Stop strings over several tokens, and characters over several tokens."""

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triad.data.tokenizers.huggingface import HuggingFace
from triad.data.tokenizers.tokenizer import Tokenizer
from triad.decoding.stopping import NewText, decode_text, make_stopped


class Pieces(Tokenizer):
    """Tokens that stand for any bytes."""

    kind = "pieces"

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces

    def encode(self, text: str) -> None:
        raise NotImplementedError

    def settings(self) -> dict:
        return {}


def show(pieces: list[bytes], stops: list[str]) -> tuple[list[str], str, bool]:
    """What is shown after each token as far as one is taken, what is shown at the end, whether it stopped."""
    text = NewText(Pieces(pieces), stops)
    shown = []
    for token in range(len(pieces)):
        if not text.stopped:
            shown.append(text.add(token))
    return shown, text.finish(), text.stopped


@pytest.mark.parametrize(
    ("pieces", "stop", "shown", "flushed", "stopped"),
    [
        (
            "4772 c3 bcc3 9f6520 f09f 918d 210a 0a5573 6572 3a206869 20616761696e",
            "\n\nUser:",
            ["Gr", "", "ü", "ße ", "", "👍", "!", "", "", ""],
            "",
            True,
        ),
        ("610a 0a557365 206974 2e0a 0a", "\n\nUser:", ["a", "", "\n\nUse it", ".", ""], "\n\n", False),
        ("78203d20313b 207d3b2079 203d2032", "};", ["x = 1;", " "], "", True),
    ],
)
def test_what_is_shown_is_certain(
    pieces: str, stop: str, shown: list[str], flushed: str, stopped: bool
) -> None:
    found = show([bytes.fromhex(piece) for piece in pieces.split()], [stop])
    assert found == (shown, flushed, stopped)


def reference(text: bytes, stops: list[str]) -> str:
    """Byte by byte: the first place at which a stop string is complete, the longest there."""
    for end in range(len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop.encode())]
        if complete:
            return text[: end - max(len(stop.encode()) for stop in complete)].decode()
    return text.decode()


@given(
    st.text(alphabet="abß👍\n", max_size=20),
    st.lists(st.text(alphabet="abß👍\n", min_size=1, max_size=4), max_size=3),
    st.lists(st.integers(0, 80), max_size=12),
)
@settings(derandomize=True, max_examples=400, deadline=None)
def test_the_text_does_not_depend_on_how_it_is_cut_into_tokens(
    text: str, stops: list[str], cuts: list[int]
) -> None:
    content = text.encode()
    places = sorted({0, len(content), *(cut for cut in cuts if cut < len(content))})
    pieces = [content[a:b] for a, b in pairwise(places)]
    shown, flushed, stopped = show(pieces, stops)
    assert "".join(shown) + flushed == reference(content, stops)
    assert stopped == any(stop in text for stop in stops)
    ended = [make_stopped(Pieces(pieces), stops)([*range(n)]) for n in range(1, len(pieces) + 1)]
    assert ended.index(True) + 1 == len(shown) if stopped else not any(ended)


def test_half_a_character_at_the_end_is_left_out_and_what_is_none_is_marked() -> None:
    assert show([b"a\xff", b"b\xc3"], []) == (["a\ufffd", "b"], "", False)


def test_special_tokens_and_rows_behind_the_vocabulary_have_no_text() -> None:
    assert decode_text(Pieces([b"a", b""]), [0, 1, 2, 0]) == "aa"


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(ValueError, match="stands everywhere"):
        NewText(Pieces([]), [""])


def test_a_text_that_is_no_join_of_pieces_is_cut_and_shown_at_its_end() -> None:
    words = ["[UNK]", "un", "##til", "the", "##n", "end"]
    model = {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": {word: i for i, word in enumerate(words)},
    }
    decoder = {"type": "WordPiece", "prefix": "##", "cleanup": True}
    spec = {"version": "1.0", "added_tokens": [], "decoder": decoder, "model": model}
    tokenizer = HuggingFace(json.dumps(spec | {"pre_tokenizer": {"type": "Whitespace"}}).encode(), None)
    tokens = tokenizer.encode("until then end").tolist()
    assert not tokenizer.joins
    text = NewText(tokenizer, ["then"])
    assert [text.add(token) for token in tokens[:4]] == [""] * 4
    assert (text.stopped, text.finish()) == (True, "until ")
    stopped = make_stopped(tokenizer, ["then"])
    assert [stopped(tokens[:n]) for n in range(1, 5)] == [False, False, False, True]
