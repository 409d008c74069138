"""FineWeb's rules on the lines of English pages."""

from triad.data.clean.drop import Drop
from triad.data.clean.gopher_repetition import count_duplicates
from triad.data.clean.language import is_in
from triad.data.clean.words import TERMINAL, split_words


def fineweb_quality(
    text: str,
    min_lines_with_punctuation: float,
    short_line: int,
    max_short_lines: float,
    max_characters_in_duplicate_lines: float,
    max_line_ends_per_word: float,
    languages: list[str] | None,
) -> str | Drop:
    """Drop a page of lists, menus and other lines that are no sentences.

    Penedo et al. 2024, arXiv:2406.17557, section 3.6, as datatrove's FineWebQualityFilter counts: of lines
    that are not blank the share that ends with Unicode's Sentence_Terminal, the share of at most `short_line`
    characters, and the characters in lines that equal an earlier one as a share of all but line ends;
    and the line ends per word. Equality passes.

    Holds for texts in `languages`; others pass. Deviates: `split_words` in the place of spaCy.
    """
    if not is_in(text, languages):
        return text
    lines = [line for line in text.split("\n") if line and not line.isspace()]
    ended = sum(line.endswith(TERMINAL) for line in lines)
    if not lines or ended / len(lines) < min_lines_with_punctuation:
        return Drop("min_lines_with_punctuation")
    if sum(len(line) <= short_line for line in lines) / len(lines) > max_short_lines:
        return Drop("max_short_lines")
    line_ends = text.count("\n")
    if count_duplicates(lines)[1] / (len(text) - line_ends) > max_characters_in_duplicate_lines:
        return Drop("max_characters_in_duplicate_lines")
    if line_ends / max(len(split_words(text)), 1) > max_line_ends_per_word:
        return Drop("max_line_ends_per_word")
    return text


fineweb_quality.packages = ("py3langid",)
