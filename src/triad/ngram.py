"""Count an n-gram model to compare trained models with: `python -m triad.ngram data=stdlib order=5`."""

import csv
import math
import time
from pathlib import Path
from typing import Any

from triad.config.identity import PREPARATION

GROUP = "Look before training"

ROOTS = (
    "data",
    *PREPARATION,
    "tokenizer",
    "run_id",
    "output_dir",
)  # keys of train.py's configuration used here
LARGEST = 50_000_000  # tokens to count


def ngram(overrides: list[str], order: int = 5, tokens: int = LARGEST) -> None:
    """Count the n-grams of the training tokens, and print what each order makes of the validation tokens.

    Interpolated modified Kneser-Ney (Chen and Goodman 1999), on the tokens that train.py would train on with
    the same words for `data=` and `tokenizer=`, and evaluated on the ones it validates on: all but the first,
    each with the `order` - 1 before it. Counting takes some 120 bytes of memory a token; of a longer text the
    first `tokens` count. Writes a run of its own: `python -m triad.compare` shows it beside trained models.
    """
    from triad.config import processes
    from triad.config.build import build
    from triad.config.command_line import key_of
    from triad.config.compose import compose
    from triad.config.errors import Refusal
    from triad.data.preparation import find_parts, prepare_source
    from triad.runs.directory import Run, make_run_id
    from triad.runs.start import write_passport
    from triad.storage.locks import hold

    for word in overrides:
        if key_of(word).replace("/", ".").split(".")[0] not in ROOTS:
            raise Refusal(f"{word}: counting n-grams takes order=, tokens= and words of {', '.join(ROOTS)}")
    if order < 1 or tokens < 1:
        raise Refusal(f"order={order} tokens={tokens}: at least 1 each")
    config = compose(overrides)
    run = Run(Path(config["output_dir"], config["run_id"] or make_run_id("ngram")))
    kept = {"order": order, "tokens": tokens} | {key: config[key] for key in ("task", "data", "tokenizer")}
    kept |= find_parts(config)
    if run.path.exists():
        raise Refusal(f"run_id={run.id}: {run} exists; choose another name or remove it")
    with hold(run.path):
        run.write_config(kept)
        write_passport(run, overrides, kept, processes.describe_machine(config))
        source = prepare_source(config, build({"data": config["data"]} | find_parts(config)))
        count_ngrams(run, order, tokens, source, build(config["tokenizer"]))


def count_ngrams(run: Any, order: int, most: int, source: Any, make_tokenizer: Any) -> None:
    """Count, evaluate, and write down what came of it."""
    from triad.analysis.kneser_ney import KneserNey
    from triad.config.directions import find_best
    from triad.data.rows import tokenize

    tokenizer, mixed = tokenize(source, make_tokenizer)
    if (tokens := mixed.sources.get("")) is None:
        raise ValueError(f"data={source.name}: n-grams are counted in one source; use one of the mixture's")
    validation = source.contents["val"].fingerprint
    run.pin(tokens=tokens.fingerprint, tokenizer=tokenizer.fingerprint, validation=validation)
    tokenizer.save(run.tokenizer)
    counted = tokens.train.tokens[:most]
    print(f"{len(counted):,} of {len(tokens.train.tokens):,} tokens, vocabulary {tokenizer.vocab_size:,}")
    since = time.perf_counter()
    model = KneserNey(counted, order, tokenizer.vocab_size)
    counted_s = time.perf_counter() - since
    losses = model.nats(tokens.val.tokens) / (len(tokens.val.tokens) - 1)
    print(f"counted in {counted_s:.1f} s, evaluated in {time.perf_counter() - since - counted_s:.1f} s")
    rows = [_compute_figures(loss, tokens.val.bytes_per_token) for loss in losses.tolist()]
    speed = {"perf/train_s": counted_s, "perf/tokens_per_s": len(counted) / counted_s}
    best = find_best(rows, lambda row: row["val/loss"], "lower")
    xz = {"xz/bits_per_byte": tokens.xz_bits_per_byte} if tokens.xz_bits_per_byte else {}
    _write(run.metrics_file, rows)
    run.finish(best | speed | {"order": order, "steps": 0} | xz)
    _show(model, rows)
    if xz:
        print(f"xz -9e   {tokens.xz_bits_per_byte:.4g} bits per byte of the same validation text")
    print(f"run      {run}")


def _compute_figures(loss: float, bytes_per_token: float) -> dict[str, float]:
    bits = loss / (math.log(2) * bytes_per_token)
    return {"val/loss": loss, "val/perplexity": math.exp(loss), "val/bits_per_byte": bits}


def _write(path: Path, rows: list[dict[str, float]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["step", "order", *rows[0]])
        writer.writeheader()
        writer.writerows({"step": 0, "order": order, **row} for order, row in enumerate(rows, 1))


def _show(model: Any, rows: list[dict[str, float]]) -> None:
    from triad.config.tables import print_table

    levels = enumerate(zip(model.levels, rows, strict=True), 1)
    cells = [
        [str(order), f"{len(level.keys):,}", *(f"{value:.5g}" for value in row.values())]
        for order, (level, row) in levels
    ]
    print_table(["order", "n-grams", *rows[0]], cells)


if __name__ == "__main__":
    from triad.config.command_line import run_command

    run_command(ngram)
