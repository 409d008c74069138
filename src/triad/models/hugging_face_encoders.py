"""Our module names beside those of Hugging Face's transformers, for encoders and encoder-decoders: data.

Each table says where the weight and bias of a module of ours lie in theirs; {} is the layer.
"""

from collections.abc import Mapping

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
}


def _stack(ours: str, parts: tuple[tuple[str, str], ...]) -> dict[str, str]:
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
T5 = {"embedding": "shared"} | _stack("encoder", (OWN, DENSE)) | _stack("decoder", (OWN, SOURCE, DENSE))

FAMILIES: dict[str, Mapping[str, str]] = {"bert": BERT, "t5": T5}


def theirs(table: Mapping[str, str], name: str) -> str:
    """Where a parameter of ours lies in theirs. Raises ValueError for one that has no place there."""
    module, _, kind = name.rpartition(".")
    parts = module.split(".")
    layer = next((part for part in parts if part.isdigit()), "")
    known = ".".join("{}" if part == layer else part for part in parts)
    if known not in table:
        raise ValueError(f"{name} has no place in their model")
    return f"{table[known].format(layer)}.{kind}"
