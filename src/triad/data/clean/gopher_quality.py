"""Gopher's rules on the quality of English pages."""

from collections import Counter

from triad.data.clean.drop import Drop
from triad.data.clean.language import is_in
from triad.data.clean.words import has_letter, is_symbol, split_words


def gopher_quality(
    text: str,
    min_words: int,
    max_words: int,
    min_word_length: float,
    max_word_length: float,
    max_symbols_per_word: float,
    max_bullet_lines: float,
    max_ellipsis_lines: float,
    min_alphabetic_words: float,
    min_stop_words: int,
    stop_words: list[str],
    languages: list[str] | None,
) -> str | Drop:
    """Drop a page whose words are too few, too many, too short, too long, or that is not of sentences.

    Rae et al. 2021, arXiv:2112.11446, table A1 and section A1.1, as datatrove's GopherQualityFilter counts:
    `min_words`, `max_words` and the mean length are of words that are not of punctuation alone; `#` and
    ellipses are counted per word, and so is the share of words with a letter; `min_stop_words` is of
    different ones, in lower case. Lines are bullets that begin with • or -. Equality passes.

    Holds for texts in `languages`; others pass. Deviates: `split_words` in the place of spaCy.
    """
    if not is_in(text, languages):
        return text
    count = Counter(split_words(text))
    words = count.total()
    spelled = {word: times for word, times in count.items() if not is_symbol(word)}
    real = sum(spelled.values())
    if real < min_words:
        return Drop("min_words")
    if real > max_words:
        return Drop("max_words")
    words, real = max(words, 1), max(real, 1)
    mean = sum(len(word) * times for word, times in spelled.items()) / real
    if mean < min_word_length:
        return Drop("min_word_length")
    if mean > max_word_length:
        return Drop("max_word_length")
    symbols = max(text.count("#"), text.count("...") + text.count("…"))
    if symbols / words > max_symbols_per_word:
        return Drop("max_symbols_per_word")
    lines = text.splitlines() or [""]
    if sum(line.lstrip().startswith(("•", "-")) for line in lines) / len(lines) > max_bullet_lines:
        return Drop("max_bullet_lines")
    if sum(line.rstrip().endswith(("...", "…")) for line in lines) / len(lines) > max_ellipsis_lines:
        return Drop("max_ellipsis_lines")
    if sum(times for word, times in count.items() if has_letter(word)) / words < min_alphabetic_words:
        return Drop("min_alphabetic_words")
    if sum(word in count for word in {*stop_words}) < min_stop_words:
        return Drop("min_stop_words")
    return text


gopher_quality.packages = ("py3langid",)
