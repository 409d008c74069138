"""A file is written whole or not at all: a reader, or a kill, never meets half of one."""

import os
import resource
from pathlib import Path

import pytest

from triad.config.compose import compose
from triad.config.messages import DISK, report_error
from triad.data.tokenizers.char import Char
from triad.data.tokenizers.tokenizer import load_tokenizer
from triad.runs.directory import Run
from triad.runs.start import prepare_run
from triad.storage.durable import replace, write


def test_a_write_that_is_killed_leaves_what_was_there(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "result.json"
    write(path, {"old": 1})

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


def test_a_disk_that_is_full_from_the_start_is_named_by_the_file_and_has_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    path, limits = tmp_path / "config.yaml", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, limits[1]))
    try:
        with pytest.raises(OSError, match=r"config\.yaml") as raised:
            replace(path, "x" * 4096)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not [*tmp_path.iterdir()]
    assert report_error(raised.value) == DISK
    assert f"error: {path}: File too large" in capsys.readouterr().err


def test_a_tokenizer_is_complete_or_absent_and_one_that_is_damaged_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, tokenizer = tmp_path / "tokenizer", Char("abc")
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", kill)
        with pytest.raises(KeyboardInterrupt):
            tokenizer.save(folder)
    assert not folder.exists()
    folder.mkdir()  # as an older version left it
    for content in (None, "", '{"kind": "char"}'):
        if content is not None:
            (folder / "tokenizer.json").write_text(content)
        tokenizer.save(folder)
        assert load_tokenizer(folder).fingerprint == tokenizer.fingerprint
        assert [path.name for path in tmp_path.iterdir()] == ["tokenizer"]
    written = folder.stat().st_ino
    tokenizer.save(folder)
    assert folder.stat().st_ino == written


def kill(*_: object) -> None:
    raise KeyboardInterrupt
