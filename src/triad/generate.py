"""Continue texts with a trained model: `python -m triad.generate run=outputs/<run_id> prompt="def "`."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, NamedTuple

from triad.layers.ranges import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, UnitInterval

TOKENS = 300  # of an answer that nothing else bounds


def generate(
    run: str,
    prompt: str | None = None,
    prompts: str | None = None,
    out: str | None = None,
    tokens: PositiveInt | None = None,
    temperature: NonNegativeFloat | None = None,
    top_k: NonNegativeInt | None = None,
    top_p: UnitInterval | None = None,
    min_p: UnitInterval | None = None,
    repetition_penalty: PositiveFloat | None = None,
    beams: PositiveInt | None = None,
    length_penalty: float | None = None,
    n: PositiveInt = 1,
    seed: NonNegativeInt = 0,
    stop: str | None = None,
    allow: str | None = None,
    ban: str | None = None,
    regex: str | None = None,
    batch_size: PositiveInt = 16,
    step: int | None = None,
    weights: str | None = None,
    device: Literal["cpu", "gpu"] | None = None,
    precision: Literal["64-true", "32-true", "bf16-mixed", "bf16-true", "16-mixed"] | None = None,
) -> None:
    r"""Continue a `prompt` with a run's model, or answer it as a source; the text is shown as it comes.

    The model is that of the newest checkpoint, or of a `step`, with the weights that are validated, or the
    set that `weights` names (model, ema, swa, average), on the run's `device` and in its `precision`. Several
    runs (run=a,b) are an ensemble: the mean of their probabilities.

    It is decoded as the first run's recipe says; temperature, top_k, top_p, min_p, repetition_penalty, beams
    and length_penalty change that. At most `tokens` are written, up to the first `stop` string. `regex`
    matches the text as a whole; `allow` are strings, or ids of tokens, that it is made of, `ban` those that
    it does not have. A list is typed as JSON: stop='["\n\n", "User:"]'.

    `prompts` is a .jsonl file of lines {"prompt": ...}. `out` gets a line for each, all of them or none:
    prompt, texts (the `n` best, or n that are drawn, with log_probability, tokens and finish_reason: end,
    stop, complete or length) and decoding. What is drawn for a line follows from `seed` and its number.
    """
    runs = _open_runs(run)
    typed = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p, "beams": beams}
    typed |= {"length_penalty": length_penalty, "repetition_penalty": repetition_penalty}
    recipe = _choose_recipe(runs[0].config().get("decoding"), typed, n)
    lists = {key: _parse_list(key, word) for key, word in (("stop", stop), ("allow", allow), ("ban", ban))}
    _check_files(prompt, prompts, out)
    with ExitStack() as stack:
        model = _load(runs, step, weights, device, precision, stack)
        given = _read_prompts(model, prompt, prompts)
        bounds = {"tokens": _bound(model, tokens), "regex": regex, **lists}
        settings = {"decoding": recipe, "n": n, "seed": seed, **bounds}
        asked = _make_request(model, settings)
        if prompt is not None and n == 1 and out is None:
            _show(model, given[0], settings, asked)
            return
        lines = _decode_all(model, given, settings, asked, batch_size)
        described = settings | {"runs": [str(one) for one in runs], "step": step, "weights": weights}
        _write(lines, described, None if out is None else Path(out))


class Model(NamedTuple):
    """What one run, or several, decode with."""

    models: list[Any]
    tokenizer: Any
    task: Any
    context: int
    continues_text: bool


class Given(NamedTuple):
    """A prompt, the tokens that are continued, and the source, if it is one."""

    text: str
    tokens: list[int]
    source: list[int] | None


def _open_runs(run: str) -> list[Any]:
    """The runs of run=a or run=a,b, all of which have a checkpoint and a task that takes prompts."""
    from triad.checkpoints.folder import list_complete
    from triad.config.errors import Refusal
    from triad.config.offers import find_choices, get_declared
    from triad.runs.directory import Run

    runs = [Run(path) for path in ([run] if Path(run).exists() else run.split(","))]
    for one in runs:
        config = one.config()
        if not list_complete(one.checkpoints):
            raise FileNotFoundError(f"run={one}: no checkpoint is there")
        if not get_declared(config["task"], "takes_prompts"):
            tasks = ", ".join(find_choices("task", "takes_prompts", (True,)))
            raise Refusal(f"run={one}: its task answers no prompt; use a run of task={tasks}")
    return runs


def _choose_recipe(own: dict | None, typed: dict[str, Any], n: int) -> dict:
    """The run's recipe with what is typed, or else the first of conf/decoding that has all of that."""
    from triad.config.errors import Refusal
    from triad.config.offers import read_choices

    typed = {key: value for key, value in typed.items() if value is not None}
    choices = read_choices("decoding")
    fitting = [node for node in (own, *choices.values()) if node and typed.keys() <= node.keys()]
    if not fitting:
        had = "; ".join(
            f"{name} has {', '.join(typed.keys() & node.keys())}" for name, node in choices.items()
        )
        raise Refusal(f"{', '.join(typed)}: no decoding has all of them ({had}); leave some out")
    kept = {key: value for key, value in (own or {}).items() if key != "_target_" and key in fitting[0]}
    recipe = fitting[0] | kept | typed
    if n > 1 and not recipe.get("temperature") and recipe.get("beams", 1) < n:
        raise Refusal(f"n={n}: type temperature=1 to draw so many texts, or beams={n} for the best ones")
    return recipe


def _parse_list(key: str, word: str | None) -> list[Any]:
    """The strings and the ids of a JSON list, or the one string that is typed."""
    from triad.config.errors import Refusal

    if word is None or not word.startswith("["):
        return [] if word is None else [word]
    try:
        found = json.loads(word)
    except ValueError as error:
        raise Refusal(f'{key}={word}: no JSON list ({error}); type {key}=\'["a", "b"]\'') from None
    wanted = (str,) if key == "stop" else (str, int)
    if others := [item for item in found if not isinstance(item, wanted) or isinstance(item, bool)]:
        what = "strings" if key == "stop" else "strings or ids of tokens"
        raise Refusal(f"{key}={word}: {json.dumps(others[0])} stands in a list of {what}")
    return found


def _check_files(prompt: str | None, prompts: str | None, out: str | None) -> None:
    from triad.config.errors import Refusal

    if (prompt is None) == (prompts is None):
        raise Refusal("prompt=... or prompts=file.jsonl: one of them is needed, and not both")
    if prompts is not None and not Path(prompts).is_file():
        raise Refusal(f"prompts={prompts}: no such file")
    if out is not None and not Path(out).parent.is_dir():
        raise Refusal(f"out={out}: its folder does not exist; make it first")
    if out is not None and (
        Path(out).is_dir() or (prompts and Path(out).resolve() == Path(prompts).resolve())
    ):
        raise Refusal(f"out={out}: a folder, or the prompts themselves; give another name")


def _load(
    runs: list[Any],
    step: int | None,
    weights: str | None,
    device: str | None,
    precision: str | None,
    stack: ExitStack,
) -> Model:
    """The models of all runs on one device, and the precision entered until the stack is closed."""
    from triad.checkpoints.trained import OF_TASK, make_task, trained
    from triad.config.build import build
    from triad.config.errors import Refusal
    from triad.config.offers import get_declared
    from triad.hardware.place import find_place
    from triad.runs.directory import read_json

    config = runs[0].config()
    chosen = (read_json(runs[0].machine_file) or {}).get("precision", {}).get("choice", "32-true")
    place = find_place(config["trainer"]["accelerator"], precision or chosen, device)
    found = [trained(one, step, weights) for one in runs]
    tokenizer = found[0][1]
    for one, (_, other) in zip(runs, found, strict=True):
        same_task = one.config()["task"]["_target_"] == config["task"]["_target_"]
        if other.fingerprint != tokenizer.fingerprint or not same_task:
            what = "tokenizer" if same_task else "task"
            raise Refusal(
                f"run={runs[0]},{one}: an ensemble needs the same {what}; these have different ones"
            )
    context = min(one.config()["context"] for one in runs)
    part = build({name: config[name] for name in OF_TASK if name in config})
    task = make_task(part, runs[0].pinned()["facts"], tokenizer, context)
    models = [place.put(model) for model, _ in found]
    stack.enter_context(place.plugin.forward_context())
    return Model(models, tokenizer, task, context, bool(get_declared(config["task"], "continues_text")))


def _read_prompts(model: Model, prompt: str | None, prompts: str | None) -> list[Given]:
    """The prompt that is typed, or those of a file, none of which is too long."""
    from triad.config.errors import Refusal
    from triad.data.sources.malformed import Skipped
    from triad.data.sources.opening import Quota, TextFile
    from triad.data.sources.records import get_text, read_json

    if prompts is None:
        return [_make_given(model, prompt or "", "prompt")]
    file = TextFile(Path(prompts).name, Path(prompts), Quota(), Skipped())
    texts = [(record.where, get_text(record, "prompt", "one in each line")) for record in read_json(file)]
    if not texts:
        raise Refusal(f"prompts={prompts}: no prompt is in it")
    return [_make_given(model, text, where) for where, text in texts]


def _make_given(model: Model, text: str, where: str) -> Given:
    from triad.config.errors import Refusal

    try:
        tokens, source = model.task.make_prompt(text)
    except ValueError as error:
        raise Refusal(f"{where}: {error}") from None
    length, longest = len(tokens if source is None else source), model.task.longest_prompt
    if length > longest + (source is None and not model.continues_text):  # the word that begins an answer
        raise Refusal(f"{where}: {length:,} tokens, where this run's context leaves {longest:,}; shorten it")
    return Given(text, tokens, source)


def _bound(model: Model, tokens: int | None) -> int:
    from triad.config.errors import Refusal

    longest = model.task.longest_answer
    if tokens is not None and longest is not None and tokens > longest:
        raise Refusal(f"tokens={tokens}: this run's context holds answers of {longest} at most; lower it")
    return tokens or min(TOKENS, longest or TOKENS)


class Request(NamedTuple):
    """What decode and stream are asked for, and what ends a text."""

    arguments: dict[str, Any]
    stopped: Callable[[list[int]], bool]
    complete: Callable[[list[int]], bool]


def _make_request(model: Model, settings: dict[str, Any]) -> Request:
    """The arguments of decode that all prompts share; what is restricted is checked here."""
    from triad.config.errors import Refusal
    from triad.decoding.constraints import Constraint
    from triad.decoding.stopping import make_stopped

    stops, allow, ban, regex = (settings[key] for key in ("stop", "allow", "ban", "regex"))
    if stops and (regex is not None or any(isinstance(item, str) for item in allow)):
        raise Refusal("stop= cuts a text, which then is not what regex= or allow= asks for: leave one out")
    ends, most = model.task.ends, settings["tokens"]
    words = max([model.tokenizer.vocab_size - 1, *ends]) + 1
    arguments = {"ends": ends, "max_tokens": most, "context": model.context, "vocab_size": words}
    stopped = make_stopped(model.tokenizer, stops)
    if not (allow or ban or regex is not None):
        return Request(arguments | {"stopped": stopped}, stopped, lambda tokens: False)
    asked = {"regex": regex, "allow": allow, "ban": ban}
    constraint = Constraint(model.tokenizer, ends=ends, vocab_size=words, max_tokens=most, **asked)
    arguments["constraint"] = constraint
    arguments["stopped"] = lambda tokens: stopped(tokens) or constraint.stopped(tokens)
    return Request(arguments, stopped, constraint.stopped)


def _show(model: Model, given: Given, settings: dict[str, Any], asked: Request) -> None:
    """Write one text as it comes."""
    from triad.config.build import build
    from triad.decoding.decode import stream
    from triad.decoding.stopping import NewText

    text = NewText(model.tokenizer, settings["stop"])
    tokens = stream(
        model.models,
        given.tokens,
        build({"decoding": settings["decoding"]})["decoding"],
        source=given.source,
        seed=settings["seed"],
        **asked.arguments,
    )
    sys.stdout.write(given.text if model.continues_text else "")
    for token in tokens:
        sys.stdout.write(text.add(token))
        sys.stdout.flush()
    sys.stdout.write(f"{text.finish()}\n")


def _decode_all(
    model: Model, given: Sequence[Given], settings: dict[str, Any], asked: Request, batch_size: int
) -> list[dict[str, Any]]:
    """Prompt and texts of each, decoded in batches of like lengths."""
    from triad.config.build import build
    from triad.decoding.decode import decode

    decoding = build({"decoding": settings["decoding"]})["decoding"]
    order = sorted(range(len(given)), key=lambda place: -len(given[place].source or given[place].tokens))
    lines: list[dict[str, Any]] = [{} for _ in given]
    for start in range(0, len(order), batch_size):
        places = order[start : start + batch_size]
        sources = [source for place in places if (source := given[place].source) is not None]
        found = decode(
            model.models,
            [given[place].tokens for place in places],
            decoding,
            sources=sources or None,
            seeds=[settings["seed"] + place for place in places],
            n=settings["n"],
            **asked.arguments,
        )
        for place, hypotheses in zip(places, found, strict=True):
            texts = [_describe(model, hypothesis, settings, asked) for hypothesis in hypotheses]
            lines[place] = {"prompt": given[place].text, "texts": texts}
        if len(order) > batch_size:
            print(f"{start + len(places)} of {len(order)} prompts", file=sys.stderr)
    return lines


def _describe(model: Model, hypothesis: Any, settings: dict[str, Any], asked: Request) -> dict[str, Any]:
    from triad.decoding.stopping import decode_text

    tokens = hypothesis.tokens
    reasons: Iterator[str] = (
        reason
        for reason, holds in (
            ("stop", bool(tokens) and asked.stopped(tokens)),
            ("complete", asked.complete(tokens)),
            ("end", hypothesis.finished),
        )
        if holds
    )
    return {
        "text": decode_text(model.tokenizer, tokens, settings["stop"]),
        "log_probability": hypothesis.log_probability,
        "tokens": len(tokens),
        "finish_reason": next(reasons, "length"),
    }


def _write(lines: list[dict[str, Any]], settings: dict[str, Any], out: Path | None) -> None:
    """Write a line of JSON for each prompt, to a file that is complete or absent, or to the terminal."""
    from triad.storage.durable import replacing

    written = [json.dumps(line | settings, ensure_ascii=False) + "\n" for line in lines]
    if out is None:
        sys.stdout.writelines(written)
        return
    with replacing(out) as file:
        file.writelines(line.encode() for line in written)
    print(f"{out}: {len(lines)} prompts", file=sys.stderr)


if __name__ == "__main__":
    from triad.config.command_line import run_command

    run_command(generate)
