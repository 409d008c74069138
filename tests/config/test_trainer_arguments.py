"""Each argument of Lightning's Trainer passes on, or is refused with the word to use instead."""

import inspect
import re
import subprocess
import sys

import pytest
from lightning.pytorch import Trainer

from triad.config.compose import compose
from triad.config.errors import Refusal
from triad.config.trainer_arguments import ARGUMENTS, find_trainer_faults

# Found to be ignored, or to end in an exception of Lightning's that names no key.
REFUSED = [
    ("precision", 16, "use precision=bf16-mixed"),
    ("strategy", "ddp", "use strategy=ddp"),
    ("logger", True, "use logger=csv"),
    ("callbacks", [], "use callbacks="),
    ("plugins", [], "use precision="),
    ("default_root_dir", "x", "use output_dir="),
    ("gradient_clip_val", 1.0, "use clip=norm clip.largest="),
    ("gradient_clip_algorithm", "value", "use clip=norm, value"),
    ("accumulate_grad_batches", 4, "hardware.micro_batch_size"),
    ("max_epochs", 1, "use epochs=..., or trainer.max_steps"),
    ("min_epochs", 1, "use epochs=..., or trainer.max_steps"),
    ("max_time", "00:00:05:00", "a time such as 5min"),
    ("limit_train_batches", 3, "use epochs=..., or trainer.max_steps"),
    ("check_val_every_n_epoch", 1, "use trainer.val_check_interval"),
    ("fast_dev_run", True, "use debug=tiny"),
    ("fast_dev_run", 1, "use debug=tiny"),
    ("num_sanity_val_steps", 2, "debug=tiny"),
    ("profiler", "simple", "perf/"),
    ("barebones", True, "use callbacks=[] logger=[]"),
    ("use_distributed_sampler", True, "batch k follows from seed and step"),
    ("enable_checkpointing", True, "use callbacks.checkpoint"),
    ("limit_val_batches", 0.5, "a whole number of batches, at least 0, or null"),
    ("limit_val_batches", 0.0001, "a whole number of batches"),
    ("limit_val_batches", 1.0, "a whole number of batches"),
    ("limit_val_batches", -1, "a whole number of batches"),
    ("overfit_batches", 0.5, "a whole number of batches"),
    ("overfit_batches", -1, "a whole number of batches"),
    ("val_check_interval", 0, "a whole number of steps, at least 1"),
    ("val_check_interval", 1.0, "a whole number of steps, at least 1"),
    ("val_check_interval", 0.25, "a whole number of steps"),
    ("val_check_interval", -3, "a whole number of steps"),
    ("val_check_interval", None, "a whole number of steps"),
    ("val_check_interval", "00:00:01:00", "a whole number of steps"),
    ("val_check_interval", {"minutes": 3}, "a whole number of steps"),
    ("val_check_interval", float("inf"), "a whole number of steps"),
    ("log_every_n_steps", 0, "a whole number of steps, at least 1"),
    ("num_nodes", 0, "a number of machines"),
]


def test_the_table_has_every_argument_of_the_installed_trainer_and_no_other() -> None:
    assert ARGUMENTS.keys() == inspect.signature(Trainer.__init__).parameters.keys() - {"self"}


@pytest.mark.parametrize(("name", "value", "instead"), REFUSED)
def test_what_would_be_ignored_or_fail_is_refused_with_the_word_to_use(
    name: str, value: object, instead: str
) -> None:
    (sentence,) = find_trainer_faults({name: value})
    assert sentence.startswith(f"trainer.{name}=")
    assert instead in sentence


def test_of_every_argument_a_value_passes_and_of_others_a_sentence_says_what_to_write() -> None:
    given = compose([])["trainer"]
    signature = inspect.signature(Trainer.__init__).parameters
    defaults = {name: signature[name].default for name in ARGUMENTS} | {"strategy": None}  # not "auto"
    assert not [*find_trainer_faults(defaults | given)]
    assert all(len(argument.otherwise) > 10 for argument in ARGUMENTS.values())


@pytest.mark.parametrize(
    "word", ["+trainer.precision=16", "trainer.max_epochs=1", "trainer.val_check_interval=null"]
)
def test_a_word_of_the_trainer_is_refused_before_the_keys_that_refer_to_it(word: str) -> None:
    with pytest.raises(Refusal, match=re.escape(word.lstrip("+"))):
        compose([word])


def test_a_refused_word_does_not_wait_for_torch() -> None:
    code = (
        "import sys; from triad.config.compose import compose\n"
        "try: compose(['+trainer.precision=16'])\n"
        "except ValueError: sys.exit('torch' in sys.modules or 'lightning' in sys.modules)\n"
        "sys.exit(3)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_whole_number_may_be_written_as_a_power_of_ten() -> None:
    trainer = compose(["trainer.val_check_interval=1e2", "trainer.limit_val_batches=2e1"])["trainer"]
    assert (trainer["val_check_interval"], trainer["limit_val_batches"]) == (100, 20)
    assert type(trainer["val_check_interval"]) is int


def test_arguments_do_not_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_TRAINER_FAST_DEV_RUN", "1")
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
    assert Trainer(accelerator="cpu", **quiet).fast_dev_run == 1  # Lightning takes it
    with pytest.raises(Refusal, match=r"PL_TRAINER_FAST_DEV_RUN is set .* trainer\.fast_dev_run="):
        compose([])
