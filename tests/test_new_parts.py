"""A new part is one Python file and one YAML file: nothing else is edited, and everything takes it up.

The parts of tests/new_parts are dropped into a copy of the project.
"""

import csv
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.warm import REPOSITORY, WarmProcess

PLACES = {  # of the Python file in src/triad, and of the YAML in conf
    "two_way": ("models", "model"),
    "state_space": ("layers", "model"),
    "loudest": ("layers/routers", "router"),
    "next_token_accuracy": ("tasks", "task"),
    "first_word": ("metrics", "metrics"),
    "parity": ("data/sources", "data"),
    "equations": ("data/sources", "data"),
    "arithmetic": ("tasks", "task"),
    "polyak": ("optim", "optimizer"),
    "alone": ("strategies", "strategy"),
    "gradient_signs": ("callbacks", "callbacks"),
    "stairs": ("schedules", "scheduler"),
    "truncation": ("augmentation", "data/augment"),
}
PARTS = REPOSITORY / "tests" / "new_parts"
CPU = "trainer.accelerator=cpu"
LOOK = """
import json, sys
from triad.config.compose import compose
from triad.config.errors import Refusal
for words in sys.argv[1:]:
    try:
        compose(words.split())
        print(json.dumps(None))
    except Refusal as error:
        print(json.dumps(str(error)))
"""
MEASURE = """
import torch
from triad.config.build import build
from triad.config.compose import compose
from triad.models.count import count
from triad.optim.initialise import initialise
from triad.optim.roles import roles

config = compose(["model=state_space", "debug=tiny"])
model = build(config["model"])(vocab_size=50)
initialise(model, seed=0)
kinds, mixer = roles(model), model.blocks[0].attention
assert kinds["blocks.0.attention.A_log"] == "state", kinds
assert kinds["blocks.0.attention.convolution.weight"] == "convolution", kinds
assert torch.allclose(mixer.gain, torch.full_like(mixer.gain, 1e-4))
assert torch.allclose(mixer.A_log[0].exp(), torch.arange(1.0, 5.0))
assert mixer.convolution.weight.std() > 0 and not mixer.out.weight.any()
sized, states = count(model), 2 * mixer.A_log.numel()
flops = sized.flops(torch.tensor([32]))
assert flops.palm - flops.six_n == 32 * 6 * states
products = sum(weight.numel() for weight in model.parameters() if weight.ndim > 1) - states
products -= model.embedding.weight.numel()
assert flops.exact == 32 * 6 * (products + states)
with torch.no_grad():
    torch.manual_seed(0)
    mixer.out.weight.normal_()
    model.head.weight.normal_()
    model.double().eval()
    tokens, cache = torch.randint(50, (2, 9)), model.empty_cache(2)
    whole = model(tokens)[0]
    pieces = [tokens[:, :5], *tokens[:, 5:].split(1, 1)]
    parts = [model(piece, cache=cache)[0] for piece in pieces]
    assert torch.allclose(torch.cat(parts, 1), whole)
    count, cache = torch.tensor([0, 3]), model.empty_cache(2, torch.tensor([0, 3]))
    padded = tokens.where(torch.arange(9) >= count[:, None], -1)
    parts = [model(piece, cache=cache)[0] for piece in (padded[:, :5], padded[:, 5:])]
    assert torch.allclose(torch.cat(parts, 1)[1, 3:], model(tokens[1:, 3:])[0][0])
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with all new parts."""
    root = tmp_path_factory.mktemp("project")
    for name in ("conf", "docs", "src", "sweeps"):
        shutil.copytree(REPOSITORY / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "*.png"))
    for name in ("README.md", "pyproject.toml", "train.py"):
        shutil.copy(REPOSITORY / name, root / name)
    for name, (part, group) in PLACES.items():
        shutil.copy(PARTS / f"{name}.py", root / "src" / "triad" / part)
        shutil.copy(PARTS / f"{name}.yaml", root / "conf" / group)
    return root


@pytest.fixture(scope="module")
def run(project: Path, cache: Path) -> Iterator[Callable[..., str]]:
    """Run Python on the copy; what it printed."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    own = {"PYTHONPATH": str(project / "src"), "TRIAD_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    warm = WarmProcess(inherited | own)

    def python(*words: str) -> str:
        done = warm.run(list(words), project, inherited | own)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    yield python
    warm.end()


def metrics(project: Path, name: str) -> list[dict[str, str]]:
    with (project / "outputs" / name / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


ACCEPTED = [
    "model=two_way task=masked_lm",
    "model=state_space",
    f"model=state_space strategy=pipeline trainer.devices=2 {CPU}",
    "model=encoder_moe task=masked_lm model.pooler=null router=loudest",
    "task=next_token_accuracy callbacks.checkpoint.monitor=val/hits",
    "task=classification data=parity model=lstm",
    "task=arithmetic data=equations",
    "task=copy model=encoder_decoder metrics=[first_word] callbacks.checkpoint.monitor=val/first_word",
    "optimizer=polyak",
    f"optimizer=polyak strategy=deepspeed trainer.devices=2 {CPU}",
    "strategy=alone",
    "callbacks=[default,gradient_signs]",
    "scheduler=stairs",
    "task=classification data=packages model=lstm data/augment=truncation",
]
REFUSED = {  # and what the sentence names: the part, and choices that fit
    "model=two_way": ("model=two_way sees both sides", "model=decoder", "masked_lm"),
    "task=masked_lm model=mlp": ("model=mlp sees a window", "next_token_accuracy"),
    f"model=two_way task=masked_lm strategy=tensor trainer.devices=2 {CPU}": ("model=two_way", "strategy="),
    f"model=state_space strategy=context trainer.devices=2 {CPU}": ("attention (StateSpace)", "strategy="),
    "model=two_way task=masked_lm packing=documents": (
        "model=two_way does not say",
        "packing=windows",
        "encoder",
    ),
    "model=state_space packing=documents": ("attention (StateSpace) does not say", "packing=windows"),
    "task=next_token_accuracy packing=best_fit": ("task=next_token_accuracy does not say", "packing=windows"),
    "model=moe router=loudest": ("router=loudest", "model=moe would see the future", "mixtral"),
    "task=next_token_accuracy model=encoder": ("task=next_token_accuracy needs a model", "masked_lm"),
    "callbacks.checkpoint.monitor=val/hits": ("val/hits", "val/loss"),
    "metrics=[first_word]": ("metrics.first_word needs a task that predicts a sequence", "leave metrics"),
    "task=classification data=parity model=lstm metrics=[first_word]": ("use metrics=accuracy,",),
    "task=copy model=encoder_decoder callbacks.checkpoint.monitor=val/first_word": ("val/exact_match",),
    "data=parity": ("data=parity yields labels", "data=stdlib", "task=classification"),
    "task=classification": ("data=stdlib yields text", "data=labelled"),
    "task=arithmetic": ("data=stdlib yields text", "data=equations"),
    "task=arithmetic data=equations batch=ramp": ("data=equations needs a batch that has one size",),
    "task=arithmetic data=equations data/clean=basic": ("data/clean changes texts", "data/clean=none"),
    "optimizer=polyak ~callbacks.averaged": ("optimizer=polyak needs a part of callbacks",),
    "optimizer=polyak +callbacks.ema={_target_:triad.callbacks.ema.Ema,decay:0.9}": (
        "callbacks.ema",
        "use one",
    ),
    "strategy=alone callbacks=[default,gradient_signs]": (
        "gradient_signs uses the gradients",
        "strategy=alone",
    ),
    "strategy=alone trainer.devices=2": ("one process",),
    "data/augment=truncation": (
        "data/augment=truncation needs a task that predicts a label",
        "data/augment=none",
    ),
}


def test_what_fits_composes_and_what_does_not_is_refused_with_choices_that_do(run, project: Path) -> None:
    asked = [*ACCEPTED, *REFUSED]
    told = [json.loads(line) for line in run("-c", LOOK, *asked).splitlines()]
    said = dict(zip(asked, told, strict=True))
    assert not {words: said[words] for words in ACCEPTED if said[words]}
    for words, parts in REFUSED.items():
        assert all(part in (said[words] or "") for part in parts), (words, said[words])


def test_a_layer_says_what_its_parameters_are_how_they_start_and_what_it_costs(run, project: Path) -> None:
    run("-c", MEASURE)


def test_new_parts_train_together(run, project: Path) -> None:
    words = (
        "debug=tiny model=state_space optimizer=polyak scheduler=stairs callbacks=[default,gradient_signs]"
    )
    text = ("data=text", "data.path=src/triad/layers", CPU)
    told = run("train.py", *words.split(), *text, "run_id=a")
    assert "gradients are above zero" in told
    rates = [float(row["train/lr"]) for row in metrics(project, "a") if row.get("train/lr")]
    assert rates[0] == 0.1
    assert rates[-1] == pytest.approx(0.025)
    losses = [float(row["val/loss"]) for row in metrics(project, "a") if row.get("val/loss")]
    assert losses[-1] < losses[0]


def test_the_checkpoint_that_is_kept_has_the_highest_metric(run, project: Path) -> None:
    words = "debug=tiny task=next_token_accuracy strategy=alone callbacks.checkpoint.monitor=val/hits"
    keep = ("callbacks.checkpoint.keep=1", "callbacks.checkpoint.every_steps=5", "data=text")
    run("train.py", *words.split(), *keep, "data.path=src/triad/layers", CPU, "run_id=b")
    hits = {row["step"]: float(row["val/hits"]) for row in metrics(project, "b") if row.get("val/hits")}
    kept = [path.name for path in (project / "outputs" / "b" / "checkpoints").glob("step-*")]
    assert f"step-{int(max(hits, key=hits.__getitem__)):08d}" in kept


def test_a_metric_is_measured_and_chooses_the_checkpoint(run, project: Path) -> None:
    words = "debug=tiny task=copy model=encoder_decoder data=letters tokenizer=char metrics=[first_word]"
    keep = ("callbacks.checkpoint.keep=1", "callbacks.checkpoint.monitor=val/first_word")
    run("train.py", *words.split(), *keep, CPU, "run_id=f")
    assert [row for row in metrics(project, "f") if row.get("val/first_word")]
    folder = next((project / "outputs" / "f" / "checkpoints").glob("step-*"))
    monitored = json.loads((folder / "manifest.json").read_text())["facts"]["metric"]
    assert (monitored["name"], monitored["better"]) == ("val/first_word", "higher")


def test_a_model_of_both_sides_learns_hidden_tokens_and_a_source_its_labels(run, project: Path) -> None:
    hidden = ("debug=tiny", "model=two_way", "model.width=64", "task=masked_lm", "data=text", CPU, "run_id=c")
    run("train.py", *hidden, "data.path=src/triad/layers")
    labels = ("debug=tiny", "model=lstm", "task=classification", "data=parity", CPU, "run_id=d")
    labels += ("data/augment=truncation",)
    run("train.py", *labels)
    assert [row for row in metrics(project, "d") if row.get("val/accuracy")]


def test_a_task_makes_the_rows_of_a_new_kind_of_examples(run, project: Path) -> None:
    words = "debug=tiny task=arithmetic data=equations tokenizer=byte context=16 run_id=h"
    run("train.py", *words.split(), CPU)
    losses = [float(row["val/loss"]) for row in metrics(project, "h") if row.get("val/loss")]
    assert losses[-1] < losses[0]
    run("train.py", *words.split()[:-1], CPU, "run_id=i", "strategy=ddp", "trainer.devices=2")
    again = [float(row["val/loss"]) for row in metrics(project, "i") if row.get("val/loss")]
    assert again == pytest.approx(losses, rel=1e-4)


def test_a_router_of_whole_sequences_trains_in_an_encoder(run, project: Path) -> None:
    words = "debug=tiny model=encoder_moe model.pooler=null task=masked_lm router=loudest data=text run_id=e"
    run("train.py", *words.split(), "data.path=src/triad/layers", CPU)


def test_the_docs_list_new_parts(run, project: Path) -> None:
    run("docs/generate.py")
    page = "".join((project / "docs" / name).read_text() for name in ("choices.md", "configuration.md"))
    for name in PLACES:
        assert f"`{name}`" in page, name
    assert "`task=next_token_accuracy`" in page
    assert "| `first_word` | " in (project / "docs" / "metrics.md").read_text()


def test_verify_holds_a_new_model_against_one_process(run, project: Path) -> None:
    words = f"model=state_space strategy=fsdp trainer.devices=2 {CPU} data=text data.path=src/triad/layers"
    told = run("-m", "triad.verify", *words.split())
    assert "equal" in told
