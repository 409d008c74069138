"""Tokens a second of train.py against a plain PyTorch loop and against transformers, all on one GPT-2.

    python benchmarks/peers.py [rounds=8] [steps=5] [depth=6] [width=256] [heads=4] [context=256] [batch=16]
                               [lr=6e-4] [profile_steps=3] [threads=null] [key=value of train.py ...]

Three live trainers in one process take turns on the same batches from the same initial weights, each as it
comes:

    Triad          `python train.py model=gpt2`: precision=auto, the attention kernel and loss that it chooses
    plain loop     fp32, scaled_dot_product_attention, all logits at once, AdamW as torch.optim makes it
    transformers   GPT2LMHeadModel under transformers.Trainer, fp32, its own AdamW; needs the `peers` extra

Shapes: B batch, T time, D width, N heads, H head size, V vocabulary.
"""

import importlib
import importlib.util
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.loop import Contestant, Rounds, batches, fit, settle_threads
from triad.config.command_line import run_command
from triad.config.compose import compose
from triad.data.batches import TrainBatches
from triad.hardware.device import describe
from triad.launch.rank import quieten

BETAS, EPS, WEIGHT_DECAY, CLIP_NORM = (0.9, 0.95), 1e-8, 0.1, 1.0  # nanoGPT's, for all
TRIAD, PLAIN, TRANSFORMERS = "Triad, train.py model=gpt2", "plain PyTorch loop", "transformers.Trainer"
AGREEMENT = 5e-3  # three digits; bf16 against fp32


class GPT2(nn.Module):
    """GPT-2 as one writes it in a single file (Radford et al. 2019). tokens_BT -> logits_BTV."""

    def __init__(self, vocab_size: int, context: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.embedding, self.position = nn.Embedding(vocab_size, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        x_BTD = self.embedding(tokens_BT) + self.position.weight[: tokens_BT.shape[1]]
        for block in self.blocks:
            x_BTD = block(x_BTD)
        return F.linear(self.norm(x_BTD), self.embedding.weight)


class Block(nn.Module):
    """x += attention(norm(x)),  x += W_2 gelu(W_1 norm(x))."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        qkv = self.qkv(self.norm_1(x_BTD)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        y_BNTH = F.scaled_dot_product_attention(*qkv, is_causal=True)
        x_BTD = x_BTD + self.out(y_BNTH.transpose(1, 2).flatten(-2))
        return x_BTD + self.down(F.gelu(self.up(self.norm_2(x_BTD)), approximate="tanh"))


class Plain:
    """The loop of nanoGPT on a CPU: fp32, AdamW not fused, the logits of all tokens at once."""

    def __init__(self, model: GPT2, data: TrainBatches, lr: float) -> None:
        self.model, self.data, self.step = model, data, 0
        self.optimizer = optimizer(model, lr)
        self.losses: list[Tensor] = []

    def __call__(self, steps: int) -> float:
        since = time.perf_counter()
        for _ in range(steps):
            batch = self.data.batch(self.step)
            self.losses.append(update(self.model, self.optimizer, batch["tokens_BT"], batch["targets_BT"]))
            self.step += 1
        return time.perf_counter() - since


class Transformers:
    """transformers.Trainer, started again for each turn: model and optimizer are kept, batches go on.

    Timed from the start of its first step to the end of its last, so that starting again costs it nothing.
    """

    def __init__(self, model: GPT2, data: TrainBatches, lr: float, folder: Path) -> None:
        library: Any = importlib.import_module("transformers")
        self.data, self.step, self.since, self.until = _Rows(data), 0, 0.0, 0.0
        self.losses: list[Tensor] = []
        self.options: dict[str, Any] = {
            "output_dir": str(folder),
            "use_cpu": True,
            "per_device_train_batch_size": data.batch_rows(0),
            "learning_rate": lr,
            "lr_scheduler_type": "constant",
            "adam_beta1": BETAS[0],
            "adam_beta2": BETAS[1],
            "adam_epsilon": EPS,
            "weight_decay": WEIGHT_DECAY,
            "max_grad_norm": CLIP_NORM,
            "logging_strategy": "no",
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "remove_unused_columns": False,
        }
        args = library.TrainingArguments(**self.options, max_steps=1)
        callback = self._clock(library.TrainerCallback)
        self.trainer = self._recording(library.Trainer)(
            model=like(library, model), args=args, train_dataset=self.data, callbacks=[callback]
        )

    def __call__(self, steps: int) -> float:
        self.data.first, self.trainer.args.max_steps = self.step, steps
        self.trainer.train()
        self.step += steps
        return self.until - self.since

    def _clock(contestant, callback: Any) -> Any:
        class Clock(callback):
            def on_step_begin(self, args: Any, state: Any, *_: Any, **__: Any) -> None:
                if state.global_step == 0:
                    contestant.since = time.perf_counter()

            def on_step_end(self, *_: Any, **__: Any) -> None:
                contestant.until = time.perf_counter()

        return Clock()

    def _recording(contestant, trainer: Any) -> type:
        class Recording(trainer):
            def training_step(self, *arguments: Any, **named: Any) -> Tensor:
                loss = super().training_step(*arguments, **named)
                contestant.losses.append(loss)
                return loss

        return Recording


class _Rows(torch.utils.data.IterableDataset):
    """Rows in the order of our batches, from batch `first`, as transformers names them."""

    def __init__(self, data: TrainBatches) -> None:
        self.data, self.first = data, 0

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        step = self.first
        while True:
            batch = self.data.batch(step)
            for x_T, y_T in zip(batch["tokens_BT"], batch["targets_BT"], strict=True):
                yield {"input_ids": x_T, "labels": y_T, "shift_labels": y_T}  # ours are shifted already
            step += 1


class Profile(Callback):
    """What the operations of some steps take."""

    def __init__(self, first: int, steps: int) -> None:
        self.first, self.steps = first, steps
        self.profiler = profile(activities=[ProfilerActivity.CPU])

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        if self.steps and trainer.global_step == self.first:
            self.profiler.start()
        if self.steps and trainer.global_step == self.first + self.steps:
            self.profiler.stop()

    def table(self, rows: int = 14) -> str:
        found = sorted(self.profiler.key_averages(), key=lambda event: -event.self_cpu_time_total)
        total = sum(event.self_cpu_time_total for event in found)
        lines = ["| operation | ms a step | share | calls a step |", "|---|---|---|---|"]
        for event in found[:rows]:
            ms, calls = event.self_cpu_time_total / 1e3 / self.steps, event.count / self.steps
            lines.append(
                f"| {event.key} | {ms:.1f} | {event.self_cpu_time_total / total:.1%} | {calls:.0f} |"
            )
        lines.append(f"| all | {total / 1e3 / self.steps:.1f} | | |")
        return "\n".join(lines)


def optimizer(model: nn.Module, lr: float) -> torch.optim.Optimizer:
    """AdamW as it comes; matrices and embeddings decay, vectors do not."""
    parameters = [*model.parameters()]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=BETAS, eps=EPS)


def update(model: GPT2, optimizer: torch.optim.Optimizer, x_BT: Tensor, y_BT: Tensor) -> Tensor:
    """One step; the loss before it."""
    loss = F.cross_entropy(model(x_BT).flatten(0, 1), y_BT.flatten())
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
    optimizer.step()
    return loss.detach()


@torch.no_grad()
def copied(ours: Any) -> GPT2:
    """The plain model with the weights that Triad's Decoder in GPT-2's form has now."""
    heads = ours.width // ours.blocks[0].attention.head_size
    model = GPT2(ours.vocab_size, ours.context, ours.width, ours.depth, heads)
    model.embedding.weight.copy_(ours.embedding.weight)
    model.position.weight.copy_(ours.position.weight)
    model.norm.load_state_dict(ours.norm.state_dict())
    for block, theirs in zip(model.blocks, ours.blocks, strict=True):
        attention, feedforward = theirs.attention, theirs.feedforward
        for name in ("weight", "bias"):
            parts = [getattr(part, name) for part in (attention.q, attention.k, attention.v)]
            getattr(block.qkv, name).copy_(torch.cat(parts))
        pairs = ("norm_1", theirs.attention_norm), ("out", attention.out), ("norm_2", theirs.feedforward_norm)
        for name, part in (*pairs, ("up", feedforward.up), ("down", feedforward.down)):
            getattr(block, name).load_state_dict(part.state_dict())
    return model


@torch.no_grad()
def like(library: Any, model: GPT2) -> nn.Module:
    """The GPT2LMHeadModel with the plain model's weights; its layers hold their matrices transposed."""
    (vocab_size, width), context = model.embedding.weight.shape, model.position.weight.shape[0]
    shape = {"n_embd": width, "n_layer": len(model.blocks), "n_head": model.blocks[0].heads}
    without: dict[str, Any] = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    without |= {"bos_token_id": None, "eos_token_id": None, "use_cache": False, "loss_type": "ForCausalLM"}
    config = library.GPT2Config(vocab_size=vocab_size, n_positions=context, **shape, **without)
    theirs = library.GPT2LMHeadModel(config)
    names = {
        "embedding": "wte",
        "position": "wpe",
        "blocks": "h",
        "norm": "ln_f",
        "norm_1": "ln_1",
        "norm_2": "ln_2",
    }
    names |= {"qkv": "attn.c_attn", "out": "attn.c_proj", "up": "mlp.c_fc", "down": "mlp.c_proj"}
    for name, value in model.named_parameters():
        place = theirs.transformer.get_parameter(".".join(names.get(word, word) for word in name.split(".")))
        layer = name.split(".")[-2]
        place.copy_(value.T if value.ndim == 2 and layer in ("qkv", "out", "up", "down") else value)
    return theirs


def peers(
    overrides: list[str],
    rounds: int = 8,
    steps: int = 5,
    depth: int = 6,
    width: int = 256,
    heads: int = 4,
    context: int = 256,
    batch: int = 16,
    lr: float = 6e-4,
    profile_steps: int = 3,
    threads: int | None = None,
) -> None:
    """Compare tokens a second of three ways to train one GPT-2, and say where the time of ours goes."""
    quieten()
    settle_threads(threads)
    last = steps * (rounds + 1)
    words = [
        *("model=gpt2", f"model.depth={depth}", f"model.width={width}", f"model.attention.heads={heads}"),
        *(f"context={context}", f"batch.size={batch}", f"optimizer.lr={lr}", "scheduler=constant"),
        *("scheduler.warmup=0", "optimizer=adamw", f"optimizer.betas=[{BETAS[0]},{BETAS[1]}]"),
        *(f"optimizer.weight_decay={WEIGHT_DECAY}", f"optimizer.eps={EPS}", f"clip.largest={CLIP_NORM}"),
        *(
            "logger=csv",
            "trainer.accelerator=cpu",
            "trainer.limit_val_batches=1",
            "callbacks.sample.length=8",
        ),
        f"trainer.max_steps={last + profile_steps + 1}",
        f"trainer.val_check_interval={last + profile_steps + 1}",  # none within a turn
    ]
    profiled = Profile(last, profile_steps)
    with TemporaryDirectory() as folder:

        def others(trainer: Trainer, task: Any) -> dict[str, Contestant]:
            found: dict[str, Contestant] = {PLAIN: Plain(copied(task.model), batches(trainer), lr)}
            if _installed():
                found[TRANSFORMERS] = Transformers(
                    copied(task.model), batches(trainer), lr, Path(folder, "peer")
                )
            return found

        taking_turns = Rounds(others, steps, rounds)
        fit(compose([*words, *overrides]), Path(folder, "run"), [taking_turns, profiled])
        machine = Path(folder, "run", "machine.json")
        chosen = machine.read_text() if machine.exists() else "nothing to choose"
    print(f"{describe(torch.device('cpu'))}, torch {torch.__version__}; {rounds} rounds of {steps} steps\n")
    print(f"Measured and chosen for Triad: {' '.join(chosen.split())}\n")
    print(table(taking_turns, batch * context))
    if not _installed():
        print("transformers is not installed: pip install -e '.[peers]' adds it to the comparison\n")
    if profile_steps:
        print(f"Triad, {profile_steps} steps profiled:\n\n{profiled.table()}")
    assert_agreement(taking_turns)


def table(taking_turns: Rounds, tokens: int) -> str:
    """A row per contestant: tokens a second, ratio to the better peer in the same round, last losses."""
    names = {TRIAD: "", **{name: name for name in taking_turns.others}}
    speeds = {
        shown: [tokens * 1e3 / ms for ms in taking_turns.step_ms(name)] for shown, name in names.items()
    }
    best = max((name for name in speeds if name != TRIAD), key=lambda name: median(speeds[name]))
    lines = [
        "| contestant | tokens/s, median (least..most) | ratio to the better peer | loss of the last round |",
        "|---|---|---|---|",
    ]
    for shown, name in names.items():
        speed = speeds[shown]
        ratio = median(a / b for a, b in zip(speed, speeds[best], strict=True))
        lines.append(
            f"| {shown} | {median(speed):,.0f} ({min(speed):,.0f}..{max(speed):,.0f}) | {ratio:.2f} "
            f"| {last_loss(taking_turns, name):.4f} |"
        )
    return "\n".join(lines) + "\n"


def last_loss(taking_turns: Rounds, name: str = "") -> float:
    """The mean loss of a contestant's last round."""
    losses = taking_turns.others[name].losses if name else taking_turns.losses[: taking_turns.last_step]
    return mean(torch.stack(losses[-taking_turns.steps :]).tolist())


def assert_agreement(taking_turns: Rounds) -> None:
    """The same weights, batches and updates give the same losses to three digits."""
    ours = last_loss(taking_turns)
    for name in taking_turns.others:
        theirs = last_loss(taking_turns, name)
        assert abs(theirs / ours - 1) < AGREEMENT, f"{name}: loss {theirs:.4f} against our {ours:.4f}"
    print(f"\nSame work: the losses of the last round agree within {AGREEMENT:.1%}.")


def _installed() -> bool:
    return all(importlib.util.find_spec(name) for name in ("transformers", "accelerate"))


if __name__ == "__main__":
    run_command(peers)
