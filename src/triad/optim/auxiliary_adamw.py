"""AdamW for what an optimizer of matrices does not update: embeddings, head, vectors, routers."""

from collections.abc import Iterable

from torch.optim import AdamW, Optimizer

MATRICES = ("matrix", "expert")


def split_by_role(groups: Iterable[dict]) -> list[dict]:
    """Groups of one role each, hidden matrices first. Raises ValueError for groups without roles."""
    found: dict[tuple[str, int], dict] = {}
    for number, group in enumerate(groups):
        if not isinstance(group, dict) or "roles" not in group:
            raise ValueError(
                "this optimizer needs to know what parameters are: triad.optim.roles.decay_groups"
            )
        for p, role in zip(group["params"], group["roles"], strict=True):
            rest = {key: value for key, value in group.items() if key not in ("params", "roles")}
            found.setdefault((role, number), rest | {"role": role, "params": []})["params"].append(p)
    return sorted(found.values(), key=lambda group: group["role"] not in MATRICES)


def matrix_groups(optimizer: Optimizer) -> list[dict]:
    """The groups that the optimizer of matrices updates itself."""
    return [group for group in optimizer.param_groups if group["role"] in MATRICES]


class AuxiliaryAdamW:
    """AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) on the remaining groups of an optimizer.

    It keeps its state in that optimizer, so that there is one optimizer with one state. The owner's `step`
    calls this one's.
    """

    def __init__(
        self, owner: Optimizer, lr: float | None, betas: tuple[float, float], eps: float, by_role: dict
    ) -> None:
        self.owner, others = owner, [g for g in owner.param_groups if g["role"] not in MATRICES]
        for group in others:
            rate = by_role.get(group["role"])
            rate = lr if rate is None else rate
            group["lr"] = group["lr"] if rate is None else rate
            group |= {"betas": tuple(betas), "eps": eps}
        self.adamw = AdamW(others, fused=True) if others else None

    def step(self) -> None:
        """Update the remaining groups. Groups and state are taken anew: the owner may have loaded others."""
        if self.adamw:
            self.adamw.param_groups = [g for g in self.owner.param_groups if g["role"] not in MATRICES]
            self.adamw.state = self.owner.state
            self.adamw.step()
