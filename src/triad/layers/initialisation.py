"""Rules for initial weights: pure functions from a parameter's description to a standard deviation.

`role` and `part` are declared by its layer (triad.layers.parameters); `depth` is the model's.
"""

from typing import Literal

from triad.layers.parameters import fans
from triad.layers.ranges import PositiveFloat, PositiveInt


def normal(
    role: str,
    part: str,
    shape: tuple[int, ...],
    depth: PositiveInt,
    std: PositiveFloat,
    tied: PositiveFloat | None,
) -> float:
    """N(0, std); smaller for the outputs that 2 x depth parts add to the residual stream.

    std / sqrt(2 depth) for those      Radford et al. 2019 (GPT-2), section 2.3

    `tied` is the standard deviation of a tied embedding, null: std. It must be smaller where a norm follows
    the embedding: the stream then begins with vectors of size sqrt(width), whatever their std, and a token's
    logit for itself is up to width x tied, which must not outweigh the other words.
    """
    if part == "tied" and tied is not None:
        return tied
    return std / (2 * depth) ** 0.5 if part == "residual" else std


def plain_normal(
    role: str, part: str, shape: tuple[int, ...], depth: PositiveInt, std: PositiveFloat
) -> float:
    """N(0, std) for all      Devlin et al. 2018 (BERT), arXiv:1810.04805; deviates: not cut off at 2 std."""
    return std


def glorot(
    role: str, part: str, shape: tuple[int, ...], depth: PositiveInt, tied: PositiveFloat | None
) -> float:
    """N(0, 2 / (fan_in + fan_out)), and embeddings N(0, 1 / width).

    Glorot and Bengio 2010, eq. 12, as normal; Vaswani et al. 2017, section 3.4 (which scales embeddings)

    `tied` is as in `normal`, null: as other embeddings.
    """
    if part == "tied" and tied is not None:
        return tied
    return shape[-1] ** -0.5 if role == "embedding" else (2 / sum(fans(role, shape))) ** 0.5


def t5(role: str, part: str, shape: tuple[int, ...], depth: PositiveInt, head_size: PositiveInt) -> float:
    """N(0, 1 / fan-in); queries smaller, since attention is not scaled; embeddings N(0, 1).

    Raffel et al. 2020 (T5), arXiv:1910.10683, as their published code has it. Relative biases N(0, 1 / width)
    with heads x head_size for the width.
    """
    if role == "embedding":
        return (shape[1] * head_size) ** -0.5 if part == "relative" else 1.0
    scale = head_size**-0.5 if part == "query" else 1.0
    return scale * fans(role, shape)[0] ** -0.5


def switch(role: str, part: str, shape: tuple[int, ...], depth: PositiveInt, head_size: PositiveInt) -> float:
    """T5's, with a tenth of the variance, which steadies routing.

        N(0, s / fan-in), s = 0.1      Fedus et al. 2021, arXiv:2101.03961, section 2.4

    Deviates: not cut off at 2 std; embeddings N(0, s), as those of T5 would outweigh what such matrices add
    to the stream, and each token would predict itself; relative biases as T5's.
    """
    scale = 1.0 if part == "relative" else 0.1**0.5
    return scale * t5(role, part, shape, depth, head_size)


def fan_in(
    role: str,
    part: str,
    shape: tuple[int, ...],
    depth: PositiveInt,
    embedding: PositiveFloat,
    head: Literal["zero", "fan_in"],
) -> float:
    """N(0, 1 / fan-in), so that products keep their input's size; residual outputs start at zero.

    1 / sqrt(fan_in)      LeCun et al. 1998, Efficient BackProp, eq. 16
    zero outputs          Zhang et al. 2019 (Fixup), arXiv:1901.09321, rule 1

    `embedding` is the embeddings' standard deviation; `head` says whether the head starts at zero too. A tied
    embedding starts at 1 / width: where nothing has been added to the stream yet, a token's logit for itself
    is its normalised vector times that vector, width x std, which must not outweigh the other words.
    """
    if part == "tied":
        return 1 / shape[1]
    if role == "embedding":
        return embedding
    if part == "residual" or (role == "head" and head == "zero"):
        return 0.0
    return fans(role, shape)[0] ** -0.5
