"""The papers' algorithms as they are written, one matrix or vector at a time: w, its gradients, the rates."""

import torch
from torch import Tensor

Steps = list[Tensor]


def adamw(w: Tensor, gs: Steps, lrs: list[float], decay: float, betas, eps: float) -> Tensor:
    """Loshchilov & Hutter 2019, algorithm 2."""
    m = v = torch.zeros_like(w)
    for t, (g, lr) in enumerate(zip(gs, lrs, strict=True), 1):
        m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g**2
        w = w - lr * decay * w - lr * (m / (1 - betas[0] ** t)) / ((v / (1 - betas[1] ** t)).sqrt() + eps)
    return w


def lion(w: Tensor, gs: Steps, lrs: list[float], decay: float, node: dict) -> Tensor:
    """Chen et al. 2023, algorithm 2."""
    m, (b1, b2) = torch.zeros_like(w), node["betas"]
    for g, lr in zip(gs, lrs, strict=True):
        w = w - lr * (torch.sign(b1 * m + (1 - b1) * g) + decay * w)
        m = b2 * m + (1 - b2) * g
    return w


def lamb(w: Tensor, gs: Steps, lrs: list[float], decay: float, node: dict) -> Tensor:
    """You et al. 2020, algorithm 2."""
    m = v = torch.zeros_like(w)
    b1, b2 = node["betas"]
    for t, (g, lr) in enumerate(zip(gs, lrs, strict=True), 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        r = (m / (1 - b1**t)) / ((v / (1 - b2**t)).sqrt() + node["eps"]) + decay * w
        w = w - lr * r * (w.norm() / r.norm() if w.ndim > 1 and w.norm() > 0 else 1)
    return w


def adafactor(w: Tensor, gs: Steps, lrs: list[float], decay: float, node: dict) -> Tensor:
    """Shazeer & Stern 2018, algorithms 4 and 5."""
    eps1, eps2 = node["eps"]
    rows, columns, v = torch.zeros(w.shape[0]).to(w), torch.zeros(w.shape[-1]).to(w), torch.zeros_like(w)
    for t, (g, lr) in enumerate(zip(gs, lrs, strict=True), 1):
        beta, square = 1 - t ** -node["decay_exponent"], g**2 + eps1
        if w.ndim == 2:
            rows = beta * rows + (1 - beta) * square.sum(1)
            columns = beta * columns + (1 - beta) * square.sum(0)
            v = torch.outer(rows, columns) / rows.sum()
        else:
            v = beta * v + (1 - beta) * square
        u = g / v.sqrt()
        u = u / max(1, u.square().mean().sqrt() / node["clip"])
        w = (1 - lr * decay) * w - max(eps2, w.square().mean().sqrt()) * lr * u
    return w


def newton_schulz(x: Tensor, steps: int) -> Tensor:
    """Jordan et al. 2024; the Gram matrix of the shorter side or the longer gives the same."""
    x = x / x.norm()
    for _ in range(steps):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x


def muon(
    w: Tensor, gs: Steps, lrs: list[float], decay: float, node: dict, outputs: int, inputs: int
) -> Tensor:
    """Jordan et al. 2024; Liu et al. 2025, eq. 4. The momentum is a sum, as in the first."""
    b, mu = torch.zeros_like(w), node["momentum"]
    adamw_like = 0.2 * max(outputs, inputs) ** 0.5
    size = adamw_like if node["scale"] == "match_rms_adamw" else max(1, outputs / inputs) ** 0.5
    for g, lr in zip(gs, lrs, strict=True):
        b = mu * b + g
        o = newton_schulz(g + mu * b if node["nesterov"] else b, node["newton_schulz_steps"])
        w = w - lr * decay * w - lr * size * o
    return w


def soap(w: Tensor, gs: Steps, lrs: list[float], decay: float, node: dict) -> Tensor:
    """Vyas et al. 2024, algorithms 3 and 4, begun as the authors' code begins."""
    (b1, b2), b3, first = node["betas"], node["basis_beta"], gs[0]
    left, right = (1 - b3) * first @ first.T, (1 - b3) * first.T @ first
    q_left = torch.linalg.eigh(ordered(left)).eigenvectors
    q_right = torch.linalg.eigh(ordered(right)).eigenvectors
    m = v = torch.zeros_like(w)
    for t, (g, lr) in enumerate(zip(gs[1:], lrs[1:], strict=True), 1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * (q_left.T @ g @ q_right) ** 2
        n = (q_left.T @ m @ q_right) / (1 - b1**t) / ((v / (1 - b2**t)).sqrt() + node["eps"])
        w = w - lr * q_left @ n @ q_right.T - lr * decay * w
        left, right = b3 * left + (1 - b3) * g @ g.T, b3 * right + (1 - b3) * g.T @ g
        if t % node["frequency"] == 0:
            q_left = torch.linalg.qr(ordered(left) @ q_left).Q
            q_right = torch.linalg.qr(ordered(right) @ q_right).Q
    return w


def ordered(square: Tensor) -> Tensor:
    """Our own: the first gradients leave directions open, which are then taken in order."""
    size = len(square)
    return square + 1e-3 * square.trace() / size * torch.diag(torch.arange(1, size + 1) / size).to(square)


def schedule_free(w: Tensor, gs: Steps, lrs: list[float], decay: float, node: dict) -> tuple[Tensor, Tensor]:
    """Defazio et al. 2024, algorithm 1: y, at which the next gradient is taken, and x."""
    z = x = y = w
    v, total, (b1, b2) = torch.zeros_like(w), 0.0, node["betas"]
    for t, (g, lr) in enumerate(zip(gs, lrs, strict=True), 1):
        v, rate = b2 * v + (1 - b2) * g**2, lr * (1 - b2**t) ** 0.5
        z = z - rate * g / (v.sqrt() + node["eps"]) - rate * decay * y
        total += rate**2
        x = (1 - rate**2 / total) * x + rate**2 / total * z
        y = (1 - b1) * z + b1 * x
    return y, x
