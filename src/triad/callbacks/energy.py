"""The energy of a run, measured where the machine counts it, and its cost."""

import time
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import distributed

from triad.hardware.energy_meters import Meter, open_meter
from triad.layers.ranges import NonNegativeFloat


class Energy(Callback):
    """Report joules and cost of all processes on all machines, validations included, since the run began.

        estimate = seconds * devices * watts        cost = hours * devices * price

    A process has one device: its GPU, or the CPU cores that its threads take. Where nothing counts the
    energy of some device, or did not in a part of the run, all of the figure is called an estimate. What a
    killed run did after its last checkpoint is not in it.
    """

    observer = True  # changes no metric of the run: triad.config.identity

    def __init__(
        self,
        gpu_watts: NonNegativeFloat,
        core_watts: NonNegativeFloat,
        price_per_device_hour: NonNegativeFloat | None,
    ) -> None:
        if min(gpu_watts, core_watts, price_per_device_hour or 0.0) < 0:
            raise ValueError(
                f"callbacks.energy: gpu_watts={gpu_watts} core_watts={core_watts} price_per_device_hour="
                f"{price_per_device_hour}: at least 0"
            )
        self.gpu_watts, self.core_watts, self.price = gpu_watts, core_watts, price_per_device_hour
        self.joules = self.device_s = 0.0  # of all processes
        self.estimated = False  # some of the joules

    def state_dict(self) -> dict[str, Any]:
        return {"joules": self.joules, "device_s": self.device_s, "estimated": self.estimated}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.joules, self.device_s = state_dict["joules"], state_dict["device_s"]
        self.estimated = state_dict["estimated"]

    def on_fit_start(self, trainer: Trainer, training: Any) -> None:
        device = trainer.strategy.root_device
        self.watts = self.gpu_watts if device.type == "cuda" else self.core_watts * torch.get_num_threads()
        found = open_meter(device, trainer.local_rank == 0)
        unmeasured = _sum_over_ranks([float(found is None)], device)[0] > 0
        self.meter: Meter | None = None if unmeasured else found
        self.since, self.reading = time.perf_counter(), self.meter() if self.meter else 0.0

    def figures(self, trainer: Trainer) -> dict[str, float]:
        """For the metrics callback, at each of its reports and in every process."""
        now = time.perf_counter()
        spent_s, self.since = now - self.since, now
        if self.meter:
            before, self.reading = self.reading, self.meter()
            joules = self.reading - before
        else:
            joules = spent_s * self.watts
        self.estimated |= self.meter is None
        device_s, joules = _sum_over_ranks([spent_s, joules], trainer.strategy.root_device)
        self.device_s += device_s
        self.joules += joules
        found = {"perf/energy_joules" + "_estimate" * self.estimated: self.joules}
        return found if self.price is None else found | {"perf/cost": self.device_s / 3600 * self.price}


def _sum_over_ranks(values: list[float], device: torch.device) -> list[float]:
    """The sums over all processes: also over those that a strategy has compute the same."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return values
    total = torch.tensor(values, dtype=torch.float64, device=device)
    distributed.all_reduce(total)
    return total.tolist()
