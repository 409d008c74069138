"""Forty ways in which a checkpoint can be wrong: each is one clear sentence, and nothing is executed."""

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import BytesStorageMetadata, MetadataIndex

from tests.checkpoints.written import written
from triad.checkpoints.folder import INDEX, find_checkpoint
from triad.checkpoints.tensors import read_weights
from triad.storage.manifest import MANIFEST, read_manifest, write_manifest

SHARD = "__0_0.distcp"
Harm = Callable[[Path], None]


class Bomb:
    """Whoever unpickles it leaves a file behind."""

    def __init__(self, place: Path, call: Callable = os.mkdir) -> None:
        self.place, self.call = place, call

    def __reduce__(self) -> tuple:
        return self.call, (f"open({str(self.place)!r}, 'w')" if self.call is eval else str(self.place),)


def truncated(name: str, part: float) -> Harm:
    def harm(path: Path) -> None:
        content = (path / name).read_bytes()
        (path / name).write_bytes(content[: int(len(content) * part)])

    return harm


def flipped(name: str, part: float) -> Harm:
    def harm(path: Path) -> None:
        content = bytearray((path / name).read_bytes())
        content[int((len(content) - 1) * part)] ^= 0x10
        (path / name).write_bytes(content)

    return harm


def missing(name: str) -> Harm:
    return lambda path: (path / name).unlink()


def renamed(name: str) -> Harm:
    return lambda path: (path / name).rename(path / f"{name}.bak") and None


def empty(name: str) -> Harm:
    return lambda path: (path / name).write_bytes(b"") and None


def a_folder(name: str) -> Harm:
    def harm(path: Path) -> None:
        (path / name).unlink()
        (path / name).mkdir()

    return harm


def of_the_other(name: str) -> Harm:
    return lambda path: shutil.copy(path.parent / "step-00000005" / name, path / name) and None


def manifest(content: str) -> Harm:
    return lambda path: (path / MANIFEST).write_text(content) and None


def resealed(name: str, content: Callable[[Path], bytes]) -> Harm:
    """Replaced by someone who knows how checksums are made."""

    def harm(path: Path) -> None:
        facts, _ = read_manifest(path)
        (path / name).write_bytes(content(path.parents[1]))
        (path / MANIFEST).unlink()
        write_manifest(path, facts)

    return harm


def facts_without(key: str) -> Harm:
    def harm(path: Path) -> None:
        facts, files = read_manifest(path)
        del facts[key]
        write_manifest(path, facts, files)

    return harm


def unlisted(path: Path) -> None:
    facts, _ = read_manifest(path)
    write_manifest(path, facts, {})


def bomb(call: Callable) -> Callable[[Path], bytes]:
    return lambda run: pickle.dumps(Bomb(run / "exploded", call))


def torch_bomb(run: Path) -> bytes:
    torch.save(Bomb(run / "exploded"), run / "bomb.pt")
    return (run / "bomb.pt").read_bytes()


def smuggled(path: Path) -> None:
    """An index that takes a tensor for an object, which torch would unpickle."""
    index = pickle.loads((path / INDEX).read_bytes())
    content = torch_bomb(path.parents[1])
    (path / "__1_0.distcp").write_bytes(content)
    index.state_dict_metadata["model.a"] = BytesStorageMetadata()
    index.storage_data = {key: value for key, value in index.storage_data.items() if key.fqn != "model.a"}
    index.storage_data[MetadataIndex("model.a")] = _StorageInfo("__1_0.distcp", 0, len(content))
    resealed(INDEX, lambda _: pickle.dumps(index))(path)


HARMS = (
    {
        f"{name} cut at {part}": truncated(name, part)
        for name in (SHARD, INDEX, MANIFEST)
        for part in (0.1, 0.5, 0.99)
    }
    | {f"{SHARD} with a flipped bit at {part}": flipped(SHARD, part) for part in (0, 0.1, 0.3, 0.5, 0.8, 1)}
    | {f"{INDEX} with a flipped bit at {part}": flipped(INDEX, part) for part in (0, 0.5, 1)}
    | {f"{MANIFEST} with a flipped bit at {part}": flipped(MANIFEST, part) for part in (0, 0.2, 0.4, 0.6)}
    | {f"{name} missing": missing(name) for name in (SHARD, INDEX, MANIFEST)}
    | {f"{name} renamed": renamed(name) for name in (SHARD, INDEX)}
    | {f"{name} empty": empty(name) for name in (SHARD, INDEX, MANIFEST)}
    | {f"{name} a folder": a_folder(name) for name in (SHARD, INDEX)}
    | {f"{name} of another step": of_the_other(name) for name in (SHARD, INDEX, MANIFEST)}
    | {
        f"{MANIFEST} says {content}": manifest(content)
        for content in ("{}", "[]", "null", '{"facts": {}, "files": []}')
    }
    | {f"nothing said of {key}": facts_without(key) for key in ("layout", "tensors", "config")}
    | {"no file listed": unlisted}
    | {
        f"{INDEX} a bomb of {call.__name__}": resealed(INDEX, bomb(call))
        for call in (os.mkdir, os.system, eval)
    }
    | {
        f"{INDEX} lets a bomb through": smuggled,
        f"{SHARD} a bomb": resealed(SHARD, bomb(os.mkdir)),
        f"{SHARD} a torch bomb": resealed(SHARD, torch_bomb),
    }
    | {
        f"{INDEX} no pickle": resealed(INDEX, lambda _: b"what?"),
        f"{SHARD} no shard": resealed(SHARD, lambda _: b"what?"),
    }
)


def test_there_are_forty_of_them() -> None:
    assert len(HARMS) >= 40


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS.keys())
def test_what_is_wrong_is_one_sentence_that_names_the_file_and_nothing_is_executed(
    tmp_path: Path, harm: Harm
) -> None:
    written(tmp_path, 5)
    path = written(tmp_path, 10)
    harm(path)
    with pytest.raises((ValueError, FileNotFoundError)) as raised:
        read_weights(find_checkpoint(tmp_path, 10))
    sentence = str(raised.value)
    assert "\n" not in sentence
    assert str(tmp_path) in sentence
    assert any(word in sentence for word in (SHARD, INDEX, MANIFEST, "checkpoint=10", "cannot be loaded"))
    assert not (tmp_path / "exploded").exists()


SEEN = {
    name: harm
    for name, harm in HARMS.items()
    if "bomb" not in name and not name.endswith(("no pickle", "no shard"))
}


@pytest.mark.parametrize("harm", SEEN.values(), ids=SEEN.keys())
def test_the_checkpoint_before_it_is_taken_and_that_is_said(tmp_path: Path, harm: Harm) -> None:
    good, bad = written(tmp_path, 5), written(tmp_path, 10)
    harm(bad)
    if (bad / MANIFEST).exists():
        with pytest.warns(UserWarning, match="step-00000010: .*trying the checkpoint before it"):
            assert find_checkpoint(tmp_path) == good
    else:  # never finished
        assert find_checkpoint(tmp_path) == good


def test_a_bomb_goes_off_where_nobody_is_careful(tmp_path: Path) -> None:
    """The bombs above are real."""
    pickle.loads(pickle.dumps(Bomb(tmp_path / "exploded")))
    assert (tmp_path / "exploded").exists()
    (tmp_path / "exploded").rmdir()
    path = written(tmp_path, 1)
    smuggled(path)
    dcp.load({"model": {"a": torch.zeros(30, 20)}}, checkpoint_id=path, no_dist=True)
    assert (tmp_path / "exploded").exists()
