"""Every command says a word before it imports what is slow; what is put off is whole when it is used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.warm import REPOSITORY
from triad.config.commands import list_commands
from triad.config.stages import announce

FIRST_WORD = """
import io, os, runpy, sys
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder

SLOW = {"torch", "lightning", "hydra", "scipy", "matplotlib", "transformers", "wandb", "ray"}
real = os.dup(2)

def end(said):
    os.write(real, said.encode())
    os._exit(0)

class Stream(io.StringIO):
    def write(self, text):
        if text.strip():
            end(f"said: {text}")
        return len(text)

class Finder(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        spec = PathFinder.find_spec(name, path, target) if name in SLOW else None
        if spec:
            spec.loader.exec_module = lambda module: end(f"imported: {name}")
        return spec

sys.meta_path.insert(0, Finder())
sys.stdout = sys.stderr = Stream()
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
if sys.argv[0].endswith("train.py"):
    runpy.run_path(sys.argv[0], run_name="__main__")
else:
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
end("silent")
"""

PUT_OFF = """
import sys
from triad.config.slow_imports import hasten_imports

hasten_imports()
import torch
from lightning.fabric.wrappers import OptimizedModule
from lightning.pytorch.trainer.connectors.logger_connector.result import _ResultMetric

weight = torch.nn.Parameter(torch.ones(2))
for made in (torch.optim.AdamW([weight], 0.1), torch.optim.SGD([weight], 0.1)):
    weight.sum().backward()
    made.step()
    made.zero_grad()
assert not isinstance(made, OptimizedModule)
slow = ("torch._dynamo.convert_frame", "torchmetrics.functional", "transformers", "scipy", "matplotlib")
assert not (found := {*slow} & {*sys.modules}), found

import torchmetrics
from torchmetrics import MeanMetric, Metric  # all of it
assert issubclass(_ResultMetric, Metric) and issubclass(MeanMetric, Metric)
assert torchmetrics.functional.accuracy and "accuracy" in dir(torchmetrics.functional)
mean = MeanMetric()
mean.update(3.0)
figure, _ = mean.plot()
assert type(figure).__module__ == "matplotlib.figure"

class Tangents(torch.nn.Module):
    @torch.compiler.disable
    def forward(self, x):
        return x.tan()

compiled = torch.compile(torch.nn.Sequential(torch.nn.Linear(2, 2), Tangents()), backend="eager")
assert compiled(torch.ones(1, 2)).shape == (1, 2)
assert isinstance(compiled, OptimizedModule) and isinstance(compiled, torch._dynamo.OptimizedModule)
made.zero_grad()  # was made before anything was compiled
print("whole")
"""


def give_words(file: Path) -> list[str]:
    """A word for each argument that a command needs."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    functions = {node.name: node.args for node in tree.body if isinstance(node, ast.FunctionDef)}
    called = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args]
    name = next(node.args[0].id for node in called if getattr(node.func, "id", "") == "run_command")
    arguments = functions[name]
    needed = arguments.args[: len(arguments.args) - len(arguments.defaults)]
    return [f"{one.arg}=nowhere" for one in needed if one.arg != "overrides"]


@pytest.mark.parametrize("name", list_commands())
def test_a_command_says_a_word_before_it_imports_what_is_slow(name: str, tmp_path: Path) -> None:
    file = list_commands()[name]
    words = [str(file), "debug=tiny"] if name == "train" else [f"triad.{name}", *give_words(file)]
    command = [sys.executable, "-c", FIRST_WORD, *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stderr.startswith("said: "), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_what_is_put_off_is_whole_when_it_is_used() -> None:
    command = [sys.executable, "-W", "ignore", "-c", PUT_OFF]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.stdout == "whole\n", done.stderr
    assert done.stderr.splitlines() == ["importing torch ...", "importing lightning ..."]


def test_the_first_rank_alone_announces(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        announce(f"composing {rank}")
    assert capsys.readouterr() == ("", "composing 0 ...\n")
