"""Pairs that are no translations of each other."""

from triad.data.clean.drop import Drop


def length_ratio(source: str, target: str, most: float) -> Drop | None:
    """Drop a pair of which a side has more than `most` times the characters of the other.

    The longer of length-based filtering: Koehn et al. 2007, Moses' clean-corpus-n.perl, which counts words.
    """
    lengths = sorted((len(source), len(target)))
    return Drop("most") if lengths[1] > most * lengths[0] else None


def identical_sides(source: str, target: str, ignore_case: bool) -> Drop | None:
    """Drop a pair whose target is its source: Khayrallah and Koehn 2018, arXiv:1805.12282."""
    first, second = source.strip(), target.strip()
    if ignore_case:
        first, second = first.casefold(), second.casefold()
    return Drop("identical") if first == second else None


length_ratio.reads = "pairs"
length_ratio.needs = {"data.yields": ("pairs",)}
identical_sides.reads = "pairs"
identical_sides.needs = {"data.yields": ("pairs",)}
