"""SOAP: Adam in the eigenbasis of Shampoo. Shapes: K matrices of a stack, E experts, M rows, N columns."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from triad.layers.ranges import DecayRate, NonNegativeFloat, PositiveInt
from triad.optim.auxiliary_adamw import AuxiliaryAdamW, matrix_groups, split_by_role
from triad.optim.sharded import (
    check_decay_rate,
    evaluate,
    group_by_layout,
    local_gradients,
    local_tensors,
    select_parameters,
    to_full_matrices,
    to_shards,
    zeros_square,
)

SIDES = {"left": -2, "right": -1}


class SOAP(Optimizer):
    """Adam on each hidden matrix, turned into the eigenbases of its rows and columns.

        G' = Q_L' G Q_R,   M = b1 M + (1 - b1) G,   V = b2 V + (1 - b2) G'^2
        W <- (1 - lr decay) (W - lr sqrt(1 - b2^t) / (1 - b1^t) Q_L ((Q_L' M Q_R) / (sqrt(V) + eps)) Q_R')
        L = b3 L + (1 - b3) G G',   R = b3 R + (1 - b3) G' G
        every `frequency` steps: Q and V sorted by diag(Q' L Q), largest first, then Q <- QR(L Q)
                                                    Vyas et al. 2024, arXiv:2409.11321, algorithms 3 and 4

    This is the authors' code, github.com/nikhilvyas/SOAP, whose bias correction, sorting and order of decay
    the paper leaves out. The first step only computes bases, which are the eigenvectors; a side above
    `largest` is not rotated. Each expert is a matrix of its own. Embeddings, head, vectors and routers are
    updated by AdamW, with rates as in optimizer=muon. Bases are fp32 at least. Each sharded matrix is
    computed by one process, and all state is sharded. Deviates: see `_complete`.
    """

    def __init__(
        self,
        params: Iterable[dict],
        lr: NonNegativeFloat,
        betas: tuple[DecayRate, DecayRate],
        basis_beta: DecayRate,
        eps: NonNegativeFloat,
        weight_decay: NonNegativeFloat,
        frequency: PositiveInt,
        largest: PositiveInt,
        adam_lr: NonNegativeFloat | None,
        embedding_lr: NonNegativeFloat | None,
        head_lr: NonNegativeFloat | None,
    ) -> None:
        if frequency < 1:
            raise ValueError(f"optimizer.frequency={frequency}: at least 1 step")
        super().__init__(split_by_role(params), {"lr": lr, "weight_decay": weight_decay})
        self.betas, self.basis_beta = (
            (check_decay_rate("betas", betas[0]), check_decay_rate("betas", betas[1])),
            basis_beta,
        )
        self.eps, self.frequency, self.largest = eps, frequency, largest
        self.adamw = AuxiliaryAdamW(self, adam_lr, betas, eps, {"embedding": embedding_lr, "head": head_lr})

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> Any:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        loss = evaluate(closure)
        for group in matrix_groups(self):
            for matrices in group_by_layout(select_parameters(group)):
                self._update(matrices, group)
        self.adamw.step()
        return loss

    def _update(self, matrices: list[Tensor], group: dict) -> None:
        first = matrices[0]
        sides = [side for side, dim in SIDES.items() if first.shape[dim] <= self.largest]
        for p in matrices:
            if not self.state[p]:
                self.state[p] |= self._start(p, sides)
            self.state[p]["step"] += 1
        count = int(self.state[first]["step"]) - 1  # updates, this one included
        g_KEMN = to_full_matrices(local_gradients(matrices), first)
        g_KEMN = g_KEMN.to(torch.promote_types(g_KEMN.dtype, torch.float32))
        bases = {side: self._gather(f"{side}_basis", matrices) for side in sides}
        if count:
            update_KEMN = self._adam(g_KEMN, bases, matrices, count)
            weights = local_tensors(matrices)
            steps = to_shards(update_KEMN.to(first.dtype), first, len(matrices))
            torch._foreach_add_(weights, steps, alpha=-group["lr"])
            torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
        for side in sides:
            new = g_KEMN @ g_KEMN.mT if side == "left" else g_KEMN.mT @ g_KEMN
            gram = self._gather(side, matrices).lerp(new, 1 - self.basis_beta)
            self._scatter(side, gram, matrices)
            rank = (count + 1) * min(first.shape[-2:])  # at most, of a sum over so many gradients
            if count == 0:
                self._scatter(f"{side}_basis", _eigenvectors(gram, rank), matrices)
            elif count % self.frequency == 0:
                self._turn(side, gram, bases[side], rank, matrices)

    def _adam(self, g_KEMN: Tensor, bases: dict[str, Tensor], matrices: list[Tensor], count: int) -> Tensor:
        """Adam's update in the eigenbases, rotated back."""
        b1, b2 = self.betas
        average = self._gather("average", matrices).lerp_(g_KEMN, 1 - b1)
        square = self._gather("square", matrices).lerp_(_rotate(g_KEMN, bases).square(), 1 - b2)
        self._scatter("average", average, matrices)
        self._scatter("square", square, matrices)
        update = _rotate(average, bases).div_(square.sqrt_().add_(self.eps))
        update = _rotate(update, {side: basis.mT for side, basis in bases.items()})
        return update.mul_((1 - b2**count) ** 0.5 / (1 - b1**count))

    def _turn(self, side: str, gram: Tensor, basis: Tensor, rank: int, matrices: list[Tensor]) -> None:
        """Bring a basis nearer to the eigenvectors, and the second moments into its order."""
        product = gram @ basis
        values = (basis * product).sum(-2)
        values = torch.where(_is_known(values, values.shape[-1]), values, 0.0)  # rounding orders nothing
        order = values.argsort(stable=True, dim=-1, descending=True)
        columns = order.unsqueeze(-2)
        q, r = torch.linalg.qr(product.take_along_dim(columns, -1))
        known = _is_known(r.diagonal(dim1=-2, dim2=-1).abs(), rank)
        found = _complete(q, known, basis.take_along_dim(columns, -1))
        self._scatter(f"{side}_basis", found, matrices)
        lines = order.unsqueeze(-1) if side == "left" else columns
        square = self._gather("square", matrices).take_along_dim(lines, SIDES[side])
        self._scatter("square", square, matrices)

    def _start(self, p: Tensor, sides: list[str]) -> dict[str, Tensor]:
        dtype = torch.promote_types(p.dtype, torch.float32)
        squares = {
            f"{side}{of}": zeros_square(p, SIDES[side], dtype) for side in sides for of in ("", "_basis")
        }
        return {
            "step": torch.zeros(()),
            "average": torch.zeros_like(p),
            "square": torch.zeros_like(p),
        } | squares

    def _gather(self, key: str, matrices: list[Tensor]) -> Tensor:
        kept = [self.state[p][key] for p in matrices]
        found = to_full_matrices(local_tensors(kept), kept[0])
        return found.to(torch.promote_types(found.dtype, torch.float32))

    def _scatter(self, key: str, found: Tensor, matrices: list[Tensor]) -> None:
        kept = [self.state[p][key] for p in matrices]
        torch._foreach_copy_(local_tensors(kept), to_shards(found.to(kept[0].dtype), kept[0], len(kept)))


def _eigenvectors(gram_KEMM: Tensor, rank: int) -> Tensor:
    """The eigenvectors, that of the largest eigenvalue first; of a gradient of zeros, the identity."""
    values_KEM, vectors_KEMM = (x.flip(-1) for x in torch.linalg.eigh(gram_KEMM))
    fixed = torch.randn(gram_KEMM.shape[-2:], generator=torch.Generator().manual_seed(0)).to(gram_KEMM)
    identity = torch.eye(gram_KEMM.shape[-1]).to(gram_KEMM)
    others_KEMM = torch.where(values_KEM[..., :1, None] > 0, fixed, identity)
    return _complete(vectors_KEMM, _is_known(values_KEM, rank), others_KEMM)


def _complete(basis_KEMM: Tensor, known_KEM: Tensor, others_KEMM: Tensor) -> Tensor:
    """The basis, with `others`, made orthogonal, in place of vectors that are not known.

    Gradients of rank r say nothing of the other M - r directions, which rounding would choose, and so
    differently in each layout of the processes. The authors leave it at that: their code in fp32 and in fp64
    takes steps that are 70 % apart on a 32 x 8 matrix of normal gradients.
    """
    known_KE1M = known_KEM.unsqueeze(-2)
    if known_KE1M.all():  # a second QR would take a fifth of the time of all steps
        return basis_KEMM
    completed_KEMM = torch.linalg.qr(torch.where(known_KE1M, basis_KEMM, others_KEMM)).Q
    return torch.where(known_KE1M.all(-1, keepdim=True), basis_KEMM, completed_KEMM)


def _is_known(sizes_KEM: Tensor, rank: int) -> Tensor:
    """Whether a direction is among the first `rank`, its size above rounding: 5 eps were seen at M = 1024."""
    rounding = 2 * sizes_KEM.shape[-1] ** 0.5 * torch.finfo(sizes_KEM.dtype).eps
    first_M = torch.arange(sizes_KEM.shape[-1], device=sizes_KEM.device) < rank
    return first_M & (sizes_KEM > rounding * sizes_KEM.amax(-1, keepdim=True))


def _rotate(x_KEMN: Tensor, bases: dict[str, Tensor]) -> Tensor:
    """Q_L' X Q_R."""
    if "left" in bases:
        x_KEMN = bases["left"].mT @ x_KEMN
    return x_KEMN @ bases["right"] if "right" in bases else x_KEMN
