"""Loss scaling for fp16, the same in every layout."""

from collections import defaultdict

import torch
import torch.distributed as dist
from torch import Tensor
from torch.amp import GradScaler
from torch.distributed.tensor import DTensor


class LossScaler(GradScaler):
    """torch's GradScaler, for gradients of which each process holds a part.

    The loss is multiplied by S so that small gradients are not 0 in fp16; gradients are divided by S before
    anything looks at them. If a number of them is not finite in any process, all processes leave out the
    update and halve S; after 2,000 updates S is doubled.
                                                    Micikevicius et al. 2018, arXiv:1710.03740, section 3.2

    torch's own takes shards of one mesh at a time, and asks only the processes of that mesh.
    """

    def _unscale_grads_(
        self, optimizer: torch.optim.Optimizer, inv_scale: Tensor, found_inf: Tensor, allow_fp16: bool
    ) -> dict[torch.device, Tensor]:
        shards: dict[torch.dtype, list[Tensor]] = defaultdict(list)
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if (gradient := parameter.grad) is not None:
                    local = gradient.to_local() if isinstance(gradient, DTensor) else gradient
                    shards[local.dtype].append(local)
        for locals in shards.values():
            torch._amp_foreach_non_finite_check_and_unscale_(locals, found_inf, inv_scale)
        if dist.is_initialized():
            dist.all_reduce(found_inf, dist.ReduceOp.MAX)
        return {found_inf.device: found_inf}
