"""Documents cleaned, masked, deduplicated and checked, kept as a product that training reads.

prepared-<hash>/train.jsonl.gz     a document a line: name, text, label
                val.jsonl.gz       the same for validation
                manifest.json      sizes and checksums; where the documents come from, every part with all of
                                   its arguments, and what each did

The hash is of the documents, their licence, the parts with their arguments, their code and the packages that
they run on: what would be another product has another name.
"""

import gzip
import hashlib
import io
import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from triad.data.filtering import (
    Cleaned,
    Step,
    Unit,
    clean_chunk,
    count_units,
    cut_chunks,
    gather,
    read_chunks,
    read_units,
)
from triad.data.local_processes import LocalProcesses
from triad.data.progress import show_progress
from triad.data.sources.malformed import describe_skipped
from triad.data.sources.source import Document, Source, Split
from triad.storage.cache import build_once, cache_home
from triad.storage.manifest import Facts, checksum, fingerprint, fingerprint_source

FORMAT = 1
SPLITS: tuple[Split, ...] = ("train", "val")
SEARCHES = ("dedup", "contamination")
PARTS = ("clean", "privacy", "synthetic", *SEARCHES)
ENGINE = "engine"  # runs the parts; what it is changes no product
FILES = ("preparation.py", "filtering.py", "word_hashes.py", "contamination.py")
CODE = (*FILES, *(f"{name}/*.py" for name in PARTS))
Texts = Callable[[], Iterator[tuple[Split, str, str]]]  # split, name and text of each document, read anew


class Found(Protocol):
    """What a search over all documents found: those that go, and facts for the manifest."""

    @property
    def dropped(self) -> Mapping[tuple[Split, str], Any]: ...

    @property
    def facts(self) -> dict[str, Any]: ...


class Search(Protocol):
    """A part that looks at all documents together, such as deduplication."""

    def find_dropped(self, documents: Texts, workspace: Path) -> Found:
        """Name the documents that go; files in `workspace` may be left there."""
        ...


class Synthetic(Protocol):
    """A part that makes further pairs for training, such as back-translation."""

    @property
    def files(self) -> list[tuple[str, Path]]: ...

    def read_pairs(self) -> Iterator[tuple[str, str]]:
        """Source and target of each."""
        ...

    def mark(self, source: str) -> str:
        """What stands in the place of a source that is kept."""
        ...


class Engine(Protocol):
    """What calls a function of a chunk, in this process or in others."""

    def map(
        self, work: Callable[[list[Unit]], Cleaned], read: Callable[[], Iterator[list[Unit]]]
    ) -> Iterator[Cleaned]:
        """The values for all chunks, in their order; an error is raised as in this process."""
        ...


@dataclass(frozen=True)
class Preparation:
    """What is done to documents, in this order. With nothing to do a source stays as it is.

    `clean["filters"]` are functions of a text, or of both sides of a pair (triad.data.clean.drop); `privacy`
    is a function of a text, too; pairs of `synthetic` come behind those of training, through the same
    filters. `nodes` are what these were built from: the parts' names and arguments. Whatever the `engine`
    is, the product is the same to the byte.
    """

    clean: dict[str, Any] | None
    privacy: Callable[[str], str] | None
    synthetic: Synthetic | None
    dedup: Search | None
    contamination: Search | None
    nodes: dict[str, Any]
    engine: Engine = field(default_factory=LocalProcesses)

    @property
    def filters(self) -> dict[str, Callable[..., Any]]:
        """The functions of a text or pair by their keys, in their order."""
        filters = {
            f"clean.filters.{name}": one for name, one in (self.clean or {}).get("filters", {}).items()
        }
        return {key: one for key, one in (filters | {"privacy": self.privacy}).items() if one}

    @property
    def searches(self) -> dict[str, Search]:
        return {name: search for name in SEARCHES if (search := getattr(self, name))}

    @property
    def empty(self) -> bool:
        return not (self.filters or self.searches or self.synthetic)

    def describe(self) -> dict[str, Any]:
        """Every part with its arguments, the versions of its packages, and what it compares with."""
        made = {"synthetic": self.synthetic} if self.synthetic else {}
        parts = self.filters | made | self.searches
        return {key: self._describe_part(key, part) for key, part in parts.items()}

    def _describe_part(self, key: str, part: Any) -> dict[str, Any]:
        node: Any = self.nodes
        for step in key.split("."):
            node = node[step]
        declared = part.func if isinstance(part, partial) else part
        packages = {name: version(name) for name in getattr(declared, "packages", ())}
        described = {"call": node, "packages": packages, "contents": getattr(part, "contents", None)}
        package = sys.modules[(getattr(declared, "__module__", None) or "builtins").partition(".")[0]]
        places = [*getattr(package, "__path__", []), getattr(package, "__file__", None)]
        if package.__name__ == __name__.partition(".")[0] or not places[0]:
            return described
        return described | {"code": fingerprint_source(Path(places[0]))}  # of one's own package


class NothingLeft(ValueError):
    """A preparation that leaves no document of a split, in one sentence; `facts` is what its parts did."""

    def __init__(self, sentence: str, facts: Facts) -> None:
        super().__init__(sentence)
        self.facts = facts


def find_parts(config: dict[str, Any]) -> dict[str, Any]:
    """The nodes of a configuration that prepare documents; none where nothing is to be done."""
    return {name: config[name] for name in (*PARTS, ENGINE) if config.get(name)}


def make_preparation(config: dict[str, Any], built: dict[str, Any]) -> Preparation:
    """The preparation that a configuration asks for, of its parts as they were built."""
    parts: dict[str, Any] = {name: built.get(name) for name in PARTS}
    engine = built.get(ENGINE) or LocalProcesses()
    return Preparation(**parts, nodes=find_parts(config), engine=engine)


class Product(NamedTuple):
    """Prepared documents, the folder they lie in, and what its manifest says."""

    source: Source
    folder: Path
    facts: Facts


def prepare_source(config: dict[str, Any], built: dict[str, Any]) -> Source:
    """The documents of a configuration, as its preparation leaves them: from the cache if they lie there.

    `built` are its parts, the source among them.
    """
    source, preparation = built["data"], make_preparation(config, built)
    for split in SPLITS:
        if not source.contents[split].documents and not source.is_test_only:
            raise ValueError(source.tell_no_text(split))
    if preparation.empty:
        return source
    return source.map(lambda one: prepare(one, preparation).source)


def prepare(source: Source, preparation: Preparation) -> Product:
    """The product of a source and a preparation, from the cache when it was made before.

    Raises NothingLeft where nothing is left of a split that had documents, naming what dropped most.
    """
    if not any(contents.documents for contents in source.contents.values()):
        raise ValueError(source.tell_no_text("train"))
    origin = {
        "format": FORMAT,
        "source": source.name,
        "yields": source.yields,
        "licence": source.licence,
        "contents": {split: source.contents[split][:2] for split in SPLITS},
        "parts": preparation.describe(),
        "code": fingerprint_code(),
    }
    folder = cache_home() / f"prepared-{fingerprint(origin)}"
    facts = build_once(folder, partial(_build, source, preparation, origin))
    files = {split: folder / f"{split}.jsonl.gz" for split in SPLITS}
    return Product(replace(source, read=partial(read_product, files)), folder, facts)


def fingerprint_code() -> str:
    """Of the source of all that decides what a product holds."""
    root = Path(__file__).parent
    files = sorted({file for pattern in CODE for file in root.glob(pattern)})
    return fingerprint(*((file.relative_to(root).as_posix(), checksum(file)) for file in files))


def read_product(files: dict[Split, Path], split: Split) -> Iterator[Document]:
    """The documents of a product. Raises ValueError for a file that is damaged."""
    try:
        with gzip.open(files[split]) as lines:
            for line in lines:
                yield Document(*json.loads(line.decode("utf-8", "surrogatepass")))
    except (EOFError, OSError, ValueError) as error:
        raise ValueError(
            f"{files[split]}: damaged ({error}); remove its folder, it will be made again"
        ) from None


def _build(source: Source, preparation: Preparation, origin: dict[str, Any], folder: Path) -> Facts:
    filters = preparation.filters
    steps = {split: [Step(name) for name in filters] for split in SPLITS}
    sizes: dict[str, dict[Split, Counter[str]]] = {
        when: {split: Counter() for split in SPLITS} for when in ("came", "stayed")
    }
    total = sum(source.contents[split].bytes for split in SPLITS)
    with show_progress(f"preparing {source.name}", total) as advance:
        for split in SPLITS:
            work = partial(clean_chunk, filters)
            cleaned = preparation.engine.map(work, partial(read_chunks, source, split))
            kept = gather(cleaned, steps[split], sizes["came"][split], advance)
            if preparation.synthetic and split == "train":
                made = map(work, cut_chunks(_make_units(preparation.synthetic)))
                made = gather(made, steps[split], sizes["came"][split], lambda _: None)
                kept = chain(kept, (_mark(unit, preparation.synthetic) for unit in made))
            _write(folder / f"{split}.jsonl.gz", count_units(kept, sizes["stayed"][split]))
    files: dict[Split, Path] = {split: folder / f"{split}.jsonl.gz" for split in SPLITS}
    found: dict[str, Any] = {}
    files_of_text = [*source.files, *(preparation.synthetic.files if preparation.synthetic else ())]
    for name, search in preparation.searches.items():
        # a split without documents is refused below, by the name of what emptied it
        full = [split for split in SPLITS if sizes["stayed"][split]["units"]]
        kept = replace(source, read=partial(read_product, files))
        found[name] = _search(name, search, kept, full, folder, sizes["stayed"])
    if source.skipped:
        print(f"data={source.name}: {describe_skipped(source.skipped)}", file=sys.stderr)
    facts = origin | {
        "skipped": source.skipped,
        "files": [[name, _hash_file(path)] for name, path in files_of_text],
        **sizes,
        "steps": {split: [vars(step) for step in steps[split]] for split in SPLITS},
        "found": found,
    }
    for split in SPLITS:
        if sizes["came"][split] and not sizes["stayed"][split]["units"]:
            raise NothingLeft(_tell_empty(source, split, steps[split], found), facts)
    return json.loads(json.dumps(facts))


def _make_units(synthetic: Synthetic) -> Iterator[Unit]:
    for number, pair in enumerate(synthetic.read_pairs(), 1):
        names = (f"synthetic:{number}:source", f"synthetic:{number}:target")
        yield Unit(names, ("", ""), pair)


def _mark(unit: Unit, synthetic: Synthetic) -> Unit:
    source, target = unit.texts
    return unit._replace(texts=(synthetic.mark(source), target))


def _search(
    name: str,
    search: Search,
    source: Source,
    splits: list[Split],
    folder: Path,
    stayed: dict[Split, Counter[str]],
) -> dict[str, Any]:
    """Take out what a search drops; what it says of it."""
    total = sum(stayed[split]["bytes"] for split in splits)

    def read_texts() -> Iterator[tuple[Split, str, str]]:
        with show_progress(f"{name} of {source.name}", total) as advance:
            for split in splits:
                for unit in read_units(source, split):
                    yield split, unit.name, "\n".join(unit.texts)
                    advance(unit.bytes)

    workspace = folder / "workspace"
    workspace.mkdir()
    found = search.find_dropped(read_texts, workspace)
    gone = dict.fromkeys(SPLITS, 0)
    if found.dropped:
        for split in splits:
            size: Counter[str] = Counter()
            kept = (unit for unit in read_units(source, split) if (split, unit.name) not in found.dropped)
            _write(folder / f"{split}.partial", count_units(kept, size))
            (folder / f"{split}.partial").replace(folder / f"{split}.jsonl.gz")
            gone[split] = stayed[split]["units"] - size["units"]
            stayed[split] = size
    facts = {"dropped": gone} | {key: value for key, value in found.facts.items() if key != "dropped"}
    shutil.rmtree(workspace)
    return facts


def _write(path: Path, units: Iterable[Unit]) -> None:
    """Documents as lines of JSON; the same ones are the same bytes at any time and place."""
    with (
        path.open("wb") as file,
        gzip.GzipFile("", "wb", 1, file, mtime=0) as packed,
        io.TextIOWrapper(packed, "utf-8", "surrogatepass", newline="\n") as lines,
    ):
        for unit in units:
            for name, text, label in zip(unit.names, unit.texts, unit.labels, strict=True):
                row = [name, text, label]
                lines.write(json.dumps(row, ensure_ascii=False) + "\n")


def _hash_file(path: Path) -> str:
    """SHA-256, as publishers give it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _tell_empty(source: Source, split: Split, steps: list[Step], found: dict[str, Any]) -> str:
    gone = {step.name: step.dropped.total() for step in steps}
    gone |= {name: facts["dropped"][split] for name, facts in found.items()}
    most = max(gone, key=lambda name: gone[name])
    rules = next((step.dropped for step in steps if step.name == most), Counter())
    rule = f", {rules.most_common(1)[0][1]} of them by {rules.most_common(1)[0][0]}" if rules else ""
    return (
        f"data={source.name}: nothing is left of the {split} split; {most} dropped {gone[most]} of "
        f"{sum(gone.values())} documents{rule}: change it, leave it out with ~{most}, or give more documents"
    )
