"""Make a mixture of experts from the weights of a dense run

python -m triad.upcycle run=outputs/<run_id>
"""

import shutil
from typing import Any

from triad.config.command_line import key_of
from triad.config.errors import Refusal
from triad.config.identity import find_changed_mathematics


def upcycle(run: str, overrides: list[str], to: str | None = None, step: int | None = None) -> None:
    """Write a run whose experts all start as the feed-forward layer of a dense run, ready to be trained on.

        E_1 = ... = E_n = the dense layer, the router anew
        Komatsuzaki et al. 2022, arXiv:2212.05055, section 3

    The rest is copied. With weights that add up to 1 (router=mixtral) the mixture first computes what the
    dense model did. What follows are words for train.py that choose the mixture (router=...,
    model.feedforward.experts=...); it is model=moe unless said otherwise. `to` is the folder of the new run:
    the old one's name and -upcycled, unless said otherwise. Train it with resume=<to>
    resume.weights_only=true. Deviates: every layer becomes a mixture, the optimizer starts anew, and routers
    start by the model's own rule. Raises ValueError for a feed-forward layer that is no SwiGLU and for a
    mixture that differs in more than that layer.
    """
    from triad.checkpoints import saving
    from triad.checkpoints.folder import find_checkpoint, find_validated, read_facts
    from triad.checkpoints.tensors import read_weights
    from triad.config.compose import compose
    from triad.runs.directory import Run
    from triad.storage.durable import write

    source = Run(run)
    target = Run(to or source.path.with_name(f"{source.id}-upcycled"))
    if target.path.exists():
        raise Refusal(f"to={target}: it exists; remove it or choose another")
    old, path = source.config(), find_checkpoint(source.path, step)
    dense = read_weights(path, find_validated(path))
    words = mixture_overrides(source.overrides(), overrides, dense)
    config = compose(words)
    if differing := find_changed_mathematics(_drop_feedforward(old), _drop_feedforward(config)):
        raise Refusal(
            f"run={run}: {differing[0]} of the mixture is not that of the dense model; name it, too"
        )
    tensors = make_mixture(config, dense)
    facts = read_facts(path) | {"metric": None, "callbacks": {}, "validated": "model", "upcycled": str(path)}
    saving.write_checkpoint(target.checkpoints / path.name, {"model": tensors}, facts)
    target.write_config(config)
    write(target.overrides_file, words)
    shutil.copytree(source.tokenizer, target.tokenizer)
    print(f"{target}: train it with   python train.py resume={target} resume.weights_only=true")


def mixture_overrides(old: list[str], new: list[str], dense: dict[str, Any]) -> list[str]:
    """The dense run's words, but for its model's choice and feed-forward layer, and those of the mixture."""
    named = {key_of(word) for word in new}
    kept = [word for word in old if not _is_replaced(key_of(word)) and key_of(word) not in named]
    gates = [weight for name, weight in dense.items() if name.endswith("feedforward.gate.weight")]
    if not gates:
        raise Refusal("only SwiGLU layers become experts, and this run's feed-forward layers are none")
    model = [] if "model" in named else ["model=moe"]
    return [*kept, *model, f"model.feedforward.hidden={gates[0].shape[0]}", *new]


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
