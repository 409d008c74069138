"""Unicode's normal forms."""

import re
import sys
import unicodedata
from functools import cache
from typing import Literal

LONGEST = 30  # combining characters in a row: Unicode's Stream-Safe Text Format, UAX #15, section 13
# ranges that hold all combining characters and others: quicker to search than the some 900 themselves
NEAR_MARK = re.compile("[\u0300-\u20ff\u2cef-\u30ff\ua66f-\uabff\ufb1e-\ufe2f\U000101fd-\U0001e94f]")
NEAR_MARKS = re.compile(f"{NEAR_MARK.pattern}{{{LONGEST + 1}}}")
JOINER = "\u034f"  # the combining grapheme joiner, which that format puts between more


def normalization(text: str, form: Literal["NFC", "NFD", "NFKC", "NFKD"]) -> str:
    """Text in a normal form (Unicode Standard Annex #15), made stream-safe before.

    Rows of more than 30 combining characters, which no script has, are parted by U+034F: to sort them takes
    Python the square of their length. NFC changes no meaning; NFKC does: it makes m2 of m².
    """
    if text.isascii():
        return text
    # a row of 31 has one of its characters at a place of the stride
    if NEAR_MARK.search(text[LONGEST :: LONGEST + 1]) and NEAR_MARKS.search(text):
        text = _compile_marks().sub(lambda found: f"{found[0]}{JOINER}", text)
    return text if unicodedata.is_normalized(form, text) else unicodedata.normalize(form, text)


@cache
def _compile_marks() -> re.Pattern:
    """LONGEST combining characters that one more follows."""
    codes = range(sys.maxunicode + 1)
    marks = "".join(re.escape(chr(code)) for code in codes if unicodedata.combining(chr(code)))
    return re.compile(f"[{marks}]{{{LONGEST}}}(?=[{marks}])")
