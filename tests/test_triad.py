"""`triad <command>`: the console script, in a checkout and installed."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from triad.config.commands import list_commands


def triad(*words: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "triad", *words], capture_output=True, text=True, timeout=240, **options
    )


def test_alone_it_lists_every_command_with_a_line() -> None:
    listed = triad()
    assert listed.returncode == 0
    shown = dict(line.split(maxsplit=1) for line in listed.stdout.splitlines()[1:] if line.startswith("  "))
    assert shown.keys() == list_commands().keys() >= {"train", "compare", "data", "verify", "sweep"}
    assert not [purpose for purpose in shown.values() if "python" in purpose or len(purpose) < 10]


def test_a_command_is_the_module_of_its_name() -> None:
    done, same = triad("curves", "--help"), [sys.executable, "-m", "triad.curves", "--help"]
    assert done.stdout == subprocess.run(same, capture_output=True, text=True).stdout
    assert "usage: triad curves" in done.stdout
    assert triad("data", "--help").stdout.startswith("List the documents")


def test_an_unknown_command_is_answered_with_the_nearest() -> None:
    done = triad("compar")
    assert (done.returncode, done.stderr) == (2, "error: triad compar is no command; did you mean compare?\n")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a wheel of the project holds, unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    done = subprocess.run([*build, "-w", str(folder), str(REPOSITORY)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site-packages")
    return folder / "site-packages"


def test_an_installed_triad_trains_in_an_empty_folder(
    installed: Path, text: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    words = ["debug=tiny", "trainer.max_steps=2", "data=text", f"data.path={text}", "run_id=a", "logger=csv"]
    empty = tmp_path / "empty"
    empty.mkdir()
    alone = environment | {"PYTHONPATH": str(installed)}
    done = triad("train", *words, cwd=empty, env=alone)
    assert done.returncode == 0, done.stderr
    assert (empty / "outputs" / "a" / "result.json").is_file()
    resumed = triad("train", "resume=outputs/a", "trainer.max_steps=3", cwd=empty, env=alone)
    assert resumed.returncode == 0, resumed.stderr
    code = (
        "import triad; from triad.config import locations; from triad.runs import start\n"
        "print(locations.INSTALLED, len(start.read_versions()) > 8, start.fingerprint_code(),"
        " triad.load('outputs/a')[1].vocab_size)"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=empty, env=alone, capture_output=True, text=True)
    here = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}
    same = "from triad.runs.start import fingerprint_code; print(fingerprint_code())"
    ours = subprocess.run([sys.executable, "-c", same], env=here, capture_output=True, text=True).stdout
    assert said.stdout.split()[:3] == ["True", "True", ours.strip()], said.stderr
    shipped = {path.name for path in (installed / "triad" / "share" / "sweeps").glob("*.yaml")}
    assert shipped == {path.name for path in (REPOSITORY / "sweeps").glob("*.yaml")}
