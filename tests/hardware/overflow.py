"""Two steps of two processes: in the second one gradient overflows, in rank 1 alone.

One weight is whole, one sharded. Each rank writes <folder>/<rank>.json: both after each step, the scale.
"""

import json
import math
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from triad.hardware.loss_scaler import LossScaler

dist.init_process_group("gloo")
mesh = dist.device_mesh.init_device_mesh("cpu", (2,))
whole = nn.Parameter(torch.full((1,), 3.0))
sharded = nn.Parameter(distribute_tensor(torch.ones(2), mesh, [Shard(0)]))
optimizer, scaler = torch.optim.SGD([whole, sharded], lr=1.0), LossScaler("cpu", init_scale=2.0)
found = {}
for step in ("finite", "overflow"):
    scaler.scale(torch.ones(()))  # as a backward pass would
    bad = step == "overflow" and dist.get_rank() == 1
    here = torch.full((1,), math.inf if bad else 6.0)
    whole.grad = torch.full((1,), 4.0)
    sharded.grad = DTensor.from_local(here, mesh, [Shard(0)])
    scaler.step(optimizer)
    scaler.update()
    found[step] = [whole.item(), sharded.data.to_local().item()]
found["scale"] = scaler.get_scale()
Path(sys.argv[1], f"{dist.get_rank()}.json").write_text(json.dumps(found))
dist.destroy_process_group()
