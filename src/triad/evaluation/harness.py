"""A run as a model of EleutherAI's lm-evaluation-harness, which is the extra `lmeval`.

A model for its simple_evaluate(model=...) is make_harness_model(open_harness_system("outputs/<run_id>")).
"""

from importlib import import_module
from pathlib import Path
from typing import Any

from triad.checkpoints.folder import BEST, find_checkpoint
from triad.decoding.decode import decode
from triad.decoding.greedy import Greedy
from triad.decoding.likelihood import score_continuations, score_text
from triad.decoding.sampling import Sampling
from triad.decoding.stopping import NewText, decode_text
from triad.evaluation.system import ROWS, System, open_system
from triad.runs.directory import Run

NEW_TOKENS = 256  # of a text that is generated where a task says nothing, as the harness's own models have it


def open_harness_system(
    path: Path | str, checkpoint: int | str | Path = BEST, weights: str | None = None
) -> System:
    """A run of a task that continues text; see find_checkpoint. Raises ValueError for another task."""
    run = Run(path)
    system = open_system(run, run.config(), find_checkpoint(run.path, checkpoint), weights)
    if not getattr(system.task, "continues_text", False):
        raise ValueError(f"{path}: the harness asks for a model that continues text, of task=causal_lm")
    return system


def make_harness_model(system: System) -> Any:
    """A system as a model of the harness, of its class LM, which is imported here."""
    model = import_module("lm_eval.api.model").LM  # an optional package
    return type("TriadModel", (HarnessModel, model), {})(system)


class HarnessModel:
    """Answers the three kinds of requests by triad.decoding, in the run's precision and on its device.

    A continuation's tokens are those that end behind the boundary of the joint text. A rolling likelihood is
    by windows that do not overlap, each token scored once. What is generated is greedy unless the request
    says do_sample; a prompt that exceeds the context loses its beginning.
    """

    def __init__(self, system: System) -> None:
        super().__init__()
        self.system, self.context = system, system.config["context"]

    def loglikelihood(self, requests: list[Any], **_: Any) -> list[tuple[float, bool]]:
        """log p of each continuation behind its context, and whether it is the greedy one."""
        model, tokenizer = self.system.model, self.system.tokenizer
        pairs = [request.args for request in requests]
        with self.system.computing():
            scores = score_continuations(model, tokenizer, pairs, context=self.context, batch_size=ROWS)
        return [(score.log_probability, score.greedy) for score in scores]

    def loglikelihood_rolling(self, requests: list[Any], **_: Any) -> list[float]:
        """log p of each whole text."""
        model, tokenizer = self.system.model, self.system.tokenizer
        with self.system.computing():
            return [
                -score_text(model, tokenizer, text, context=self.context, stride=self.context).nats
                for (text,) in (request.args for request in requests)
            ]

    def generate_until(self, requests: list[Any], **_: Any) -> list[str]:
        """What follows each context, up to the first of its stop strings."""
        with self.system.computing():
            return [self._generate(*request.args) for request in requests]

    def _generate(self, text: str, asked: dict[str, Any]) -> str:
        tokenizer = self.system.tokenizer
        until = asked.get("until") or []
        stops = [until] if isinstance(until, str) else [stop for stop in until if stop]
        temperature = asked.get("temperature", 1.0) if asked.get("do_sample") else 0.0
        decoding: Any = Greedy()
        if temperature:
            shares = asked.get("top_p", 1.0), asked.get("min_p", 0.0)
            decoding = Sampling(temperature, asked.get("top_k"), *shares, repetition_penalty=1.0)
        start = [] if tokenizer.separator is None else [tokenizer.separator]
        prompt = [*start, *tokenizer.encode(text).tolist()][-self.context :]

        def stopped(tokens: list[int]) -> bool:
            new = NewText(tokenizer, stops)
            for token in tokens:
                new.add(token)
            return new.stopped

        ((found,),) = decode(
            self.system.model,
            [prompt],
            decoding,
            ends=start,
            max_tokens=asked.get("max_gen_toks", NEW_TOKENS),
            context=self.context,
            vocab_size=tokenizer.vocab_size,
            stopped=stopped if stops else None,
        )
        return decode_text(tokenizer, found.tokens, stops)
