"""Unicode's normal forms."""

import re
import sys
import unicodedata
from functools import cache
from typing import Literal

LONGEST = 30  # combining characters in a row: Unicode's Stream-Safe Text Format, UAX #15, section 13
JOINER = "\u034f"  # the combining grapheme joiner, which that format puts between more


def normalization(text: str, form: Literal["NFC", "NFD", "NFKC", "NFKD"]) -> str:
    """Text in a normal form (Unicode Standard Annex #15), made stream-safe before.

    Rows of more than 30 combining characters, which no script has, are parted by U+034F: to sort them takes
    Python the square of their length. NFC changes no meaning; NFKC does: it makes m2 of m².
    """
    if text.isascii():
        return text
    marks = _compile_marks()
    if marks.search(text):
        text = marks.sub(lambda found: f"{found[0]}{JOINER}", text)
    return text if unicodedata.is_normalized(form, text) else unicodedata.normalize(form, text)


@cache
def _compile_marks() -> re.Pattern:
    """LONGEST combining characters that one more follows."""
    codes = range(sys.maxunicode + 1)
    marks = "".join(re.escape(chr(code)) for code in codes if unicodedata.combining(chr(code)))
    return re.compile(f"[{marks}]{{{LONGEST}}}(?=[{marks}])")
