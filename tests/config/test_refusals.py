"""What cannot be combined is refused in a sentence, whose remedies work."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

from triad.config import refusals as table
from triad.config import rules
from triad.config.compose import compose
from triad.config.errors import Refusal
from triad.config.offers import read_choices
from triad.config.refusals import TABLE, Impossible, tables
from triad.config.rules import refusals

ROWS = [*TABLE, *(row for module in tables() for row in module.TABLE)]
TWO = "trainer.devices=2 trainer.accelerator=cpu"
LABELS = "task=classification data=packages"
POOLER = "{_target_:triad.layers.bert_head.Pooler,_partial_:true}"
UNMET = {  # words, and what the sentence has in it
    "model=encoder": ("model=encoder sees both sides", "model=decoder", "task=masked_lm"),
    "model=encoder_decoder": ("model=encoder_decoder sees a source", "task=copy"),
    "task=masked_lm": ("model=decoder sees the past", "encoder, encoder_moe", "task=causal_lm"),
    f"model=encoder task=masked_lm model.pooler={POOLER}": ("model.pooler=null",),
    "task=copy model=encoder": ("model=encoder sees both sides", "model=decoder", "encoder_decoder"),
    "task=dialogue": ("data=stdlib yields text", "data=dialogues", "task=causal_lm"),
    "task=generative_qa model=encoder_decoder": ("data=stdlib yields text", "data=questions"),
    "task=post_edit": ("data=stdlib yields text", "data=drafts"),
    "task=code model=encoder_decoder": ("model=encoder_decoder sees a source", "model=decoder"),
    "task=dialogue data=dialogues data.path=a metrics=[f1]": ("metrics.f1 needs a task that predicts",),
    "model=encoder_decoder task=translation": ("data=stdlib yields text", "parallel", "task=copy"),
    "data=packages": ("data=packages yields labels", "data=stdlib", "task=classification"),
    "task=classification": ("data=stdlib yields text", "labelled", "task=causal_lm"),
    f"{LABELS} model=mlp": ("model=mlp sees a window", "model=decoder"),
    "model=encoder_decoder task=translation data=parallel data.source=a batch=ramp": ("batch=ramp", "fixed"),
    f"strategy=deepspeed optimizer=adagrad {TWO}": ("updates each number by itself", "adamw", "strategy="),
    f"strategy=deepspeed precision=bf16-true {TWO}": ("precision=", "bf16-mixed", "strategy="),
    "optimizer=schedule_free scheduler=wsd": ("keeps its rate after a warm-up", "scheduler=constant"),
    "optimizer=schedule_free ~callbacks.averaged": ("optimizer=schedule_free needs a part of callbacks",),
    "+callbacks.averaged={_target_:triad.callbacks.averaged.Averaged}": ("schedule_free", "leave"),
    "parametrisation=mup optimizer=sgd": ("divides by the size of the gradient", "adamw", "standard"),
    "parametrisation=mup model.tied=true": ("model.tied=false", "parametrisation=standard"),
    "parametrisation=mup model=encoder task=masked_lm": ("is also the embedding", "parametrisation=standard"),
    "parametrisation=mup optimizer=muon": ("optimizer=muon does not", "adamw", "standard"),
    "model.attention.heads=7": (
        "model.attention.heads=7 does not divide model.width=192: use model.attention.heads=6 or 8",
    ),
    "regularizer=l2": ("optimizer.weight_decay=0", "regularizer=none"),
    "data/clean=parallel": (
        "clean.filters.length_ratio needs data that yields pairs",
        "data/clean=none, basic",
    ),
    "data/augment=word_swap": (
        "data/augment=word_swap needs a task that predicts a label or a sequence; task=causal_lm",
        "data/augment=none",
    ),
    "data/augment=span_mask tokenizer=byte": (
        "data/augment=span_mask needs a tokenizer that has an unknown token; tokenizer=byte does not: use "
        "tokenizer=bpe",
        "data/augment=none",
    ),
    # what a strategy hides, what stands in for the same
    f"strategy=deepspeed strategy.stage=3 callbacks=[default,ema] {TWO}": ("callbacks.ema uses the weights",),
    f"strategy=deepspeed strategy.stage=3 callbacks=[default,swa] {TWO}": ("callbacks.swa uses the weights",),
    f"strategy=deepspeed clip=role {TWO}": ("clip=role uses the gradients", "clip=norm", "strategy="),
    f"strategy=deepspeed regularizer=l1 {TWO}": ("regularizer=l1 uses the gradients", "regularizer=none"),
    f"strategy=deepspeed callbacks=[default,gradient_check] {TWO}": (
        "callbacks.gradient_check uses",
        "leave",
    ),
    "callbacks=[default,ema,swa]": ("callbacks.ema and callbacks.swa", "use one"),
    # what a model would see, and what says nothing of being cut
    "model=moe router=expert_choice": (
        "router=expert_choice compares",
        "model=moe would see",
        "router=",
    ),
    "model=moe router=sinkhorn": ("router=sinkhorn compares",),
    "model=moe router=base": ("router=base compares",),
    f"{LABELS} strategy=tensor {TWO}": ("task=classification does not say", "strategy="),
    f"model=encoder task=masked_lm strategy=tensor {TWO}": ("model=encoder does not say", "strategy="),
    f"strategy=tensor model=lstm {TWO}": ("model=lstm does not say", "strategy="),
    f"strategy=context model=lstm {TWO}": ("model=lstm does not say",),
    f"strategy=pipeline model=lstm {TWO}": ("model=lstm does not say",),
    f"strategy=context model=hybrid {TWO}": ("attention (Recurrent) does not say",),
    f"strategy=tensor model=hybrid {TWO}": ("attention (Recurrent) does not say",),
    f"strategy=context {TWO} model=moe router=switch": ("router=switch does not say",),
    f"strategy=context {TWO} model=mixtral_8x7b model.feedforward.router=switch": (
        "model.feedforward.router=switch does not say",
        "model.feedforward.router=",
    ),
    f"strategy=tensor model.attention.query_key_norm._target_=triad.layers.norm.AllHeadsRMSNorm "
    f"+model.attention.query_key_norm.heads=4 {TWO}": ("query_key_norm (AllHeadsRMSNorm) does not say",),
    f"strategy=expert {TWO} model=moe "
    "model.feedforward.expert={_target_:triad.layers.relu_experts.ReLUExperts,_partial_:true}": (
        "expert (ReLUExperts) does not say",
    ),
}


@pytest.fixture(autouse=True)
def no_optional_package_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in tables():
        if hasattr(module, "find_spec"):
            monkeypatch.setattr(module, "find_spec", lambda _: None)
    monkeypatch.setattr("triad.metrics.confinement.find_missing", lambda: "Landlock")


@cache
def composed(overrides: str) -> tuple[dict, Mapping[str, str]]:
    """A configuration of which nothing has been refused yet, and its choices."""
    kept: list[Mapping[str, str]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("triad.config.compose.refusals", lambda _, choices: kept.append(choices) or [])
        return compose(overrides.split()), kept[0]


def sentences(overrides: str) -> list[str]:
    """All that is said of a configuration that is not refused at the first sentence."""
    found = []
    try:
        for sentence in refusals(*composed(overrides)):
            found.append(sentence)
    except (ValueError, TypeError, ZeroDivisionError):  # what a first mistake makes of later questions
        assert found
    return found


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.why)
def test_what_does_not_work_out_is_refused_with_a_sentence(row: Impossible) -> None:
    beginning = row.sentence.partition("{")[0]
    said = [sentence for sentence in sentences(row.example) if sentence.startswith(beginning)]
    assert said
    assert "{" not in said[0]


@pytest.mark.parametrize("words", UNMET)
def test_what_does_not_fit_is_refused_by_name_with_a_remedy(words: str) -> None:
    said = sentences(words)
    assert any(all(part in sentence for part in UNMET[words]) for sentence in said), said


MANDATORY = {
    **{f"data={name}": ["data.source=x"] for name in ("drafts", "parallel")},
    "tokenizer=huggingface": ["tokenizer.path=x"],
    "tokenizer=saved": ["tokenizer.path=x"],
    **{
        f"data={name}": ["data.path=x"]
        for name in (
            *("html", "huggingface", "labelled", "text", "tokenized", "wikipedia"),
            *("choices", "dialogues", "labelled_pairs", "programs", "questions", "tags"),
        )
    },
}


@pytest.mark.parametrize("words", [words for words in UNMET if not re.search("[{~]|default", words)])
def test_each_choice_that_a_sentence_names_mends_it(words: str) -> None:
    first, *others = sentences(words)
    listed = re.findall(
        r"([\w.]+)=([\w-]+(?:, (?!or )[\w-]+)*(?: or (?!\d)[\w-]+)?)", first.partition("use ")[2]
    )
    assert listed
    for group, name in [(group, name) for group, names in listed for name in re.split(", | or ", names)]:
        ours = (f"{group}=", f"{group}.", *(["router="] if group == "model" else []))
        kept = [word for word in words.split() if not word.startswith(ours)]
        told = sentences(" ".join([*kept, f"{group}={name}", *MANDATORY.get(f"{group}={name}", [])]))
        # packages are missing by the fixture above
        assert {said for said in told if "needs the package" not in said} <= {*others}, name


WORD = re.compile(  # key=value, of several `a, b or c`
    r"""(?<![\w.\[]) ([a-z][\w.]*) =
        ([\w.-]*\w (?:,[ ](?!or[ ])[\w-]+(?![\w.=]))* (?:[ ]or[ ][a-z][\w-]*(?![\w.=]))?)""",
    re.VERBOSE,
)


def find_words(sentence: str) -> list[tuple[str, str]]:
    """Each key with each value that a sentence names as one types it."""
    listed = re.findall(WORD, sentence)
    return [(key, value) for key, values in listed for value in re.split(", | or ", values)]


def find_untypable(words: str) -> list[tuple[str, str, str]]:
    """What the sentences of a configuration name and nobody could type beside its words."""
    config, choices = composed(words)
    wrong = []
    for sentence in sentences(words):
        for key, value in find_words(sentence):
            above, _, leaf = key.rpartition(".")
            node = config
            for step in above.split(".") if above else ():
                node = node.get(step, {})
            if group := read_choices(leaf if above else key):
                typable = value in group and (bool(above) or key in choices or key in ("callbacks", "logger"))
            else:
                typable = leaf in node or above.startswith("parametrisation.base")  # with +
            wrong += [] if typable else [(key, value, sentence)]
    return wrong


@pytest.mark.parametrize("words", [*UNMET, *(row.example for row in ROWS)])
def test_what_a_sentence_names_can_be_typed(words: str) -> None:
    assert not find_untypable(words)


def test_what_a_sentence_names_is_what_was_typed() -> None:
    said = sentences("model=moe task=masked_lm")
    assert any("model=moe sees the past" in sentence for sentence in said)
    said = sentences("model=moe router=base")
    assert any("router=base compares" in sentence and "model=moe would" in sentence for sentence in said)
    part = "{_target_:triad.layers.routers.switch.Switch,_partial_:true,capacity:1.25,balance:0.01}"
    said = sentences(f"strategy=context {TWO} model=moe model.feedforward.router={part}")
    assert any("model.feedforward.router=switch does not say" in sentence for sentence in said)


BASES = {  # of muP, that cannot be built
    "parametrisation.base.width=66": "base.attention.heads=4 does not divide parametrisation.base.width=66",
    "parametrisation.base.width=60": "a head of 15 is odd: change parametrisation.base.attention.heads",
    "parametrisation.base.width=0": "parametrisation.base.width=0: must be at least 1",
    "+parametrisation.base.attention.hads=4": "parametrisation.base.attention.hads is not an argument",
    "+parametrisation.base.atention.heads=4": "parametrisation.base.atention: the model has no such part",
    "+parametrisation.base.widht=4": "did you mean width",
}


@pytest.mark.parametrize("word", BASES)
def test_a_base_of_mup_that_cannot_be_built_is_refused_before_a_run_is_there(word: str) -> None:
    with pytest.raises(Refusal, match=re.escape(BASES[word])):
        compose(["parametrisation=mup", word])


MODELS = {  # overrides that go with the models that do not predict the next token
    **dict.fromkeys(("encoder", "roberta_base"), "task=masked_lm"),
    **dict.fromkeys(("bert_base", "encoder_moe"), "task=masked_lm model.pooler=null"),
    **dict.fromkeys(("encoder_decoder", "transformer_base", "t5_small", "switch_base_8"), "task=copy"),
}
WHOLE = {*MODELS, "lstm", "mlp"}  # models that no axis cuts


@pytest.mark.parametrize("axis", ["tensor", "context", "pipeline"])
def test_models_are_cut_over_the_axes_that_all_of_their_layers_declare(axis: str) -> None:
    uncut = set()
    for name in read_choices("model"):
        config = composed(f"model={name} {MODELS.get(name, '')} strategy=fsdp {TWO}")[0]
        split = {**config["strategy"], "data_shard": 1, axis: 2}
        uncut |= {name} if list(rules.find_uncut_parts(config | {"strategy": split})) else set()
    own = {"tensor": {"hybrid", "olmoe_1b_7b"}, "context": {"hybrid"}, "pipeline": set()}
    assert uncut == WHOLE | own[axis]


def test_no_part_is_asked_for_the_name_of_its_class() -> None:
    for module in (table, rules, *tables()):
        source = Path(module.__file__).read_text()
        assert not re.search(r"endswith\(|isinstance\([^,]+, [A-Z]", source), module.__name__


def test_a_refusal_reaches_whoever_composes() -> None:
    with pytest.raises(Refusal, match="task=masked_lm needs a model that sees both sides"):
        compose(["task=masked_lm"])
