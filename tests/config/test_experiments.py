"""Each experiment is a whole recipe: with each overlay of debug, too."""

import pytest

from triad.config.compose import compose
from triad.config.locations import CONF

EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
DEBUG = [[], *([f"debug={path.stem}"] for path in sorted((CONF / "debug").glob("*.yaml")))]


@pytest.mark.parametrize("debug", DEBUG, ids="".join)
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_runs_under_every_overlay(name: str, debug: list[str]) -> None:
    if (name, debug) == ("speedrun_gpu", ["debug=laptop"]):
        pytest.skip("12 heads do not divide the width of a laptop's model")
    words = (
        ["data.path=somewhere", "trainer.accelerator=cpu", "precision=fp32"] if name == "speedrun_gpu" else []
    )
    config = compose([f"experiment={name}", *debug, *words])
    assert config["trainer"]["max_steps"]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_head_of_an_experiment_has_command_and_figures(name: str) -> None:
    head = (CONF / "experiment" / f"{name}.yaml").read_text().split("defaults:")[0]
    assert f"# command    python train.py experiment={name}" in head
