"""Less than the text: for models that count words. A language model needs what these take away."""

import re
import sys
import unicodedata
from functools import cache

BLANKS = re.compile(r"[^\S\n]{2,}+")


def punctuation(text: str) -> str:
    """Text in which blanks stand for punctuation, Unicode's categories P; rows of blanks are one."""
    return BLANKS.sub(" ", _compile_punctuation().sub(" ", text))


def stop_words(text: str, words: list[str]) -> str:
    """Text without some words, in any case; rows of blanks are one."""
    return BLANKS.sub(" ", _compile_words(tuple(words)).sub("", text)) if words else text


@cache
def _compile_punctuation() -> re.Pattern:
    codes = map(chr, range(sys.maxunicode + 1))
    return re.compile(f"[{''.join(re.escape(c) for c in codes if unicodedata.category(c)[0] == 'P')}]")


@cache
def _compile_words(words: tuple[str, ...]) -> re.Pattern:
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, words))})\b", re.IGNORECASE)
