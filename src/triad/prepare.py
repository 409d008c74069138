"""Clean, mask and deduplicate a text: `python -m triad.prepare data=text data.path=books/ data/clean=web`."""

from collections.abc import Iterator
from typing import Any

from triad.config.identity import PREPARATION

ROOTS = ("data", "tokenizer", *PREPARATION, "engine")  # the groups that are used here
WIDTH = 80  # characters of a line in a file
LISTED = 10  # labels, conflicts and suspicions
SHOWN = 60  # characters of a text that an example shows


def prepare(overrides: list[str], examples: bool = False) -> None:
    """Prepare the documents that train.py would train on with the same words, and print what was done.

    `data/clean=`, `data/privacy=`, `data/dedup=` and `data/contamination=` choose what is done; training does
    the same where it has not been done before. The product lies in $TRIAD_CACHE, its manifest beside it. Text
    is shown with examples=true only. A split without documents is no error here; training needs both.
    """
    from rich.console import Console

    from triad.config.build import build
    from triad.config.compose import compose_parts
    from triad.data.preparation import NothingLeft, find_parts, make_preparation
    from triad.data.preparation import prepare as prepare_product

    console = Console(markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(width=WIDTH, markup=False, emoji=False)
    config = compose_parts(overrides, ROOTS)
    preparation = make_preparation(config, build(find_parts(config)))

    def prepare_one(source: Any) -> Any:
        if preparation.empty:
            show_source(source, console)
            show_skipped(source.skipped, console)
            show_labels(source, console)
            return source
        try:
            product = prepare_product(source, preparation)
        except NothingLeft as error:
            show_steps(error.facts, console)
            show_skipped(error.facts["skipped"], console)
            raise
        show_steps(product.facts, console)
        show_skipped(product.facts["skipped"], console)
        show_found(product.facts, console)
        show_labels(product.source, console)
        _print(console, f"product  {product.folder}")
        if examples:
            show_examples(source, preparation, product.facts, console)
        return product.source

    show_tokens(build(config["data"]).map(prepare_one), config, console)


def show_source(source: Any, console: Any) -> None:
    """What there is: documents and bytes of each split."""
    from rich.table import Table

    table = Table("split", "documents", "MB", "labels", title=f"data={source.name}, as it is")
    for split, contents in source.contents.items():
        labels = len(contents.labels)
        table.add_row(split, f"{contents.documents:,}", f"{contents.bytes / 1e6:.3f}", str(labels or "-"))
    console.print(table)
    console.print(
        "Nothing is done to it: data/clean=basic, data/privacy=mask and others do.", highlight=False
    )


def show_skipped(reasons: dict[str, int], console: Any) -> None:
    """How many records were left out as they were read, by reason."""
    from triad.data.sources.malformed import describe_skipped

    if reasons:
        _print(console, describe_skipped(reasons))


def show_found(facts: dict[str, Any], console: Any) -> None:
    """The figures of each search, and the items of an evaluation set that stand in documents, by name."""
    for name, found in facts["found"].items():
        numbers = {key: value for key, value in found.items() if isinstance(value, int | float)}
        shown = ", ".join(f"{key.replace('_', ' ')} {value:,.6g}" for key, value in numbers.items())
        _print(console, f"{name}: {shown}")
        for item, document, split in found.get("hits", ()):
            _print(console, f"{name}: {item} stands in {document} of {split}")


def show_tokens(source: Any, config: dict, console: Any) -> None:
    """The vocabulary and the tokens of each split; they are made where they are missing."""
    from triad.config.build import build
    from triad.data.rows import tokenize

    for split, contents in source.contents.items():
        if not contents.documents:
            return _print(console, f"tokens are not made: {source.tell_no_text(split)}")
    try:
        tokenizer, tokens = tokenize(source, build(config["tokenizer"]))
    except ValueError as error:  # as of a vocabulary that a small text does not fill: the product is there
        _print(console, f"tokens are not made: {error}")
        return
    for name, each in tokens.sources.items():
        of_source = f"{name}, " if name else ""
        for split in (each.train, each.val):
            size = f"{split.size:,} tokens, {split.bytes_per_token:.2f} bytes each"
            of_split = f"{of_source}{split.split}"
            _print(console, f"tokens of {of_split}: {size}, of {len(split.documents):,} documents")
            if tokenizer.unknown is not None and (unknown := (split.tokens == tokenizer.unknown).sum()):
                _print(console, f"unknown tokens of {of_split}: {unknown:,}, so bits per byte leave some out")
        _print(console, f"vocabulary {tokenizer.vocab_size:,}; tokens lie in {each.train.folder}")


def show_labels(source: Any, console: Any) -> None:
    """Of labelled documents the balance, and what is doubtful: conflicts and suspicious labels by name."""
    if source.yields != "labels":
        return
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from triad.data.labels import Labelled, check_labels

    def read() -> Iterator[Labelled]:
        for split in source.contents:
            for document in source.stream(split):
                yield split, document.name, document.text, document.label

    with TemporaryDirectory() as workspace:
        report = check_labels(read, Path(workspace))
    for split, balance in report.facts["balance"].items():
        shown = ", ".join(f"{label} {number:,}" for label, number in list(balance.items())[:LISTED])
        more = f" and {len(balance) - LISTED} more" if len(balance) > LISTED else ""
        _print(console, f"labels of {split}: {shown}{more}")
    for fault in report.facts["faults"]:
        _print(console, f"labels: {fault}")
    for conflict in report.conflicts[:LISTED]:
        _print(console, f"one text, labels {' and '.join(conflict.labels)}: {', '.join(conflict.names)}")
    for one in report.suspicious[:LISTED]:
        _print(console, f"suspicious: {one.name} is {one.label}, its words say {one.likely}")
    if len(report.suspicious) > LISTED:
        _print(console, f"suspicious: {len(report.suspicious) - LISTED} more")


def _print(console: Any, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def show_steps(facts: dict[str, Any], console: Any) -> None:
    """A line for each filter and search: what came, stayed, was changed, was dropped and by which rule."""
    from rich.table import Table

    for split, steps in facts["steps"].items():
        if not (came := facts["came"][split]):
            _print(console, f"data={facts['source']}, {split}: no documents")
            continue
        stayed = facts["stayed"][split]
        table = Table(
            "part", "came", "changed", "dropped", "stayed", title=f"data={facts['source']}, {split}"
        )
        for step in steps:
            dropped = sum(step["dropped"].values())
            numbers = (step["came"], step["changed"], dropped, step["came"] - dropped)
            table.add_row(step["name"], *(f"{number:,}" for number in numbers))
            for rule, number in sorted(step["dropped"].items(), key=lambda pair: -pair[1]):
                table.add_row(f"  {rule}", "", "", f"{number:,}", "", style="dim")
        for name, found in facts["found"].items():
            table.add_row(name, "", "", f"{found['dropped'][split]:,}", "")
        megabytes = [size.get("bytes", 0) / 1e6 for size in (came, stayed)]
        table.caption = (
            f"{came['units']:,} documents, {megabytes[0]:.3f} MB came, "
            f"{stayed.get('units', 0):,}, {megabytes[1]:.3f} MB stayed"
        )
        console.print(table)
        for step in steps:
            for what, names in step["examples"].items():
                line = f"  {step['name']} {what}: {', '.join(names)}"
                console.print(line, style="dim", markup=False, overflow="ellipsis", no_wrap=True)


def show_examples(source: Any, preparation: Any, facts: dict[str, Any], console: Any) -> None:
    """The beginning of what was dropped, and the first difference of what was changed."""
    from triad.data.filtering import find_examples

    found = find_examples(source, preparation.filters, facts["steps"])
    for split, filter_name, what, name, before, after in found:
        console.print(f"\n{split} {filter_name} {what}: {name}", highlight=False, markup=False)
        begin = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), 0)
        begin = max(0, begin - SHOWN // 3)
        console.print(f"  - {before[begin : begin + SHOWN]!r}", highlight=False, markup=False)
        if after:
            console.print(f"  + {after[begin : begin + SHOWN]!r}", highlight=False, markup=False)


if __name__ == "__main__":
    from triad.config.command_line import run_command

    run_command(prepare)
