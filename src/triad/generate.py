"""Continue texts with a trained model: `python -m triad.generate run=outputs/<run_id> prompt="def "`."""

import json
import sys
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from triad.layers.ranges import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, UnitInterval

GROUP = "Use a trained model"


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
    checkpoint: str = "best",
    weights: str | None = None,
    device: Literal["cpu", "gpu"] | None = None,
    precision: Literal["64-true", "32-true", "bf16-mixed", "bf16-true", "16-mixed"] | None = None,
) -> None:
    r"""Continue a `prompt` with a run's model, or answer it as a source; the text is shown as it comes.

    The model is that of the best `checkpoint` by the metric that the run monitors, or of last, a step or a
    folder, with the weights that are validated, or the set that `weights` names (model, ema, swa, average),
    on the run's `device` and in its `precision`. Several runs (run=a,b) are an ensemble: the mean of their
    probabilities.

    It is decoded as the first run's recipe says; temperature, top_k, top_p, min_p, repetition_penalty, beams
    and length_penalty change that. At most `tokens` are written, up to the first `stop` string. `regex`
    matches the text as a whole; `allow` are strings, or ids of tokens, that it is made of, `ban` those that
    it does not have. A list is typed as JSON: stop='["\n\n", "User:"]'.

    `prompts` is a .jsonl file of lines {"prompt": ...}. `out` gets a line for each, all of them or none:
    prompt, texts (the `n` best, or n that are drawn, with log_probability, tokens and finish_reason: end,
    stop, complete or length) and decoding. What is drawn for a line follows from `seed` and its number.
    """
    from triad.api.recipe import choose_recipe
    from triad.config.offers import get_declared

    runs = _open_runs(run)
    typed = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p, "beams": beams}
    typed |= {"length_penalty": length_penalty, "repetition_penalty": repetition_penalty}
    recipe = choose_recipe(runs[0].config().get("decoding"), typed, n)
    lists = {key: _parse_list(key, word) for key, word in (("stop", stop), ("allow", allow), ("ban", ban))}
    _check_files(prompt, prompts, out)
    checkpoints = _choose_checkpoints(runs, checkpoint, weights)
    restricted = {"tokens": tokens, "regex": regex, **lists}
    with ExitStack() as stack:
        answers = _load(runs, checkpoints, weights, device, precision, recipe, restricted, stack)
        read = [answers.read(text, where) for where, text in _read_texts(prompt, prompts)]
        if prompt is not None and n == 1 and out is None:
            echoed = prompt if get_declared(runs[0].config()["task"], "continues_text") else ""
            for piece in chain([echoed], answers.show(read[0], seed), ["\n"]):
                sys.stdout.write(piece)
                sys.stdout.flush()
            return
        settings = {"decoding": recipe, "n": n, "seed": seed} | restricted | {"tokens": answers.tokens}
        settings |= {
            "runs": [str(one) for one in runs],
            "checkpoints": [str(path) for path in checkpoints],
            "weights": weights,
        }
        found = _decode_all(answers, read, seed, n, batch_size)
        lines = [{"prompt": one.text, "texts": texts} for one, texts in zip(read, found, strict=True)]
        _write([line | settings for line in lines], None if out is None else Path(out))


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


def _choose_checkpoints(runs: list[Any], checkpoint: str, weights: str | None) -> list[Path]:
    """The checkpoint of each run, said in a line where the text does not go."""
    from triad.checkpoints.folder import describe_checkpoint, find_checkpoint

    found = [find_checkpoint(one.path, checkpoint) for one in runs]
    print(*(describe_checkpoint(path, weights) for path in found), sep="\n", file=sys.stderr)
    return found


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
    checkpoints: list[Path],
    weights: str | None,
    device: str | None,
    precision: str | None,
    recipe: dict,
    restricted: dict[str, Any],
    stack: ExitStack,
) -> Any:
    """The models of all runs on one device, and the precision entered until the stack is closed."""
    from triad.checkpoints.trained import OF_TASK, make_task, open_trained
    from triad.config.build import build
    from triad.config.errors import Refusal
    from triad.decoding.answers import Answers
    from triad.hardware.place import find_place
    from triad.runs.directory import read_json

    config = runs[0].config()
    chosen = (read_json(runs[0].machine_file) or {}).get("precision", {}).get("choice", "32-true")
    place = find_place(config["trainer"]["accelerator"], precision or chosen, device)
    found = [open_trained(one, path, weights) for one, path in zip(runs, checkpoints, strict=True)]
    tokenizer = found[0][1]
    for one, (_, other, _) in zip(runs, found, strict=True):
        same_task = one.config()["task"]["_target_"] == config["task"]["_target_"]
        if other.fingerprint != tokenizer.fingerprint or not same_task:
            what = "tokenizer" if same_task else "task"
            raise Refusal(f"run={runs[0]},{one}: an ensemble needs one {what}, and these have different ones")
    context = min(one.config()["context"] for one in runs)
    part = build({name: config[name] for name in OF_TASK if name in config} | {"decoding": recipe})
    task = make_task(part, runs[0].pinned()["facts"], tokenizer, context)
    models = [place.put(model) for model, *_ in found]
    stack.enter_context(place.plugin.forward_context())
    return Answers(models, tokenizer, task, part["decoding"], context, **restricted)


def _read_texts(prompt: str | None, prompts: str | None) -> list[tuple[str, str]]:
    """The prompt that is typed, or those of a file, each with the place that it stands at."""
    from triad.config.errors import Refusal
    from triad.data.sources.malformed import Skipped
    from triad.data.sources.opening import Quota, TextFile
    from triad.data.sources.records import get_text, read_json

    if prompts is None:
        return [("prompt", prompt or "")]
    file = TextFile(Path(prompts).name, Path(prompts), Quota(), Skipped())
    texts = [(record.where, get_text(record, "prompt", "one in each line")) for record in read_json(file)]
    if not texts:
        raise Refusal(f"prompts={prompts}: no prompt is in it")
    return texts


def _decode_all(answers: Any, read: list[Any], seed: int, n: int, batch_size: int) -> list[list[dict]]:
    """The answers to all prompts, in their order."""
    from triad.api.generation import decode_in_batches
    from triad.data.progress import show_progress

    found: list[list[dict]] = [[] for _ in read]
    with show_progress("generating", len(read), "prompts") as advance:
        for places, batch in decode_in_batches(answers, read, seed, n, batch_size):
            for place, texts in zip(places, batch, strict=True):
                found[place] = [text._asdict() for text in texts]
            advance(len(places))
    return found


def _write(lines: list[dict[str, Any]], out: Path | None) -> None:
    """Write a line of JSON for each prompt, to a file that is complete or absent, or to the terminal."""
    from triad.storage.durable import replacing

    written = [json.dumps(line, ensure_ascii=False) + "\n" for line in lines]
    if out is None:
        sys.stdout.writelines(written)
        return
    with replacing(out) as file:
        file.writelines(line.encode() for line in written)
    print(f"{out}: {len(lines)} prompts", file=sys.stderr)


if __name__ == "__main__":
    from triad.config.command_line import run_command

    run_command(generate)
