"""Choosing the faster of several implementations: measured once, cached, recorded in the run."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from triad.config.processes import count_cores
from triad.hardware.device import describe, device
from triad.layers.attention import KernelInputs
from triad.storage.cache import cache_home
from triad.storage.durable import write
from triad.storage.locks import lock


class Measured:
    """The fastest choice for a question, measured once per machine, kept in a file, and fixed for a run.

    One rank of each machine measures while the others wait, so that all make the same choice. A run has its
    choices before its first step, in the file `record`; every later start of it takes them from there, so
    that it computes what the uninterrupted run would. Raises ValueError if that file is damaged.
    """

    def __init__(self, cache: Path, record: Path, place: torch.device) -> None:
        self.device = place
        self.cache, self.record = cache / f"measured-{_machine(place)}.json", record

    @classmethod
    def of_run(cls, record: Path, accelerator: str) -> "Measured":
        """The choices of a run, made on the device that it is on."""
        return cls(cache_home(), record, device(accelerator))

    def fastest(self, question: str, candidates: dict[str, Callable[[], None]]) -> str:
        """The name of the fastest candidate, by the best of several runs of each."""
        with lock(self.record):
            recorded = _read_record(self.record)
            if question not in recorded:
                with lock(self.cache):
                    known = _read_cache(self.cache)
                    if question not in known:
                        asked = f"measuring which is faster, {' or '.join(candidates)} ..."
                        print(asked, file=sys.stderr, flush=True)  # by whichever rank has the lock
                        known[question] = {name: _best_ms(run) for name, run in candidates.items()}
                        write(self.cache, known)
                recorded[question] = {
                    "ms": known[question],
                    "choice": min(known[question], key=known[question].get),
                }
                write(self.record, recorded)
        return recorded[question]["choice"]

    def note(self, question: str, choice: str) -> str:
        """Record a choice that was not measured, unless the run has one; return the run's choice."""
        with lock(self.record):
            recorded = _read_record(self.record)
            if question not in recorded:
                recorded[question] = {"choice": choice}
                write(self.record, recorded)
        return recorded[question]["choice"]


def run_attention(
    kernel: Callable, inputs: KernelInputs, rows: int, tokens: int, device: torch.device, dtype: torch.dtype
) -> None:
    """Run attention forward and backward once, with a layer's heads, sizes, dropout and mask."""
    shapes = (
        (inputs.heads, inputs.head_size),
        (inputs.kv_heads, inputs.head_size),
        (inputs.kv_heads, inputs.value_size),
    )
    q, k, v = (
        torch.randn(rows, tokens, *shape, device=device, dtype=dtype).transpose(1, 2).requires_grad_()
        for shape in shapes
    )
    kernel(q, k, v, inputs.dropout, inputs.mask).sum().backward()
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _best_ms(run: Callable[[], None], repeats: int = 5) -> float:
    run()  # warm up
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    return round(min(times), 3)


def _machine(device: torch.device) -> str:
    words = f"{describe(device)} {count_cores()} torch {torch.__version__}"
    return "".join(c if c.isalnum() else "-" for c in words)


def _read_cache(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # absent or damaged: measured again
        return {}


def _read_record(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError as error:
        raise ValueError(
            f"{path}: it is no JSON ({error}); the choices that the run was computed with are lost:"
            " remove the file to have them measured anew"
        ) from error
