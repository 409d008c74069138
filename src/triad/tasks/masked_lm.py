"""Masked language modelling: find the words that were hidden, from those around them.

Shapes: B rows (sequences) here, R rows of the whole batch, T time, V vocabulary.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from triad.layers.cross_entropy import IGNORED
from triad.layers.full_attention import PADDING
from triad.layers.splitmix64 import LARGEST, fraction
from triad.optim.update import Update
from triad.tasks.causal_lm import CausalLM
from triad.tasks.draws import draws


class MaskedLM(CausalLM):
    """Train an encoder to tell hidden tokens. Everything but the batch is as in CausalLM.

        loss = sum_{i hidden} -log p(x_i | x with some tokens replaced) / (hidden tokens of the global batch)
        Devlin et al. 2018 (BERT), arXiv:1810.04805, section 3.1; other tokens at each reading: Liu et al.
        2019 (RoBERTa), arXiv:1907.11692, section 4.1

    Of each row's tokens a `share`, at least one, is chosen; of these `masked` become the mask, `random` any
    word, and the others stay. Which and how is a pure function of (seed, step, row), in validation of the row
    alone. The mask is one more word of the model, behind those of the tokenizer. Where a row has ended stands
    padding, which nothing sees.
    """

    needs = {"model.sees": ("both sides",), "model.pooler": (None,), "data.yields": ("text",)}
    splits = ()
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
        share: float,
        masked: float,
        random: float,
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
        if not (0 < share <= 1 and min(masked, random) >= 0 and masked + random <= 1):
            raise ValueError(f"task.share={share} masked={masked} random={random}: fractions of one whole")
        self.share, self.masked, self.random = share, masked, random
        self.shown: tuple[Tensor, Tensor] | None = None  # a row of validation and what is hidden in it

    def prepared(self, batch: dict) -> dict:
        """Hide some tokens; the targets are what they were."""
        real_BT = batch["targets_BT"] != IGNORED
        tokens_BT = batch["tokens_BT"].where(real_BT, PADDING)
        rows_B = torch.arange(len(tokens_BT), device=tokens_BT.device)
        rows_B = rows_B + self.trainer.strategy.data_rank * len(tokens_BT)
        found: dict[str, Any] = {}
        if self.training:
            when = f"{self.seed}/{batch['step']}"
            found["count"] = hidden(batch["lengths_R"], self.share).sum()
        else:
            when, rows_B = "validation", rows_B + batch["step"] * batch["rows"]
        place_BT, kind_BT, word_BT = (
            draws(f"{when}/{purpose}", rows_B, tokens_BT.shape[1]) for purpose in ("place", "kind", "word")
        )
        rank_BT = place_BT.where(real_BT, LARGEST).argsort(stable=True, dim=-1).argsort(dim=-1)
        chosen_BT = real_BT & (rank_BT < hidden(real_BT.sum(-1), self.share)[:, None])
        found["targets_BT"] = tokens_BT.where(chosen_BT, IGNORED)
        found["tokens_BT"] = self._replaced(tokens_BT, chosen_BT, fraction(kind_BT), word_BT)
        return batch | found

    def _replaced(self, tokens_BT: Tensor, chosen_BT: Tensor, kind_BT: Tensor, word_BT: Tensor) -> Tensor:
        masked_BT = chosen_BT & (kind_BT < self.masked)
        random_BT = chosen_BT & ~masked_BT & (kind_BT < self.masked + self.random)
        return (word_BT % self.vocab_size).where(random_BT, tokens_BT.masked_fill(masked_BT, self.vocab_size))

    def validation_step(self, batch: dict, index: int) -> None:
        super().validation_step(batch, index)
        if index == 0:
            first = self.prepared(batch)
            self.shown = first["tokens_BT"][:1], first["targets_BT"][:1]

    def sample(
        self, model: nn.Module, prompt: list[int], tokens: int, context: int, temperature: float
    ) -> list[list[int]]:
        """The beginning of the first row of validation, with the likeliest word wherever one was hidden."""
        assert self.shown is not None
        tokens_1T, targets_1T = self.shown
        logits_1TV, _ = model(tokens_1T)
        guess_1T = logits_1TV[..., : self.vocab_size].argmax(-1)
        words_1T = guess_1T.where(targets_1T != IGNORED, tokens_1T)
        return [[word for word in words_1T[0].tolist() if word >= 0][:tokens]]

    def code_length(self, split: str, nats_per_token: float) -> dict[str, float]:
        """None: what is told of some tokens, given the others, codes no text."""
        return {}


def hidden(lengths_R: Tensor, share: float) -> Tensor:
    """How many tokens of a row of this length are chosen: the share, rounded, at least one if it has any."""
    return (lengths_R * share).round().long().clamp_min(1).minimum(lengths_R)
