"""Our models against transformers': the same random weights give the same logits."""

import pytest
import torch
import transformers

from triad.config.build import build
from triad.config.compose import compose
from triad.formats.hugging_face import FAMILIES, Shape, export_parameters, import_parameters

SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 16}
LLAMA = {"intermediate_size": 48, "num_key_value_heads": 2, "rms_norm_eps": 1e-5}
LATENT = {"q_lora_rank": 12, "kv_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 6}
STRETCHED = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 32.0, "low_freq_factor": 1.0} | {
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
HIDDEN = "model.feedforward.hidden=48"
KV = "model.attention.kv_heads=2"
MLA = ["query_rank=12", "key_value_rank=8", "content_size=8", "rotary_size=4", "value_size=6"]
DENSE = "model.pattern.parts.dense.feedforward.hidden=48 model.pattern.leading=[dense]"
EXPERTS = "model.feedforward.hidden=24 model.feedforward.experts=8"
TOP_2 = "model.feedforward.router.top_k=2"

# their model_type: their settings, our YAML, our changes
CASES = {
    "openai-gpt": (GPT, "gpt1", ""),
    "gpt2": (GPT, "gpt2", ""),
    "opt": (
        SIZE | {"ffn_dim": 128, "word_embed_proj_dim": 32, "max_position_embeddings": 16},
        "opt_6_7b",
        "",
    ),
    "gpt_neox": (
        SIZE
        | {
            "num_attention_heads": 2,
            "intermediate_size": 128,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "partial_rotary_factor": 0.25,
            },
        },
        "pythia_70m",
        "model.attention.heads=2",
    ),
    "bloom": ({"hidden_size": 32, "n_layer": 2, "n_head": 4}, "bloom_7b1", ""),
    "llama": (SIZE | LLAMA, "llama2_70b", f"{HIDDEN} {KV}"),
    "llama, lengthened": (
        SIZE | LLAMA | {"rope_parameters": STRETCHED, "tie_word_embeddings": True},
        "llama3_2_1b",
        f"{HIDDEN} {KV} model.attention.rotary.original=64",
    ),
    "mistral": (
        SIZE | LLAMA | {"sliding_window": 5},
        "mistral_7b",
        f"{HIDDEN} {KV} model.attention.mask.size=5",
    ),
    "qwen3": (
        SIZE
        | LLAMA
        | {
            "head_dim": 16,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        },
        "qwen3_8b",
        f"{HIDDEN} {KV} model.attention.head_size=16",
    ),
    "mixtral": (
        SIZE
        | LLAMA
        | {"intermediate_size": 24, "num_local_experts": 8, "sliding_window": None}
        | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}},
        "mixtral_8x7b",
        f"{EXPERTS} {KV}",
    ),
    "olmoe": (
        SIZE | {"intermediate_size": 24, "num_experts": 8, "num_experts_per_tok": 2, "norm_topk_prob": False},
        "olmoe_1b_7b",
        f"{EXPERTS} {TOP_2}",
    ),
    "qwen3_moe": (
        SIZE
        | {"num_key_value_heads": 2, "head_dim": 16, "moe_intermediate_size": 24, "num_experts": 8}
        | {"num_experts_per_tok": 2, "norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": []}
        | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}},
        "qwen3_30b_a3b",
        f"{EXPERTS} {TOP_2} {KV} model.attention.head_size=16",
    ),
    "deepseek_v3": (
        SIZE
        | LATENT
        | {"num_key_value_heads": 4, "first_k_dense_replace": 1, "moe_intermediate_size": 24}
        | {"n_routed_experts": 8, "n_group": 2, "topk_group": 1, "num_experts_per_tok": 2},
        "deepseek_v3",
        f"{EXPERTS} {TOP_2} {DENSE} model.feedforward.router.groups=2 model.feedforward.router.top_groups=1 "
        + " ".join(f"model.attention.{word}" for word in MLA),
    ),
}


def pair(case: str):
    """Their model and ours, in double precision, with their weights."""
    settings, name, changes = CASES[case]
    family = case.partition(",")[0]
    torch.manual_seed(0)
    plain = {"vocab_size": 17, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}
    config = transformers.AutoConfig.for_model(family, **plain, **settings)
    # their fused kernels know no double precision
    eager = {"attn_implementation": "eager", "experts_implementation": "eager"}
    theirs = transformers.AutoModelForCausalLM.from_config(config, **eager)
    theirs = theirs.double().eval()
    for parameter in weights(
        theirs
    ).values():  # gains and biases too: a part left out would not be seen otherwise
        torch.nn.init.normal_(parameter, std=0.3)
    words = ["context=16", "model.width=32", "model.depth=2", "model.attention.heads=4", *changes.split()]
    ours = build(compose([f"model={name}", *words])["model"])(vocab_size=17).double().eval()
    shape = Shape(config.num_attention_heads, LATENT["qk_rope_head_dim"])
    return theirs, ours, FAMILIES[family], shape


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Parameters, a shared one once, and the buffers of routers."""
    biases = {name: b for name, b in model.named_buffers() if name.endswith("correction_bias")}
    return dict(model.named_parameters()) | biases


@pytest.mark.parametrize("case", CASES)
def test_logits_are_hugging_faces(case: str) -> None:
    theirs, ours, table, shape = pair(case)
    names = list(ours.state_dict())
    ours.load_state_dict(import_parameters(table, weights(theirs), names, shape))
    tokens = torch.randint(17, (2, 14))
    with torch.no_grad():
        expected = theirs(tokens).logits
        assert expected.std() > 0.1
        torch.testing.assert_close(ours(tokens)[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", ["llama", "mistral", "qwen3", "gpt_neox", "olmoe"])
def test_documents_of_one_row_are_those_of_hugging_face_by_their_positions(case: str) -> None:
    """Theirs see a document's own tokens where position_ids begin again."""
    theirs, ours, table, shape = pair(case)
    ours.load_state_dict(import_parameters(table, weights(theirs), list(ours.state_dict()), shape))
    tokens, lengths = torch.randint(17, (2, 16)), torch.tensor([[5, 1, 7, 3], [2, 2, 3, 9]])
    firsts = lengths.cumsum(1) - lengths
    starts = firsts.flatten().repeat_interleave(lengths.flatten()).unflatten(0, (2, -1))
    with torch.no_grad():
        expected = theirs(tokens, position_ids=torch.arange(16) - starts, use_cache=False).logits
        assert not torch.allclose(theirs(tokens).logits, expected, atol=0.1)
        torch.testing.assert_close(ours(tokens, starts)[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_in_bfloat16_we_err_at_most_three_times_as_much_as_they(case: str, mixed: bool) -> None:
    theirs, ours, table, shape = pair(case)
    for tensor in weights(theirs).values():
        tensor.copy_(tensor.bfloat16())  # so that what differs is arithmetic
    ours.load_state_dict(import_parameters(table, weights(theirs), list(ours.state_dict()), shape))
    tokens = torch.randint(17, (8, 14))
    exact = theirs(tokens).logits
    for model in (theirs, ours):
        model.float() if mixed else model.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        error = (ours(tokens)[0] - exact).square().mean()
        assert 0 < error <= 3**2 * (theirs(tokens).logits - exact).square().mean()


@pytest.mark.parametrize("case", CASES)
def test_weights_that_went_to_ours_and_back_are_theirs_all_of_them(case: str) -> None:
    theirs, ours, table, shape = pair(case)
    before = weights(theirs)
    names = list(ours.state_dict())
    after = export_parameters(table, import_parameters(table, before, names, shape), shape)
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_a_parameter_without_a_place_in_their_model_is_named() -> None:
    with pytest.raises(ValueError, match=r"blocks\.0\.attention\.q_norm\.weight has no place"):
        import_parameters(FAMILIES["gpt2"], {}, ["blocks.0.attention.q_norm.weight"], Shape(4))
    with pytest.raises(ValueError, match=r"model\.norm\.weight in their model, which is not there"):
        import_parameters(FAMILIES["llama"], {}, ["norm.weight"], Shape(4))
