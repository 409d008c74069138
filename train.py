"""Train a model: `python train.py model=moe strategy=fsdp`.

Hydra composes, Lightning runs, PyTorch computes.
"""

from types import SimpleNamespace
from typing import Any, Literal

from triad.config.build import build, supply, supply_all
from triad.launch.command import compose_and_launch
from triad.layers.ranges import NonNegativeInt, PositiveFloat, PositiveInt
from triad.runs.directory import Run

GROUP = "Train"


def train(
    run: Run,
    seed: NonNegativeInt,
    context: PositiveInt,
    pad_vocab_to_multiple_of: PositiveInt,
    packing: Literal["windows", "documents", "best_fit", "none"],
    shuffle: Literal["every_epoch", "once", "repeat"],
    decay: list[str],
    tags: list[str],
    weights: str | None,
    epochs: PositiveFloat | None = None,
    **nodes: Any,
) -> None:
    """Build the parts that conf/ names, fit, validate. Every process of the run calls this alike."""
    from lightning.pytorch import Callback

    from triad.callbacks.acceptance import Acceptance

    # torch is imported from here on: the configuration is known to be sound
    from triad.callbacks.interruption import Interruption
    from triad.checkpoints.folder import list_complete, read_step
    from triad.checkpoints.trained import find_sees, make_task, refuse_other_tokens
    from triad.data.preparation import prepare_source
    from triad.data.rows import make_datamodule, tokenize
    from triad.hardware.autotune import Measured
    from triad.hardware.precision import make_plugin
    from triad.optim.update import Update
    from triad.schedules.batch_size import couple_to_batch
    from triad.tasks.module import Training

    part = SimpleNamespace(**build(nodes))
    part.data = prepare_source(nodes, vars(part))
    complete, before = list_complete(run.checkpoints), run.pinned() if run.data_file.is_file() else {}
    tokenizer, tokens = tokenize(part.data, part.tokenizer, run.tokenizer)
    refuse_other_tokens(None if complete else weights, tokenizer)
    tokens = tokens.resume(before.get("tokens"), read_step(complete[-1]) if complete else 0)
    facts: dict[str, Any] = {"vocab_size": tokenizer.vocab_size, "labels": tokens.labels}
    facts |= {"bytes_per_token": tokens.val.bytes_per_token, "yields": part.data.yields}
    prints = {"tokens": tokens.fingerprint, "tokenizer": tokenizer.fingerprint}
    run.pin(tokens.resumed, **prints, facts=facts, validation=part.data.contents["val"].fingerprint)
    task = make_task(vars(part), facts, tokenizer, context)
    order = part.batch, seed, packing, shuffle
    asked = nodes["task"] | {"model_sees": find_sees(part.model)}
    data = make_datamodule(part.data, tokens, tokenizer.separator, context, *order, task, asked)
    if epochs:  # this start only counts: the run gets a number of steps
        return run.finish(data.count_steps(epochs))
    measured = Measured.of_run(run.machine_file, nodes["trainer"]["accelerator"])
    precision = part.hardware.settle(measured, part.precision, part.model, data.batch_rows(0), context)
    offers = {"run": run, "config": run.arguments(), "tags": tags, "context": context}
    offers = offers | {"tokenizer": tokenizer, "tokens": tokens}
    loggers = supply_all(part.logger, offers)  # W&B begins beside the rest
    schedule = couple_to_batch(part.scheduler, part.batch, data.batch_rows)
    update = Update(part.regularizer, part.clip, part.parametrisation, decay, part.finetuning)
    start = None if complete else weights  # a resumed run has its own
    augment = supply(vars(part).get("augment"), {"tokenizer": tokenizer, "context": context})
    sizes = tokenizer.vocab_size, seed, update, start, pad_vocab_to_multiple_of
    training = Training(task, part.model, part.optimizer, schedule, part.hardware, *sizes, augment)
    watching = [part.scheduler] if isinstance(part.scheduler, Callback) else []
    trainer = part.trainer(
        strategy=part.strategy,
        logger=loggers,
        callbacks=[*supply_all(part.callbacks, offers), *watching, Acceptance(run), Interruption()],
        plugins=[make_plugin(precision, measured.device)],
        default_root_dir=run.path,
    )
    trainer.fit(training, data)


if __name__ == "__main__":
    compose_and_launch(train)
