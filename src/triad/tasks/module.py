"""The one LightningModule: it trains a model on any task.

A task is a plain object: one file of this folder and one YAML of conf/task. It knows no strategy, rank or
trainer. The arguments of its constructor are keys of the YAML, or what triad.checkpoints.trained.make_task
supplies by name: facts of the data, the tokenizer, the context, decoding, metrics. It has

    lower_is_better, higher_is_better   names of its metrics of validation: tuples of literals, which
                      triad.config.directions reads from the source
    reads             names of entries of `inputs`: the model's arguments in their order, then its targets;
                      where rows have several documents, starts_BT is an argument, too, behind the others
    inputs(batch, draw)   the model's inputs and targets by name, made from a batch; if its targets differ
                      from the batch's, also "count", their number in the global batch; if the model reads
                      other tokens, "lengths", those of each row of the global batch and of its source.
                      draw(purpose, length) gives integers 0 ... 2^63 - 1 for each row, equal in every layout
    loss(targets, training)   a function that the model's readout calls with (hidden, weight, ...); it
                      returns a sum over the targets, which is divided by the count
    measure(model, *inputs)   sums over a micro-batch of validation: tensors of any shape, by name
    figures(sums)     its metrics by name, computed from these sums over all of validation

and optionally:

    per_token         metrics of validation that another tokenizer changes: runs are ranked by them only where
                      the tokenizer is the same
    replaces_head     True where wrap puts a last matrix in the place of the model's
    predicts          "its tokens" where a target stands beside each token that is read, "a sequence", "a
                      label" and so on: see triad.metrics.sums
    judged_by         names of further entries of a batch, which measure and predict get behind those of reads
    continues_text    True where the model predicts each token from those before it
    takes_prompts     True where `triad generate` may ask its model: then it has make_prompt(text), the tokens
                      that are continued and the source or None; ends, the words that end an answer; and
                      longest_prompt, longest_answer, how many tokens a prompt and its answer may have
    metrics           of conf/metrics, by name, where its constructor takes them: with triad.metrics.sums
                      `measure` or measure_generated counts predictions, and `figures` computes
    measures_with     the argument without which, 0 or null, metrics are not measured
    predict(model, *inputs)   what metrics read of each row, None of a padded one; inputs as named by `reads`;
                      of a task that decodes also lockstep=, whether processes share the model
    classify(model, texts)   of one that predicts labels: the probability of each, by its name, for each text;
                      `classes` are these names in the order of predict's probabilities
    encode(example)   rows made of an example, as `inputs` needs them, and "cut", the tokens that are left out
    makes_rows        kinds of data whose rows it makes, beside those that have no rows of their own
    combine(predictions)   the prediction for an example from those of its rows, also of one row
    references(example)   what metrics compare the prediction with
    longest, joined   of pairs: the most tokens of a source and of a target, and whether they share a row
    special_tokens    number of the model's words after those of the tokenizer
    wrap(model)       another model around the one of conf/model
    start(path, model, bare)   load the weights of a checkpoint, which may be of another task
    generated, measure_generated(model, *inputs, lockstep)   further sums over the first `generated` batches
                      of validation, with a model that may be called word by word
    sample(model, row, length, ...)   lines of tokens or text as examples of the model's output; `row` is the
                      first one of validation, as named by `reads`, the rest prompt= (None: that of the row),
                      context=, temperature=, vocab_size= (behind which the model's rows are no text)
    code_length(nats)   metrics computed from the mean loss, such as bits per byte

triad.tasks.likelihood has the cross-entropy loss that most tasks share.

Shapes: B rows (sequences), L layers of experts, E experts, S statistics of a router.
"""

from collections.abc import Callable
from functools import partial, reduce
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypedDict

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from triad.checkpoints.tensors import start_from
from triad.checkpoints.trained import count_rows
from triad.layers.routing import STATISTICS, add_terms, auxiliary_loss
from triad.models.count import count
from triad.optim.initialise import initialise
from triad.optim.parametrisation import replace_arguments
from triad.optim.rebalance import Rebalance
from triad.optim.update import Update
from triad.tasks.counter_rng import random_integers

ALL = ""  # of validation, beside the names of sources


class StepOutputs(TypedDict):
    """What a training step returns: `outputs` in a callback's on_train_batch_end."""

    shares: dict[str, Tensor]  # to be summed over the data-parallel ranks
    figures: dict[str, Any]  # equal on all ranks
    load_LE: Tensor  # this rank's tokens for each expert
    lengths: tuple[Tensor, ...]  # real tokens of each row, or document, of the batch (and of its source)


class Training(LightningModule):
    """Train a model on a task. One Lightning batch is one optimizer step.

        loss = sum_i loss of target i / (number of targets in the global batch)
               + sum_rows auxiliary(row) / (number of rows in the global batch)

    Both sums run over the micro-batches and processes of the step and are divided once, by the counts of the
    whole step, so that micro-batching and layout do not change the mathematics. `update` processes the
    gradient. A model that sees both sides has one more word, the mask, for every task, so that each task can
    start from the weights of another.
    """

    def __init__(
        self,
        task: Any,
        model: Callable[..., nn.Module],
        optimizer: Callable[..., torch.optim.Optimizer],
        schedule: Callable[[int], float],
        hardware: Any,
        vocab_size: int,
        seed: int,
        update: Update,
        weights: str | None,
        pad_vocab_to_multiple_of: int = 1,
        augment: Callable[[Tensor, Callable], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        rows = count_rows(vocab_size, task, model, pad_vocab_to_multiple_of)
        self.make_body, self.vocab_size = partial(model, vocab_size=rows), vocab_size
        self.task, self.make_optimizer, self.schedule, self.hardware = task, optimizer, schedule, hardware
        self.seed, self.update, self.weights, self.augment = seed, update, weights, augment
        self.model: Any = None  # until configure_model
        self.network: Any = None  # the callable: the model, unless a strategy wraps it in an engine
        self.norm: Any = None  # of the gradient: set by a Lightning hook, which cannot return it
        self.sums: dict[str, dict[str, Tensor]] = {}  # of this rank's share of a validation, by source
        self.first_row: tuple[Tensor, ...] | None = None  # of validation

    def make_model(self, **changes: Any) -> nn.Module:
        """The model of conf/model, wrapped by the task, with some arguments changed, also of its parts."""
        model = replace_arguments(self.make_body, changes)()
        return self.task.wrap(model) if hasattr(self.task, "wrap") else model

    def make_meta_model(self) -> nn.Module:
        """The model of a single device, on the meta device."""
        with torch.device("meta"):
            return self.make_model()

    def configure_model(self) -> None:
        """Build on the meta device, let the strategy split the model, then fill the weights.

        Weights follow from the seed or come from a checkpoint. ValueError if that is of another model.
        """
        if self.model is not None:
            return
        strategy = self.trainer.strategy
        model = self.make_meta_model()
        with torch.device("meta"):
            self.update.fit(model, self.make_model)
        self.count = count(model)
        self.rebalance = Rebalance(model)
        self.hardware.tune(model)
        strategy.parallelize(model)
        self.hardware.check_memory(model, strategy.root_device)
        model.to_empty(device=strategy.root_device)
        initialise(model, self.seed, self.update.parametrisation.scale)
        if self.weights:
            getattr(self.task, "start", start_from)(Path(self.weights), model, self.make_meta_model())
        self.model, self.network = model, model.__call__

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One optimizer, with groups by the role of each parameter."""
        weight_decay = self.make_optimizer.keywords.get("weight_decay", 0.0)  # type: ignore[attr-defined]
        optimizer = self.make_optimizer(self.update.groups(self.model, weight_decay))
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"] * group["rate"]
        return optimizer

    def direction(self, metric: str) -> str:
        """Whether "lower" or "higher" is better for a metric. Raises ValueError if the task lacks it."""
        if metric not in (known := directions(self.task)):
            raise ValueError(f"{metric} is not measured here: use one of {', '.join(known)}")
        return known[metric]

    def training_step(self, batch: dict, _: int) -> StepOutputs:
        """Forward and backward over this rank's rows, then update once."""
        step = self.trainer.global_step  # not the batch's: trainer.overfit_batches repeats a few
        self._reseed(step)
        optimizer = self.optimizers()
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * self.schedule(step)
        accumulate = self.trainer.strategy.pipeline or self.accumulate  # a pipeline has its own schedule
        batch = self.inputs(batch)
        loss, auxiliary, statistics_LS = accumulate(batch)
        self.norm = None
        optimizer.step()
        if self.norm is None:
            raise ValueError(
                f"optimizer={type(optimizer.optimizer).__name__}: its step does not call the closure that it"
                " is given, in which gradients are clipped: begin step(closure) with loss = closure()"
            )
        optimizer.zero_grad()
        shares = {"train/loss": loss, "train/auxiliary": auxiliary}
        load_LE = statistics_LS[:, :-STATISTICS].contiguous()
        self.rebalance(load_LE, self.trainer.strategy.all_reduce)
        if len(statistics_LS):
            entropy, dropped = statistics_LS[:, -STATISTICS:].mean(0) / batch["rows"]
            shares |= {"train/router_entropy": entropy, "train/dropped": dropped}
        group = optimizer.param_groups[0]
        figures = {"train/gradient_norm": self.norm, "train/lr": group["lr"] / group["rate"]}
        if self.update.penalty is not None:
            figures["train/penalty"] = self.update.penalty
        # a document of a row costs what a row of its own does
        lengths = batch.get("lengths", (batch.get("document_lengths_D", batch["lengths_R"]),))
        return {"shares": shares, "figures": figures, "load_LE": load_LE, "lengths": lengths}

    def accumulate(self, batch: dict) -> tuple[Tensor, Tensor, Tensor]:
        """Run backward on each micro-batch; return this rank's share of the losses and routers' sums."""
        strategy = self.trainer.strategy
        micro_batches = self.micro_batches(batch)
        sums, statistics = [], []
        for index, inputs in enumerate(micro_batches):
            with strategy.micro_batch(last=index == len(micro_batches) - 1):
                with strategy.precision_plugin.forward_context():
                    nll, auxiliary, statistics_LS = self.losses(*inputs)
                loss, penalty = nll / batch["count"], auxiliary / batch["rows"]
                self.manual_backward((loss + penalty) * strategy.gradient_scale)
            sums.append(torch.stack((loss.detach(), penalty.detach())))
            statistics.append(statistics_LS)
        return *sum(sums[1:], sums[0]), sum(statistics[1:], statistics[0])

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Lightning calls this when gradients are complete and unscaled."""
        self.norm = self.trainer.strategy.clip(self.model, self.update)

    def inputs(self, batch: dict) -> dict:
        """A batch with the task's inputs and targets; in training what is read first is augmented."""
        batch = batch | self.task.inputs(batch, partial(self._draw, batch))
        if self.training and self.augment is not None:
            read = self.task.reads[0]
            batch[read] = self.augment(batch[read], partial(self._draw, batch))
        return batch

    def _draw(self, batch: dict, purpose: str, length: int) -> Tensor:
        """Integers for each position of the rows, from (seed, step, row); in validation from the row only."""
        rows = len(batch["tokens_BT"])
        rows_B = torch.arange(rows, device=batch["tokens_BT"].device) + self.trainer.strategy.data_rank * rows
        if self.training:
            return random_integers(f"{self.seed}/{batch['step']}/{purpose}", rows_B, length)
        return random_integers(f"validation/{purpose}", rows_B + batch["step"] * batch["rows"], length)

    def micro_batches(self, batch: dict, judged_by: tuple[str, ...] = ()) -> list[tuple[Tensor, ...]]:
        """The model's inputs and targets, and further entries of the batch, divided into micro-batches."""
        rows = self.hardware.rows(batch["tokens_BT"])
        entries = [*self.read(batch), *(batch[name] for name in judged_by)]
        return list(zip(*(entry.split(rows) for entry in entries), strict=True))

    def read(self, batch: dict) -> list[Tensor]:
        """The model's arguments in their order, starts_BT where rows have several documents, and targets."""
        *given, targets = self.task.reads
        starts = ["starts_BT"] if "starts_BT" in batch else []
        return [batch[name] for name in (*given, *starts, targets)]

    def losses(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Sums: negative log likelihood of targets, auxiliary loss of rows, statistics of each router."""
        *given, targets = inputs
        nll, routings = self.network(*given, loss=self.objective(targets))
        terms_BA = reduce(add_terms, (routing.terms_BA for routing in routings), nll.new_zeros(1, 1))
        statistics = [routing.statistics_BS.sum(0) for routing in routings]
        auxiliary = auxiliary_loss(terms_BA).sum()
        return nll, auxiliary, torch.stack(statistics) if statistics else nll.new_zeros(0, STATISTICS)

    def objective(self, targets: Tensor) -> Callable:
        """The loss function for the model's readout."""
        return self.task.loss(targets, self.training)

    def on_train_batch_end(self, *_: Any) -> None:
        if self.trainer.global_step >= self.trainer.max_steps > 0:
            self.trainer.should_stop = True  # so that Lightning validates after the last step, too

    def on_validation_epoch_start(self) -> None:
        self.sums = {}

    def validation_step(self, batch: dict, index: int) -> None:
        batch = self.inputs(batch)
        for inputs in self.micro_batches(batch, getattr(self.task, "judged_by", ())):
            self._add_sums(self.task.measure(self.network, *inputs), batch.get("source", ALL))
        if index < getattr(self.task, "generated", 0):
            # all rows of a batch: the same in every layout, and each process calls the model equally often
            model = self.trainer.strategy.full_model(self.model)
            for inputs in self.micro_batches(batch):
                sums = self.task.measure_generated(model, *inputs, lockstep=self.trainer.world_size > 1)
                self._add_sums(sums, ALL)
        if index == 0:
            self.first_row = tuple(entry[:1] for entry in self.read(batch | batch.get("first_row", {})))

    def _add_sums(self, sums: dict[str, Tensor], source: str) -> None:
        pipeline = self.trainer.strategy.pipeline
        for name, value in sums.items():
            share = value.to(self.device, torch.float64)
            if pipeline is not None and not pipeline.last:  # earlier stages have the targets but not the loss
                share = torch.zeros_like(share)
            for whole in dict.fromkeys((ALL, source)):
                kept = self.sums.setdefault(whole, {})
                kept[name] = kept[name] + share if name in kept else share

    def on_validation_epoch_end(self) -> None:
        """Sum over all processes, then let the task compute metrics; callbacks write what is logged here.

        Of the sources of a mixture, each of which has batches of its own, that is the loss.
        """
        by_source = {source: self._compute_figures(sums) for source, sums in self.sums.items()}
        figures = {f"val/{name}": value for name, value in by_source.pop(ALL).items()}
        if undeclared := figures.keys() - directions(self.task).keys():
            name = f"{type(self.task).__name__}'s {min(undeclared)}"
            raise ValueError(f"{name} is named in neither lower_is_better nor higher_is_better")
        losses = {f"val/loss/{source}": figures["loss"] for source, figures in by_source.items()}
        self.log_dict(figures | losses, logger=False, sync_dist=True)

    def _compute_figures(self, sums: dict[str, Tensor]) -> dict[str, float]:
        return self.task.figures(
            {name: self.trainer.strategy.all_reduce(share).cpu() for name, share in sums.items()}
        )

    def sample(
        self, model: nn.Module, prompt: list[int] | None, length: int, context: int, temperature: float
    ) -> list[list[int] | str]:
        """Lines of tokens or text as examples of the model's output, if the task offers any."""
        if self.first_row is None or not hasattr(self.task, "sample"):
            return []
        asked = {"prompt": prompt, "context": context, "temperature": temperature}
        asked["vocab_size"] = self.vocab_size
        return self.task.sample(model, self.first_row, length=length, **asked)

    def code_length(self, nats: float) -> dict[str, float]:
        """Metrics computed from the mean loss of a target."""
        return self.task.code_length(nats) if hasattr(self.task, "code_length") else {}

    def _reseed(self, step: int) -> None:
        """Dropout depends on (seed, step, data rank) only: processes that share rows draw the same masks."""
        words = f"{self.seed}/{step}/{self.trainer.strategy.data_rank}".encode()
        seed = int.from_bytes(blake2b(words, digest_size=7).digest(), "big")
        torch.default_generator.manual_seed(seed)  # 1 us; torch.manual_seed takes 130 us
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)


def directions(task: Any) -> dict[str, str]:
    """A task's figures of validation, and whether "lower" or "higher" is better."""
    return {
        f"val/{name}": better
        for part in (task, *getattr(task, "metrics", {}).values())
        for better in ("lower", "higher")
        for name in getattr(part, f"{better}_is_better", ())
    }
