"""The forward pass of a model whose blocks are in different processes, for validation and sampling.

Shapes: B rows (sequences), T time, D width, V vocabulary.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from triad.layers.attention import KeyValueCache
from triad.strategies.stage import Stage

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


class PipelineForward:
    """A forward pass from stage to stage; every process of the pipeline makes the same call.

    tokens_BT -> (logits_BTV, ()) in every process, or with `loss` (the loss, ()) in the last stage and
    (zero, ()) elsewhere, so that the sum over the pipeline is the loss. A stage does not wait for later
    stages: several consecutive calls with a loss overlap.
    """

    def __init__(
        self,
        stages: dict[int, Stage],
        places: list[int],  # the process of the group that holds each stage
        group: dist.ProcessGroup,
        device: torch.device,
    ) -> None:
        self.stages, self.places, self.group, self.device = stages, places, group, device
        self.rank = dist.get_rank(group)
        self.sent: list[tuple[Any, Tensor]] = []  # tensors must be kept until they have been sent

    def __call__(
        self,
        tokens_BT: Tensor,
        starts_BT: Tensor | None = None,
        loss: Callable | None = None,
        cache: list[KeyValueCache] | None = None,
    ) -> tuple[Any, tuple]:
        assert not torch.is_grad_enabled(), "a pipeline trains by its schedule"
        held = cache[0].length if cache else 0
        x = tokens_BT
        for index, stage in sorted(self.stages.items()):
            if index and self.places[index - 1] != self.rank:
                x = self._receive(self.places[index - 1])
            x, _ = stage(x, tokens_BT=tokens_BT, starts_BT=starts_BT, loss=loss, cache=cache)
            if index + 1 < len(self.places) and self.places[index + 1] != self.rank:
                self._send(x, self.places[index + 1])
        for past in cache or []:
            past.length = held + tokens_BT.shape[1]  # also of other stages' blocks: `embed` reads the first
        last = self.places[-1]
        if loss is not None:
            return (x if last == self.rank else torch.zeros((), device=self.device)), ()
        return self._broadcast(x, last), ()

    def _send(self, x: Tensor, to: int) -> None:
        for work, _ in self.sent:
            work.wait()
        parts = self._header(x), x.contiguous()
        self.sent = [(dist.isend(part, group=self.group, group_dst=to), part) for part in parts]

    def _receive(self, source: int) -> Tensor:
        header = torch.empty(4, dtype=torch.int64, device=self.device)
        dist.recv(header, group=self.group, group_src=source)
        x = self._allocate(header)
        dist.recv(x, group=self.group, group_src=source)
        return x

    def _broadcast(self, x: Tensor, source: int) -> Tensor:
        """Broadcast a tensor of one process to all."""
        mine = source == self.rank
        header = self._header(x) if mine else torch.empty(4, dtype=torch.int64, device=self.device)
        dist.broadcast(header, group=self.group, group_src=source)
        x = x.contiguous() if mine else self._allocate(header)
        dist.broadcast(x, group=self.group, group_src=source)
        return x

    def _header(self, x: Tensor) -> Tensor:
        """Shape and dtype, which the receiver does not know: other axes of the mesh may split T or V."""
        return torch.tensor([DTYPES.index(x.dtype), *x.shape], device=self.device)

    def _allocate(self, header: Tensor) -> Tensor:
        dtype, *shape = header.tolist()
        return torch.empty(shape, dtype=DTYPES[dtype], device=self.device)
