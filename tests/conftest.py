"""What the tests share: running train.py as a user does, in a folder of its own, with one cache."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.warm import REPOSITORY, WarmProcess

Run = Callable[..., subprocess.CompletedProcess]


@pytest.fixture(autouse=True)
def unbounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is printed is as wide as it takes, also where a shell or pytest's workers export a width."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of token files for all tests of a session, in whichever worker they run."""
    alone = "PYTEST_XDIST_WORKER" not in os.environ
    return tmp_path_factory.mktemp("cache") if alone else tmp_path_factory.getbasetemp().parent / "cache"


@pytest.fixture(scope="session")
def environment(cache: Path) -> dict[str, str]:
    """One thread per process, so that sums are taken in one order."""
    loud = ("WANDB", "COLUMNS", "LINES")
    quiet = {name: value for name, value in os.environ.items() if not name.startswith(loud)}
    return quiet | {"TRIAD_CACHE": str(cache), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def warm(environment: dict[str, str]) -> Iterator[WarmProcess]:
    """Where runs are forked."""
    process = WarmProcess(environment)
    yield process
    process.end()


@pytest.fixture
def python(warm: WarmProcess, tmp_path: Path, environment: dict[str, str]) -> Run:
    """Run `python word ...` in the test's folder."""

    def run(
        *words: str, code: int | None = 0, timeout: int = 240, **changes: str
    ) -> subprocess.CompletedProcess:
        done = warm.run(list(words), tmp_path, environment | changes, timeout)
        assert code is None or done.returncode == code, done.stdout + done.stderr
        return done

    return run


@pytest.fixture
def train(python: Run) -> Run:
    """Run `python train.py` with some words; its runs are written to <tmp_path>/outputs."""

    def run(*words: str, code: int | None = 0, timeout: int = 240) -> subprocess.CompletedProcess:
        return python(str(REPOSITORY / "train.py"), *words, code=code, timeout=timeout)

    return run


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A small corpus that is quick to tokenise and has structure to learn."""
    path = tmp_path / "corpus.txt"
    path.write_text("".join(f"{n} squared is {n * n}; its half is {n // 2}.\n" for n in range(3000)))
    return path
