"""Small random models of transformers and the same weights in ours."""

import importlib
from typing import Any

import torch
from torch import nn

from triad.config.build import build
from triad.config.compose import compose

WORDS, WIDTH, CONTEXT = 31, 32, 24


def gpt2(seed: int, end: int) -> tuple[Any, nn.Module]:
    """GPT-2 with 2 layers."""
    library = importlib.import_module("transformers")
    torch.manual_seed(seed)
    theirs = library.GPT2LMHeadModel(
        library.GPT2Config(
            **{"vocab_size": WORDS, "n_positions": CONTEXT, "n_embd": WIDTH, "n_layer": 2, "n_head": 4},
            **{"initializer_range": 0.4, "bos_token_id": end, "eos_token_id": end, "pad_token_id": end},
        )
    )
    words = [f"context={CONTEXT}", f"model.width={WIDTH}", "model.depth=2", "model.attention.heads=4"]
    ours = build(compose(["model=gpt2", *words])["model"])(vocab_size=WORDS)
    their = theirs.transformer
    copy(ours.embedding.weight, their.wte.weight)
    copy(ours.position.weight, their.wpe.weight)
    for mine, other in zip(ours.blocks, their.h, strict=True):
        for norm, their_norm in ((mine.attention_norm, other.ln_1), (mine.feedforward_norm, other.ln_2)):
            copy(norm.weight, their_norm.weight)
            copy(norm.bias, their_norm.bias)
        parts = (mine.attention.q, mine.attention.k, mine.attention.v)
        weights, biases = other.attn.c_attn.weight.mT.split(WIDTH), other.attn.c_attn.bias.split(WIDTH)
        for part, weight, bias in zip(parts, weights, biases, strict=True):
            copy(part.weight, weight)
            copy(part.bias, bias)
        pairs = ((mine.attention.out, other.attn.c_proj), (mine.feedforward.up, other.mlp.c_fc))
        for part, conv in (*pairs, (mine.feedforward.down, other.mlp.c_proj)):
            copy(part.weight, conv.weight.mT)
            copy(part.bias, conv.bias)
    copy(ours.norm.weight, their.ln_f.weight)
    copy(ours.norm.bias, their.ln_f.bias)
    return theirs.double().eval(), ours.double().eval()


def t5(seed: int, end: int) -> tuple[Any, nn.Module]:
    """T5 with 2 layers in each stack, in its first version; `end` also begins a target."""
    library = importlib.import_module("transformers")
    torch.manual_seed(seed)
    theirs = library.T5ForConditionalGeneration(
        library.T5Config(
            **{"vocab_size": WORDS, "d_model": WIDTH, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4},
            **{"relative_attention_num_buckets": 32, "relative_attention_max_distance": 128},
            **{"pad_token_id": end, "eos_token_id": end, "decoder_start_token_id": end, "dropout_rate": 0.0},
            initializer_factor=2.0,
        )
    )
    sizes = [f"model.width={WIDTH}", "model.depth=2", "model.attention.heads=4"]
    words = ["task=copy", f"context={CONTEXT}", *sizes, "model.feedforward.hidden=64"]
    ours = build(compose(["model=t5_small", *words])["model"])(vocab_size=WORDS)
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
    return theirs.double().eval(), ours.double().eval()


def copy_attention(mine: Any, other: Any) -> None:
    for part, name in ((mine.q, "q"), (mine.k, "k"), (mine.v, "v"), (mine.out, "o")):
        copy(part.weight, getattr(other, name).weight)


def copy(into: torch.Tensor, weight: torch.Tensor) -> None:
    assert into.shape == weight.shape
    into.data.copy_(weight.data)
