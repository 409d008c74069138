"""Clean, mask and deduplicate a text: `python -m triad.prepare data=text data.path=books/ data/clean=web`."""

from collections.abc import Iterator
from typing import Any

from triad.config.identity import PREPARATION
from triad.config.tables import open_console, print_table

GROUP = "Look before training"

ROOTS = ("data", "tokenizer", *PREPARATION, "engine")  # the groups that are used here
LISTED = 10  # labels, conflicts and suspicions
SHOWN = 60  # characters of a text that an example shows


def prepare(overrides: list[str], examples: bool = False) -> None:
    """Prepare the documents that train.py would train on with the same words, and print what was done.

    `data/clean=`, `data/privacy=`, `data/dedup=` and `data/contamination=` choose what is done; training does
    the same where it has not been done before. The product lies in $TRIAD_CACHE, its manifest beside it. Text
    is shown with examples=true only. A split without documents is no error here; training needs both.
    """
    from triad.config.build import build
    from triad.config.compose import compose_parts
    from triad.data.preparation import NothingLeft, find_parts, make_preparation
    from triad.data.preparation import prepare as prepare_product

    config = compose_parts(overrides, ROOTS)
    preparation = make_preparation(config, build(find_parts(config)))

    def prepare_one(source: Any) -> Any:
        if preparation.empty:
            show_source(source)
            show_skipped(source.skipped)
            show_labels(source)
            return source
        try:
            product = prepare_product(source, preparation)
        except NothingLeft as error:
            show_steps(error.facts)
            show_skipped(error.facts["skipped"])
            raise
        show_steps(product.facts)
        show_skipped(product.facts["skipped"])
        show_found(product.facts)
        show_labels(product.source)
        print(f"product: {product.folder}")
        if examples:
            show_examples(source, preparation, product.facts)
        return product.source

    show_tokens(build(config["data"]).map(prepare_one), config)


def show_source(source: Any) -> None:
    """What there is: documents and bytes of each split."""
    rows = [
        [split, f"{found.documents:,}", f"{found.bytes / 1e6:.3f}", str(len(found.labels) or "-")]
        for split, found in source.contents.items()
    ]
    print_table(["split", "documents", "MB", "labels"], rows, f"data={source.name}, as it is")
    print("Nothing is done to it: data/clean=basic, data/privacy=mask and others do.")


def show_skipped(reasons: dict[str, int]) -> None:
    """How many records were left out as they were read, by reason."""
    from triad.data.sources.malformed import describe_skipped

    if reasons:
        print(describe_skipped(reasons))


def show_found(facts: dict[str, Any]) -> None:
    """The figures of each search, and the items of an evaluation set that stand in documents, by name."""
    for name, found in facts["found"].items():
        numbers = {key: value for key, value in found.items() if isinstance(value, int | float)}
        shown = ", ".join(f"{key.replace('_', ' ')} {value:,.6g}" for key, value in numbers.items())
        print(f"{name}: {shown}")
        for item, document, split in found.get("hits", ()):
            print(f"{name}: {item} stands in {document} of {split}")


def show_tokens(source: Any, config: dict) -> None:
    """The vocabulary and the tokens of each split; they are made where they are missing."""
    from triad.config.build import build
    from triad.data.rows import tokenize

    for split, contents in source.contents.items():
        if not contents.documents:
            return print(f"tokens are not made: {source.tell_no_text(split)}")
    try:
        tokenizer, tokens = tokenize(source, build(config["tokenizer"]))
    except ValueError as error:  # as of a vocabulary that a small text does not fill: the product is there
        print(f"tokens are not made: {error}")
        return
    for name, each in tokens.sources.items():
        of_source = f"{name}, " if name else ""
        for split in (each.train, each.val):
            size = f"{split.size:,} tokens, {split.bytes_per_token:.2f} bytes each"
            of_split = f"{of_source}{split.split}"
            print(f"tokens of {of_split}: {size}, of {len(split.documents):,} documents")
            if tokenizer.unknown is not None and (unknown := (split.tokens == tokenizer.unknown).sum()):
                print(f"unknown tokens of {of_split}: {unknown:,}, so bits per byte leave some out")
        print(f"vocabulary {tokenizer.vocab_size:,}; tokens lie in {each.train.folder}")


def show_labels(source: Any) -> None:
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
        print(f"labels of {split}: {shown}{more}")
    for fault in report.facts["faults"]:
        print(f"labels: {fault}")
    for conflict in report.conflicts[:LISTED]:
        print(f"one text, labels {' and '.join(conflict.labels)}: {', '.join(conflict.names)}")
    for one in report.suspicious[:LISTED]:
        print(f"suspicious: {one.name} is {one.label}, its words say {one.likely}")
    if len(report.suspicious) > LISTED:
        print(f"suspicious: {len(report.suspicious) - LISTED} more")


def show_steps(facts: dict[str, Any]) -> None:
    """A line for each filter and search: what came, stayed, was changed, was dropped and by which rule."""
    for split, steps in facts["steps"].items():
        if not (came := facts["came"][split]):
            print(f"data={facts['source']}, {split}: no documents")
            continue
        stayed = facts["stayed"][split]
        rows = []
        for step in steps:
            dropped = sum(step["dropped"].values())
            numbers = (step["came"], step["changed"], dropped, step["came"] - dropped)
            rows.append([step["name"], *(f"{number:,}" for number in numbers)])
            for rule, number in sorted(step["dropped"].items(), key=lambda pair: -pair[1]):
                rows.append([f"  {rule}", "", "", f"{number:,}", ""])
        for name, found in facts["found"].items():
            rows.append([name, "", "", f"{found['dropped'][split]:,}", ""])
        megabytes = [size.get("bytes", 0) / 1e6 for size in (came, stayed)]
        caption = (
            f"{came['units']:,} documents, {megabytes[0]:.3f} MB came, "
            f"{stayed.get('units', 0):,}, {megabytes[1]:.3f} MB stayed"
        )
        header = ["part", "came", "changed", "dropped", "stayed"]
        print_table(header, rows, f"data={facts['source']}, {split}", caption)
        for step in steps:
            for what, names in step["examples"].items():
                line = f"  {step['name']} {what}: {', '.join(names)}"
                open_console().print(line, style="dim", overflow="ellipsis", no_wrap=True)


def show_examples(source: Any, preparation: Any, facts: dict[str, Any]) -> None:
    """The beginning of what was dropped, and the first difference of what was changed."""
    from triad.data.filtering import find_examples

    found = find_examples(source, preparation.filters, facts["steps"])
    for split, filter_name, what, name, before, after in found:
        print(f"\n{split} {filter_name} {what}: {name}")
        begin = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), 0)
        begin = max(0, begin - SHOWN // 3)
        print(f"  - {before[begin : begin + SHOWN]!r}")
        if after:
            print(f"  + {after[begin : begin + SHOWN]!r}")


if __name__ == "__main__":
    from triad.config.command_line import run_command

    run_command(prepare)
