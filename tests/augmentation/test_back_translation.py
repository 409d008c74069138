"""Sentences of the target's language become pairs by a run of the other direction."""

from pathlib import Path
from typing import Any

import pytest
import torch

from triad.augmentation import back_translation
from triad.augmentation.back_translation import BackTranslation
from triad.checkpoints.trained import trained
from triad.config.build import build
from triad.config.compose import compose
from triad.config.errors import Refusal
from triad.data.preparation import find_parts, make_preparation, prepare
from triad.runs.directory import Run

SENTENCES = [f"the house number {n} is {'very ' * (n % 4)}old" for n in range(11)]
CONTEXT = 32  # of debug=tiny; sentences as long are passed over
REVERSED = "model=encoder_decoder task=translation data=parallel debug=tiny model.width=48 precision=fp32"


def translate(model: torch.nn.Module, tokenizer: Any, sentence: str, context: int) -> str:
    """The likeliest next token over and over, of the whole prefix each time."""
    source = torch.from_numpy(tokenizer.encode(sentence))[None]
    end, found = tokenizer.vocab_size, []
    with torch.no_grad():
        while len(found) < context:
            logits, _ = model(source, torch.tensor([[end, *found]]))
            if (token := int(logits[0, -1].argmax())) == end:
                break
            found.append(token)
    return tokenizer.decode(found).strip()


@pytest.fixture
def in_double(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model in fp64, in which the likeliest token does not hang on the order of sums."""

    def load(run: Any, checkpoint: Path, device: str) -> tuple[Any, Any]:
        model, tokenizer = trained(run, checkpoint)
        return model.double(), tokenizer

    monkeypatch.setattr(back_translation, "trained", load)


def test_training_has_the_pairs_that_a_run_makes_of_sentences(
    train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_double: None
) -> None:
    pairs = [(f"das Haus {n}", f"the house {n}") for n in range(60)]
    for side, name in enumerate(("de", "en")):
        (tmp_path / name).write_text("".join(f"{pair[side]}\n" for pair in pairs))
    mono = tmp_path / "mono.txt"
    mono.write_text("\n".join([*SENTENCES[:5], "", *SENTENCES[5:], "long " * 50]) + "\n")
    places = f"data.source={tmp_path / 'en'} data.target={tmp_path / 'de'} data.val_fraction=0.3"
    run = tmp_path / "outputs" / "back"
    train(*REVERSED.split(), *places.split(), "trainer.max_steps=3", "trainer.accelerator=cpu", "run_id=back")

    made = BackTranslation(str(run), str(mono), "<BT>", rows=4)
    (model, tokenizer), found = trained(run), list(made.read_pairs())
    model = model.double()
    fitting = [one for one in SENTENCES if len(one) < CONTEXT]
    assert 4 < len(fitting) < len(SENTENCES)
    expected = [(translate(model, tokenizer, one, CONTEXT), one) for one in fitting]
    assert found == [pair for pair in expected if pair[0]]
    assert len(found) > 4

    monkeypatch.setenv("TRIAD_CACHE", str(tmp_path / "cache"))
    places = [f"data.source={tmp_path / 'de'}", f"data.target={tmp_path / 'en'}", "data.val_fraction=0.3"]
    words = [*REVERSED.split(), *places, "trainer.accelerator=cpu", "data/synthetic=back_translation"]
    config = compose([*words, f"synthetic.run={run}", f"synthetic.path={mono}"])
    source, parts = build(config["data"]), build(find_parts(config))
    product = prepare(source, make_preparation(config, parts))
    real = [one.text for one in source.documents("train")]
    synthetic = [side for one, target in found for side in (f"<BT> {one}", target)]
    assert [one.text for one in product.source.documents("train")] == real + synthetic
    assert [one.text for one in product.source.documents("val")] == [
        one.text for one in source.documents("val")
    ]
    assert product.facts["came"]["train"]["units"] == len(real) // 2 + len(found)
    assert {name for name, _ in product.facts["files"]} == {"de", "en", "mono.txt"}

    monkeypatch.setattr(back_translation, "trained", None)  # nothing is translated a second time
    assert prepare(source, make_preparation(config, parts)).folder == product.folder
    mono.write_text("another sentence\n")
    changed = build(find_parts(config))["synthetic"].contents
    assert changed["sentences"] != parts["synthetic"].contents["sentences"]
    assert changed["weights"] == parts["synthetic"].contents["weights"]


def test_a_run_that_does_not_translate_makes_no_pairs(tmp_path: Path) -> None:
    (tmp_path / "mono.txt").write_text("a sentence\n")
    run = Run(tmp_path)
    run.write_config({"task": {"pairs": {"_target_": "triad.tasks.pairs.copy"}}})
    run.passport_file.write_text("{}")
    with pytest.raises(ValueError, match="its task is not to translate"):
        BackTranslation(str(tmp_path), str(tmp_path / "mono.txt"), None, 4)


def test_a_text_that_is_no_pairs_has_no_synthetic_ones() -> None:
    words = "data/synthetic=back_translation synthetic.run=a synthetic.path=b trainer.accelerator=cpu"
    with pytest.raises(Refusal, match="data/synthetic=back_translation needs data that yields pairs"):
        compose(words.split())
