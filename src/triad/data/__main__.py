"""Show what a training batch is made of: `python -m triad.data show=12345`."""

from rich.console import Console
from rich.table import Table

from triad.config.build import build
from triad.config.command_line import run_command
from triad.config.compose import compose


def show(show: int, overrides: list[str]) -> None:
    """List the documents of training batch `show`: name, offset and beginning of each row's text.

    Takes the same words as train.py: `python -m triad.data show=3 data=text data.path=books/ context=128`.
    """
    from triad.data.preparation import find_parts, prepare_source
    from triad.data.rows import make_datamodule, tokenize
    from triad.data.show import describe_batch

    config = compose(overrides)
    source = prepare_source(config, build({"data": config["data"]} | find_parts(config)))
    batch = build(config["batch"])
    if source.yields != "text" or batch.tokens:
        raise ValueError(f"data={source.name}: its rows come by length, not as windows of a text")
    tokenizer, tokens = tokenize(source, build(config["tokenizer"]))
    data = make_datamodule(
        source,
        tokens,
        tokenizer.separator,
        config["context"],
        batch,
        config["seed"],
        config["packing"],
        config["shuffle"],
    )
    table = Table("row", "document", "token", "byte", "text")
    rows = describe_batch(
        tokens.train, tokenizer, data.train, data.batch_rows, data.rule.first, data.seed, show
    )
    for row in rows:
        table.add_row(
            str(row.row), row.document, str(row.token_offset), str(row.byte_offset), repr(row.preview)
        )
    Console(markup=False, emoji=False).print(table)


if __name__ == "__main__":
    run_command(show)
