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
