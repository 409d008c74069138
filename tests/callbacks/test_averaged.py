"""Validation sees the average that the optimizer keeps, training the weights it left."""

from types import SimpleNamespace

import torch

from tests.optim import small
from triad.callbacks.averaged import Averaged


def test_validation_sees_the_average_and_training_goes_on_with_the_same_numbers() -> None:
    model = small.model()
    optimizer = small.optimizer(model, small.node("schedule_free"))
    small.train(model, optimizer, range(3))
    task = SimpleNamespace(model=model, trainer=SimpleNamespace(optimizers=[optimizer]))
    trained = {name: p.detach().clone() for name, p in model.named_parameters()}
    average = {name: optimizer.average(p) for name, p in model.named_parameters()}
    callback = Averaged()
    assert callback.weights(task).keys() == model.state_dict().keys()
    callback.on_validation_start(task.trainer, task)
    for name, p in model.named_parameters():
        assert torch.equal(p, average[name])
        assert not torch.equal(p, trained[name])
    callback.on_validation_end(task.trainer, task)
    for name, p in model.named_parameters():
        assert torch.equal(p, trained[name])


def test_the_average_of_narrow_weights_is_that_of_wide_ones_with_the_same_gradients() -> None:
    narrow, wide = (
        torch.nn.Linear(5, 5, bias=False, dtype=dtype) for dtype in (torch.bfloat16, torch.float32)
    )
    with torch.no_grad():
        narrow.weight.fill_(1.0)
        wide.weight.copy_(narrow.weight)
    words = (
        "optimizer.lr=1e-4",
        "optimizer.weight_decay=0.0",
    )  # a fortieth of a digit
    optimizers = [small.optimizer(model, small.node("schedule_free", *words)) for model in (narrow, wide)]
    for step in range(40):
        grad = torch.randn(5, 5, generator=torch.Generator().manual_seed(step)) + 1
        narrow.weight.grad, wide.weight.grad = grad.bfloat16(), grad.bfloat16().float()
        for optimizer in optimizers:
            optimizer.step()
    x, exact = optimizers[0].average(narrow.weight), optimizers[1].average(wide.weight)
    assert torch.equal(x, exact)
    assert (x - 1).abs().min() > 1e-4
    assert torch.equal(narrow.weight, wide.weight.bfloat16())
