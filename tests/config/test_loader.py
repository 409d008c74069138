"""What is typed wins: parts are exchanged whole, and an overlay's values go with its own choices."""

from collections.abc import Iterator
from pathlib import Path
from shutil import copytree

import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from triad.config import compose as composing
from triad.config.changes import change
from triad.config.errors import Refusal
from triad.config.identity import OVERLAYS, leaves
from triad.config.locations import CONF
from triad.config.offers import read_choices, read_own_choices
from triad.config.overlays import find_overlaid
from triad.config.rules import DICTIONARIES

TOP_K = {"top_k": 2, "normalize": True, "balance": 0.01, "z": 0.001}
NORM = "model.norm={_target_:torch.nn.LayerNorm,bias:true}"
LAYER_NORM = {"_target_": "torch.nn.LayerNorm", "_partial_": True, "bias": True}
RMS_NORM = {"_target_": "triad.layers.norm.RMSNorm", "_partial_": True}
SWITCH = yaml.safe_load((CONF / "router" / "switch.yaml").read_text())
LEARNED = {"_target_": "triad.layers.position.Learned", "_partial_": True}
EXCHANGED = {  # words, and the part that they make
    "model=deepseek_v3 model.feedforward.router={_target_:triad.layers.routers.top_k.TopK,top_k:2,"
    "normalize:true,balance:0.01,z:0.001}": (
        "feedforward.router",
        {"_target_": "triad.layers.routers.top_k.TopK", "_partial_": True, **TOP_K},
    ),
    "model=deepseek_v3 model.feedforward.router=switch": ("feedforward.router", SWITCH),
    "model=deepseek_v3 model.feedforward.router=switch model.feedforward.router.balance=0.5": (
        "feedforward.router",
        SWITCH | {"balance": 0.5},
    ),
    "model=moe model.feedforward.router=switch": ("feedforward.router", SWITCH),
    "model=transformer_base model.position={_target_:triad.layers.position.Learned}": ("position", LEARNED),
    "model.position={_target_:triad.layers.position.Learned,_partial_:true}": ("position", LEARNED),
    NORM: ("norm", LAYER_NORM),
    "model.norm=null model.norm={_target_:torch.nn.LayerNorm,_partial_:true,bias:true}": ("norm", LAYER_NORM),
    f"{NORM} model.norm.bias=false": ("norm", LAYER_NORM | {"bias": False}),
    f"{NORM} +model.norm.eps=1e-3": ("norm", LAYER_NORM | {"eps": 1e-3}),
    f"+{NORM}": ("norm", LAYER_NORM),
    "model.norm.eps=1e-3": ("norm", RMS_NORM | {"eps": 1e-3}),
    "model.norm={eps:1e-3}": ("norm", RMS_NORM | {"eps": 1e-3}),
}


@pytest.fixture(autouse=True)
def nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composing, "refusals", lambda *_: [])


def find(node: dict, key: str) -> dict:
    for step in key.split("."):
        node = node[step]
    return node


@pytest.mark.parametrize("words", EXCHANGED)
def test_a_part_is_exchanged_whole_by_a_word_and_its_keys_are_merged(words: str) -> None:
    key, node = EXCHANGED[words]
    assert find(composing.compose(words.split())["model"], key) == node


def test_a_name_that_no_choice_of_the_part_has_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="router=swich does not exist; did you mean switch"):
        composing.compose(["model=deepseek_v3", "model.feedforward.router=swich"])


def test_a_part_is_exchanged_whole_by_the_file_of_an_overlay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = tmp_path / "conf"
    copytree(CONF, conf)
    part = "  norm:\n    _target_: torch.nn.LayerNorm\n    bias: true\n"
    (conf / "debug" / "layer_norm.yaml").write_text(f"# @package _global_\nmodel:\n{part}")
    for module in ("compose", "offers", "provenance"):
        monkeypatch.setattr(f"triad.config.{module}.CONF", conf)
    config, chains = composing.compose_with_origins(["debug=layer_norm"])
    assert config["model"]["norm"] == LAYER_NORM
    assert [origin.where for origin in chains["model.norm._target_"]] == ["conf/debug/layer_norm.yaml:4"]


def test_a_sweep_and_a_resumed_run_exchange_the_same_part(tmp_path: Path) -> None:
    with composing.initialize_hydra():
        loader = GlobalHydra.instance().config_loader()
        every = loader.load_configuration("train", [f"{NORM},null"], RunMode.MULTIRUN)
        assert loader.load_sweep_config(every, [NORM]).model.norm == LAYER_NORM
    words = [f"output_dir={tmp_path}", "run_id=a", "batch=ramp", "debug=tiny"]
    config = composing.compose(words)
    changed = change(config, {"batch": "ramp", "debug": "tiny"}, [NORM])
    assert composing.validate(changed.composed, changed.choices) == composing.compose([*words, NORM])


@pytest.mark.parametrize("group", ["optimizer", "model", "data"])
def test_a_sweep_may_go_over_the_choices_of_a_group(group: str) -> None:
    names = [*read_choices(group)][:2]
    with composing.initialize_hydra():
        loader = GlobalHydra.instance().config_loader()
        loader.load_configuration("train", [f"{group}={','.join(names)}"], RunMode.MULTIRUN)
        with pytest.raises(ValueError, match=f"{group} is chosen by name"):
            loader.load_configuration("train", [f"{group}=5"], RunMode.MULTIRUN)


def test_train_py_exchanges_a_part(train) -> None:
    shown = yaml.safe_load(train(NORM, "batch=full", "debug=tiny", "--cfg", "job").stdout)
    assert shown["model"]["norm"] == LAYER_NORM
    assert shown["batch"]["size"] is None


def test_what_a_part_that_is_gone_was_set_to_is_no_origin_of_another() -> None:
    _, chains = composing.compose_with_origins([f"{NORM[:-1]},eps:1e-3}}", "batch=full", "debug=tiny"])
    assert [origin.where.partition(":")[0] for origin in chains["model.norm.eps"]] == ["command line"]
    assert [origin.where.partition(":")[0] for origin in chains["batch.size"]] == ["conf/batch/full.yaml"]
    _, chains = composing.compose_with_origins(["model.norm._target_=torch.nn.LayerNorm"])
    assert chains["model.norm.eps"][0].where.startswith("conf/model/decoder.yaml")


def others(overlay: Path) -> Iterator[tuple[str, str, bool]]:
    """Another choice for each group that an overlay sets or chooses, and whether it chooses."""
    own = read_own_choices(f"{overlay.parent.name}/{overlay.stem}")
    for group in {**own, **yaml.safe_load(overlay.read_text())}:
        if (CONF / group).is_dir() and group not in DICTIONARIES:
            usual = [*read_choices(group)][:1]
            needy = [name for name, node in read_choices(group).items() if "???" in node.values()]
            if left := [name for name in read_choices(group) if name not in (own.get(group), *usual, *needy)]:
                yield group, left[-1] if group == "model" else left[0], group in own


@pytest.mark.parametrize(
    "overlay",
    [path for group in OVERLAYS for path in sorted((CONF / group).glob("*.yaml"))],
    ids=lambda path: path.stem,
)
def test_a_choice_that_is_typed_is_not_changed_by_an_overlay_or_it_is_said(overlay: Path) -> None:
    typed = [f"{group}={name}" for group, name, _ in others(overlay)] + ["trainer.max_steps=9"]
    alone = composing.compose(typed)
    config, chains = composing.compose_with_origins([f"{overlay.parent.name}={overlay.stem}", *typed])
    choices = dict(word.split("=") for word in typed[:-1]) | {overlay.parent.name: overlay.stem}
    said = " ".join(find_overlaid(chains, choices, [*typed, f"debug={overlay.stem}"]))
    follows = {key for key, chain in chains.items() if chain[0].refers}  # context, or the steps of the run
    for group, _, chosen in others(overlay):
        before, after = dict(leaves(alone[group], f"{group}.")), dict(leaves(config[group], f"{group}."))
        changed = {key for key in before if after[key] != before[key]} - follows
        assert before.keys() == after.keys()
        assert not (chosen and changed)
        assert all(f" {key}={chains[key][0].text}" in said for key in changed), group


def test_the_later_overlay_takes_the_place_of_what_the_earlier_one_chose() -> None:
    config = composing.compose(["experiment=shakespeare_char", "debug=overfit"])
    assert config["scheduler"].keys() == composing.compose(["scheduler=constant"])["scheduler"].keys()


def test_an_overlay_sets_nothing_of_a_callback_that_is_not_there() -> None:
    config = composing.compose(["callbacks=[early_stopping]", "debug=tiny"])
    assert config["callbacks"].keys() == {"early_stopping"}


def test_what_is_said_names_both_words_and_the_values() -> None:
    _, chains = composing.compose_with_origins(["model=gpt2", "debug=tiny", "model.depth=3"])
    said = [*find_overlaid(chains, {"model": "gpt2", "debug": "tiny"}, ["model=gpt2", "debug=tiny"])]
    assert said == ["debug=tiny changes model=gpt2: model.width=192; a key that is typed stays"]


def test_an_overlay_sets_of_data_what_the_source_has() -> None:
    assert composing.compose(["debug=tiny", "data=sst2"])["data"]["examples"] == 500
    assert composing.compose(["debug=tiny", "data=sst2", "data.examples=7"])["data"]["examples"] == 7
    assert "examples" not in composing.compose(["debug=tiny"])["data"]
    with pytest.raises(ValueError, match=r"data\.examples"):
        composing.compose(["debug=tiny", "+data.examples=7"])


def test_an_overlay_that_chooses_a_source_is_held_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = tmp_path / "conf"
    copytree(CONF, conf)
    words = "# @package _global_\ndefaults:\n  - override /data: sst2\ndata:\n  exmples: 5\n"
    (conf / "experiment" / "mistyped.yaml").write_text(words)
    for module in ("compose", "offers", "provenance"):
        monkeypatch.setattr(f"triad.config.{module}.CONF", conf)
    with pytest.raises(ValueError, match=r"exmples"):
        composing.compose(["experiment=mistyped", "model=encoder", "task=classification"])


def test_an_argument_that_has_a_default_and_no_file_is_set_without_a_plus() -> None:
    here = ("debug=tiny", "trainer.accelerator=cpu")
    config = composing.compose([*here, "optimizer=sgd", "optimizer.maximize=true"])
    assert config["optimizer"]["maximize"] is True
    own = "model.feedforward={_target_: triad.layers.key_shift.KeyShift, _partial_: true}"
    for word, near in (("optimizer.maximise=true", "optimizer.maximize"), ("model.vocab_size=9", "")):
        with pytest.raises(Refusal, match=rf"{word.partition('=')[0]} does not exist.*{near}"):
            composing.compose([*here, word])
    with pytest.raises(Refusal, match=r"fraction does not exist"):  # has no default: + says it is meant
        composing.compose([*here, own, "model.feedforward.fraction=0.5"])
