"""The language of a text, by py3langid (Lui and Baldwin 2012): 97 languages, its model is in the package."""

from functools import lru_cache

from triad.data.clean.drop import Drop

STRETCH = 300  # characters that are read at the beginning and in the middle: py3langid does 2 MB/s


def language(text: str, keep: list[str] | None) -> str | Drop:
    """Drop what is in none of the languages `keep` (ISO 639-1); null keeps all."""
    return text if is_in(text, keep) else Drop("keep")


def is_in(text: str, languages: list[str] | None) -> bool:
    """Whether a text is in one of some languages; null says of every text that it is."""
    return languages is None or identify(text) in languages


@lru_cache(1)  # several filters ask in turn
def identify(text: str) -> str:
    """The ISO 639-1 code of the language that a text is most likely in."""
    from py3langid import classify

    middle = max(STRETCH, len(text) // 2)
    return classify(text[:STRETCH] + text[middle : middle + STRETCH])[0]


language.packages = ("py3langid",)
