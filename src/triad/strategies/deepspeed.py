"""DeepSpeed ZeRO on CPUs (gloo) and NVIDIA GPUs (nccl).

`deepspeed` is imported when the kind of device is known, because it chooses its accelerator on import.
"""

import os
import warnings
from argparse import Namespace
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn

from triad.strategies import zero_state as zero
from triad.strategies.state import Tensors


class DeepSpeed(DDPStrategy):
    """Stage 1 shards optimizer state, stage 2 also gradients, stage 3 also weights.

    Rajbhandari et al. 2020, arXiv:1910.02054; offloading: Ren et al. 2021, arXiv:2101.06840. Weights,
    gradients and their sums are fp32, and precision=bf16-mixed means autocast as everywhere. Not Lightning's
    DeepSpeedStrategy, which refuses CPUs and takes bf16-mixed for bf16 weights. Every process makes the whole
    model before stage 3 shards it. If a gradient is not finite, DeepSpeed skips the update; the norm logged
    is then inf.
    """

    zero = True  # its arguments are those of ZeRO
    hides = {"gradients": {}, "weights": {"stage": (3,)}}
    needs = {
        "optimizer.by_element": (True,),  # it updates flat slices of weights
        "precision.name": ("32-true", "bf16-mixed", None),  # it keeps fp32 weights
    }
    pipeline = None

    def __init__(self, stage: int, offload_optimizer: bool, offload_parameters: bool) -> None:
        if stage not in (1, 2, 3):
            raise ValueError(f"strategy.stage={stage}: 1, 2 or 3")
        super().__init__()
        self.settings = settings(stage, offload_optimizer, offload_parameters)
        self.engine: Any = None  # until setup
        self.clip_norm: float | None = None

    @property
    def data_rank(self) -> int:
        return self.global_rank

    @property
    def data_ranks(self) -> int:
        return self.world_size

    @property
    def gradient_scale(self) -> int:
        return self.world_size  # DeepSpeed averages, what is wanted is the sum

    def setup_distributed(self) -> None:
        super().setup_distributed()
        import_deepspeed(self.root_device, self.num_processes).init_distributed(
            self._get_process_group_backend(), auto_mpi_discovery=False, verbose=False
        )

    def configure_ddp(self) -> None:
        """Nothing to do: DeepSpeed reduces gradients."""

    def setup(self, trainer: Trainer) -> None:
        """Wrap the model in DeepSpeed's engine and our optimizer in DeepSpeed's."""
        super().setup(trainer)
        task: Any = self.lightning_module
        self.clip_norm = task.update.clip.largest
        self.group_numbers = zero.group_numbers(task.model, self.optimizers[0])
        deepspeed = import_deepspeed(self.root_device, self.num_processes)
        self.engine, optimizer, _, _ = deepspeed.initialize(
            args=Namespace(device_rank=self.root_device.index or 0),
            model=task.model,
            optimizer=self.optimizers[0],
            config=self.settings
            | {"gradient_clipping": self.clip_norm or 0.0}
            | {"torch_autocast": autocast_settings(str(self.precision_plugin.precision))},
            dist_init_required=False,
        )
        self.optimizers = [optimizer]
        task.network = self.run

    def run(self, *arguments: Any, **keywords: Any) -> Any:
        """Call the model, through the engine if a backward pass follows."""
        model = self.engine if torch.is_grad_enabled() else self.engine.module
        return model(*arguments, **keywords)

    def backward(self, closure_loss: Tensor, *_: Any, **__: Any) -> Tensor:
        self.engine.backward(closure_loss)
        return closure_loss

    def optimizer_step(
        self, optimizer: Any, closure: Callable, model: LightningModule | None = None, **_: Any
    ) -> None:
        """Run Lightning's hooks, which call `clip`, and then DeepSpeed's step, which computes the norm."""
        assert isinstance(self.lightning_module, LightningModule)
        self.precision_plugin._wrap_closure(self.lightning_module, optimizer, closure)
        self.engine.step()
        self.norm.fill_(float(self.engine.get_global_grad_norm()))

    def parallelize(self, model: nn.Module) -> None:
        """Nothing to split yet: DeepSpeed shards once the optimizer exists."""

    def micro_batch(self, last: bool) -> AbstractContextManager:
        """The last micro-batch completes the gradient."""
        self.engine.set_gradient_accumulation_boundary(last)
        return nullcontext()

    def clip(self, model: nn.Module, rule: Callable) -> Tensor:
        """A tensor for the norm before clipping, filled by DeepSpeed's step, which clips by norm."""
        self.norm = torch.zeros((), device=self.root_device)
        return self.norm

    def gradients(self, model: nn.Module) -> list[tuple[str, Tensor | None]]:
        """The full gradient of each weight before clipping; a collective call."""
        found = import_module("deepspeed.utils").safe_get_full_grad
        return [(name, found(parameter)) for name, parameter in model.named_parameters()]

    def all_reduce(self, share: Tensor) -> Tensor:
        """The sum over all processes."""
        return self.reduce(share.clone(), reduce_op="sum")

    def full_model(self, model: nn.Module) -> nn.Module:
        """The model, for calls with whole sequences; stage 3 gathers each layer when it runs."""
        return model

    def tensors(self, model: nn.Module, optimizer: Any) -> Tensors:
        """The tensors of a checkpoint."""
        return zero.tensors(model, optimizer, self.group_numbers)

    def synchronise_copies(self, model: nn.Module, optimizer: Any) -> None:
        """Update DeepSpeed's other copies of the weights after a checkpoint was loaded into `tensors`."""
        zero.synchronise_copies(model, optimizer, self.group_numbers)


def settings(stage: int, offload_optimizer: bool, offload_parameters: bool) -> dict[str, Any]:
    """DeepSpeed's own configuration."""
    partition: dict[str, Any] = {"stage": stage}
    if offload_optimizer:
        partition["offload_optimizer"] = {"device": "cpu"}
    if offload_parameters:
        partition["offload_param"] = {"device": "cpu"}
    return {
        "train_micro_batch_size_per_gpu": 1,  # required; used in DeepSpeed's own logs only
        "zero_optimization": partition,
        "zero_allow_untested_optimizer": True,  # any that updates each number by itself
        "zero_force_ds_cpu_optimizer": False,  # theirs needs a compiler; torch's fused one is as good
        "steps_per_print": None,
    }


def autocast_settings(precision: str) -> dict[str, Any]:
    """Autocast as torch does it; weights are gathered and gradients summed in fp32."""
    if precision not in ("32-true", "bf16-mixed"):
        raise ValueError(f"precision {precision}: strategy=deepspeed works in fp32 and bf16-mixed")
    mixed = precision == "bf16-mixed"
    return {"enabled": mixed, "dtype": "bfloat16", "lower_precision_safe_modules": []}


def import_deepspeed(device: torch.device, processes: int) -> ModuleType:
    """Import the package for this device, without the C++ extension, which gloo does not need."""
    if device.type == "cpu":
        os.environ |= {"DS_ACCELERATOR": "cpu", "LOCAL_SIZE": str(processes)}
    for name in ("all_gather_into_tensor", "reduce_scatter_tensor"):  # DeepSpeed's calls, on a newer torch
        warnings.filterwarnings("ignore", f"`torch.distributed.{name}` is deprecated")
    deepspeed: Any = import_module("deepspeed")
    deepspeed.logger.setLevel("ERROR")
    if device.type == "cpu":
        deepspeed.ops.__compatible_ops__ = {}  # computing it would call compilers
    return deepspeed
