"""Random models of transformers and ours with the same weights."""

import importlib
from typing import Any, NamedTuple

import torch

from triad.config.build import build
from triad.config.compose import compose


class Sizes(NamedTuple):
    """What a model has of everything."""

    depth: int
    width: int
    heads: int
    context: int
    vocab_size: int
    spread: float  # of its random weights, as a multiple of the usual one


def gpt2(sizes: Sizes, seed: int = 0, end: int | None = None) -> tuple[Any, Any]:
    """transformers' GPT-2, and ours."""
    library: Any = importlib.import_module("transformers")
    torch.manual_seed(seed)
    theirs: Any = library.GPT2LMHeadModel(
        library.GPT2Config(
            **{"vocab_size": sizes.vocab_size, "n_positions": sizes.context, "n_embd": sizes.width},
            **{"n_layer": sizes.depth, "n_head": sizes.heads, "initializer_range": 0.02 * sizes.spread},
            **{"bos_token_id": end, "eos_token_id": end, "pad_token_id": end or 0},
        )
    )
    ours: Any = build(compose(["model=gpt2", *spell(sizes)])["model"])(vocab_size=sizes.vocab_size)
    their = theirs.transformer
    copy(ours.embedding.weight, their.wte.weight)
    copy(ours.position.weight, their.wpe.weight)
    for mine, other in zip(ours.blocks, their.h, strict=True):
        for norm, their_norm in ((mine.attention_norm, other.ln_1), (mine.feedforward_norm, other.ln_2)):
            copy(norm.weight, their_norm.weight)
            copy(norm.bias, their_norm.bias)
        parts = (mine.attention.q, mine.attention.k, mine.attention.v)
        weights, biases = (
            other.attn.c_attn.weight.mT.split(sizes.width),
            other.attn.c_attn.bias.split(sizes.width),
        )
        for part, weight, bias in zip(parts, weights, biases, strict=True):
            copy(part.weight, weight)
            copy(part.bias, bias)
        pairs = ((mine.attention.out, other.attn.c_proj), (mine.feedforward.up, other.mlp.c_fc))
        for part, conv in (*pairs, (mine.feedforward.down, other.mlp.c_proj)):
            copy(part.weight, conv.weight.mT)
            copy(part.bias, conv.bias)
    copy(ours.norm.weight, their.ln_f.weight)
    copy(ours.norm.bias, their.ln_f.bias)
    return theirs.eval(), ours.eval()


def t5(sizes: Sizes, seed: int = 0, end: int | None = None) -> tuple[Any, Any]:
    """transformers' T5 in its first version, and ours. `end`, or else word 0, begins a target."""
    library: Any = importlib.import_module("transformers")
    torch.manual_seed(seed)
    theirs: Any = library.T5ForConditionalGeneration(
        library.T5Config(
            **{"vocab_size": sizes.vocab_size, "d_model": sizes.width, "d_kv": sizes.width // sizes.heads},
            **{"d_ff": 4 * sizes.width, "num_layers": sizes.depth, "num_heads": sizes.heads},
            **{"pad_token_id": end or 0, "eos_token_id": end, "decoder_start_token_id": end or 0},
            **{"initializer_factor": 0.1 * sizes.spread, "dropout_rate": 0.0},
        )
    )
    words = ["task=copy", *spell(sizes), f"model.feedforward.hidden={4 * sizes.width}"]
    ours: Any = build(compose(["model=t5_small", *words])["model"])(vocab_size=sizes.vocab_size)
    copy(ours.embedding.weight, theirs.shared.weight)
    for mine, other in ((ours.encoder, theirs.encoder), (ours.decoder, theirs.decoder)):
        bias = other.block[0].layer[0].SelfAttention.relative_attention_bias
        copy(mine.relative.weight, bias.weight)
        copy(mine.last_norm.weight, other.final_layer_norm.weight)
        for block, their_block in zip(mine.blocks, other.block, strict=True):
            copy(block.attention_residual.norm.weight, their_block.layer[0].layer_norm.weight)
            copy_attention(block.attention, their_block.layer[0].SelfAttention)
            if hasattr(block, "cross"):
                copy(block.cross_residual.norm.weight, their_block.layer[1].layer_norm.weight)
                copy_attention(block.cross, their_block.layer[1].EncDecAttention)
            dense = their_block.layer[-1].DenseReluDense
            copy(block.feedforward_residual.norm.weight, their_block.layer[-1].layer_norm.weight)
            copy(block.feedforward.up.weight, dense.wi.weight)
            copy(block.feedforward.down.weight, dense.wo.weight)
    return theirs.eval(), ours.eval()


def spell(sizes: Sizes) -> list[str]:
    """The sizes as overrides."""
    words = {"depth": sizes.depth, "width": sizes.width, "attention.heads": sizes.heads}
    return [f"context={sizes.context}", *(f"model.{key}={value}" for key, value in words.items())]


def copy_attention(mine: Any, other: Any) -> None:
    for part, name in ((mine.q, "q"), (mine.k, "k"), (mine.v, "v"), (mine.out, "o")):
        copy(part.weight, getattr(other, name).weight)


def copy(into: Any, weight: Any) -> None:
    assert into.shape == weight.shape
    into.data.copy_(weight.data)
