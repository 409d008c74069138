"""Each optimizer against an implementation of others, its own state, and itself on two processes."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.optim import references, small
from tests.warm import WarmProcess
from triad.config.build import build
from triad.optim import sharded
from triad.optim.newton_schulz import orthogonalise
from triad.optim.roles import roles

STEPS = 8
VARIANTS = {
    "lion": [()],
    "lamb": [()],
    "adafactor": [()],
    "schedule_free": [(), ("optimizer.algorithm=paper",)],
    "muon": [(), ("optimizer.scale=original", "optimizer.nesterov=false", "optimizer.head_lr=0.5")],
}


def reference(w, gs, decay: float, node: dict, name: str, role: str):
    """What an implementation of others makes of one parameter; of experts one by one."""
    if role == "expert":
        each = [reference(w[e].mT, [g[e].mT for g in gs], decay, node, name, "matrix") for e in range(len(w))]
        return torch.stack([found.mT for found in each])  # experts multiply from the right
    p, lr = nn.Parameter(w.clone()), node["lr"]
    if name in small.OF_MATRICES and role != "matrix":
        lr = node.get(f"{role}_lr") or lr
        betas, eps = node.get("adam_betas") or node["betas"], node.get("adam_eps") or node["eps"]
        made = references.adamw(p, lr, decay, betas, eps)
    else:
        made = getattr(references, name)(p, node, decay)
    references.train(made, gs, [lr * small.factor(step) for step in range(len(gs))])
    return p.detach()


@pytest.mark.parametrize(
    ("name", "words"), [(name, words) for name, variants in VARIANTS.items() for words in variants]
)
def test_an_optimizer_takes_the_steps_of_an_implementation_of_others(
    name: str, words: tuple[str, ...]
) -> None:
    model, node = small.model(), small.node(name, *words)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    small.train(model, small.optimizer(model, node), range(STEPS))
    steps = [small.gradients(step, model) for step in range(STEPS)]
    for parameter, role in roles(model).items():
        decay = 0.0 if role == "vector" else node["weight_decay"]
        wanted = reference(before[parameter], [g[parameter] for g in steps], decay, node, name, role)
        found = model.get_parameter(parameter).data
        torch.testing.assert_close(found, wanted, msg=lambda m, p=parameter: f"{p}: {m}")


@pytest.mark.parametrize("shape", [(9, 9), (5, 9), (11, 3)])
def test_soap_takes_the_steps_of_its_authors(shape: tuple[int, int]) -> None:
    """Theirs is given our vectors for the null space of the first gradient, which it leaves to rounding."""
    model, node = nn.ModuleList([nn.Linear(*shape, bias=False)]).double(), small.node("soap")
    node |= {"frequency": 3}
    (w,), (rows, columns) = model.parameters(), (shape[1], shape[0])
    p = nn.Parameter(w.detach().clone())
    ours, theirs = small.optimizer(model, node), references.soap(p, node, node["weight_decay"])
    for step in range(12):
        g = torch.randn(rows, columns, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
        for each, q in ((ours, w), (theirs, p)):
            q.grad = g.clone()
            each.step()
        for number, side in enumerate(("left", "right")):
            basis, known = ours.state[w][f"{side}_basis"], min(shape)
            torch.testing.assert_close(basis.mT @ basis, torch.eye(len(basis), dtype=basis.dtype))
            if step == 0:
                found = (basis.mT @ theirs.state[p]["Q"][number]).abs()[:, :known]
                torch.testing.assert_close(found, torch.eye(len(basis), dtype=found.dtype)[:, :known])
                theirs.state[p]["Q"][number] = basis.clone()
        torch.testing.assert_close(w.data, p.data, rtol=1e-6, atol=1e-8)  # their QR is in fp32


def test_soap_turns_nothing_where_the_first_gradient_is_zero() -> None:
    """As the authors' does. Where outputs start at zero, the layers before them have no first gradient."""
    model, node = nn.ModuleList([nn.Linear(5, 4, bias=False)]), small.node("soap")
    (w,) = model.parameters()
    p = nn.Parameter(w.detach().clone())
    ours, theirs = small.optimizer(model, node), references.soap(p, node, node["weight_decay"])
    for g in (torch.zeros(4, 5), *torch.randn(3, 4, 5)):
        w.grad, p.grad = g.clone(), g.clone()
        ours.step()
        theirs.step()
    torch.testing.assert_close(w, p)


def test_soap_is_not_moved_by_rounding() -> None:
    """Gradients of rank 3 in 11 rows leave 8 directions that a last digit must not choose."""
    found = []
    for rounding in (0.0, 1e-15):
        model, node = nn.ModuleList([nn.Linear(3, 11, bias=False)]).double(), small.node("soap")
        nn.init.zeros_(model[0].weight)
        optimizer = small.optimizer(model, node | {"frequency": 2})
        generator = torch.Generator().manual_seed(0)
        for _ in range(9):
            g = torch.randn(11, 3, generator=generator, dtype=torch.float64)
            model[0].weight.grad = g * (1 + rounding * torch.arange(33.0).double().view(11, 3))
            optimizer.step()
        found.append(model[0].weight.detach())
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("algorithm", ["package", "paper"])
def test_schedule_free_averages_as_its_authors_do(algorithm: str) -> None:
    model, node = small.model(), small.node("schedule_free", f"optimizer.algorithm={algorithm}")
    w, optimizer = model.wide.weight.detach().clone(), small.optimizer(model, node)
    torch.testing.assert_close(optimizer.average(model.wide.weight), w)
    small.train(model, optimizer, range(STEPS))
    p = nn.Parameter(w)
    theirs = references.schedule_free(p, node, node["weight_decay"])
    gs = [small.gradients(step, model)["wide.weight"] for step in range(STEPS)]
    references.train(theirs, gs, [node["lr"] * small.factor(step) for step in range(STEPS)])
    theirs.eval()
    torch.testing.assert_close(optimizer.average(model.wide.weight), p.data)


def test_adafactor_decays_by_the_rate_alone() -> None:
    model, node = small.model(), small.node("adafactor", "optimizer.weight_decay=0.1")
    before, optimizer = model.wide.weight.detach().clone(), small.optimizer(model, node)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    torch.testing.assert_close(model.wide.weight.data, before * (1 - 0.1 * node["lr"]))


def test_a_large_stack_is_updated_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same matrices come out, and no stack is larger than is allowed, but of one matrix."""
    for name in small.OF_MATRICES:
        found, sizes = [], []
        for most in (2**22, 100):
            monkeypatch.setattr(sharded, "STACKED", most)
            model = small.model()
            small.train(model, small.optimizer(model, small.node(name)), range(3))
            found.append([p.detach() for p in model.parameters()])
            alike = sharded.group_by_layout([model.wide.weight, model.again.weight, model.third.weight])
            sizes.append([len(stack) for stack in alike])
        torch.testing.assert_close(*found)
        assert sizes == [[3], [2, 1]]


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
    exact = torch.stack([references.newton_schulz(x, 5) for x in given.double()])
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
