"""Pipeline parallelism: different processes hold different blocks and pass micro-batches along.

Shapes: B rows (sequences) of a micro-batch, T time, L layers of experts, E experts, S what a router sees.

The fraction of a step in which a process waits, with P processes, n micro-batches, and as much time for a
forward pass as for a backward pass to inputs or to weights:

    gpipe, 1f1b    (P-1) / (n + P-1); 1f1b keeps P micro-batches alive, not n      Huang et al. 2019,
                   arXiv:1811.06965; Narayanan et al. 2019, PipeDream, SOSP; 2021, arXiv:2006.09503
    interleaved    (P-1) / (2n + P-1), with 2 stages in a process      Narayanan et al. 2021, arXiv:2104.04473
    zero_bubble, zbv, dualpipev      (P-1) / (6n + P-1), for n >= 2P: gradients of weights fill the gaps
                   Qi et al. 2023, arXiv:2401.10241; 2024, arXiv:2405.15362 (zbv: no bubble in theory);
                   DeepSeek-AI 2024, arXiv:2412.19437, section 3.2.1 (dualpipev, forward beside backward)

All but 1f1b's were counted by walking torch's schedules with these times.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.pipelining import (
    PipelineStage,
    Schedule1F1B,
    ScheduleDualPipeV,
    ScheduleGPipe,
    ScheduleInterleaved1F1B,
    ScheduleInterleavedZeroBubble,
    ScheduleZBVZeroBubble,
)
from torch.distributed.tensor import DTensor
from torch.nn import functional as F

from triad.layers.cross_entropy import IGNORED
from triad.layers.full_attention import PADDING
from triad.layers.parameters import holds_experts
from triad.layers.routing import STATISTICS
from triad.strategies.pipeline_forward import PipelineForward
from triad.strategies.stage import Stage, check_stages, divide_units, keep_stages


class Order(NamedTuple):
    """A schedule of torch, and what it requires."""

    schedule: Callable[..., Any]
    stages: int  # of each process
    folded: bool = False  # process r holds stages r and 2P-1-r, instead of r and r + P
    filled: bool = True  # needs as many micro-batches as stages


ORDERS = {
    "gpipe": Order(ScheduleGPipe, 1, filled=False),
    "1f1b": Order(Schedule1F1B, 1),
    "interleaved": Order(ScheduleInterleaved1F1B, 2),
    "zero_bubble": Order(ScheduleInterleavedZeroBubble, 2),
    "zbv": Order(ScheduleZBVZeroBubble, 2, folded=True, filled=False),
    "dualpipev": Order(ScheduleDualPipeV, 2, folded=True),
}


class Pipeline:
    """Run an optimizer step's forward and backward over the stages, in the order of a schedule.

    Removes from `model` the blocks of other processes and replaces its forward by a PipelineForward.
    `objective(targets_BT)` is the loss that the last stage asks of its readout; at most `largest` rows go
    through a stage at once; `precision` is Lightning's plugin, whose context is entered around a stage's
    forward pass, and whose scaler scales the loss. Raises ValueError for an unknown schedule and for a model
    that cannot be cut into so many stages.
    """

    def __init__(
        self,
        model: Any,
        mesh: DeviceMesh,
        schedule: str,
        device: torch.device,
        objective: Callable,
        largest: int | None,
        precision: Any,
    ) -> None:
        if schedule not in ORDERS:
            raise ValueError(f"strategy.schedule={schedule} is not known: use one of {', '.join(ORDERS)}")
        self.order, self.largest, self.device = ORDERS[schedule], largest, device
        self.group, self.processes = mesh.get_group(), mesh.size()
        self.places = place_stages(self.order, self.processes)
        check_stages(model, len(self.places))
        self.expert_layers, self.experts = _find_experts(model)
        tied = model.head is None and self.places[0] != self.places[-1]
        units = divide_units(len(model.blocks) + 2, len(self.places))
        mine = [stage for stage, place in enumerate(self.places) if place == mesh.get_local_rank()]
        context = precision.forward_context
        self.stages = {stage: Stage(model, units[stage], objective, context) for stage in mine}
        self.scaler = getattr(precision, "scaler", None)
        # of sums over losses: what micro-batches are computed in, but at least fp32
        self.dtype = torch.promote_types(next(model.parameters()).dtype, torch.float32)
        self.first, self.last = 0 in mine, len(units) - 1 in mine
        keep_stages(model, list(self.stages.values()))
        self.tied: Any = model.embedding if tied else None  # held by two processes
        model.forward = PipelineForward(self.stages, self.places, self.group, device)
        self.plan: tuple[tuple[int, ...], Any] = (), None

    def __call__(self, batch: dict) -> tuple[Tensor, Tensor, Tensor]:
        """Compute gradients; return this process's share of loss, auxiliary loss and routers' sums.

        Rows of padding fill the last micro-batch; nothing counts them.
        """
        tokens_BT, targets_BT = batch["tokens_BT"], batch["targets_BT"]
        number, size = micro_batches(self.order, len(tokens_BT), self.largest, self.processes)
        ghosts = number * size - len(tokens_BT)
        tokens_BT = F.pad(tokens_BT, (0, 0, 0, ghosts), value=PADDING)
        starts = {"starts_BT": F.pad(batch["starts_BT"], (0, 0, 0, ghosts))} if "starts_BT" in batch else {}
        self._make_schedule(number, size, tokens_BT.shape[1]).step(
            tokens_BT,
            tokens_BT=tokens_BT,
            targets_BT=F.pad(targets_BT, (0, 0, 0, ghosts), value=IGNORED),
            **starts,
            target=tokens_BT.new_zeros(number),  # required by the schedule; ours are keyword arguments
            loss_kwargs={"count": batch["count"], "rows": batch["rows"], "scale": self._scale()},
            return_outputs=False,
        )
        sums, statistics_LS = self._collect_statistics(number)
        return sums[0] / batch["count"], sums[1] / batch["rows"], statistics_LS

    def add_tied(self) -> None:
        """Sum the gradients of a tied embedding that two processes hold, so that both update it equally."""
        if self.tied is None:
            return
        gradient = self.tied.weight.grad
        mine = gradient.to_local() if isinstance(gradient, DTensor) else gradient
        theirs, other = torch.empty_like(mine), self.places[0 if self.last else -1]
        exchange = [
            dist.P2POp(dist.isend, mine.contiguous(), group=self.group, group_peer=other),
            dist.P2POp(dist.irecv, theirs, group=self.group, group_peer=other),
        ]
        for work in dist.batch_isend_irecv(exchange):
            work.wait()
        mine.add_(theirs)

    def _scale(self) -> Tensor:
        """What the loss is multiplied by; each process asks its scaler, also those that compute no loss."""
        one = torch.ones((), device=self.device, dtype=self.dtype)
        return one if self.scaler is None else self.scaler.scale(one)

    @property
    def copies(self) -> list[Tensor]:
        """Local parameters that another process holds, too, and counts."""
        return [self.tied.weight] if self.tied is not None and self.last else []

    def _make_schedule(self, number: int, size: int, time: int) -> Any:
        """The schedule for micro-batches of one shape; only the latest is kept, as it holds buffers."""
        shape = number, size, time
        if self.plan[0] != shape:
            stages = [
                PipelineStage(stage, index, len(self.places), self.device, group=self.group)
                for index, stage in self.stages.items()
            ]
            given = stages if self.order.stages > 1 else stages[0]
            self.plan = shape, self.order.schedule(given, number, loss_fn=_loss, scale_grads=False)
        return self.plan[1]

    def _collect_statistics(self, number: int) -> tuple[Tensor, Tensor]:
        sums = torch.zeros(2, device=self.device, dtype=self.dtype)
        shape = len(self.expert_layers), self.experts + STATISTICS
        statistics_LS = torch.zeros(shape, device=self.device, dtype=self.dtype)
        for stage in self.stages.values():
            # in the first step of a shape torch runs one more micro-batch first, to infer shapes
            for figures, routers in stage.statistics[-number:]:
                if figures is not None:
                    sums += figures
                for layer, statistics_S in routers.items():
                    statistics_LS[self.expert_layers.index(layer)] += statistics_S
            stage.statistics.clear()
        return sums, statistics_LS


def place_stages(order: Order, processes: int) -> list[int]:
    """The process of each stage."""
    forth = list(range(processes))
    if order.stages == 1:
        return forth
    return forth + forth[::-1] if order.folded else forth * order.stages


def micro_batches(order: Order, rows: int, largest: int | None, processes: int) -> tuple[int, int]:
    """The number of micro-batches and the rows of each; their product may exceed `rows`.

    At least as many as stages, to fill the pipeline, if there are enough rows; a multiple of P where a
    process has several stages.
    """
    stages = processes * order.stages
    number = max(stages if order.filled else min(stages, rows), -(-rows // (largest or rows)))
    if order.stages > 1 and not order.folded:
        number = -(-number // processes) * processes
    return number, -(-rows // number)


def _loss(output: tuple[Tensor, Tensor], _: Tensor, count: int, rows: int, scale: Tensor) -> Tensor:
    nll, auxiliary = output
    return (nll / count + auxiliary / rows) * scale


def _find_experts(model: Any) -> tuple[list[int], int]:
    """The indices of blocks with layers of experts, and their number of experts."""
    found = {
        index: len(next(layer.parameters(recurse=False)))
        for index, block in enumerate(model.blocks)
        for layer in block.modules()
        if holds_experts(layer)
    }
    return list(found), max(found.values(), default=0)
