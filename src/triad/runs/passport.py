"""What a run's directory says of what the run is, read back; nothing here needs torch."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from triad.config import provenance as origins
from triad.runs.directory import read_config

CLASS = ("processor", "gpus", "threads")  # of a machine: what decides the last bits, with the versions
ROUNDS = ("torch", "numpy")  # packages that compute
ENVIRONMENT = (  # variables by which libraries choose other kernels, beside OMP_NUM_THREADS
    *("ATEN_CPU_CAPABILITY", "CUBLAS_WORKSPACE_CONFIG", "DNNL_MAX_CPU_ISA", "MKL_CBWR", "MKL_NUM_THREADS"),
    *("MKL_ENABLE_INSTRUCTIONS", "NCCL_ALGO", "NCCL_PROTO", "NVIDIA_TF32_OVERRIDE"),
    *("ONEDNN_DEFAULT_FPMATH_MODE", "ONEDNN_MAX_CPU_ISA"),
)


class Passport(NamedTuple):
    """Of one run: its configuration, run.json, the origins of its values, its text and what it measured."""

    directory: Path
    config: dict
    run: dict
    chains: origins.Chains
    text: dict | None  # fingerprints, once training has begun
    choices: dict[str, str]  # what was faster on its machine, by question
    diff: str  # changes that were not committed

    @property
    def name(self) -> str:
        return self.directory.name

    def origin(self, key: str) -> str:
        """Where the value of a key comes from, references followed, if that is known."""
        chain = self.chains.get(key)
        while chain and chain[0].refers in self.chains:
            chain = self.chains[chain[0].refers]
        return f"   {chain[0].where}" if chain else ""

    def machine(self) -> dict[str, Any]:
        """What makes two machines one class: on it the same run gives the same bits."""
        made = {key: self.run.get("machine", {}).get(key) for key in CLASS}
        made |= {name: self.run.get("versions", {}).get(name) for name in ROUNDS}
        variables = self.run.get("environment", {})
        return made | {name: variables[name] for name in ENVIRONMENT if name in variables}

    def resumed_with_others(self) -> bool:
        """Whether the run was continued with other mathematics than it was begun with."""
        return len({start.get("mathematics") for start in self.run.get("starts", ())}) > 1


def read(directory: Path) -> Passport:
    """The passport of a run. Raises FileNotFoundError, naming runs that are there."""
    config, kept = read_config(directory), directory / "origins.json"
    answers = _json(directory / "machine.json") or {}
    changes = directory / "code.diff"
    return Passport(
        directory,
        config,
        _json(directory / "run.json") or {},
        origins.read(kept) if kept.is_file() else {},
        _json(directory / "data.json"),
        {question: answer["choice"] for question, answer in answers.items()},
        changes.read_text(encoding="utf-8") if changes.is_file() else "",
    )


def same_code(one: Passport, other: Passport) -> bool:
    """Whether two runs ran the same source, by its fingerprint, or of older runs by commit and changes."""
    if "code" in one.run and "code" in other.run:
        return one.run["code"] == other.run["code"]
    return (one.run.get("git_commit"), one.diff) == (other.run.get("git_commit"), other.diff)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except ValueError as error:
        raise ValueError(f"{path}: it is no JSON; the run's passport cannot be read ({error})") from error
