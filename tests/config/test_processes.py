"""How many processes, devices and threads a run has, on machines of several kinds."""

from copy import deepcopy

import pytest

from triad.config import processes
from triad.config.compose import compose
from triad.config.offers import read_choices
from triad.config.processes import count_threads, describe_single_process, resolve_devices
from triad.config.refusals import facts

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


@pytest.mark.parametrize(
    "words",
    [
        "",
        "0,1",
        "0,-1,1",
        "-1",
        "NoDevFiles",
        "GPU-1a,GPU-2b",
        "GPU-1a,0",
        "0,GPU-1a",
        "MIG-GPU-1/2/3",
        "1,1",
    ],
)
def test_gpus_are_counted_as_cuda_does(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    """As torch, which reads the same variable, reads it."""
    from torch import cuda

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", words)
    assert processes.list_gpus() == [str(device) for device in cuda._parse_visible_devices()]


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("gpu[07-09,12],login1", "gpu07"), ("a1,b2", "a1"), ("n[3]-ib", "n3-ib"), ("solo", "solo")],
)
def test_the_first_of_slurm_s_nodes_is_where_the_ranks_meet(
    monkeypatch: pytest.MonkeyPatch, nodes: str, first: str
) -> None:
    monkeypatch.setenv("SLURM_STEP_NODELIST", nodes)
    assert processes._find_first_host() == first


def test_tasks_that_see_one_gpu_each_are_told_what_to_ask_srun_for(resolve, monkeypatch) -> None:
    config = deepcopy(CONFIG) | {"trainer": resolve("0", SLURM_STEP_NUM_TASKS="2", SLURM_STEP_NUM_NODES="1")}
    assert config["trainer"]["devices"] == 2
    assert "--gpus-per-node=2" in facts(config)["remedy"]


@pytest.mark.parametrize("strategy", read_choices("strategy"))
def test_one_process_of_a_strategy_for_several_is_told_what_rehearses_it(
    strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in LAUNCHERS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    words = [f"strategy={strategy}", "model=moe"]
    if strategy == "hsdp":  # two copies at least
        words.append("strategy.data_replicate=1")
    said = describe_single_process(compose(words), {"strategy": strategy})
    if strategy == "single":
        assert not said
        return
    assert said.startswith(f"strategy={strategy}: one process shards nothing; ")
    rehearsal = said.partition("; ")[2].removesuffix(" rehearses it").split(" ")
    assert rehearsal == ["trainer.devices=2", "trainer.accelerator=cpu"]
    config = compose([*words, *rehearsal])
    assert not describe_single_process(config, {"strategy": strategy})


def test_one_process_on_a_machine_with_gpus_is_told_to_take_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    said = describe_single_process(compose(["strategy=fsdp", "trainer.devices=1"]), {"strategy": "fsdp"})
    assert "trainer.devices=auto rehearses it" in said
