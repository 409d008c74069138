"""Lines that are of the site and not of the page."""

from triad.data.clean.drop import Drop

PLACEHOLDER = "lorem ipsum"


def boilerplate(text: str, phrases: list[str]) -> str | Drop:
    """Text without the lines that hold one of some phrases, in any case; placeholder text is dropped.

    Raffel et al. 2020, arXiv:1910.10683, section 2.2, as its code and datatrove's C4QualityFilter have it. Of
    its other rules those on punctuation and short lines are FineWeb's here. A page of which nothing is left
    is dropped, as `phrases`. Deviates: the lines that stay keep the blanks around them.
    """
    lowered = text.lower()
    if PLACEHOLDER in lowered:
        return Drop("lorem_ipsum")
    if not any(phrase in lowered for phrase in phrases):
        return text
    kept = [line for line in text.split("\n") if not _has_any(line.lower(), phrases)]
    return "\n".join(kept) if any(map(str.strip, kept)) else Drop("phrases")


def _has_any(line: str, phrases: list[str]) -> bool:
    return any(phrase in line for phrase in phrases)
