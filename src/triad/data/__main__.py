"""Show what a training batch is made of: `python -m triad.data show=12345`."""

from triad.config.build import build
from triad.config.command_line import run_command
from triad.config.compose import compose
from triad.config.errors import Refusal
from triad.config.tables import print_table
from triad.runs.directory import Run

GROUP = "Look before training"


def show(show: int, overrides: list[str], run: str | None = None) -> None:
    """List the documents of training batch `show`: name, offset and beginning of each row's text.

    Takes the same words as train.py: `python -m triad.data show=3 data=text data.path=books/ context=128`;
    or `run=outputs/<run_id>`, which may have been resumed with another mixture.
    """
    from triad.data.preparation import find_parts, prepare_source
    from triad.data.refusals import makes_rows
    from triad.data.rows import make_datamodule, tokenize
    from triad.data.show import describe_batch

    if run and overrides:
        raise Refusal(f"{overrides[0]}: run={run} shows what that run reads; leave one of them out")
    shown = Run(run) if run else None
    config = shown.config() if shown else compose(overrides)
    source = prepare_source(config, build({"data": config["data"]} | find_parts(config)))
    batch = build(config["batch"])
    if source.yields != "text" or batch.tokens or makes_rows(config):
        raise ValueError(f"data={source.name}: its rows come by length, not as windows of a text")
    tokenizer, tokens = tokenize(source, build(config["tokenizer"]), shown.tokenizer if shown else None)
    tokens = tokens.resume(shown.pinned()["tokens"] if shown else None, show)
    seed = config["seed"]
    dials = (config["context"], batch, seed, config["packing"], config["shuffle"])
    data = make_datamodule(source, tokens, tokenizer.separator, *dials)
    files = {name: each.train for name, each in tokens.sources.items()}
    of_mixture = ["source"] if "" not in files else []
    cells = []
    for row in describe_batch(files, tokenizer, data.train, data.batch_rows, data.find_first, seed, show):
        named = [str(row.row), *([row.source] if row.source else []), row.document]
        cells.append([*named, str(row.token_offset), str(row.byte_offset), repr(row.preview)])
    print_table(["row", *of_mixture, "document", "token", "byte", "text"], cells)


if __name__ == "__main__":
    run_command(show)
