"""Our models against others' implementations of the same architectures, all with the same weights.

    python benchmarks/models.py [models=gpt2,decoder,moe,lstm] [rounds=8] [steps=3] [depth=4] [width=256]
                                [heads=4] [context=256] [batch=8] [vocab_size=4096] [dtype=fp32]
                                [generated=128] [threads=null]

In one process each pair takes turns on the same batches, forward, backward and one fused AdamW step; losses
must agree. Peers are transformers' GPT-2, Llama and Mixtral (the `peers` extra) and a loop of torch.nn.LSTM
with all its logits at once. Then `moe` against a `decoder` of the same active FLOPs, both ours, and greedy
generation with a cache, which must give the same tokens. Shapes: B batch, T time, D width, V vocabulary.
"""

import gc
import importlib
import importlib.util
import re
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.loop import settle_threads, spread
from benchmarks.peers import copied, like
from triad.config.build import build
from triad.config.command_line import run_command
from triad.config.compose import compose
from triad.decoding.decode import decode
from triad.decoding.greedy import Greedy
from triad.hardware.autotune import Measured
from triad.hardware.device import describe
from triad.hardware.precision import has_recurrent_kernels, recurrent_to_fp32
from triad.launch.rank import quieten
from triad.layers.cross_entropy import cross_entropy_sum
from triad.models.count import count
from triad.storage.cache import cache_home

AGREEMENT = 1e-3  # of losses, relative; fp32, another order of sums
LOW_AGREEMENT = 1e-2  # bf16
PROMPT = 16
LLAMA = (
    (r"^embedding", "model.embed_tokens"),
    (r"^norm", "model.norm"),
    (r"^head", "lm_head"),
    (r"^blocks", "model.layers"),
    (r"attention_norm", "input_layernorm"),
    (r"feedforward_norm", "post_attention_layernorm"),
    (r"\.attention\.(q|k|v)\.", r".self_attn.\1_proj."),
    (r"\.attention\.out\.", ".self_attn.o_proj."),
    (r"\.feedforward\.(gate|up|down)\.", r".mlp.\1_proj."),
    (r"\.feedforward\.router\.", ".mlp.gate."),
)
PLAIN_ATTENTION = ("model.attention.query_key_norm=null",)  # Llama has no norm there


class Shape(NamedTuple):
    """What all models of a run have alike."""

    depth: int
    width: int
    heads: int
    context: int
    batch: int
    vocab_size: int

    @property
    def hidden(self) -> int:
        """Of SwiGLU: 8/3 of the width, rounded up to 64."""
        return -(-8 * self.width // (3 * 64)) * 64


class Pair(NamedTuple):
    """A model of ours, what is changed in its configuration, and who stands against it."""

    words: tuple[str, ...]
    peer: str
    other: Callable[[Any], nn.Module]


class Trainee:
    """A model, its optimizer and how its mean loss is had."""

    def __init__(self, model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], dtype: str) -> None:
        self.model, self.loss, self.dtype = model, loss, dtype
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
        self.losses: list[Tensor] = []

    def step(self, x_BT: Tensor, y_BT: Tensor) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.dtype == "bf16"):
            loss = self.loss(x_BT, y_BT)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.losses.append(loss.detach())

    def turn(self, batches: list[tuple[Tensor, Tensor]]) -> float:
        """Milliseconds a step."""
        since = time.perf_counter()
        for batch in batches:
            self.step(*batch)
        return (time.perf_counter() - since) * 1e3 / len(batches)

    def peak_bytes(self, batch: tuple[Tensor, Tensor]) -> int:
        """The most bytes of tensors at once: weights, optimizer state, and what one step adds to them."""
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            self.step(*batch)
        events = profiler.profiler.kineto_results.events()
        held = most = 0
        for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
            most = max(most, held := held + event.nbytes())
        states = [value for state in self.optimizer.state.values() for value in state.values()]
        return most + sum(tensor.nbytes for tensor in (*self.model.parameters(), *states))


class PlainLSTM(nn.Module):
    """Zaremba et al. 2014 as one writes it around torch.nn.LSTM. tokens_BT -> logits_BTV."""

    def __init__(self, vocab_size: int, width: int, depth: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, width)
        self.recurrent = nn.LSTM(width, width, depth, batch_first=True)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        return F.linear(self.recurrent(self.embedding(tokens_BT))[0], self.embedding.weight)


def gpt2(ours: Any) -> nn.Module:
    return like(_transformers(), copied(ours))


def llama(ours: Any) -> nn.Module:
    """LlamaForCausalLM or, where ours has experts, MixtralForCausalLM with the weights of ours."""
    library, experts = _transformers(), getattr(ours.blocks[0].feedforward, "experts", None)
    attention = ours.blocks[0].attention
    heads = attention.q.out_features // attention.head_size
    words: dict[str, Any] = {
        "vocab_size": ours.vocab_size,
        "hidden_size": ours.width,
        "num_hidden_layers": ours.depth,
        "num_attention_heads": heads,
        "num_key_value_heads": attention.k.out_features // attention.head_size,
        "max_position_embeddings": ours.context,
        "rms_norm_eps": ours.norm.eps,
        "rope_parameters": {"rope_type": "default", "rope_theta": attention.rotary.base},
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id")),
    }
    if experts is None:
        hidden = ours.blocks[0].feedforward.gate.out_features
        model = library.LlamaForCausalLM(library.LlamaConfig(intermediate_size=hidden, **words))
    else:
        number, _, hidden = experts.gate_EDF.shape
        words |= {"num_local_experts": number, "num_experts_per_tok": ours.blocks[0].feedforward.router.top_k}
        model = library.MixtralForCausalLM(library.MixtralConfig(intermediate_size=hidden, **words))
    return _filled(model, ours)


@torch.no_grad()
def _filled(theirs: nn.Module, ours: Any) -> nn.Module:
    left = {name for name, _ in theirs.named_parameters()}
    for name, value in ours.named_parameters():
        if "experts." in name:
            continue
        for pattern, there in LLAMA:
            name = re.sub(pattern, there, name)
        theirs.get_parameter(name).copy_(value)
        left.remove(name)
    for index, block in enumerate(ours.blocks):
        if experts := getattr(block.feedforward, "experts", None):
            place = f"model.layers.{index}.mlp.experts."
            gate_up = torch.cat((experts.gate_EDF, experts.up_EDF), 2)
            theirs.get_parameter(f"{place}gate_up_proj").copy_(gate_up.mT)
            theirs.get_parameter(f"{place}down_proj").copy_(experts.down_EFD.mT)
            left -= {f"{place}gate_up_proj", f"{place}down_proj"}
    assert not left, left
    return theirs


def lstm(ours: Any) -> nn.Module:
    model = PlainLSTM(ours.vocab_size, ours.width, ours.depth)
    model.load_state_dict(ours.state_dict())
    return model


PAIRS = {
    "gpt2": Pair((), "transformers, GPT-2", gpt2),
    "decoder": Pair(PLAIN_ATTENTION, "transformers, Llama", llama),
    "moe": Pair(
        (*PLAIN_ATTENTION, "router.balance=0", "router.z=0"),
        "transformers, Mixtral",
        llama,
    ),
    "lstm": Pair((), "torch.nn.LSTM, a plain loop", lstm),
}


def models(
    models: str = "gpt2,decoder,moe,lstm",
    rounds: int = 8,
    steps: int = 3,
    depth: int = 4,
    width: int = 256,
    heads: int = 4,
    context: int = 256,
    batch: int = 8,
    vocab_size: int = 4096,
    dtype: Literal["fp32", "bf16"] = "fp32",
    generated: int = 128,
    threads: int | None = None,
) -> None:
    """Compare step time, peak memory and generation of our models with others' of the same architecture."""
    quieten()
    settle_threads(threads)
    shape = Shape(depth, width, heads, context, batch, vocab_size)
    asked = [name for name in models.split(",") if name in PAIRS]
    chosen = {name: PAIRS[name] for name in asked if name == "lstm" or _installed()}
    print(f"{describe(torch.device('cpu'))}, torch {torch.__version__}; {dtype}, {shape}; {rounds} rounds of")
    print(f"{steps} steps; median (least..most); a ratio below 1 is for ours\n")
    if len(chosen) < len(asked):
        print("transformers is not installed: pip install -e '.[peers]' adds it to the comparison\n")
    course = partial(compared, shape=shape, rounds=rounds, steps=steps, dtype=dtype)
    print(HEAD, flush=True)
    for name, pair in chosen.items():
        model = ours(name, pair.words, shape, dtype)
        print(
            course(f"{name} against {pair.peer}", model, own_loss(model), *_other(pair, model, dtype)),
            flush=True,
        )
    if "moe" in asked:
        sparse, dense = (ours(name, (), shape, dtype) for name in ("moe", "decoder"))
        course = partial(course, same=False)  # different models: their losses are their own
        title = "moe against a decoder as large in use"
        print(course(title, sparse, own_loss(sparse), dense, own_loss(dense)), flush=True)
    print("\nSame work: the losses of all pairs of one architecture agree.")
    written = {name: pair for name, pair in chosen.items() if name != "lstm"}
    if generated and written:
        print(f"\n{GENERATION_HEAD}")
        for name, pair in written.items():
            print(generation(name, pair, shape, dtype, rounds, generated))
        if dtype == "fp32":  # bf16 has ties
            print("\nSame tokens from both.")


HEAD = (
    "| pair | parameters, active | ours, ms a step | theirs | time, ratio | peak MiB | theirs | ratio |\n"
    "|---|---|---|---|---|---|---|---|"
)
GENERATION_HEAD = "| model | tokens/s, ours | theirs | speed, ratio |\n|---|---|---|---|"


def ours(name: str, words: tuple[str, ...], shape: Shape, dtype: str) -> Any:
    """A model of ours with random weights and the attention kernel that train.py would choose here."""
    asked = [f"model={name}", f"context={shape.context}", f"model.width={shape.width}", *words]
    asked += [f"model.depth={shape.depth}", "trainer.accelerator=cpu", f"batch.size={shape.batch}"]
    if name != "lstm":
        asked.append(f"model.attention.heads={shape.heads}")
    if name in ("moe", "decoder"):  # two experts are as large as the dense layer
        asked.append(f"model.feedforward.hidden={shape.hidden // (2 if name == 'moe' else 1)}")
    config = compose(asked)
    factory, hardware = build(config["model"]), build(config["hardware"])
    model = factory(vocab_size=shape.vocab_size)
    with TemporaryDirectory() as run:
        measured = Measured(cache_home(), Path(run, "machine.json"), torch.device("cpu"))
        precision = {"fp32": "32-true", "bf16": "bf16-mixed"}[dtype]
        hardware.settle(measured, lambda _: precision, factory, shape.batch, shape.context)
    hardware.tune(model)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:  # wide enough for logits that are far from each other
            nn.init.normal_(parameter, std=0.05, generator=generator)
        else:
            nn.init.constant_(parameter, float(name.endswith("weight")))  # gains; no biases
    return model


def own_loss(model: Any) -> Callable[[Tensor, Tensor], Tensor]:
    """The mean loss as CausalLM has it: with the head inside, and what routers add."""

    def loss(x_BT: Tensor, y_BT: Tensor) -> Tensor:
        nll, routings = model(x_BT, loss=partial(cross_entropy_sum, targets_BT=y_BT))
        return nll / y_BT.numel() + sum(routing.auxiliary_B.mean() for routing in routings)

    return loss


def _other(pair: Pair, model: Any, dtype: str) -> tuple[nn.Module, Callable[[Tensor, Tensor], Tensor]]:
    other = pair.other(model)
    if isinstance(other, PlainLSTM):
        if dtype == "bf16" and not has_recurrent_kernels(torch.device("cpu"), "bf16-mixed"):
            recurrent_to_fp32(other)  # as train.py does with ours
        return other, lambda x_BT, y_BT: F.cross_entropy(other(x_BT).flatten(0, 1), y_BT.flatten())
    # ours are shifted already
    return other, lambda x_BT, y_BT: other(input_ids=x_BT, labels=y_BT, shift_labels=y_BT).loss


def compared(
    title: str,
    model: nn.Module,
    loss: Callable,
    other: nn.Module,
    other_loss: Callable,
    shape: Shape,
    rounds: int,
    steps: int,
    dtype: str,
    same: bool = True,
) -> str:
    """A row of the table: a first turn warms both up, then they alternate."""
    trainees = [Trainee(model.train(), loss, dtype), Trainee(other.train(), other_loss, dtype)]
    batches = _batches(shape)
    times = []
    for _ in range(rounds + 1):
        turn = [next(batches) for _ in range(steps)]
        times.append([trainee.turn(turn) for trainee in trainees])
        gc.collect()
    mine, theirs = zip(*times[1:], strict=True)
    last = next(batches)
    peaks = [trainee.peak_bytes(last) / 2**20 for trainee in trainees]
    if same:
        tolerance = AGREEMENT if dtype == "fp32" else LOW_AGREEMENT
        pairs = [torch.stack(trainee.losses) for trainee in trainees]
        torch.testing.assert_close(*pairs, rtol=tolerance, atol=0, msg=lambda said: f"{title}: {said}")
    ratio = spread([a / b for a, b in times[1:]], 2)
    cells = f"{count(model).active:,}", spread(mine, 1), spread(theirs, 1), ratio
    return f"| {title} | {' | '.join(cells)} | {peaks[0]:.0f} | {peaks[1]:.0f} | {peaks[0] / peaks[1]:.2f} |"


def _batches(shape: Shape) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    while True:
        size = shape.batch, shape.context + 1
        ids_BT = torch.randint(shape.vocab_size, size, generator=generator)
        yield ids_BT[:, :-1].contiguous(), ids_BT[:, 1:].contiguous()


def generation(name: str, pair: Pair, shape: Shape, dtype: str, rounds: int, tokens: int) -> str:
    """A row: tokens a second of one text, the likeliest each time, both with a cache."""
    model = ours(name, pair.words, shape, dtype).eval()
    other: Any = pair.other(model).eval()
    tokens = min(tokens, shape.context - PROMPT)
    prompt = torch.randint(shape.vocab_size, (1, PROMPT), generator=torch.Generator().manual_seed(2))
    words = {"max_new_tokens": tokens, "do_sample": False, "use_cache": True}
    attended = torch.ones_like(prompt)
    asked: Any = {"ends": (), "max_tokens": tokens, "context": shape.context, "vocab_size": None}
    speeds = []
    for _ in range(rounds + 1):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bf16"):
            since = time.perf_counter()
            mine = decode(model, prompt.tolist(), Greedy(), **asked)[0][0].tokens
            half = time.perf_counter()
            theirs = other.generate(prompt, attention_mask=attended, **words)[0, PROMPT:].tolist()
            end = time.perf_counter()
        if dtype == "fp32":
            assert mine == theirs, f"{name}: {mine} against {theirs}"
        speeds.append((tokens / (half - since), tokens / (end - half)))
    ratio = spread([a / b for a, b in speeds[1:]], 2)
    mine_per_s, theirs_per_s = (median(column) for column in zip(*speeds[1:], strict=True))
    return f"| {name} | {mine_per_s:,.0f} | {theirs_per_s:,.0f} | {ratio} |"


def _transformers() -> Any:
    return importlib.import_module("transformers")


def _installed() -> bool:
    return importlib.util.find_spec("transformers") is not None


if __name__ == "__main__":
    run_command(models)
