"""A file is written whole or not at all: a reader, or a kill, never meets half of one."""

import os
from pathlib import Path

import pytest

from triad.config.compose import compose
from triad.runs.directory import Run
from triad.runs.start import prepare_run
from triad.storage.durable import replace, write


def test_a_write_that_is_killed_leaves_what_was_there(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "result.json"
    write(path, {"old": 1})

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", kill)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            write(path, {"new": 2})
        assert path.read_text() == '{\n "old": 1\n}\n'


def test_every_file_of_a_new_run_is_written_atomically(tmp_path: Path, monkeypatch) -> None:
    renamed, rename = set(), os.replace

    def note(old: Path, new: Path) -> None:
        renamed.add(Path(new).name)
        rename(old, new)

    monkeypatch.setattr(os, "replace", note)
    words = ["debug=tiny", "run_id=a", f"output_dir={tmp_path}", "trainer.accelerator=cpu"]
    run = prepare_run(compose(words), words, {"seed": []})
    run.pin(tokens="of the text")
    run.finish({"val/loss": 1.0})
    assert {path.name for path in run.path.iterdir()} == renamed
    assert run.config() == compose(words)
    assert Run(run.path).result() == {"val/loss": 1.0}


def test_text_is_replaced_as_it_is(tmp_path: Path) -> None:
    replace(tmp_path / "a", "ä\n")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == "ä\n".encode()
