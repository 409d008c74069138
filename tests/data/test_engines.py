"""Whoever cleans the documents, the product is the same; whatever ends it, nothing half-made is left."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import pytest

from tests.warm import REPOSITORY, drop_stages
from triad.config.build import build
from triad.config.compose import compose
from triad.data import filtering, local_processes, preparation
from triad.data.preparation import Preparation, find_parts, make_preparation
from triad.data.sources.source import Source

IMPORT = f"import sys; sys.path[:0] = {[str(REPOSITORY), str(Path(__file__).parent)]}\n"
IMPORT += "import test_engines as tests\n"
WORDS = ("trainer.accelerator=cpu", "data/clean=words", "data/privacy=mask", "~clean.filters.encoding")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIAD_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def several(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes from the first chunk on, and many chunks."""
    monkeypatch.setattr(filtering, "CHUNK", 300)
    monkeypatch.setattr(local_processes, "ALONE", 1)
    monkeypatch.setattr(local_processes, "count_cores", lambda: 2)


def write_lines(folder: Path) -> Path:
    path = folder / "lines.jsonl"
    kept = [f"document {i} many\x00, ask 192.0.2.{i % 90 + 10}, é{'e' * (i % 7)}" for i in range(200)]
    texts = [*kept[:90], *["the a of"] * 20, *kept[90:], *kept[:30]]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def configure(path: Path, *words: str) -> tuple[Source, Preparation]:
    config = compose(["data=text", f"data.path={path}", *WORDS, *words])
    return build(config["data"]), make_preparation(config, build(find_parts(config)))


def prepare_into(cache: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> dict[str, bytes]:
    """The files of a product, by name, that is made in a cache of its own."""
    monkeypatch.setenv("TRIAD_CACHE", str(cache))
    product = preparation.prepare(*configure(*words))
    return {product.folder.name: b""} | {file.name: file.read_bytes() for file in product.folder.iterdir()}


def end_here(text: str) -> str:
    """A filter that kills the process that it runs in, if that has a parent."""
    if parent_process():
        os.kill(os.getpid(), signal.SIGKILL)
    return text


def refuse(text: str) -> str:
    if text.startswith("document 150 "):
        raise ValueError(f"clean.filters.refuse: cannot read {text[:12]!r}")
    return text


def wait_here(folder: str, text: str) -> str:
    """A filter that does not come to an end."""
    Path(folder, str(os.getpid())).touch()
    signal.pause()
    return text


def with_filter(prepared: Preparation, apply: Callable[[str], str]) -> Preparation:
    node = {"_target_": "none"}
    nodes = prepared.nodes | {"clean": {"filters": {"one": node}}, "privacy": None}
    return Preparation({"filters": {"one": apply}}, None, None, None, None, nodes)


def test_a_product_is_the_same_to_the_byte_however_many_processes_make_it(
    several: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_lines(tmp_path)
    words = (path, "data/dedup=exact")
    assert len([*filtering.read_chunks(configure(path)[0], "train")]) > 10
    shared = prepare_into(tmp_path / "two", monkeypatch, *words)
    monkeypatch.setattr(local_processes, "count_cores", lambda: 1)
    alone = prepare_into(tmp_path / "one", monkeypatch, *words)
    monkeypatch.setattr(filtering, "CHUNK", 1 << 20)
    whole = prepare_into(tmp_path / "whole", monkeypatch, *words)
    assert shared == alone == whole
    assert {"manifest.json", "train.jsonl.gz", "val.jsonl.gz"} < shared.keys()


@pytest.mark.slow
def test_a_product_of_ray_is_the_same_to_the_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own, as importing Ray warns."""
    pytest.importorskip("ray", reason="of the extra `ray`")
    path = write_lines(tmp_path)
    script = (
        "import ray, sys; from pathlib import Path; from triad.data import filtering, preparation\n"
        "from triad.config.build import build; from triad.config.compose import compose\n"
        "ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)\n"
        "filtering.CHUNK = 300\n"
        "config = compose(sys.argv[1:])\n"
        "parts = build(preparation.find_parts(config))\n"
        "made = preparation.make_preparation(config, parts)\n"
        "assert type(made.engine).__name__ == 'RayData'\n"
        "folder = preparation.prepare(build(config['data']), made).folder\n"
        "def read(): yield [1]; raise ValueError('line 2: not JSON')\n"
        "try: [*made.engine.map(lambda chunk: chunk[0] / chunk[0], read)]\n"
        "except ValueError as error: said = str(error)\n"
        "assert said == 'line 2: not JSON'\n"
        "try: [*made.engine.map(lambda chunk: 1 / chunk[0], lambda: iter([[1], [0]]))]\n"
        "except ZeroDivisionError as error: print(folder)"
    )
    words = ["data=text", f"data.path={path}", *WORDS, "data/dedup=exact", "data/engine=ray"]
    environment = os.environ | {"TRIAD_CACHE": str(tmp_path / "ray"), "PYTHONPATH": str(REPOSITORY / "src")}
    command = [sys.executable, "-c", script, *words]
    printed = subprocess.check_output(command, text=True, env=environment, timeout=280)
    folder = Path(printed.splitlines()[-1])
    theirs = {folder.name: b""} | {file.name: file.read_bytes() for file in folder.iterdir()}
    assert theirs == prepare_into(tmp_path / "local", monkeypatch, path, "data/dedup=exact")


def test_an_engine_is_no_mathematics_and_no_part_of_most_runs() -> None:
    from triad.config.identity import mathematics

    config = compose(["trainer.accelerator=cpu"])
    assert "engine" not in config
    assert mathematics(config) == mathematics(config | {"engine": {"_target_": "x", "address": "auto"}})


def test_an_error_of_another_process_is_raised_as_in_this_one(several: None, tmp_path: Path) -> None:
    source, prepared = configure(write_lines(tmp_path))
    with pytest.raises(ValueError, match="cannot read 'document 150'") as error:
        preparation.prepare(source, with_filter(prepared, refuse))
    assert error.traceback[-1].name == "refuse"  # so the sentence, and who is at fault, are the same
    assert not [*(tmp_path / "cache").glob("*.tmp")]


def test_a_process_that_is_killed_is_one_sentence(several: None, tmp_path: Path) -> None:
    source, prepared = configure(write_lines(tmp_path))
    with pytest.raises(ChildProcessError, match="was killed, most likely for want of memory"):
        preparation.prepare(source, with_filter(prepared, end_here))
    assert not [*(tmp_path / "cache").glob("*.tmp")]


@pytest.fixture
def start(tmp_path: Path) -> Any:
    """A command in a group of its own that cleans with two other processes and does not come to an end."""
    (tmp_path / "waiting").mkdir()
    script = f"""{IMPORT}
import signal
from functools import partial
from triad.config.command_line import run_command
from triad.data import filtering, local_processes, preparation

def prepare():
    filtering.CHUNK, local_processes.ALONE, local_processes.count_cores = 300, 0, lambda: 2
    source, prepared = tests.configure({str(write_lines(tmp_path))!r})
    wait = partial(tests.wait_here, {str(tmp_path / "waiting")!r})
    preparation.prepare(source, tests.with_filter(prepared, wait))

signal.signal(signal.SIGINT, signal.default_int_handler)  # however the tests were started
run_command(prepare)
"""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}
    (tmp_path / "script.py").write_text(script)  # which does its work wherever it is imported
    command = [sys.executable, str(tmp_path / "script.py")]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    ) as process:
        while len(found := [*(tmp_path / "waiting").iterdir()]) < 2:
            assert process.poll() is None, process.communicate()[1]
        yield process, [int(file.name) for file in found]
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def is_alive(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_ctrl_c_ends_all_processes_and_leaves_nothing(start: Any, tmp_path: Path) -> None:
    process, others = start
    os.killpg(process.pid, signal.SIGINT)
    assert drop_stages(process.communicate(timeout=60)[1]) == ["interrupted"]
    assert process.returncode == 130
    assert not any(map(is_alive, others))
    assert not [*(tmp_path / "cache").glob("prepared-*.tmp")]


def test_when_the_first_process_is_killed_the_others_end(start: Any, tmp_path: Path) -> None:
    process, others = start
    process.send_signal(signal.SIGKILL)
    process.wait()
    while any(map(is_alive, others)):
        pass


KILL = """
import os, signal, sys
from triad.data import filtering, preparation
from triad.data.dedup import exact
from triad.storage import cache

def end(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

where = sys.argv[1]
if where == "cleaning":
    seen = iter(range(60))
    clean = filtering.clean_unit
    filtering.clean_unit = lambda *words: clean(*words) if next(seen, None) is not None else end()
elif where == "searching":
    exact.find_repeated = end
elif where == "rewriting":
    write = preparation._write
    preparation._write = lambda path, units: end() if path.suffix == ".partial" else write(path, units)
elif where == "naming":
    name = cache.write_manifest
    cache.write_manifest = lambda folder, facts: end() if "prepared" in folder.name else name(folder, facts)
preparation.prepare(*tests.configure(sys.argv[2], "data/dedup=exact"))
"""


@pytest.mark.parametrize("where", ["cleaning", "searching", "rewriting", "naming"])
def test_a_preparation_that_was_killed_starts_again(
    where: str, tmp_path: Path, python: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, cache = write_lines(tmp_path), tmp_path / "cache"
    words = ("-c", IMPORT + KILL, where, str(path))
    python(*words, code=-signal.SIGKILL, TRIAD_CACHE=str(cache))
    made = [path for path in cache.glob("prepared-*") if path.is_dir()]
    assert [path.suffix for path in made] == [".tmp"]
    assert prepare_into(cache, monkeypatch, path, "data/dedup=exact") == prepare_into(
        tmp_path / "fresh", monkeypatch, path, "data/dedup=exact"
    )
    assert not [*cache.glob("*.tmp")]


FULL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))
from triad.config.command_line import run_command
from triad.data import preparation

def prepare(path: str):
    preparation.prepare(*tests.configure(path, "privacy.kinds=[email]"))

run_command(prepare)
"""


def test_a_full_disk_leaves_the_last_product_and_nothing_half_written(
    tmp_path: Path, python: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, cache = write_lines(tmp_path), tmp_path / "cache"
    before = prepare_into(cache, monkeypatch, path)
    done = python("-c", IMPORT + FULL, f"path={path}", code=34, TRIAD_CACHE=str(cache))
    assert done.stderr.endswith(": File too large\n")
    assert done.stderr.count("\n") == 1
    assert not [*cache.glob("*.tmp")]
    assert prepare_into(cache, monkeypatch, path) == before


def test_a_search_says_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for name in ("LINE_S", "SHARE"):
        monkeypatch.setattr(f"triad.data.progress.{name}", -1.0)
    preparation.prepare(*configure(write_lines(tmp_path), "data/dedup=exact"))
    said = capsys.readouterr().err.splitlines()
    assert any(line.startswith("preparing text: ") and " left, " in line for line in said)
    assert any(line.startswith("dedup of text: ") and ", 0:00 left, " in line for line in said)


def test_ray_that_is_not_installed_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "triad.data.refusals.find_spec", lambda package: None if package == "ray" else package
    )
    with pytest.raises(
        ValueError, match=r"engine needs the package ray: pip install '\.\[ray\]'.*data/engine=local"
    ):
        compose(["trainer.accelerator=cpu", "data/clean=basic", "data/engine=ray"])
