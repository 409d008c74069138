"""Make a mixture of experts from the weights of a dense run

python -m triad.upcycle run=outputs/<run_id>
"""

import shutil
from typing import Any

from triad.config.command_line import key_of
from triad.config.errors import Refusal
from triad.config.identity import find_changed_mathematics

GROUP = "Use a trained model"


def upcycle(run: str, overrides: list[str], to: str | None = None, checkpoint: str = "best") -> None:
    """Write a run whose experts all start as the feed-forward layer of a dense run, ready to be trained on.

        E_1 = ... = E_n = the dense layer, the router anew
        Komatsuzaki et al. 2022, arXiv:2212.05055, section 3

    The rest is copied, of the best checkpoint by the metric that the run monitors, or of `checkpoint`: last,
    a step or a folder. With weights that add up to 1 (router=mixtral) the mixture first computes what the
    dense model did. What follows are words for train.py that choose the mixture (router=...,
    model.feedforward.experts=...); it is model=moe unless said otherwise. `to` is the folder of the new run:
    the old one's name and -upcycled, unless said otherwise. Train it with resume=<to>
    resume.weights_only=true. Deviates: every layer becomes a mixture, the optimizer starts anew, and routers
    start by the model's own rule. Raises ValueError for a feed-forward layer that is no SwiGLU and for a
    mixture that differs in more than that layer.
    """
    from triad.checkpoints import saving
    from triad.checkpoints.folder import describe_checkpoint, find_checkpoint, find_validated, read_facts
    from triad.checkpoints.tensors import read_weights
    from triad.config.changes import change
    from triad.config.compose import compose_written, read_written, validate
    from triad.launch.resume import Resume
    from triad.runs.directory import Run
    from triad.runs.start import prepare_run

    source = Run(run)
    target = Run(to or source.path.with_name(f"{source.id}-upcycled"))
    if target.path.exists():
        raise Refusal(f"to={target}: it exists; remove it or choose another")
    old, path = source.config(), find_checkpoint(source.path, checkpoint)
    print(describe_checkpoint(path))
    dense = read_weights(path, find_validated(path))
    words = mixture_overrides(overrides, dense)
    mixture, choices = compose_written(words)
    kept = Resume(source, weights_only=True)
    base = kept.read_base([]) | {key: mixture[key] for key in ("router",) if key in mixture}
    base["model"] |= {"feedforward": mixture["model"]["feedforward"]}
    rest = [word for word in overrides if not _is_replaced(key_of(word))]
    changed = change(base, kept.read_choices(), rest)
    place = {"run_id": target.id, "output_dir": str(target.path.parent), "weights": old["weights"]}
    config = validate(changed.composed, changed.choices) | place
    if differing := find_changed_mathematics(_drop_feedforward(old), _drop_feedforward(config)):
        raise Refusal(
            f"run={run}: {differing[0]} of the mixture is not that of the dense model; name it, too"
        )
    tensors = make_mixture(config, dense)
    facts = read_facts(path) | {"metric": None, "callbacks": {}, "validated": "model", "upcycled": str(path)}
    saving.write_checkpoint(target.checkpoints / path.name, {"model": tensors}, facts)
    made = {key: choices[key] for key in ("model", "router") if key in choices}
    named = {key_of(word) for word in rest}
    old_words = [w for w in source.overrides() if not _is_replaced(key_of(w)) and key_of(w) not in named]
    typed = [*old_words, *words, *rest]
    prepare_run(config, typed, None, read_written(changed.composed), changed.choices | made)
    shutil.copytree(source.tokenizer, target.tokenizer)
    print(f"{target}: train it with   python train.py resume={target} resume.weights_only=true")


def mixture_overrides(overrides: list[str], dense: dict[str, Any]) -> list[str]:
    """The words that compose the layer of experts: those that choose it, and the dense layer's size."""
    words = [word for word in overrides if _is_replaced(key_of(word))]
    gates = [weight for name, weight in dense.items() if name.endswith("feedforward.gate.weight")]
    if not gates:
        raise Refusal("only SwiGLU layers become experts, and this run's feed-forward layers are none")
    model = [] if any(key_of(word) == "model" for word in words) else ["model=moe"]
    return [*model, f"model.feedforward.hidden={gates[0].shape[0]}", *words]


def make_mixture(config: dict, dense: dict[str, Any]) -> dict[str, Any]:
    """The weights of the mixture, by name."""
    from triad.config.build import build
    from triad.optim.initialise import initialise

    model = build(config["model"])(vocab_size=len(dense["embedding.weight"]))
    initialise(model, config["seed"])
    state = model.state_dict()
    for name, tensor in state.items():
        if name in dense:
            tensor.copy_(dense[name])
        elif ".experts." in name:  # gate_EDF is E times gate.weight, which is F by D
            layer, _, matrix = name.rpartition(".experts.")
            tensor.copy_(dense[f"{layer}.{matrix.partition('_')[0]}.weight"].mT.expand_as(tensor))
    return state


def _is_replaced(key: str) -> bool:
    return key == "model" or key.startswith(("model.feedforward", "router"))


def _drop_feedforward(config: dict) -> dict:
    model = {key: value for key, value in config["model"].items() if key != "feedforward"}
    return {"context": config["context"], "model": model}


if __name__ == "__main__":
    from triad.config.command_line import run_command

    run_command(upcycle)
