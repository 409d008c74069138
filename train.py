"""Triad: `python train.py model=moe strategy=fsdp`. Hydra composes, Lightning runs, PyTorch computes."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from triad.config.build import build, supply
from triad.launch.command import command
from triad.runs.directory import pin


def train(
    run: Path,
    seed: int,
    context: int,
    packed: bool,
    decay: list[str],
    tags: list[str],
    weights: str | None,
    **nodes: Any,
) -> None:
    """Build the parts that conf/ names, fit, validate. Every process of the run calls this alike."""
    from lightning.pytorch import Callback

    # torch is imported from here on: the configuration is known to be sound
    from triad.checkpoints.folder import complete
    from triad.data.documents import Documents
    from triad.data.pairs import Pairs
    from triad.data.token_files import prepare
    from triad.data.windows import Windows
    from triad.hardware.autotune import Measured
    from triad.hardware.device import device
    from triad.hardware.precision import for_trainer
    from triad.optim.update import Update
    from triad.schedules.batch_size import coupled
    from triad.storage.cache import home
    from triad.tasks.module import Training

    part = SimpleNamespace(**build(nodes))
    tokenizer = part.tokenizer(source=part.data, cache=home())
    tokens = prepare(part.data, tokenizer, home())
    pin(run, {"tokens": tokens.fingerprint, "tokenizer": tokenizer.fingerprint})
    if part.data.paired or part.data.labelled:
        rows = Pairs if part.data.paired else Documents
        data = rows(tokens, context, part.batch, seed, tokenizer.separator)
    else:
        data = Windows(tokens, context, part.batch, seed, packed)
    measured = Measured(home(), run, device(nodes["trainer"]["accelerator"]))
    precision = part.precision(measured)
    measured.note("precision", precision)
    part.hardware.settle(measured, part.model, data.batch_rows(0), context, precision)
    of_data = {"bytes_per_token": tokens.val.bytes_per_token, "labels": tokens.labels}
    training = Training(
        task=supply(part.task, of_data | {"vocab_size": tokenizer.vocab_size}),
        model=part.model,
        optimizer=part.optimizer,
        schedule=coupled(part.scheduler, part.batch, data.batch_rows),
        hardware=part.hardware,
        vocab_size=tokenizer.vocab_size,
        seed=seed,
        update=Update(part.regularizer, part.clip, part.parametrisation, decay),
        weights=None if complete(run / "checkpoints") else weights,  # a resumed run has its own
    )
    config = nodes | {
        "seed": seed,
        "context": context,
        "packed": packed,
        "decay": decay,
        "weights": weights,
    }
    offers = {
        "run": run,
        "tags": tags,
        "config": config,
        "tokenizer": tokenizer,
        "tokens": tokens,
        "context": context,
    }
    trainer = part.trainer(
        strategy=part.strategy,
        **for_trainer(precision),
        logger=[logger for node in part.logger.values() if (logger := supply(node, offers))],
        callbacks=[supply(node, offers) for node in part.callbacks.values()]
        + ([part.scheduler] if isinstance(part.scheduler, Callback) else []),  # one that watches validation
        default_root_dir=run,
    )
    trainer.fit(training, data)


if __name__ == "__main__":
    command(train)
