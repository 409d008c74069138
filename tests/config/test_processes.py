"""How many processes, devices and threads a run has, on machines of several kinds."""

from copy import deepcopy

import pytest

from triad.config import processes
from triad.config.processes import count_threads, resolve_devices

DDP = {"_target_": "triad.strategies.ddp.DDP"}
SINGLE = {"_target_": "triad.strategies.single.Single"}
CONFIG = {"trainer": {"accelerator": "auto", "devices": "auto", "num_nodes": 1}, "strategy": DDP}
LAUNCHERS = (
    "TORCHELASTIC_RUN_ID",
    "LOCAL_WORLD_SIZE",
    "WORLD_SIZE",
    "SLURM_STEP_NUM_TASKS",
    "SLURM_STEP_NUM_NODES",
)


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch):
    """What `auto` becomes on a machine with these GPUs under this launcher."""

    def resolved(gpus: str, strategy: dict = DDP, devices: object = "auto", **launcher: str) -> dict:
        for name in LAUNCHERS:
            monkeypatch.delenv(name, raising=False)
        for name, value in launcher.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
        config = deepcopy(CONFIG) | {"strategy": strategy}
        config["trainer"]["devices"] = devices
        resolve_devices(config)
        return config["trainer"]

    return resolved


@pytest.mark.parametrize("devices", ["auto", -1, "-1"])
def test_a_strategy_of_several_processes_takes_all_gpus(resolve, devices: object) -> None:
    assert resolve("0,1,2", devices=devices) == {"accelerator": "gpu", "devices": 3, "num_nodes": 1}


def test_one_process_takes_one_gpu_and_a_cpu_is_one_process(resolve) -> None:
    assert resolve("0,1,2", SINGLE) == {"accelerator": "gpu", "devices": 1, "num_nodes": 1}
    assert resolve("") == resolve("-1") == {"accelerator": "cpu", "devices": 1, "num_nodes": 1}


def test_a_number_that_was_asked_for_stays(resolve) -> None:
    assert resolve("0,1,2", devices=2)["devices"] == 2


def test_processes_that_a_launcher_has_started_are_counted(resolve) -> None:
    torchrun = resolve("0,1,2,3", TORCHELASTIC_RUN_ID="1", LOCAL_WORLD_SIZE="4", WORLD_SIZE="8")
    assert (torchrun["devices"], torchrun["num_nodes"]) == (4, 2)
    srun = resolve("0,1", SLURM_STEP_NUM_TASKS="6", SLURM_STEP_NUM_NODES="3")
    assert (srun["devices"], srun["num_nodes"]) == (2, 3)


def test_threads_are_those_asked_for_else_the_environment_s_else_a_share_of_the_cores(monkeypatch) -> None:
    monkeypatch.setattr(processes, "count_cores", lambda: 8)
    config = {"hardware": {"threads": None}, "trainer": {"devices": 2}}
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert count_threads(config) == 4
    monkeypatch.setenv("OMP_NUM_THREADS", "5,2")
    assert count_threads(config) == 5
    assert count_threads(config | {"hardware": {"threads": 3}}) == 3
