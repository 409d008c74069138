"""Which layers of a stack are made of other parts than the rest."""

from collections.abc import Callable


class Pattern:
    """Name the kind of every layer: the `leading` ones first, then `repeated` over and over.

    `parts` says what a kind has in place of the model's own `block`, `norm`, `attention` and `feedforward`;
    a kind that changes nothing is {}. So three dense layers before experts (DeepSeek-V3, arXiv:2412.19437,
    section 4.2), or dense and banded attention in turn (GPT-3, arXiv:2005.14165, section 2.1). Raises
    ValueError for a kind that `parts` does not know, or for nothing to repeat.
    """

    def __init__(self, leading: list[str], repeated: list[str], parts: dict[str, dict[str, Callable]]):
        unknown = sorted({*leading, *repeated} - parts.keys())
        if unknown or not repeated:
            raise ValueError(
                f"pattern.leading={leading} repeated={repeated}: name at least one layer to repeat, and only "
                f"kinds of pattern.parts, {sorted(parts)}"
            )
        self.leading, self.repeated, self.parts = leading, repeated, parts

    def __call__(self, layer: int) -> dict[str, Callable]:
        """The parts that layer number `layer`, from 0, has of its own."""
        behind = layer - len(self.leading)
        return self.parts[self.leading[layer] if behind < 0 else self.repeated[behind % len(self.repeated)]]
