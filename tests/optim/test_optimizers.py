"""Each optimizer against its paper, its own state, and itself on two processes."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.optim import papers, small
from tests.warm import WarmProcess
from triad.config.build import build
from triad.optim.newton_schulz import orthogonalise
from triad.optim.roles import roles

STEPS = 5
VARIANTS = {
    "lion": [()],
    "lamb": [()],
    "adafactor": [("optimizer.weight_decay=0.1",)],
    "schedule_free": [()],
    "soap": [("optimizer.frequency=2",)],
    "muon": [(), ("optimizer.scale=original", "optimizer.nesterov=false", "optimizer.head_lr=0.5")],
}


def expected(w, gs, lrs, decay: float, node: dict, name: str, role: str):
    """What the paper makes of one parameter; of experts one by one."""
    if role == "expert" and name != "adamw":
        each = [expected(w[e], [g[e] for g in gs], lrs, decay, node, name, "one") for e in range(len(w))]
        return torch.stack(each)
    if name in small.OF_MATRICES and role not in ("matrix", "one"):
        rates = [node.get(f"{role}_lr") or node["lr"]] * len(gs)
        lrs = [rate * small.factor(step) for step, rate in enumerate(rates)]
        betas, eps = node.get("adam_betas") or node["betas"], node.get("adam_eps") or node["eps"]
        return papers.adamw(w, gs, lrs, decay, betas, eps)
    if name == "muon":
        outputs, inputs = w.shape if role == "matrix" else w.shape[::-1]
        return papers.muon(w, gs, lrs, decay, node, outputs, inputs)
    found = getattr(papers, name)(w, gs, lrs, decay, node)
    return found[0] if name == "schedule_free" else found


@pytest.mark.parametrize(
    ("name", "words"), [(name, words) for name, variants in VARIANTS.items() for words in variants]
)
def test_an_optimizer_takes_the_steps_of_its_paper(name: str, words: tuple[str, ...]) -> None:
    model, node = small.model(), small.node(name, *words)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = small.optimizer(model, node)
    small.train(model, optimizer, range(STEPS))
    lrs = [node["lr"] * small.factor(step) for step in range(STEPS)]
    steps = [small.gradients(step, model) for step in range(STEPS)]
    for parameter, role in roles(model).items():
        decay = 0.0 if role == "vector" else node["weight_decay"]
        gs = [step[parameter] for step in steps]
        wanted = expected(before[parameter], gs, lrs, decay, node, name, role)
        found = model.get_parameter(parameter).data
        torch.testing.assert_close(found, wanted, msg=lambda m, p=parameter: f"{p}: {m}")


def test_schedule_free_averages_as_its_paper_does() -> None:
    model, node = small.model(), small.node("schedule_free")
    w, optimizer = model.wide.weight.detach().clone(), small.optimizer(model, node)
    torch.testing.assert_close(optimizer.average(model.wide.weight), w)
    small.train(model, optimizer, range(STEPS))
    gs = [small.gradients(step, model)["wide.weight"] for step in range(STEPS)]
    lrs = [node["lr"] * small.factor(step) for step in range(STEPS)]
    x = papers.schedule_free(w, gs, lrs, node["weight_decay"], node)[1]
    torch.testing.assert_close(optimizer.average(model.wide.weight), x)


def test_a_matrix_that_starts_at_zero_leaves_it() -> None:
    for name in ("lamb", "adafactor", "muon"):
        model = nn.ModuleDict({"up": nn.Linear(4, 3), "down": nn.Linear(3, 4)}).double()
        nn.init.zeros_(model.up.weight)
        optimizer = small.optimizer(model, small.node(name))
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        optimizer.step()
        assert model.up.weight.abs().min() > 0, name


@pytest.mark.parametrize("name", small.NAMES)
def test_a_saved_state_goes_on_bit_by_bit_and_is_all_tensors(name: str) -> None:
    model, node = small.model(), small.node(name)
    optimizer = small.optimizer(model, node)
    small.train(model, optimizer, range(3))
    assert all(isinstance(x, torch.Tensor | None) for s in optimizer.state.values() for x in s.values())
    other = copy.deepcopy(model)
    restored = small.optimizer(other, node)
    restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for group in restored.param_groups:
        assert group["peak_lr"] == optimizer.param_groups[0]["peak_lr"]
    for each, of in ((optimizer, model), (restored, other)):
        small.train(of, each, range(3, 5))
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q)


@pytest.mark.parametrize("name", small.NAMES)
def test_a_step_by_nothing_at_a_rate_of_nothing_changes_nothing(name: str) -> None:
    model = small.model()
    before = copy.deepcopy(model)
    optimizer = small.optimizer(model, small.node(name))
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for p, q in zip(model.parameters(), before.parameters(), strict=True):
        assert torch.equal(p, q)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(3, 8, 30), (2, 30, 8), (2, 9, 10)])
def test_orthogonal_matrices_err_no_more_than_torch_s(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    given = torch.randn(shape)
    exact = torch.stack([papers.newton_schulz(x, 5) for x in given.double()])
    ours = (orthogonalise(given, 5, dtype).double() - exact).norm()
    theirs = []
    for x in given:
        w = nn.Parameter(torch.zeros_like(x))
        w.grad = x
        torch.optim.Muon([w], lr=1.0, weight_decay=0.0, momentum=0.0, nesterov=False).step()
        theirs.append(-w.detach().double() / max(1, x.shape[0] / x.shape[1]) ** 0.5)
    error = (torch.stack(theirs) - exact).norm()
    assert ours <= (1e-4 if dtype == torch.float32 else 1.5) * error


def test_an_optimizer_that_is_not_told_roles_says_so() -> None:
    given = small.node("muon") | {"weight_decay": 0.0}
    with pytest.raises(ValueError, match="decay_groups"):
        build({"optimizer": given})["optimizer"](small.model().parameters())


def test_two_processes_take_the_steps_of_one_and_hold_its_state(warm: WarmProcess) -> None:
    script = str(Path(__file__).parent / "laid_out.py")
    assert warm.launch(["-W", "error::FutureWarning", script], ranks=2) == 0


@pytest.mark.slow
def test_four_processes_that_cut_and_copy_in_two_ways_take_the_steps_of_one(warm: WarmProcess) -> None:
    script = str(Path(__file__).parent / "laid_out.py")
    assert warm.launch([script], ranks=4) == 0
