"""Random mistakes: a run runs, or says no in one sentence.

    python -m tests.fuzz seed=0 n=500             compose, check and build the model, without data
    python -m tests.fuzz seed=0 n=100 steps=2     train so many steps, too

Each case is some overrides of train.py, drawn from the seed: choices of groups, and for keys of the
configuration values that are plausible and others that are not. A case runs in a process of its own, forked
from one that has imported torch. It must end within a time, by running or by one sentence, without a
traceback, an error that is not explained, or a signal. What does not is printed.
"""

import os
import random
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.warm import REPOSITORY, WarmProcess
from triad.config.command_line import run_command
from triad.config.identity import leaves
from triad.config.locations import CONF
from triad.config.messages import DIVERGED, MISTAKE
from triad.config.offers import read_choices
from triad.config.rules import DICTIONARIES

WRONG = (
    "0 -1 1 2 7 0.5 1e9 1e-9 100000000 inf nan -inf 1e400 1_000 0x10 true null x '' [] [1,2] [x] [[1,2],[3]]"
    " {} {a:1} {_target_:os.system} {_target_:5} ${seed} ${nowhere}"
)
NOT_DRAWN = ("experiment", "debug")  # they are models of a size that trains for minutes
TINY = ["debug=tiny", "logger=csv", "trainer.devices=1", "trainer.accelerator=cpu"]
BUILT = ("model", "hardware", "clip", "regularizer", "optimizer", "batch", "data", "scheduler")
GOOD = ("ran", "refused")
TIME_S = 60.0  # of a case: a start, and some steps of a model of debug=tiny


class Verdict(NamedTuple):
    """How a case ended: "ran", "refused" or what is wrong, and what it said."""

    kind: str
    said: str


def draw_cases(seed: int, n: int) -> Iterator[list[str]]:
    """The overrides of so many cases."""
    generator = random.Random(seed)
    for _ in range(n):
        words = [draw_override(generator) for _ in range(generator.choice([1, 1, 1, 2, 3]))]
        yield list(dict.fromkeys(words))


def draw_override(generator: random.Random) -> str:
    """One override: a choice of a group, a key with a value, or a key that is added or left out."""
    form = generator.random()
    if form < 0.25:
        group = generator.choice(sorted({path.parent.name for path in CONF.glob("*/*.yaml")} - {*NOT_DRAWN}))
        choices = [*read_choices(group)]
        several = group in DICTIONARIES
        names = generator.sample(choices, min(len(choices), generator.choice([1, 1, 2])))
        return f"{group}=[{','.join(names)}]" if several else f"{group}={names[0]}"
    key = generator.choice(list_keys())
    if form < 0.32:
        return f"~{generator.choice([key, key.partition('.')[0]])}"
    sign = "+" if form < 0.36 else ""
    return f"{sign}{key}={generator.choice(WRONG.split())}"


@cache
def list_keys() -> list[str]:
    """The keys of the default configuration and of the choices of its groups, without those of processes."""
    from triad.config.compose import compose

    keys = {key for key, _ in leaves(compose(TINY))}
    for group in sorted({path.parent.name for path in CONF.glob("*/*.yaml")} - {*NOT_DRAWN, "router"}):
        keys |= {f"{group}.{key}" for node in read_choices(group).values() for key in node if key[0] != "_"}
    return sorted(keys - {"run_id", "output_dir"})


def check_case(words: list[str]) -> None:
    """Compose and check a configuration, and build its model on the meta device; exit as train.py does."""
    import torch

    from triad.config.build import build
    from triad.config.compose import compose
    from triad.config.messages import explain_failure, report_error

    try:
        config = compose(words)
    except Exception as error:
        sys.exit(report_error(error))
    try:
        part = build({name: config[name] for name in BUILT})
        with torch.device("meta"):
            model = part["model"](vocab_size=300)
            part["optimizer"](list(model.parameters()))
    except Exception as error:
        said, code = explain_failure(error, config)
        print(f"error: {said}", file=sys.stderr)
        sys.exit(code)


def judge(done: subprocess.CompletedProcess) -> Verdict:
    """What an exit code and the error output say."""
    said = done.stderr.strip()
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    if "Traceback (most recent" in said:
        return Verdict("traceback", said)
    if done.returncode == 0:
        return Verdict("ran", said)
    if done.returncode not in (MISTAKE, DIVERGED):
        return Verdict(f"code {done.returncode}", said)
    if len(errors) != 1:
        return Verdict(f"{len(errors)} sentences", said)
    if re.search(r"\b[A-Z]\w+(Error|Exception|Interrupt)\b", errors[0].partition("(traceback")[0]):
        return Verdict("unexplained", said)
    return Verdict("refused", said)


def run_case(warm: WarmProcess, words: list[str], steps: int, folder: Path) -> Verdict:
    """Run one case."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
    if steps:
        words = [*words, f"trainer.max_steps={steps}", f"output_dir={folder}"]
        command = [str(REPOSITORY / "train.py"), *TINY]
    else:
        command = ["-c", "import sys; from tests.fuzz import check_case; check_case(sys.argv[1:])", *TINY]
    try:
        return judge(warm.run([*command, *words], folder, environment, TIME_S))
    except subprocess.TimeoutExpired:
        return Verdict("hang", "")


def run_cases(warm: WarmProcess, seed: int, n: int, steps: int, folder: Path) -> Counter[str]:
    """Run `n` cases that are drawn from `seed`, print those that end badly; count all by how they end."""
    counts: Counter[str] = Counter()
    for words in draw_cases(seed, n):
        found = run_case(warm, words, steps, folder)
        counts[found.kind] += 1
        if found.kind not in GOOD:
            print(f"{found.kind}: {' '.join(map(repr, words))}\n    {found.said[-600:]}", flush=True)
    return counts


def fuzz(seed: int = 0, n: int = 500, steps: int = 0) -> None:
    """Run `n` cases that are drawn from `seed`; print what ends neither well nor in one sentence."""
    warm = WarmProcess(dict(os.environ))
    try:
        with tempfile.TemporaryDirectory() as folder:
            counts = run_cases(warm, seed, n, steps, Path(folder))
    finally:
        warm.end()
    print(", ".join(f"{count} {kind}" for kind, count in counts.most_common()))
    raise SystemExit(int(bool(counts.keys() - {*GOOD})))


if __name__ == "__main__":
    run_command(fuzz)
