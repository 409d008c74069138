"""Two ranks, of which one has a number that is not finite: both say so. Run by test_gradient_check.py."""

import sys
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from tests.callbacks.test_gradient_check import Run
from triad.config.errors import Diverged
from triad.optim.gradient import Gradient


def stop(bad: str, *, stages: bool) -> str:
    """What this rank says when the other one alone has a bad number in the gradient of a parameter."""
    run = Run(every_steps=100)
    run.check.on_train_batch_start(run.trainer, run.task, {"rows": 4}, 0)
    for name, parameter in run.model.named_parameters():
        parameter.grad = torch.ones_like(parameter)
        if name == bad and dist.get_rank() == 1:
            parameter.grad.view(-1)[0] = torch.nan
    copies: list[Tensor] = [run.model.get_parameter(bad)] if stages and dist.get_rank() == 1 else []
    try:
        run.update(Gradient(run.model, dist.group.WORLD if stages else None, copies))
    except Diverged as error:
        return str(error)
    return ""


if __name__ == "__main__":
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    for stages in (False, True):
        said = stop("q.bias", stages=stages)
        if "not finite in q.bias (at least 1 of 3 numbers)" not in said:
            print(f"rank {dist.get_rank()} with stages={stages}: {said or 'nothing'}")
            sys.exit(1)
    dist.barrier()
