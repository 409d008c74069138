"""Training started from Python, such as from a notebook."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from signal import SIGINT

from triad.config.command_line import key_of, split_words
from triad.config.compose import compose, compose_written
from triad.config.errors import Refusal
from triad.config.locations import TRAIN
from triad.config.messages import MISTAKE
from triad.config.overrides import quote
from triad.config.own_code import permitting
from triad.launch.resume import Resume, find_resume
from triad.runs.directory import Run, make_run_id

ERROR = "error: "


def train(words: Sequence[str] | str = ()) -> Run:
    """Train as `python train.py` does with these words, and return the run.

        run = train(["model=moe", "debug=tiny"])   or, as it is typed,   train("model=moe debug=tiny")

    It runs in processes of its own, and what they print is printed here. An interrupt is passed on: the run
    saves what was trained. Raises Refusal for words that are refused, RuntimeError for a run that failed.
    """
    words = split_words(words)
    if any(word in ("-m", "--multirun") for word in words):
        raise Refusal("-m starts several runs, of which train returns one: call it for each")
    resume = find_resume(words)
    if resume and resume.weights_only:
        source = resume.checkpoint or resume.run
        raise Refusal(f"resume.weights_only: use weights={source}, which starts a new run from them")
    with permitting(words) as others:
        if resume and resume.checkpoint:
            words, run = _name_branch(words, resume)
        else:
            words, run = (words, resume.run) if resume else _name_run(words, others)
    code, last = _run([sys.executable, str(TRAIN), *words])
    if code == MISTAKE:
        raise Refusal(last.removeprefix(ERROR))
    if code:
        raise RuntimeError(f"{run}: training ended with exit code {code}: {last.removeprefix(ERROR)}")
    return run


def _name_branch(words: list[str], resume: Resume) -> tuple[list[str], Run]:
    """The same of a run that begins with a checkpoint of another, beside which it lies."""
    typed = {key_of(word): word.partition("=")[2] for word in words}
    name = typed.get("run_id") or make_run_id("branch")
    named = words if "run_id" in typed else [*words, f"run_id={quote(name)}"]
    return named, Run(Path(typed.get("output_dir") or resume.run.path.parent, name))


def _name_run(words: list[str], others: list[str]) -> tuple[list[str], Run]:
    """The words with a name for the run, where they give it none, and the run.

    `others` are those that do not permit one's own code.
    """
    composed = [word for word in others if not key_of(word).startswith("resume")]
    config = compose(composed)
    if not config["run_id"]:
        config["run_id"] = make_run_id(compose_written(composed)[1].get("model") or "run")
        words = [*words, f"run_id={quote(config['run_id'])}"]
    return words, Run.of(config)


def _run(command: list[str]) -> tuple[int, str]:
    """Run a command and print its lines: the exit code, and the last line that tells an error."""
    last = ""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
    ) as process:
        assert process.stdout is not None
        while True:
            try:
                for line in process.stdout:
                    print(line, end="", flush=True)
                    last = line.strip() if line.startswith(ERROR) else last
                break
            except KeyboardInterrupt:  # a notebook may interrupt this process alone
                process.send_signal(SIGINT)
    return process.returncode, last
