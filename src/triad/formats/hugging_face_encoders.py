"""Our module names and those of Hugging Face's transformers, for encoders and encoder-decoders.

Each table maps a module of ours to theirs, for weight and bias; {} is the layer. Stacked experts have entries
of their own, in which * is the expert.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

BERT = {
    "embedding": "bert.embeddings.word_embeddings",
    "position": "bert.embeddings.position_embeddings",
    "segment": "bert.embeddings.token_type_embeddings",
    "embedding_norm": "bert.embeddings.LayerNorm",
    "blocks.{}.attention.q": "bert.encoder.layer.{}.attention.self.query",
    "blocks.{}.attention.k": "bert.encoder.layer.{}.attention.self.key",
    "blocks.{}.attention.v": "bert.encoder.layer.{}.attention.self.value",
    "blocks.{}.attention.out": "bert.encoder.layer.{}.attention.output.dense",
    "blocks.{}.attention_residual.norm": "bert.encoder.layer.{}.attention.output.LayerNorm",
    "blocks.{}.feedforward.up": "bert.encoder.layer.{}.intermediate.dense",
    "blocks.{}.feedforward.down": "bert.encoder.layer.{}.output.dense",
    "blocks.{}.feedforward_residual.norm": "bert.encoder.layer.{}.output.LayerNorm",
    "transform.dense": "cls.predictions.transform.dense",
    "transform.norm": "cls.predictions.transform.LayerNorm",
    "readout": "cls.predictions",
    "pooler.pooler.dense": "bert.pooler.dense",  # NextSentence in the place of the pooler
    "pooler.relation": "cls.seq_relationship",
}

ROBERTA = {ours: theirs.replace("bert.", "roberta.") for ours, theirs in BERT.items()} | {
    "transform.dense": "lm_head.dense",
    "transform.norm": "lm_head.layer_norm",
    "readout": "lm_head",
}


def _map_stack(ours: str, parts: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """A stack of T5: its parts are numbered layers, each with a norm."""
    names = {
        f"{ours}.relative": f"{ours}.block.0.layer.0.SelfAttention.relative_attention_bias",
        f"{ours}.last_norm": f"{ours}.final_layer_norm",
    }
    for number, (part, theirs) in enumerate(parts):
        layer = f"{ours}.block.{{}}.layer.{number}"
        names[f"{ours}.blocks.{{}}.{part}_residual.norm"] = f"{layer}.layer_norm"
        inner = {"up": "wi", "down": "wo"} if part == "feedforward" else {x: x for x in "qkv"} | {"out": "o"}
        names |= {f"{ours}.blocks.{{}}.{part}.{a}": f"{layer}.{theirs}.{b}" for a, b in inner.items()}
    return names


OWN, SOURCE, DENSE = (
    ("attention", "SelfAttention"),
    ("cross", "EncDecAttention"),
    ("feedforward", "DenseReluDense"),
)
T5 = (
    {"embedding": "shared"}
    | _map_stack("encoder", (OWN, DENSE))
    | _map_stack("decoder", (OWN, SOURCE, DENSE))
)


def _map_experts(stack: str, number: int) -> dict[str, str]:
    """A layer of experts of the Switch Transformer's, layer number `number` of a block."""
    ours, theirs = f"{stack}.blocks.{{}}.feedforward", f"{stack}.block.{{}}.layer.{number}.mlp"
    return {
        f"{ours}.router": f"{theirs}.router.classifier",
        f"{ours}.experts.up_EDF": f"{theirs}.experts.expert_*.wi.weight",
        f"{ours}.experts.down_EFD": f"{theirs}.experts.expert_*.wo.weight",
    }


MLP = ("feedforward", "mlp")
SWITCH = (
    {"embedding": "shared"} | _map_stack("encoder", (OWN, MLP)) | _map_stack("decoder", (OWN, SOURCE, MLP))
)
SWITCH |= _map_experts("encoder", 1) | _map_experts("decoder", 2)

FAMILIES: dict[str, Mapping[str, str]] = {
    "bert": BERT,
    "roberta": ROBERTA,
    "t5": T5,
    "switch_transformers": SWITCH,
}


def find_places(table: Mapping[str, str], known: Mapping[str, Tensor], name: str) -> list[str]:
    """The names of a parameter of ours in theirs: one, or one for each expert."""
    place = find_name(table, name)
    if "*" not in place:
        return [place]
    each = (place.replace("*", str(expert)) for expert in range(len(known)))
    return [place for place in each if place in known]


def import_parameter(table: Mapping[str, str], known: Mapping[str, Tensor], name: str) -> Tensor:
    """A parameter of ours from theirs, whose experts are (out, in) and not stacked."""
    found = [known[place] for place in find_places(table, known, name)]
    return torch.stack([weight.mT for weight in found]) if "*" in find_name(table, name) else found[0]


def find_name(table: Mapping[str, str], name: str) -> str:
    """The name of a parameter of ours in theirs. Raises ValueError if theirs has none."""
    module, _, kind = name.rpartition(".")
    parts = module.split(".")
    layer = next((part for part in parts if part.isdigit()), "")
    known = ".".join("{}" if part == layer else part for part in parts)
    if (whole := f"{known}.{kind}") in table:
        return table[whole].format(layer)
    if known not in table:
        raise ValueError(f"{name} has no place in their model")
    return f"{table[known].format(layer)}.{kind}"
