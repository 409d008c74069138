"""Each experiment is a whole recipe: with each overlay of debug, too."""

import pytest

from triad.config.compose import compose
from triad.config.locations import CONF

EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
DEBUG = [
    pytest.param(path.stem, marks=[] if path.stem == "tiny" else [pytest.mark.slow])
    for path in sorted((CONF / "debug").glob("*.yaml"))
]


@pytest.mark.parametrize("debug", DEBUG)
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_runs_under_every_overlay(name: str, debug: str) -> None:
    if (name, debug) == ("speedrun_gpu", "laptop"):
        pytest.skip("12 heads do not divide the width of a laptop's model")
    words = (
        ["data.path=somewhere", "trainer.accelerator=cpu", "precision=fp32"] if name == "speedrun_gpu" else []
    )
    config = compose([f"experiment={name}", f"debug={debug}", *words])
    assert config["trainer"]["max_steps"]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_head_of_an_experiment_has_command_and_figures(name: str) -> None:
    head = (CONF / "experiment" / f"{name}.yaml").read_text().split("defaults:")[0]
    assert f"# command    python train.py experiment={name}" in head
