import json
import signal
import subprocess
import sys
import time

import pytest

from triad.storage.cache import build_once
from triad.storage.locks import lock
from triad.storage.manifest import fingerprint

SLOW_BUILD = """
import sys, time
from pathlib import Path
from triad.storage.cache import build_once

def build(folder):
    with (Path(sys.argv[1]).parent / "builds").open("a") as log:
        log.write("built\\n")
    (folder / "data").write_text("whole")
    time.sleep(float(sys.argv[2]))
    return {"answer": 42}

print(build_once(Path(sys.argv[1]), build)["answer"])
"""


def start_build(folder, seconds):
    command = [sys.executable, "-c", SLOW_BUILD, str(folder), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def write_two(folder):
    (folder / "a").write_bytes(b"alpha" * 100)
    (folder / "b").write_bytes(b"beta" * 100)
    return {"files": 2}


def refuse(folder):
    raise AssertionError("was built again")


def test_a_complete_folder_is_not_built_again(tmp_path):
    assert build_once(tmp_path / "x", write_two) == {"files": 2}
    assert build_once(tmp_path / "x", refuse) == {"files": 2}


def test_four_processes_build_once_and_all_get_the_result(tmp_path):
    processes = [start_build(tmp_path / "x", 0.5) for _ in range(4)]
    assert [process.communicate()[0].strip() for process in processes] == ["42"] * 4
    assert (tmp_path / "builds").read_text() == "built\n"


def test_a_process_that_waits_for_another_s_build_says_so_once(tmp_path):
    with lock(tmp_path / "x"):
        process = start_build(tmp_path / "x", 0)
        assert process.stderr.readline() == f"{tmp_path / 'x'}: another process makes it; waiting\n"
    assert process.communicate() == ("42\n", "")


def test_a_build_killed_in_the_middle_leaves_nothing_that_counts_as_complete(tmp_path):
    process = start_build(tmp_path / "x", 60)
    while not list(tmp_path.glob("x.*.tmp/data")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "x").exists()
    assert build_once(tmp_path / "x", write_two) == {"files": 2}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["builds", "x", "x.lock"]


def test_a_build_that_fails_leaves_nothing_and_says_why(tmp_path):
    def fail(folder):
        (folder / "a").write_text("half")
        raise ValueError("no more text")

    with pytest.raises(ValueError, match="no more text"):
        build_once(tmp_path / "x", fail)
    assert [path.name for path in tmp_path.iterdir()] == ["x.lock"]


def flip_a_bit(folder):
    data = bytearray((folder / "a").read_bytes())
    data[17] ^= 1
    (folder / "a").write_bytes(data)


def change_a_fact(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["facts"]["files"] = 3
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (flip_a_bit, "a has a wrong checksum"),
        (lambda folder: (folder / "b").unlink(), "b is missing"),
        (lambda folder: (folder / "b").write_bytes(b"short"), "b has 5 bytes instead of 400"),
        (lambda folder: (folder / "manifest.json").unlink(), "manifest.json cannot be read"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "manifest.json cannot be read"),
        (change_a_fact, "manifest.json is damaged"),
    ],
)
def test_a_damaged_folder_is_built_again_with_a_warning_that_names_it(tmp_path, harm, words):
    build_once(tmp_path / "x", write_two)
    harm(tmp_path / "x")
    with pytest.warns(UserWarning, match=f"x: {words}"):
        assert build_once(tmp_path / "x", write_two) == {"files": 2}
    assert (tmp_path / "x" / "b").read_bytes() == b"beta" * 100
    build_once(tmp_path / "x", refuse)


def test_a_fingerprint_tells_how_its_parts_are_cut():
    assert fingerprint("ab", "c") != fingerprint("a", "bc")
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
