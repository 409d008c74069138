"""What a filter says of a document that is to go.

A filter is a pure function of a text, whose other arguments are its settings: it returns the text, changed or
not, or a Drop. Other processes import it, so it is no lambda and no method. Filters of parallel text take
both sides and say so by `reads = "pairs"`.
"""

from typing import NamedTuple


class Drop(NamedTuple):
    """The document goes; `rule` names the argument that it fell to."""

    rule: str
