"""Our encoders and encoder-decoders against transformers': the same random weights give the same logits."""

import pytest
import torch
import transformers

from tests.models.test_encoder import PAIRS, build
from triad.formats.hugging_face_encoders import FAMILIES, find_name, find_places, import_parameter
from triad.layers.full_attention import PADDING

PLAIN = {"vocab_size": 17, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
BERT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
ROBERTA = BERT | {"max_position_embeddings": 42, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
T5 = {"d_model": 32, "d_kv": 8, "d_ff": 128, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0}
NAMES = {
    "bert": "bert_base",
    "roberta": "roberta_base",
    "t5": "t5_small",
    "switch_transformers": "switch_base_8",
}
ENCODERS = ("bert", "roberta")
SWITCH = T5 | {"num_decoder_layers": 2, "num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1}


def pair(family: str, pairs: bool = False):
    torch.manual_seed(0)
    sizes = {
        "bert": BERT | {"max_position_embeddings": 40},
        "roberta": ROBERTA | {"pad_token_id": 1},
        "t5": T5,
        "switch_transformers": SWITCH,
    }[family]
    config = transformers.AutoConfig.for_model(family, **PLAIN | sizes)
    kind = transformers.AutoModelForMaskedLM if family in ENCODERS else transformers.AutoModelForSeq2SeqLM
    kind = transformers.AutoModelForPreTraining if pairs else kind
    other = kind.from_config(config, attn_implementation="eager").double().eval()
    for parameter in other.parameters():  # gains and biases too: a part left out would not be seen otherwise
        torch.nn.init.normal_(parameter, std=0.3)
    name = NAMES[family]
    more = {"pattern__parts__sparse__feedforward__hidden": 128} if family == "switch_transformers" else {}
    more |= PAIRS if pairs else {}
    ours = build(name, 17, 40, width=32, depth=2, attention__heads=4, **more).double().eval()
    table, known = FAMILIES[family], dict(other.named_parameters())
    names = [name for name, _ in ours.named_parameters()]
    found = [place for name in names for place in find_places(table, known, name)]
    assert sorted(found) == sorted(known)  # all of theirs, each once
    ours.load_state_dict({name: import_parameter(table, known, name) for name in names})
    return ours, other


@torch.no_grad()
def test_logits_of_bert_are_hugging_faces() -> None:
    ours, other = pair("bert")
    tokens, segments = torch.randint(17, (3, 14)), torch.randint(2, (3, 14))
    kept = torch.ones_like(tokens)
    kept[1, 9:] = 0
    expected = other(tokens, attention_mask=kept, token_type_ids=segments).logits
    found = ours(tokens.masked_fill(kept == 0, PADDING), segments_BT=segments)[0]
    assert expected.std() > 0.1
    torch.testing.assert_close(found[kept == 1], expected[kept == 1], rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_logits_of_roberta_are_hugging_faces_in_rows_with_padding() -> None:
    """Theirs counts positions behind the padding token's row and finds padding by that token."""
    ours, other = pair("roberta")
    kept = torch.arange(14) < torch.tensor([[14], [9], [1]])
    tokens = torch.randint(2, 17, (3, 14)).where(kept, 1)
    expected = other(tokens, attention_mask=kept.long()).logits
    found = ours(tokens.where(kept, PADDING))[0]
    assert expected.std() > 0.1
    torch.testing.assert_close(found[kept], expected[kept], rtol=1e-13, atol=1e-13)


@torch.no_grad()
def test_what_bert_says_of_two_segments_is_what_hugging_faces_says() -> None:
    ours, other = pair("bert", pairs=True)
    tokens, segments = torch.randint(17, (3, 14)), torch.randint(2, (3, 14))
    kept = torch.ones_like(tokens)
    kept[1, 9:] = 0
    expected = other(tokens, attention_mask=kept, token_type_ids=segments)
    read = tokens.masked_fill(kept == 0, PADDING), segments
    found = ours(read[0], segments_BT=segments)[0]
    torch.testing.assert_close(found[kept == 1], expected.prediction_logits[kept == 1], rtol=1e-6, atol=1e-6)
    relation = expected.seq_relationship_logits
    assert relation.std() > 0.1
    torch.testing.assert_close(ours.pool(*read), relation, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("family", "tolerance"), [("t5", 1e-6), ("switch_transformers", 1e-5)])
@torch.no_grad()  # their router is in fp32
def test_logits_of_encoder_decoders_are_hugging_faces(family: str, tolerance: float) -> None:
    ours, other = pair(family)
    source, target = torch.randint(17, (3, 30)), torch.randint(17, (3, 35))
    kept = torch.ones_like(source)
    kept[1, 9:] = 0
    expected = other(input_ids=source, attention_mask=kept, decoder_input_ids=target).logits
    found = ours(source.masked_fill(kept == 0, PADDING), target)[0]
    assert expected.std() > 0.05
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_in_bfloat16_we_err_at_most_three_times_as_much_as_they(family: str, mixed: bool) -> None:
    ours, other = pair(family)
    for parameter in (*ours.parameters(), *other.parameters()):
        parameter.copy_(parameter.bfloat16())  # so that what differs is arithmetic
    source, target = torch.randint(2, 17, (8, 30)), torch.randint(2, 17, (8, 35))  # RoBERTa's 1 is padding
    words = {"input_ids": source} | ({} if family in ENCODERS else {"decoder_input_ids": target})
    read = (source,) if family in ENCODERS else (source, target)
    exact = other(**words).logits
    for model in (ours, other):
        model.float() if mixed else model.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        error = (ours(*read)[0] - exact).square().mean()
        assert 0 < error <= 3**2 * (other(**words).logits - exact).square().mean()


def test_a_parameter_without_a_place_in_hugging_faces_model_is_named() -> None:
    with pytest.raises(ValueError, match=r"pooler\.dense\.weight has no place"):
        find_name(FAMILIES["bert"], "pooler.dense.weight")
