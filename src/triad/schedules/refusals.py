"""Schedules of batch size and learning rate that do not fit their run, or what was trained of it before."""

from collections.abc import Callable

from triad.config.build import build
from triad.config.offers import get_declared
from triad.config.processes import count_memory_bytes, data_ranks, degree
from triad.config.refusals import Impossible
from triad.config.schema import is_class
from triad.schedules import batch_size
from triad.schedules.learning_rate import to_steps

TOLD = 0.02  # a change of the learning rate, relative to the higher one, that is told
SAMPLED = 500  # steps of what is left at which the rate is looked at
NOTHING = 0.01  # of the peak: a rate that trains hardly anything
TOKEN_BYTES = 16  # of a token and its target, int64


def batch_rule(config: dict) -> batch_size.Rule | None:
    """The rule of the batch's size, where it is one of ours. Raises ValueError if it contradicts itself."""
    node = config["batch"]
    module, _, name = node["_target_"].rpartition(".")
    if module != batch_size.__name__:
        return None
    return getattr(batch_size, name)(**{key: value for key, value in node.items() if not key.startswith("_")})


def make_rate(config: dict) -> Callable[[int], float] | None:
    """The learning rate as a function of the step, or None where the schedule is none of our functions.

    Without the coupling to the batch's size, which is as it was where a run goes on.
    """
    node, lr = config.get("scheduler") or {}, (config.get("optimizer") or {}).get("lr")
    target = node.get("_target_", "")
    if lr is None or not target.startswith(f"{__package__}.") or is_class(target):
        return None
    schedule = build(node)
    return lambda step: lr * schedule(step)


def describe_continuation(before: dict, now: dict, step: int) -> list[str]:
    """What becomes of the learning rate where a run goes on at a step, and other words that may be meant.

    Nothing where the two configurations have the same rate there.
    """
    rate_before, rate = make_rate(before), make_rate(now)
    if rate_before is None or rate is None:
        return []
    old, new, steps = rate_before(step), rate(step), now["trainer"]["max_steps"]
    if step >= steps or abs(new - old) <= TOLD * max(old, new):
        return []
    ended = " (its schedule ended)" if step >= before["trainer"]["max_steps"] else ""
    highest = max(map(rate, range(step, steps, max(1, (steps - step) // SAMPLED))))
    rising = f", rising to {highest:.3g}" if highest > (1 + TOLD) * new else ""
    said = f"learning rate: {old:.3g} at step {step:,}{ended}; {new:.3g} from here on{rising}"
    if now["scheduler"].get("from", 0) == step:
        return [said]
    lr = f"{old if old > NOTHING * before['optimizer']['lr'] else before['optimizer']['lr'] / 10:.3g}"
    return [
        f"{said}, or with",
        f"  scheduler=constant scheduler.from={step} optimizer.lr={lr}   that rate, to the end",
        f"  scheduler=linear scheduler.from={step} optimizer.lr={lr}     a new decay, from there",
    ]


def sizes(config: dict) -> list[int]:
    """The sizes of a run's batches, as far as they are known before its data is."""
    rule = batch_rule(config)
    return rule.sizes if rule else []


def has_size(config: dict, name: str) -> bool:
    """Whether the batch is that of conf/batch/<name>.yaml."""
    return config["batch"]["_target_"] == f"{batch_size.__name__}.{name}"


def cuts_sequences(config: dict) -> bool:
    """Whether the strategy divides the width of a batch, or its rows into a number of parts."""
    cut = max(degree(config, axis) for axis in ("context", "pipeline")) > 1
    return cut or bool(config["strategy"].get("sequence_parallel"))


def ends_before_last_size(config: dict) -> bool:
    """Whether a size of the batch begins after the end of the run."""
    rule, steps = batch_rule(config), config["trainer"]["max_steps"]
    return rule is not None and len(rule.sizes) > 1 and steps > 0 and not rule.reaches(steps)


def steps_of(config: dict, key: str) -> int:
    """A time of the schedule in steps: given as such, or below 1 as a fraction of the run."""
    return to_steps(config["scheduler"].get(key, 0), count_schedule_steps(config))


def count_schedule_steps(config: dict) -> int:
    """Steps of the run from the one on that its schedule begins at."""
    return config["trainer"]["max_steps"] - config["scheduler"].get("from", 0)


def overlap(config: dict) -> int:
    """The number of steps in which warm-up and decay overlap."""
    if not get_declared(config["scheduler"], "falls_at_the_end"):
        return 0
    steps = count_schedule_steps(config)
    return steps_of(config, "warmup") + round(config["scheduler"]["decay"] * steps) - steps


def validations(config: dict) -> int:
    """How often a run is validated before its end."""
    trainer = config["trainer"]
    if trainer.get("limit_val_batches") == 0:
        return 0
    return (trainer["max_steps"] - 1) // max(1, int(trainer["val_check_interval"] or trainer["max_steps"]))


def count_batch_bytes(config: dict) -> int:
    """Bytes of the tokens and targets of a process's largest batch, as far as it is known."""
    return max(sizes(config), default=0) // max(1, data_ranks(config)) * config["context"] * TOKEN_BYTES


def facts(config: dict) -> dict:
    """What the sentences below name, beside the configuration itself."""
    ranks, size = max(1, data_ranks(config)), config["batch"].get("size") or 1
    return {
        "rows": max(sizes(config), default=0),
        "batch_gigabytes": count_batch_bytes(config) / 1e9,
        "memory_gigabytes": count_memory_bytes() / 1e9,
        "overlap": overlap(config),
        "period": steps_of(config, "period"),
        "last_size": sizes(config)[-1] if sizes(config) else 0,
        "data_ranks": ranks,
        "window_rows": (config["batch"].get("tokens") or 0) // max(1, config["context"]),
        "near_batch": max(1, round(size / ranks)) * ranks,
        "uneven": ", ".join(str(rows) for rows in sizes(config) if rows % ranks),
    }


TABLE = [
    Impossible(
        "a step without rows",
        "batch.size=0",
        lambda c: any(size < 1 for size in sizes(c)),
        "batch.size={batch[size]}: a step needs at least one sequence",
    ),
    Impossible(
        "a batch that memory does not hold",
        "batch.size=10000000000",
        lambda c: count_batch_bytes(c) > count_memory_bytes(),
        "batch: {rows} rows of context={context} are {batch_gigabytes:.4g} GB of tokens in each process, and "
        "this machine has {memory_gigabytes:.0f} GB: lower batch.size or context",
    ),
    Impossible(
        "one row is one",
        "batch=one batch.size=4",
        lambda c: has_size(c, "one") and c["batch"]["size"] != 1,
        "batch=one has batch.size=1, not {batch[size]}: add batch.size=1, or use batch=fixed",
    ),
    Impossible(
        "every data-parallel rank needs the same number of rows",
        "strategy=ddp trainer.devices=3",
        lambda c: len(sizes(c)) == 1 and sizes(c)[0] % data_ranks(c) != 0,
        "batch.size={batch[size]} does not divide over {data_ranks} data-parallel processes: the nearest "
        "that does is {near_batch}",
    ),
    Impossible(
        "every data-parallel rank needs the same number of rows, however many there are",
        "strategy=ddp trainer.devices=2 trainer.accelerator=cpu batch=ramp batch.start=1 batch.increment=1",
        lambda c: len(sizes(c)) > 1 and any(size % data_ranks(c) for size in sizes(c)),
        "batch: sizes {uneven} do not divide over {data_ranks} data-parallel processes: use multiples of "
        "{data_ranks} for batch.size and all other sizes and increments",
    ),
    Impossible(
        "a batch that grows behind the end of the run",
        "batch=staged batch.then=[[2000,16]]",
        ends_before_last_size,
        "batch: {last_size} rows are not reached within trainer.max_steps={trainer[max_steps]}: make the run "
        "longer, or let them begin earlier (batch.over of a ramp, batch.then of stages)",
    ),
    Impossible(
        "rows of one length are counted",
        "batch=tokens",
        lambda c: (
            has_size(c, "tokens")
            and get_declared(c["data"], "yields") == "text"
            and "text" not in (get_declared(c["task"], "makes_rows") or ())
            and c["packing"] != "none"
        ),
        "batch=tokens is for rows of several lengths, and those of packing={packing} have context={context} "
        "tokens: use {window_rows} rows with batch=fixed, or packing=none",
    ),
    Impossible(
        "a row that no batch of so many tokens takes",
        "batch=tokens batch.tokens=100 packing=none",
        lambda c: has_size(c, "tokens") and c["batch"]["tokens"] < c["context"],
        "batch.tokens={batch[tokens]} is less than context={context}, the longest row there is: raise it",
    ),
    Impossible(
        "rows of any width do not divide into parts",
        "batch=tokens packing=none strategy=context trainer.devices=2 trainer.accelerator=cpu",
        lambda c: has_size(c, "tokens") and cuts_sequences(c),
        "batch=tokens has rows of any number and width, which context, pipeline and sequence parallelism do "
        "not divide: use batch=fixed, or strategy=fsdp",
    ),
    Impossible(
        "a whole training set does not go through a model at once",
        "batch=full",
        lambda c: (
            has_size(c, "full") and c["batch"]["size"] is None and c["hardware"]["micro_batch_size"] is None
        ),
        "batch=full would put the whole training set through the model at once: set "
        "hardware.micro_batch_size=8, say, or a smaller set by batch.size",
    ),
    Impossible(
        "a schedule that begins behind the end of the run",
        "scheduler.from=1000",
        lambda c: 0 < c["trainer"]["max_steps"] <= c["scheduler"].get("from", 0),
        "scheduler.from={scheduler[from]} is not below trainer.max_steps={trainer[max_steps]}",
    ),
    Impossible(
        "a warm-up longer than the run",
        "scheduler.warmup=5000",
        lambda c: 0 < count_schedule_steps(c) < c["scheduler"].get("warmup", 0) >= 1,
        "scheduler.warmup={scheduler[warmup]} is longer than trainer.max_steps={trainer[max_steps]}",
    ),
    Impossible(
        "a rate that rises and falls at once",
        "scheduler.warmup=600",
        lambda c: overlap(c) > 0,
        "scheduler.warmup={scheduler[warmup]} and scheduler.decay={scheduler[decay]} overlap in "
        "trainer.max_steps={trainer[max_steps]} by {overlap} steps: lower one, or make the run longer",
    ),
    Impossible(
        "a cycle longer than the run",
        "scheduler=cyclic scheduler.period=5000",
        lambda c: "period" in c["scheduler"] and not 2 <= steps_of(c, "period") <= count_schedule_steps(c),
        "scheduler.period={scheduler[period]} comes to {period} steps: a cycle takes from 2 to "
        "trainer.max_steps={trainer[max_steps]} of them",
    ),
    Impossible(
        "a plateau is seen by validating",
        "scheduler=plateau trainer.limit_val_batches=0",
        lambda c: "monitor" in c["scheduler"] and validations(c) < 1,
        "scheduler=plateau lowers the rate after a validation, and the run has none before its end: set "
        "trainer.val_check_interval below trainer.max_steps={trainer[max_steps]} and limit_val_batches "
        "above 0, or use scheduler=cosine",
    ),
]
