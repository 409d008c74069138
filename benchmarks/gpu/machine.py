"""Checks of what goes on between host and device, and of speed."""

import time
import traceback
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import torch
from lightning.pytorch import Callback, Trainer
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks import one_gpu
from benchmarks.gpu.items import FAMILIES, Absent, Bench, Item, hold
from benchmarks.gpu.kernels import on_gpus_path
from triad.checkpoints.folder import checkpoint_path
from triad.checkpoints.saving import Saver
from triad.checkpoints.tensors import read_weights
from triad.data.tokenizers.byte import Byte
from triad.hardware.device import peak_flops
from triad.hardware.energy_meters import open_meter

SYNCHRONISING = ("_local_scalar_dense", "nonzero", "masked_select", "equal")  # operations that fetch a result
WARM_UP = 2  # steps
ROUNDS = 2
WORDS = 50304  # of the vocabulary that speed is measured with: GPT-2's, rounded up to 64
BLOCKED_S = 1.0  # of a save of 1.5 GB, behind the first, that training may wait: 1.5 GB/s and more


class Waits(TorchDispatchMode):
    """Where operations that a GPU would have to be waited for are called.

    `on_host`: addresses of tensors that would be on the host there, too, such as the counts of optimizers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.places: list[str] = []
        self.on_host: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in SYNCHRONISING and args[0].data_ptr() not in self.on_host:
            self.places.append(find_place(traceback.extract_stack()))
        return func(*args, **(kwargs or {}))


class Watch(Callback):
    """Collect the waits for the device between the start of one step and that of another."""

    def __init__(self, bench: Bench, steps: int) -> None:
        self.bench, self.last = bench, WARM_UP + steps
        self.waits = Waits()
        self.caught: Any = None
        self.places: list[str] = []

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == WARM_UP:
            self._begin(trainer)
        elif trainer.global_step == self.last:
            self._end()

    def on_exception(self, *_: Any) -> None:
        self._end()

    def _begin(self, trainer: Trainer) -> None:
        if self.bench.small:
            states = (state.values() for state in trainer.optimizers[0].state.values())
            tensors = [x for state in states for x in state if isinstance(x, torch.Tensor)]
            self.waits.on_host = {x.data_ptr() for x in tensors if x.ndim == 0}
            self.waits.__enter__()
        else:
            torch.cuda.set_sync_debug_mode("warn")
        self.caught = warnings.catch_warnings()
        self.caught.__enter__()
        warnings.simplefilter("always")
        setattr(warnings, "showwarning", self._note)  # noqa: B010 (it takes what a user's handler takes)

    def _note(self, message: Any, category: Any, filename: str, lineno: int, *_: Any) -> None:
        if "synchroniz" in str(message):
            self.places.append(find_place(traceback.extract_stack()))

    def _end(self) -> None:
        if self.caught is None:
            return
        self.caught.__exit__(None, None, None)
        self.caught = None
        if self.bench.small:
            self.waits.__exit__(None, None, None)
        else:
            torch.cuda.set_sync_debug_mode("default")
        self.places += self.waits.places


def find_place(stack: traceback.StackSummary) -> str:
    """The innermost line of a stack that is of Triad, else of Lightning, else of torch's Python."""
    ours = [frame for frame in stack if "benchmarks" not in frame.filename]
    for owner in ("/triad/", "/lightning/", "/torch/"):
        if found := [frame for frame in ours if owner in frame.filename]:
            return f"{Path(found[-1].filename).name}:{found[-1].lineno}"
    return "?"


def synchronisations(bench: Bench) -> Iterator[Item]:
    """Steps between reports never wait for the device."""

    def count(*words: str) -> str:
        steps = 3
        watch = Watch(bench, steps)
        words = (bench.low, "trainer.log_every_n_steps=1000", *words)
        words = (*words, "trainer.max_steps=6", "trainer.val_check_interval=6")
        with on_gpus_path(bench):
            name = "synchronisations-" + "-".join(words).replace("=", ".")
            bench.train(name, *words, callbacks=[watch])
        places = {place: watch.places.count(place) for place in sorted({*watch.places})}
        where = ", ".join(f"{place} {count} times" for place, count in places.items())
        return hold(f"{len(watch.places)} in {steps} steps {where}".strip(), not watch.places)

    yield Item("decoder, adamw", partial(count))
    for name in ("moe", "lstm", "encoder", "encoder_decoder"):
        yield Item(name, partial(count, *FAMILIES[name]))
    for name in ("muon", "soap", "schedule_free"):
        yield Item(f"decoder, {name}", partial(count, f"optimizer={name}", "optimizer.lr=1e-3"))
    yield Item("decoder, ddp", partial(count, "strategy=ddp"))
    yield Item("decoder, fsdp", partial(count, "strategy=fsdp"))
    if not bench.small:
        yield Item("decoder, compiled", partial(count, "hardware.compile=true"))


def snapshot(bench: Bench) -> Iterator[Item]:
    """A save is of the moment when it was asked for, delays training by a copy only, and keeps to its GPU."""
    gigabytes = 0.002 if bench.small else 1.5

    def save(place: torch.device) -> str:
        if place.type == "cuda":
            torch.cuda.set_device(place)
        many, folder = 300, bench.folder / f"snapshot-{place.index}"
        size = int(gigabytes * 1e9 / 4 / many)
        weights = {f"w{n}": torch.full((size + n,), float(n), device=place) for n in range(many)}
        saver, blocked_s, saved_s = Saver(keep=1), [], []
        own, seen = saver.run_on_all_ranks, []

        def note_device(work: Any) -> Any:
            seen.append(torch.cuda.current_device() if place.type == "cuda" else None)
            return own(work)

        with mock.patch.object(saver, "run_on_all_ranks", note_device):
            for step in (1, 2):
                facts = {"step": step, "metric": None}
                saver.save(checkpoint_path(folder, step), lambda: {"model": weights}, facts)
                torch._foreach_add_(list(weights.values()), 1.0)  # training goes on
                since = time.perf_counter()
                saver.wait()
                blocked_s.append(facts["blocked_s"])
                saved_s.append(time.perf_counter() - since)
        hold(f"not saved: {saver.failures}", not saver.failures)
        read = read_weights(checkpoint_path(folder, 2))
        wrong = sum(not bool((tensor == int(name[1:]) + 1).all()) for name, tensor in read.items())
        room = list(saver.copies.room.values())
        pinned = sum(tensor.nbytes for tensor in room if place.type == "cuda" and tensor.is_pinned())
        state = sum(tensor.nbytes for tensor in weights.values())
        said = f"{wrong} of {many} tensors wrong; waited {blocked_s[0]:.3f} s, then {blocked_s[1]:.3f} s; "
        said += f"saved in {median(saved_s):.2f} s; {pinned / 1e6:.0f} of {state / 1e6:.0f} MB pinned"
        if bench.small:
            return hold(said, wrong == 0)
        cached = torch.cuda.host_memory_stats().get("allocated_bytes.current", 0)
        said += f", {cached / 1e6:.0f} MB in torch's pinned blocks; thread on GPU {seen[-1]}"
        others = [cached < 0.05 * state, pinned == state, {*seen} == {place.index}]
        return hold(said, wrong == 0, blocked_s[1] < BLOCKED_S, *others)

    yield Item("on the first device", partial(save, bench.device))

    def on_second() -> str:
        if bench.small or torch.cuda.device_count() < 2:
            raise Absent("needs two GPUs")
        try:
            return save(torch.device("cuda", 1))
        finally:
            torch.cuda.set_device(0)

    yield Item("on the second device", on_second)


def meters(bench: Bench) -> Iterator[Item]:
    """NVML counts energy, and the share of the peak is known and below 1."""

    def energy() -> str:
        meter = open_meter(bench.device, first_here=True)
        if meter is None:
            raise Absent("no counter may be read here (a GPU: needs nvidia-ml-py)")
        before, since = meter(), time.perf_counter()
        x = torch.randn(256 if bench.small else 4096, 256 if bench.small else 4096, device=bench.device)
        while time.perf_counter() - since < (0.05 if bench.small else 1.0):
            x @ x
            if not bench.small:
                torch.cuda.synchronize()
        joules, spent_s = meter() - before, time.perf_counter() - since
        return hold(f"{joules:.1f} J in {spent_s:.2f} s, {joules / spent_s:.0f} W", joules > 0 or bench.small)

    def mfu() -> str:
        rows = bench.train("meters", bench.low, "trainer.max_steps=6")
        peak, found = peak_flops(bench.device, bench.low.removeprefix("precision=")), rows[-1].get("perf/mfu")
        said = f"{rows[-1]['perf/tokens_per_s']:,.0f} tokens/s, MFU {found}, peak {peak}"
        return hold(said, bench.small or (found is not None and 0 < found < 1))

    yield Item("energy", energy, on_cpu=False)
    yield Item("MFU of a tiny model", mfu, on_cpu=False)


def speed(bench: Bench) -> Iterator[Item]:
    """single and fsdp against a bare loop at GPT-2 124M, compiled: step time, MFU and memory."""
    small = ("context=16", "model.width=32", "model.depth=1", "model.attention.heads=2", "batch.size=4")
    few = (*small, "hardware.compile=false", "hardware.micro_batch_size=2") if bench.small else ()
    shape = ("context=1024", "batch.size=32", "hardware.micro_batch_size=16")
    words = ("model=gpt2", "data=text", f"data.path={bench.text}", "tokenizer=byte", *shape, *few)
    steps, warm_up = (2, 1) if bench.small else (10, 4)
    turns: dict[str, list[one_gpu.Turn]] = {who: [] for who in one_gpu.CONTESTANTS}

    def turn(who: str, number: int) -> str:
        config = one_gpu._config((*words, one_gpu.CONTESTANTS[who]), bench.device, warm_up + steps + 1)
        one_gpu.forget(bench.device)
        train: Any = one_gpu.bare_turn if who == one_gpu.BARE else one_gpu.our_turn
        folder = bench.folder / f"speed-{who}-{number}"
        with mock.patch.object(Byte, "vocab_size", WORDS if not bench.small else 257):
            turns[who].append(train(config, folder, bench.device, steps, warm_up))
        found = turns[who][-1]
        speed = config["context"] * config["batch"]["size"] / found.step_s
        return f"{speed:,.0f} tokens/s, {found.peak_bytes / 2**30:.1f} GiB"

    def ratio(who: str) -> str:
        if not (turns[who] and turns[one_gpu.BARE]):
            raise Absent("was not timed")
        one_gpu.assert_same_work({name: turns[name] for name in (one_gpu.BARE, who)})
        bare_s, step_s = (median(t.step_s for t in turns[name]) for name in (one_gpu.BARE, who))
        said = f"{bare_s / step_s:.3f} of the bare loop's speed (aim {one_gpu.AIM}), the same losses"
        return hold(said, bench.small or bare_s / step_s >= one_gpu.AIM)

    for number in range(1 if bench.small else ROUNDS):
        for who in one_gpu.CONTESTANTS:
            yield Item(f"{who}, round {number + 1}", partial(turn, who, number), on_cpu=False)
    for who in [name for name in one_gpu.CONTESTANTS if name != one_gpu.BARE]:
        yield Item(f"{who} against bare", partial(ratio, who), on_cpu=False)
