"""The passport of a run, read from its directory; nothing here needs torch."""

from pathlib import Path
from typing import Any, NamedTuple

from triad.config import provenance
from triad.runs.directory import Run, read_json

CLASS = ("processor", "gpus", "threads")  # of a machine: what decides the last bits, with the versions
ROUNDS = ("torch", "numpy")  # packages that compute
ENVIRONMENT = (  # variables by which libraries choose other kernels, beside OMP_NUM_THREADS
    *("ATEN_CPU_CAPABILITY", "CUBLAS_WORKSPACE_CONFIG", "DNNL_MAX_CPU_ISA", "MKL_CBWR", "MKL_NUM_THREADS"),
    *("MKL_ENABLE_INSTRUCTIONS", "NCCL_ALGO", "NCCL_PROTO", "NVIDIA_TF32_OVERRIDE"),
    *("ONEDNN_DEFAULT_FPMATH_MODE", "ONEDNN_MAX_CPU_ISA"),
)


class Passport(NamedTuple):
    """Of one run: its configuration, record (run.json), the origins of its values, its text, its choices."""

    run: Run
    config: dict
    record: dict
    chains: provenance.Chains
    text: dict | None  # fingerprints, once training has begun
    choices: dict[str, str]  # what was faster on its machine, by question
    diff: str  # changes that were not committed

    @property
    def name(self) -> str:
        return self.run.id

    def origin(self, key: str) -> str:
        """Where the value of a key comes from, references followed, if that is known."""
        chain = self.chains.get(key)
        while chain and chain[0].refers in self.chains:
            chain = self.chains[chain[0].refers]
        return f"   {chain[0].where}" if chain else ""

    def machine(self) -> dict[str, Any]:
        """What makes two machines one class: on it the same run gives the same bits."""
        made = {key: self.record.get("machine", {}).get(key) for key in CLASS}
        made |= {name: self.record.get("versions", {}).get(name) for name in ROUNDS}
        variables = self.record.get("environment", {})
        return made | {name: variables[name] for name in ENVIRONMENT if name in variables}

    def resumed_with_others(self) -> bool:
        """Whether the run was continued with other mathematics than it was begun with."""
        return len({start.get("mathematics") for start in self.record.get("starts", ())}) > 1


def read_passport(path: Path | str) -> Passport:
    """The passport of a run. Raises FileNotFoundError, naming runs that are there."""
    run = Run(path)
    answers = read_json(run.machine_file) or {}
    return Passport(
        run,
        run.config(),
        read_json(run.passport_file) or {},
        provenance.read_chains(run.origins_file) if run.origins_file.is_file() else {},
        read_json(run.data_file),
        {question: answer["choice"] for question, answer in answers.items()},
        run.diff_file.read_text(encoding="utf-8", errors="replace") if run.diff_file.is_file() else "",
    )


def same_code(one: Passport, other: Passport) -> bool:
    """Whether two runs ran the same source, by its fingerprint, or of older runs by commit and changes."""
    if "code" in one.record and "code" in other.record:
        return _list_codes(one) == _list_codes(other)
    return (one.record.get("git_commit"), one.diff) == (other.record.get("git_commit"), other.diff)


def _list_codes(of: Passport) -> dict[str, str]:
    """The fingerprints of the program and of the packages of one's own that a run was started with."""
    packages = of.record.get("packages") or {}
    return {"triad": of.record["code"]} | {name: one.get("code", "") for name, one in packages.items()}
