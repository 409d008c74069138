"""Language modelling: predict each token from those before it.

Shapes: B rows (sequences), T time, V vocabulary, L layers of experts, E experts, S what a router sees.
"""

import math
from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from triad.checkpoints.tensors import start_from
from triad.layers.cross_entropy import IGNORED, cross_entropy_sum
from triad.layers.routing import SEEN
from triad.models.count import count
from triad.models.generation import continuation
from triad.optim.initialise import initialise
from triad.optim.rebalance import Rebalance
from triad.optim.update import Update


class CausalLM(LightningModule):
    """Train a model to predict the next token. One Lightning batch is one optimizer step.

        loss = sum_i -log p(x_i | x_<i) / (number of targets in the global batch)
               + sum_rows auxiliary(row) / (number of rows in the global batch)

    Both sums run over the micro-batches and processes of the step and are divided once, by the counts of the
    whole step, so that micro-batching and layout do not change the mathematics. `bytes_per_token` turns nats
    per token into bits per byte: bits/byte = nats / (ln 2 * bytes_per_token). `smoothing` and `z_loss` are
    those of cross_entropy_sum; train/loss has them in it, val/loss has not. `update` is told the gradient.

    Another objective is another `prepared`: what the model reads and is to say, made of the rows of a batch.
    """

    needs = {"model.sees": ("past", "window"), "data.yields": ("text",)}
    splits = ("tensor", "context", "pipeline")
    reads: tuple[str, ...] = ("tokens_BT", "targets_BT")  # of a batch: the model's arguments, and its targets
    signs = 0  # words that the objective adds behind those of the tokenizer

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
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.make_model, self.make_optimizer = partial(model, vocab_size=vocab_size + self.signs), optimizer
        self.vocab_size = vocab_size
        self.schedule, self.hardware, self.seed, self.update = schedule, hardware, seed, update
        self.weights = weights
        if not (0 <= smoothing < 1 and z_loss >= 0):
            raise ValueError(
                f"task.smoothing={smoothing} z_loss={z_loss}: a share of 1, such as 0.1, and at least 0"
            )
        self.smoothing, self.z_loss = smoothing, z_loss
        self.nats_to_bits_per_byte = 1 / (math.log(2) * bytes_per_token)
        self.model: Any = None  # until configure_model
        self.network: Any = None  # what is called: the model, unless a strategy puts an engine around it
        self.shares: dict[str, Tensor] = {}  # of the last step, to be summed over the data-parallel ranks
        self.figures: dict[str, Any] = {}  # of the last step, equal on all ranks

    def configure_model(self) -> None:
        """Build without storage, let the hardware axis lay it out, then fill the weights.

        They follow from the seed or are a checkpoint's. Raises ValueError if that is of another model.
        """
        if self.model is not None:
            return
        strategy = self.trainer.strategy
        model = self.bare()
        with torch.device("meta"):
            self.update.parametrisation.fit(model, self.make_model)
        self.count = count(model)
        self.rebalance = Rebalance(model)
        self.hardware.tune(model)
        strategy.parallelize(model)
        model.to_empty(device=strategy.root_device)
        initialise(model, self.seed, self.update.parametrisation.scale)
        if self.weights:
            self.start(model, Path(self.weights))
        self.model, self.network = model, model.__call__

    def start(self, model: nn.Module, path: Path) -> None:
        """Take the weights of a checkpoint."""
        start_from(path, model, self.bare())

    def bare(self) -> nn.Module:
        """The model of a single device, without storage."""
        with torch.device("meta"):
            return self.make_model()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One optimizer; its groups come from what each parameter is."""
        weight_decay = self.make_optimizer.keywords.get("weight_decay", 0.0)  # type: ignore[attr-defined]
        optimizer = self.make_optimizer(self.update.groups(self.model, weight_decay))
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"] * group["rate"]
        return optimizer

    def training_step(self, batch: dict, _: int) -> None:
        """Forward and backward over this rank's rows, then update once."""
        step = batch["step"]
        self._reseed(step)
        optimizer = self.optimizers()
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * self.schedule(step)
        walk = self.trainer.strategy.pipeline or self.walk  # a pipeline has an order of its own
        loss, auxiliary, seen_LS = walk(self.prepared(batch))
        optimizer.step()
        optimizer.zero_grad()
        self.shares = {"train/loss": loss, "train/auxiliary": auxiliary}
        self.load_LE = seen_LS[:, :-SEEN].contiguous()
        self.rebalance(self.load_LE, self.trainer.strategy.total)
        if len(seen_LS):
            entropy, dropped = seen_LS[:, -SEEN:].mean(0) / batch["rows"]
            self.shares |= {"train/router_entropy": entropy, "train/dropped": dropped}
        group = optimizer.param_groups[0]
        self.figures = {"train/gradient_norm": self.norm, "train/lr": group["lr"] / group["rate"]}
        if self.update.penalty is not None:
            self.figures["train/penalty"] = self.update.penalty

    def walk(self, batch: dict) -> tuple[Tensor, Tensor, Tensor]:
        """Backward over each micro-batch: this rank's share of the step's losses and routers' sums."""
        strategy = self.trainer.strategy
        parts = self.parts(batch)
        sums, seen = torch.zeros(2, device=self.device), []
        for index, part in enumerate(parts):
            with strategy.micro_batch(last=index == len(parts) - 1):
                nll, auxiliary, seen_LS = self.losses(*part)
                loss, penalty = nll / batch["count"], auxiliary / batch["rows"]
                self.manual_backward((loss + penalty) * strategy.gradient_scale)
            sums += torch.stack((loss.detach(), penalty.detach()))
            seen.append(seen_LS)
        return sums[0], sums[1], sum(seen[1:], seen[0])

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Lightning calls this when gradients are whole and unscaled."""
        self.norm = self.trainer.strategy.clip(self.model, self.update)

    def prepared(self, batch: dict) -> dict:
        """What is read and predicted, out of the rows of a batch: here each token and the next."""
        return batch

    def parts(self, batch: dict) -> list[tuple[Tensor, ...]]:
        """What the model reads and is to predict, one micro-batch after another."""
        rows = self.hardware.rows(batch["tokens_BT"])
        return list(zip(*(batch[name].split(rows) for name in self.reads), strict=True))

    def losses(self, *part: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Sums: negative log likelihood of targets, auxiliary loss of rows, what each router saw."""
        *given, targets_BT = part
        nll, routings = self.network(*given, loss=self.objective(targets_BT))
        auxiliary = sum((routing.auxiliary_B.sum() for routing in routings), nll.new_zeros(()))
        seen = [routing.seen_BS.sum(0) for routing in routings]
        return nll, auxiliary, torch.stack(seen) if seen else nll.new_zeros(0, SEEN)

    def objective(self, targets_BT: Tensor) -> Callable:
        """What the model's readout is asked for: the likelihood alone, but for training."""
        smoothing, z_loss = (self.smoothing, self.z_loss) if self.training else (0.0, 0.0)
        return partial(cross_entropy_sum, targets_BT=targets_BT, smoothing=smoothing, z_loss=z_loss)

    def on_train_batch_end(self, *_: Any) -> None:
        if self.trainer.global_step >= self.trainer.max_steps > 0:
            self.trainer.should_stop = True  # so that Lightning validates after the last step, too

    def on_validation_epoch_start(self) -> None:
        self.sums = torch.zeros(2, dtype=torch.float64, device=self.device)

    def validation_step(self, batch: dict, _: int) -> None:
        batch = self.prepared(batch)
        for part in self.parts(batch):
            nll = self.losses(*part)[0]
            self.sums[0] += nll.double()
        pipeline = self.trainer.strategy.pipeline
        if pipeline is None or pipeline.last:  # the stages before see the targets, but not their loss
            self.sums[1] += (batch["targets_BT"] != IGNORED).sum()

    def on_validation_epoch_end(self) -> None:
        """Divide once, by the global count."""
        nll, count = self.trainer.strategy.total(self.sums).tolist()
        loss = nll / max(count, 1)
        figures = {
            "val/loss": loss,
            "val/perplexity": _exp(loss),
            **self.code_length("val", loss),
        }
        self.log_dict(
            figures, logger=False, sync_dist=True
        )  # for early stopping; the metrics callback writes them

    def sample(
        self, model: nn.Module, prompt: list[int], tokens: int, context: int, temperature: float
    ) -> list[list[int]]:
        """Lines of words that show what has been learned: a continuation of `prompt`."""
        return [[*prompt, *continuation(model, prompt, tokens, context, temperature, 50, seed=0)]]

    def code_length(self, split: str, nats_per_token: float) -> dict[str, float]:
        """Comparable between vocabularies, and with a compressor."""
        return {f"{split}/bits_per_byte": nats_per_token * self.nats_to_bits_per_byte}

    def _reseed(self, step: int) -> None:
        """Dropout depends on (seed, step, data rank) only: processes that share rows draw the same masks."""
        words = f"{self.seed}/{step}/{self.trainer.strategy.data_rank}".encode()
        seed = int.from_bytes(blake2b(words, digest_size=7).digest(), "big")
        torch.default_generator.manual_seed(seed)  # 1 us; torch.manual_seed takes 130 us
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)


def _exp(loss: float) -> float:
    return math.exp(loss) if loss < 700 else math.inf
