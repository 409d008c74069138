"""`triad.compose` and `triad.train` from a notebook."""

import subprocess
import sys
from pathlib import Path

import pytest

import triad
from triad.config.errors import Refusal

# Cells of a notebook: no file, an event loop that runs, captured output, a folder of its own.
CELL = """
import asyncio, contextlib, io, os, sys, triad

async def cell(words):
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        run = triad.train(words)
    return run, shown.getvalue()

async def notebook():
    os.mkdir("elsewhere")
    os.chdir("elsewhere")
    print("composed", triad.compose(["context=7"])["context"], triad.compose("context=8")["context"])
    run, shown = await cell("debug=tiny logger=csv trainer.max_steps=2")
    print("steps", sorted(run.checkpoints.iterdir())[-1].name, "step 2/2  val" in shown)
    for words in ["modl=moe"], ["-m", "seed=1,2"], [f"resume={run}", "context=7"]:
        try:
            triad.train(words)
        except ValueError as error:
            print("refused", error)
    model, _ = triad.load(run)
    print("said", len(model.generate("def ", tokens=5).encode()) >= 5)
    print("main", hasattr(sys.modules["__main__"], "__file__"))

asyncio.run(notebook())
"""


@pytest.mark.slow
def test_a_notebook_composes_trains_and_loads(tmp_path: Path, environment: dict[str, str]) -> None:
    command = [sys.executable, "-c", f"exec({CELL!r}, {{}})"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    found = [line.split(" ", 1) for line in done.stdout.splitlines()]
    said = [text for word, text in found if word == "refused"]
    rest = {word: text for word, text in found if word not in ("refused", "error:")}
    assert "did you mean model" in said[0]
    assert "several runs" in said[1]
    assert "context" in said[2]
    assert rest["composed"] == "7 8"
    assert rest["steps"] == "step-00000002 True"
    assert (rest["said"], rest["main"]) == ("True", "False")
    assert (tmp_path / "elsewhere" / "outputs").is_dir()


def test_tab_completes_what_triad_offers_and_a_text_is_split_as_a_shell_does() -> None:
    assert {"compose", "load", "model", "train"} == {*dir(triad)}
    assert triad.compose("tags='[a b,c]' context=7")["tags"] == ["a b", "c"]
    with pytest.raises(Refusal, match="did you mean model"):
        triad.compose("modl=moe")
