"""Continue a text with a trained model: `python -m triad.generate run=outputs/<run_id> prompt="def "`."""

import codecs
import sys
from collections.abc import Iterator


def generate(
    run: str,
    prompt: str = "def ",
    tokens: int = 300,
    temperature: float = 0.8,
    top_k: int | None = 50,
    seed: int = 0,
    step: int | None = None,
    weights: str | None = None,
) -> None:
    """Stream a continuation of `prompt` from a run's newest checkpoint, or from the one of a given `step`.

    Its weights are those that are validated, such as an average, or the set that `weights` names: model, ema,
    swa or average, as far as it was kept.
    """
    from triad.checkpoints.folder import list_complete
    from triad.checkpoints.trained import trained
    from triad.config.offers import get_declared
    from triad.decoding.decode import stream
    from triad.decoding.sampling import Sampling
    from triad.runs.directory import Run

    opened = Run(run)
    config = opened.config()
    if not list_complete(opened.checkpoints):
        raise FileNotFoundError(f"run={run}: no checkpoint is there")
    if not get_declared(config["task"], "continues_text"):
        raise ValueError(f"run={run}: its task is not to continue a text, as task=causal_lm is")
    if temperature < 0 or (top_k is not None and top_k < 1):
        raise ValueError(f"temperature={temperature} top_k={top_k}: at least 0 and 1")
    model, tokenizer = trained(opened, step, weights)
    words = tokenizer.encode(prompt).tolist()
    start = words if tokenizer.separator is None else words or [tokenizer.separator]
    if not start:
        raise ValueError('prompt="": this vocabulary has no separator to start from; give a prompt')
    sys.stdout.write(prompt)
    drawn = stream(
        model,
        start,
        Sampling(temperature, top_k, top_p=1.0, min_p=0.0, repetition_penalty=1.0),
        ends=() if tokenizer.separator is None else (tokenizer.separator,),
        max_tokens=tokens,
        context=config["context"],
        vocab_size=tokenizer.vocab_size,
        seed=seed,
    )
    for piece in _decode_stream(tokenizer, drawn, words):
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")


def _decode_stream(tokenizer, stream: Iterator[int], tokens: list[int]) -> Iterator[str]:
    """Text as it becomes certain: a character may be spread over several tokens."""
    shown, tokens = len(tokenizer.decode(tokens)), list(tokens)
    for token in stream:
        tokens.append(token)
        text = tokenizer.decode(tokens)
        if not text.endswith(codecs.decode(b"\xff", errors="replace")):
            yield text[shown:]
            shown = len(text)


if __name__ == "__main__":
    from triad.config.command_line import run_command

    run_command(generate)
