"""Our encoders and encoder-decoders against transformers': the same random weights give the same logits."""

import pytest
import torch

from tests.models.test_encoder import build
from triad.layers.full_attention import PADDING
from triad.models.hugging_face_encoders import FAMILIES, theirs

transformers = pytest.importorskip("transformers")
PLAIN = {"vocab_size": 17, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
BERT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
T5 = {"d_model": 32, "d_kv": 8, "d_ff": 128, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0}


def pair(family: str):
    torch.manual_seed(0)
    sizes = BERT | {"max_position_embeddings": 40} if family == "bert" else T5
    config = transformers.AutoConfig.for_model(family, **PLAIN, **sizes)
    kind = transformers.AutoModelForMaskedLM if family == "bert" else transformers.AutoModelForSeq2SeqLM
    other = kind.from_config(config, attn_implementation="eager").double().eval()
    for parameter in other.parameters():  # gains and biases too: a part left out would not be seen otherwise
        torch.nn.init.normal_(parameter, std=0.3)
    name = {"bert": "bert_base", "t5": "t5_small"}[family]
    ours = build(name, 17, 40, width=32, depth=2, attention__heads=4).double().eval()
    table, known = FAMILIES[family], dict(other.named_parameters())
    places = {parameter: theirs(table, parameter) for parameter, _ in ours.named_parameters()}
    assert sorted(places.values()) == sorted(known)  # all of theirs, each once
    ours.load_state_dict({parameter: known[place] for parameter, place in places.items()})
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
def test_logits_of_t5_are_hugging_faces() -> None:
    ours, other = pair("t5")
    source, target = torch.randint(17, (3, 30)), torch.randint(17, (3, 35))
    kept = torch.ones_like(source)
    kept[1, 9:] = 0
    expected = other(input_ids=source, attention_mask=kept, decoder_input_ids=target).logits
    found = ours(source.masked_fill(kept == 0, PADDING), target)[0]
    assert expected.std() > 0.05
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_a_parameter_without_a_place_in_hugging_faces_model_is_named() -> None:
    with pytest.raises(ValueError, match=r"pooler\.dense\.weight has no place"):
        theirs(FAMILIES["bert"], "pooler.dense.weight")
