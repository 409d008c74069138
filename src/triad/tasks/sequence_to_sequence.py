"""Sequence to sequence: read a source, tell its target.

Shapes: B rows here, R rows of the whole batch, S source time, U target time, T = U + 1, V vocabulary.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triad.layers.cross_entropy import IGNORED
from triad.models.generation import greedy
from triad.optim.update import Update
from triad.tasks.causal_lm import CausalLM


class SequenceToSequence(CausalLM):
    """Train an encoder-decoder by teacher forcing. Everything but the batch is as in CausalLM.

        loss = sum_t -log p(y_t | y_<t, x) / (words of the global batch's targets, each with its end)
        Sutskever et al. 2014, arXiv:1409.3215, eq. 1

    `pairs(batch)` makes source_BS and target_BU of the rows of a batch; such rules as copy, reverse and sort
    are in triad.tasks.pairs. One more word of the model, behind those of the tokenizer, begins and ends a
    target. At each validation the targets of `generated` batches are told word by word, the likeliest
    each time, and val/exact_match is the share of those without a fault.
    """

    needs = {"model.sees": ("source",)}
    splits = ()
    reads = ("source_BS", "tokens_BT", "targets_BT")
    signs = 1

    def __init__(
        self,
        model: Callable[..., nn.Module],
        optimizer: Callable[..., torch.optim.Optimizer],
        schedule: Callable[[int], float],
        hardware: Any,
        vocab_size: int,
        bytes_per_token: float,
        seed: int,
        update: Update,
        weights: str | None,
        smoothing: float,
        z_loss: float,
        pairs: Callable[[dict], tuple[Tensor, Tensor]],
        generated: int,
    ) -> None:
        super().__init__(
            model,
            optimizer,
            schedule,
            hardware,
            vocab_size,
            bytes_per_token,
            seed,
            update,
            weights,
            smoothing,
            z_loss,
        )
        self.pairs, self.generated = pairs, generated
        self.shown: Tensor | None = None  # a source of validation

    def prepared(self, batch: dict) -> dict:
        """Sources, and targets with their begin and end."""
        source_BS, target_BU = self.pairs(batch)
        length_B1 = (target_BU >= 0).sum(-1, keepdim=True)
        found: dict[str, Any] = {"source_BS": source_BS}
        found["tokens_BT"] = F.pad(target_BU, (1, 0), value=self.vocab_size)
        place_T = torch.arange(target_BU.shape[1] + 1, device=target_BU.device)
        ends_BT = (place_T == length_B1) & (length_B1 > 0)  # a row of padding alone has nothing to tell
        targets_BT = F.pad(target_BU, (0, 1), value=IGNORED).masked_fill(ends_BT, self.vocab_size)
        found["targets_BT"] = targets_BT.where(targets_BT >= 0, IGNORED)
        if "lengths_R" in batch:
            length_R = batch["lengths_R"].clamp_max(target_BU.shape[1])
            found["count"] = (length_R + (length_R > 0)).sum()
        return batch | found

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        self.right = torch.zeros(2, dtype=torch.float64, device=self.device)

    def validation_step(self, batch: dict, index: int) -> None:
        super().validation_step(batch, index)
        if index < self.generated:
            # all rows of a batch: the same in every layout, and each process calls the model as often
            found = self.prepared(batch)
            for source_BS, _, targets_BT in self.parts(found):
                self.right += self.told(source_BS, targets_BT)
            if index == 0:
                self.shown = found["source_BS"][:1]

    def told(self, source_BS: Tensor, targets_BT: Tensor) -> Tensor:
        """How many targets the model tells without a fault, and how many there are."""
        model = self.trainer.strategy.whole(self.model)
        words_BT = greedy(model, source_BS, self.vocab_size, targets_BT.shape[1])
        asked_BT = targets_BT != IGNORED
        right_B = ((words_BT == targets_BT) | ~asked_BT).all(-1) & asked_BT.any(-1)
        return torch.stack((right_B.sum(), asked_BT.any(-1).sum()))

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        if self.generated:
            right, rows = self.trainer.strategy.total(self.right).tolist()
            self.log("val/exact_match", right / max(rows, 1), logger=False, sync_dist=True)

    def sample(
        self, model: nn.Module, prompt: list[int], tokens: int, context: int, temperature: float
    ) -> list[list[int]]:
        """The first source of validation, and the target that the model tells, as far as `tokens` words."""
        if self.shown is None:
            return []
        words = greedy(model, self.shown, self.vocab_size, min(tokens, context))[0].tolist()
        end = words.index(self.vocab_size) if self.vocab_size in words else len(words)
        return [[word for word in self.shown[0].tolist() if word >= 0], words[:end]]

    def code_length(self, split: str, nats_per_token: float) -> dict[str, float]:
        """None: a target that is told by its source codes no text."""
        return {}
