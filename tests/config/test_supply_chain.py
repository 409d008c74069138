"""What is installed is what was tried: versions, hashes, and the right project of the index."""

import ast
import re
import tomllib

import pytest

from tests.conftest import REPOSITORY
from triad.config import locations
from triad.config.locations import tell_install
from triad.data import refusals

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
PIN = re.compile(r"^([\w.-]+)==([^\s;]+)", re.MULTILINE)


def normalise(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def read_pins(file: str) -> dict[str, str]:
    return {normalise(name): version for name, version in PIN.findall((REPOSITORY / file).read_text())}


def test_every_release_that_is_installed_has_hashes_and_no_url() -> None:
    text = (REPOSITORY / "hashes.txt").read_text()
    entries = [entry for entry in re.split(r"\n(?=\S)", text) if not entry.startswith("#")]
    assert len(entries) == len(read_pins("hashes.txt")) > 80
    for entry in entries:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}(\s|$)", entry), entry
    assert "://" not in text


def test_hashes_are_of_the_versions_of_constraints() -> None:
    constrained, hashed = read_pins("constraints.txt"), read_pins("hashes.txt")
    differing = {
        name: (constrained[name], hashed[name])
        for name in constrained.keys() & hashed
        if constrained[name] != hashed[name]
    }
    assert not differing, "run `make hashes`"
    asked = [re.match(r"[\w.-]+", line)[0] for line in (*PROJECT["dependencies"], *EXTRAS["dev"])]
    assert {normalise(name) for name in asked} <= hashed.keys() & constrained.keys()


@pytest.mark.parametrize("version", ["2.6.2", "2.6.3"])
def test_malicious_uploads_are_excluded(version: str) -> None:
    lines = [line for line in sum(EXTRAS.values(), PROJECT["dependencies"]) if line.startswith("lightning")]
    assert lines
    assert all(f"!={version}" in line for line in lines)


def test_no_message_sends_to_the_project_of_our_name_in_the_index() -> None:
    texts = {
        path: path.read_text()
        for folder in ("src", "conf", "docs", "benchmarks")
        for path in (REPOSITORY / folder).rglob("*")
        if path.suffix in (".py", ".yaml", ".md")
    }
    texts |= {path: path.read_text() for path in REPOSITORY.glob("*.md")}
    assert len(texts) > 300
    assert not [path for path, text in texts.items() if re.search(r"pip install (-\S+ )*['\"]?triad\b", text)]


def test_a_message_names_an_extra_that_is_there(monkeypatch) -> None:
    calls = [
        getattr(node.args[0], "value", None)
        for path in (REPOSITORY / "src").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "tell_install"
    ]
    named = {*calls} - {None} | {*refusals.EXTRAS.values()}  # of a call with a table in its place
    assert calls.count(None) == 1
    assert len(named) >= 3
    assert named <= EXTRAS.keys()
    assert tell_install("slurm") == f"pip install '.[slurm]' in {REPOSITORY}"
    monkeypatch.setattr(locations, "INSTALLED", True)
    assert tell_install("slurm") == "pip install '.[slurm]' in the checkout of Triad"
