"""Fully sharded data parallelism (FSDP2): every process keeps its slice of everything."""

from contextlib import AbstractContextManager, nullcontext

from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.fsdp import FSDPModule, fully_shard


class FSDP(ModelParallelStrategy):
    """Each block is gathered just before it runs and sharded again after; gradients go to their owners.

    Zhao et al. 2023, arXiv:2304.11277; Rajbhandari et al. 2020, arXiv:1910.02054 (ZeRO stage 3). What is
    sharded together is keyed by structure, not by model: each child of a ModuleList, then the rest.
    """

    def __init__(self) -> None:
        super().__init__(tensor_parallel_size=1)

    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_processes * self.num_nodes
        super().setup_environment()

    @property
    def data_rank(self) -> int:
        return self.global_rank

    @property
    def data_ranks(self) -> int:
        return self.world_size

    def parallelize(self, model: nn.Module) -> None:
        """Shard each repeated block, then what is left, over all processes."""
        mesh = self.device_mesh["data_parallel"]
        for stack in [module for module in model.modules() if isinstance(module, nn.ModuleList)]:
            for block in stack:
                fully_shard(block, mesh=mesh)
        fully_shard(model, mesh=mesh)

    def micro_batch(self, last: bool) -> AbstractContextManager:
        """Gradients accumulate unreduced until the last micro-batch reduces them."""
        assert self.model is not None
        for module in self.model.modules():
            if isinstance(module, FSDPModule):
                module.set_requires_gradient_sync(last, recurse=False)
        return nullcontext()
