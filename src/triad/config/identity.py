"""Which part of a configuration is mathematics, and which is the system that it runs on.

Mathematics is what changes the figures of a run by more than rounding: two runs of the same mathematics, code
and text must coincide, whatever the system. The system is the rest: how the work is laid out, callbacks that
only observe, names and places. What is not known to be system is taken for mathematics.
"""

from collections.abc import Iterator
from typing import Any

from triad.config.schema import read_attribute
from triad.storage.manifest import fingerprint

# groups below data/: what is done to documents
PREPARATION = ("clean", "privacy", "dedup", "contamination", "synthetic")
AUGMENTATION = ("augment",)  # the one for what training reads of them
MATHEMATICS = (
    *("model", "router", "task", "optimizer", "scheduler", "regularizer", "clip", "parametrisation"),
    *("finetuning", "batch", "decoding", "metrics"),
    *("data", *PREPARATION, *AUGMENTATION, "tokenizer", "precision"),
)
SYSTEM = ("strategy", "hardware", "engine", "logger", "tags", "output_dir", "run_id", "claim")
MIXED = ("trainer", "callbacks")  # groups that hold some of both
OVERLAYS = ("experiment", "debug")  # what they set is classified where it stands

TRAINER_SYSTEM = (
    *("_target_", "_partial_", "accelerator", "devices", "num_nodes", "log_every_n_steps", "deterministic"),
    *("num_sanity_val_steps", "enable_progress_bar", "enable_checkpointing", "enable_model_summary"),
    *("use_distributed_sampler", "benchmark", "inference_mode", "detect_anomaly"),
)
WHEN_VALIDATED = ("trainer.val_check_interval", "trainer.check_val_every_n_epoch")
PLACES = (  # of a text or tokenizer
    *("path", "val_path", "test_path", "url", "source", "target", "val_source", "val_target"),
    *("test_source", "test_target", "draft", "val_draft", "test_draft", "references"),
)


def is_mathematics(key: str, config: dict) -> bool:
    """Whether a key of a configuration, such as optimizer.lr, changes the figures of a run."""
    group, _, rest = key.partition(".")
    if group == "trainer":
        return rest not in TRAINER_SYSTEM and (key not in WHEN_VALIDATED or _acts_on_validations(config))
    if group == "callbacks":
        return not is_observer(config["callbacks"].get(rest.partition(".")[0]))
    return group not in SYSTEM


def is_place(key: str) -> bool:
    """Whether a key says where a text or tokenizer lies: of two runs on the same it is not mathematics."""
    group, _, name = key.partition(".")
    return group in ("data", "tokenizer") and name.rpartition(".")[2] in PLACES


def mathematics(config: dict) -> dict[str, Any]:
    """The keys that are mathematics, with their values; null is like absent."""
    return {key: value for key, value in leaves(config) if is_mathematics(key, config) and value is not None}


def system(config: dict) -> dict[str, Any]:
    """The keys that are system, without the run's own name and place; null is like absent."""
    named = {key: value for key, value in leaves(config) if key not in ("run_id", "output_dir")}
    return {
        key: value for key, value in named.items() if not is_mathematics(key, config) and value is not None
    }


def is_observer(callback: Any) -> bool:
    """Whether a callback's class declares `observer = True`: it changes no metric of the run."""
    return isinstance(callback, dict) and bool(read_attribute(callback.get("_target_", ""), "observer"))


def fingerprints(config: dict) -> dict[str, str]:
    """32 hexadecimal digits for each part."""
    return {"mathematics": fingerprint(mathematics(config)), "system": fingerprint(system(config))}


def find_differing(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Keys that do not have the same value in two of such parts."""
    return [key for key in {**old, **new} if old.get(key) != new.get(key)]


def find_changed_mathematics(old: dict, new: dict) -> list[str]:
    """Keys of the mathematics in which two configurations differ."""
    return find_differing(mathematics(old), mathematics(new))


def leaves(node: dict, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every key that holds a value and not further keys, dotted, with the value; lists are values."""
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _acts_on_validations(config: dict) -> bool:
    """Whether the schedule or a callback follows validations, so that their times change what is trained."""
    acting = [node for node in config.get("callbacks", {}).values() if not is_observer(node)]
    return any("monitor" in node for node in [*acting, config.get("scheduler", {})] if node)
