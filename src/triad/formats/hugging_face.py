"""Our module names and those of Hugging Face's transformers, as tables for import, export and comparison.

A family's table has, for each module of ours ({} is the layer), the place of its weight and bias in theirs:
the name, the rows of that matrix, and whether theirs is (in, out). Families are named by the `model_type` of
their configurations.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor


class Shape(NamedTuple):
    """What the order of rows depends on: the number of heads, and of each head's rotated components."""

    heads: int
    rotary: int = 0


class At(NamedTuple):
    """A module of theirs: `rows(n, shape)` selects, in our order, those of its n rows that are ours.

    `transposed`: theirs is (in, out). `dim` is the dimension of the rows.
    """

    name: str
    rows: Callable[[int, Shape], Tensor] | None = None
    transposed: bool = False
    dim: int = 0


def map_fused_qkv(name: str, by_head: bool, transposed: bool) -> dict[str, At]:
    """Queries, keys and values in one matrix: concatenated, or head by head."""

    def take_third(part: int) -> Callable[[int, Shape], Tensor]:
        def rows(n: int, shape: Shape) -> Tensor:
            groups = shape.heads if by_head else 1
            return torch.arange(n).unflatten(0, (groups, 3, -1))[:, part].flatten()

        return rows

    return {
        f"blocks.{{}}.attention.{ours}": At(name, take_third(part), transposed)
        for part, ours in enumerate("qkv")
    }


def order_rotated(n: int, shape: Shape) -> Tensor:
    """They rotate neighbours in the last components of each head, we halves: take even ones, then odd."""
    return _even_then_odd(torch.arange(n).unflatten(0, (shape.heads, -1)), shape.rotary)


def order_rotated_once(n: int, shape: Shape) -> Tensor:
    """The same where all heads share one key."""
    return _even_then_odd(torch.arange(n)[None], shape.rotary)


def _even_then_odd(rows_NH: Tensor, rotary: int) -> Tensor:
    still, turned = rows_NH[:, :-rotary], rows_NH[:, -rotary:]
    return torch.cat((still, turned[:, ::2], turned[:, 1::2]), 1).flatten()


def map_block(prefix: str, **names: str) -> dict[str, At]:
    """Modules of a layer; a double underscore stands for a dot."""
    return {
        f"blocks.{{}}.{ours.replace('__', '.')}": At(f"{prefix}.{{}}.{name}") for ours, name in names.items()
    }


GPT1 = {
    "embedding": At("transformer.tokens_embed"),
    "position": At("transformer.positions_embed"),
    **map_block("transformer.h", attention_norm="ln_1", feedforward_norm="ln_2"),
    **map_fused_qkv("transformer.h.{}.attn.c_attn", by_head=False, transposed=True),
    "blocks.{}.attention.out": At("transformer.h.{}.attn.c_proj", transposed=True),
    "blocks.{}.feedforward.up": At("transformer.h.{}.mlp.c_fc", transposed=True),
    "blocks.{}.feedforward.down": At("transformer.h.{}.mlp.c_proj", transposed=True),
}

GPT2 = GPT1 | {
    "embedding": At("transformer.wte"),
    "position": At("transformer.wpe"),
    "norm": At("transformer.ln_f"),
}

OPT = {
    "embedding": At("model.decoder.embed_tokens"),
    "position": At("model.decoder.embed_positions"),
    "norm": At("model.decoder.final_layer_norm"),
    **map_block(
        "model.decoder.layers",
        attention_norm="self_attn_layer_norm",
        attention__q="self_attn.q_proj",
        attention__k="self_attn.k_proj",
        attention__v="self_attn.v_proj",
        attention__out="self_attn.out_proj",
        feedforward_norm="final_layer_norm",
        feedforward__up="fc1",
        feedforward__down="fc2",
    ),
}

MLP_OF_FOUR = {"feedforward__up": "mlp.dense_h_to_4h", "feedforward__down": "mlp.dense_4h_to_h"}
TWO_NORMS = {"attention_norm": "input_layernorm", "feedforward_norm": "post_attention_layernorm"}

GPT_NEOX = {
    "embedding": At("gpt_neox.embed_in"),
    "norm": At("gpt_neox.final_layer_norm"),
    "head": At("lm_head"),  # embed_out in the published files
    **map_block("gpt_neox.layers", attention__out="attention.dense", **TWO_NORMS, **MLP_OF_FOUR),
    **map_fused_qkv("gpt_neox.layers.{}.attention.query_key_value", by_head=True, transposed=False),
}

BLOOM = {
    "embedding": At("transformer.word_embeddings"),
    "position": At("transformer.word_embeddings_layernorm"),
    "norm": At("transformer.ln_f"),
    **map_block("transformer.h", attention__out="self_attention.dense", **TWO_NORMS, **MLP_OF_FOUR),
    **map_fused_qkv("transformer.h.{}.self_attention.query_key_value", by_head=True, transposed=False),
}

LLAMA = {
    "embedding": At("model.embed_tokens"),
    "norm": At("model.norm"),
    "head": At("lm_head"),
    **map_block(
        "model.layers",
        attention__q="self_attn.q_proj",
        attention__k="self_attn.k_proj",
        attention__v="self_attn.v_proj",
        attention__q_norm="self_attn.q_norm",
        attention__k_norm="self_attn.k_norm",
        attention__out="self_attn.o_proj",
        feedforward__gate="mlp.gate_proj",
        feedforward__up="mlp.up_proj",
        feedforward__down="mlp.down_proj",
        **TWO_NORMS,
    ),
}


def take_half(part: int) -> Callable[[int, Shape], Tensor]:
    """The gates of all experts lie before their hidden units."""
    return lambda n, _: torch.arange(n).chunk(2)[part]


EXPERTS = "blocks.{}.feedforward.experts"
SPARSE = LLAMA | {
    "blocks.{}.feedforward.router": At("model.layers.{}.mlp.gate"),
    f"{EXPERTS}.gate_EDF": At(
        "model.layers.{}.mlp.experts.gate_up_proj", take_half(0), transposed=True, dim=2
    ),
    f"{EXPERTS}.up_EDF": At("model.layers.{}.mlp.experts.gate_up_proj", take_half(1), transposed=True, dim=2),
    f"{EXPERTS}.down_EFD": At("model.layers.{}.mlp.experts.down_proj", transposed=True),
}

DEEPSEEK_V3 = SPARSE | {
    **map_block(
        "model.layers",
        attention__q_latent="self_attn.q_a_proj",
        attention__q_norm="self_attn.q_a_layernorm",
        attention__kv_norm="self_attn.kv_a_layernorm",
        attention__kv="self_attn.kv_b_proj",
        feedforward__shared__gate="mlp.shared_experts.gate_proj",
        feedforward__shared__up="mlp.shared_experts.up_proj",
        feedforward__shared__down="mlp.shared_experts.down_proj",
    ),
    "blocks.{}.attention.q": At("model.layers.{}.self_attn.q_b_proj", order_rotated),
    "blocks.{}.attention.kv_latent": At("model.layers.{}.self_attn.kv_a_proj_with_mqa", order_rotated_once),
    "blocks.{}.feedforward.router.bias": At("model.layers.{}.mlp.gate.e_score_correction_bias"),
}

FAMILIES: dict[str, dict[str, At]] = {
    "openai-gpt": GPT1,
    "gpt2": GPT2,
    "opt": OPT,
    "gpt_neox": GPT_NEOX,
    "bloom": BLOOM,
    "llama": LLAMA,
    "mistral": LLAMA,
    "qwen3": LLAMA,
    "mixtral": SPARSE,
    "olmoe": SPARSE,
    "qwen3_moe": SPARSE,
    "deepseek_v3": DEEPSEEK_V3,
}


def import_parameters(
    table: Mapping[str, At], theirs: Mapping[str, Tensor], names: Iterable[str], shape: Shape
) -> dict[str, Tensor]:
    """Our parameters of these names, taken from theirs. Raises ValueError for a missing one."""
    found = {}
    for name in names:
        at, key = _find_place(table, name)
        if key not in theirs:
            raise ValueError(f"{name} is {key} in their model, which is not there")
        whole = _transpose(theirs[key], at)
        rows = _rows(at, whole.shape[at.dim], shape)
        found[name] = whole.index_select(at.dim, rows.to(whole.device))
    return found


def export_parameters(table: Mapping[str, At], ours: Mapping[str, Tensor], shape: Shape) -> dict[str, Tensor]:
    """Their parameters, assembled from ours."""
    parts: dict[str, list[tuple[At, Tensor]]] = {}
    for name, tensor in ours.items():
        at, key = _find_place(table, name)
        parts.setdefault(key, []).append((at, tensor))
    return {key: _assemble(pieces, shape) for key, pieces in parts.items()}


def _assemble(pieces: list[tuple[At, Tensor]], shape: Shape) -> Tensor:
    (at, first), dim = pieces[0], pieces[0][0].dim
    n = sum(tensor.shape[dim] for _, tensor in pieces)
    whole = first.new_empty(*first.shape[:dim], n, *first.shape[dim + 1 :])
    for part, tensor in pieces:
        whole.index_copy_(dim, _rows(part, n, shape).to(whole.device), tensor)
    return _transpose(whole, at).contiguous()


def _rows(at: At, n: int, shape: Shape) -> Tensor:
    return torch.arange(n) if at.rows is None else at.rows(n, shape)


def _transpose(tensor: Tensor, at: At) -> Tensor:
    return tensor.mT if at.transposed and tensor.ndim > 1 else tensor


def _find_place(table: Mapping[str, At], name: str) -> tuple[At, str]:
    """Where one of our parameters lies: blocks.3.attention.q.weight is blocks.{}.attention.q and weight."""
    *path, kind = name.split(".")
    layer = path[1] if path[0] == "blocks" else ""
    ours = ".".join(["blocks", "{}", *path[2:]] if layer else path)
    if (whole := f"{ours}.{kind}") in table:  # a parameter that is no module's weight or bias in theirs
        return table[whole], table[whole].name.format(layer)
    if ours not in table:
        raise ValueError(f"{name} has no place in their model")
    return table[ours], f"{table[ours].name.format(layer)}.{kind}"
