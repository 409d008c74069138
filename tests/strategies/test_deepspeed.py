"""What ZeRO keeps in parts becomes whole, and goes back into parts: two real processes over gloo."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.warm import WarmProcess
from triad.strategies.deepspeed import DeepSpeed, autocast_settings, settings

HERE = Path(__file__).parent
CASES = [
    *(f"adamw-{stage}-{where}" for stage in (1, 2, 3) for where in ("here", "offloaded")),
    *(f"sgd-{stage}-here" for stage in (1, 2, 3)),
]


# found, not imported: it prints when it is
@pytest.mark.skipif(find_spec("deepspeed") is None, reason="deepspeed is not installed")
def test_weights_and_state_of_every_stage_are_those_of_one_process_and_come_back(
    warm: WarmProcess,
) -> None:
    assert warm.launch([str(HERE / "zero_round_trip.py"), *CASES], ranks=2) == 0


def test_a_stage_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="stage=4"):
        DeepSpeed(stage=4, offload_optimizer=False, offload_parameters=False)


def test_mixed_precision_is_autocast_with_everything_kept_and_sent_in_fp32() -> None:
    chosen = settings(3, offload_optimizer=True, offload_parameters=False)
    assert not {"bf16", "fp16", "communication_data_type"} & chosen.keys()
    assert autocast_settings("bf16-mixed") == {
        "enabled": True,
        "dtype": "bfloat16",
        "lower_precision_safe_modules": [],
    }
    with pytest.raises(ValueError, match="64-true"):
        autocast_settings("64-true")
