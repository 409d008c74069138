"""A stack whose layers are not all made of the same parts."""

from collections.abc import Callable


class Pattern:
    """The kind of every layer: the `leading` ones first, then `repeated` again and again.

    `parts` maps a kind to what replaces the model's own `block`, `norm`, `attention` and `feedforward`; a
    kind that changes nothing is {}. Examples: three dense layers before experts (DeepSeek-V3,
    arXiv:2412.19437, section 4.2), or alternating dense and banded attention (GPT-3, arXiv:2005.14165,
    section 2.1). Raises ValueError for a kind that is not in `parts`, or an empty `repeated`.
    """

    splits = ("tensor", "context", "pipeline", "expert", "documents")  # its parts are asked themselves

    def __init__(self, leading: list[str], repeated: list[str], parts: dict[str, dict[str, Callable]]):
        unknown = sorted({*leading, *repeated} - parts.keys())
        if unknown or not repeated:
            raise ValueError(
                f"pattern.leading={leading} repeated={repeated}: name at least one layer to repeat, and only "
                f"kinds of pattern.parts, {sorted(parts)}"
            )
        self.leading, self.repeated, self.parts = leading, repeated, parts

    def __call__(self, layer: int) -> dict[str, Callable]:
        """The parts of layer number `layer`, from 0, that differ from the model's."""
        behind = layer - len(self.leading)
        return self.parts[self.leading[layer] if behind < 0 else self.repeated[behind % len(self.repeated)]]
