"""Measure the gradient noise scale of a run, for its batch size

python -m triad.noise_scale run=outputs/<run_id> rows=256
"""

from typing import Any

from triad.analysis.gradient_noise import measure_noise, write_schedule

GROUP = "Use a trained model"


def noise_scale(run: str, rows: int = 256, micro: int = 1, multiple: int = 1) -> None:
    """Measure the gradient noise scale at each checkpoint of a run, on the rows it would read next.

    Prints B_simple, the batch size beyond which larger ones help ever less, and the words that make a run
    with these sizes. `micro` rows at a time are differentiated, in one process and fp32, without dropout;
    whichever layout the run had. `multiple` is what the sizes are to be multiples of.
    """
    from triad.checkpoints.folder import list_complete, read_facts
    from triad.config.offers import get_declared
    from triad.data.refusals import makes_rows
    from triad.runs.directory import Run

    directory = Run(run)
    config = directory.config()
    is_text = get_declared(config["data"], "yields") == "text" and not makes_rows(config)
    if not (is_text and get_declared(config["task"], "continues_text") and config["packing"] == "windows"):
        raise ValueError(
            f"run={run}: the noise scale is measured with task=causal_lm, text and packing=windows"
        )
    if micro < 1 or rows < 2 * micro or rows % micro or multiple < 1:
        raise ValueError(f"rows={rows} micro={micro} multiple={multiple}: rows are 2 or more times micro")
    paths = list_complete(directory.checkpoints)
    if not paths:
        raise FileNotFoundError(f"run={run}: no checkpoint is there")
    scales = []
    for path in sorted(paths):
        said = read_facts(path)
        step = said["step"]
        noise = measure_noise(*_load_at(directory, config, step, said["position"]["rows"], rows, micro))
        scales.append((step, noise.scale))
        print(
            f"step {step}  noise scale {noise.scale:.4g} rows, {noise.scale * config['context']:.4g} tokens"
        )
    print("python train.py", *write_schedule(scales, multiple))


def _load_at(run: Any, config: dict, step: int, first: int, rows: int, micro: int) -> tuple[Any, Any]:
    """The model of a checkpoint, and the rows that follow it in micro-batches."""
    from triad.checkpoints.trained import trained
    from triad.config.build import build
    from triad.data.batches import TrainBatches
    from triad.data.preparation import find_parts, prepare_source
    from triad.data.progress import track
    from triad.data.rows import make_datamodule, tokenize
    from triad.hardware.device import device

    there = device(config["trainer"]["accelerator"])
    model, tokenizer = trained(run, step, "model", there)  # the weights at which gradients are taken
    source = prepare_source(config, build({"data": config["data"]} | find_parts(config)))
    tokens = tokenize(source, lambda **_: tokenizer)[1].resume(run.pinned()["tokens"], step)
    words = ("seed", "packing", "shuffle")
    dials = (config["context"], build(config["batch"]), *(config[word] for word in words))
    data = make_datamodule(source, tokens, tokenizer.separator, *dials)
    order = TrainBatches(data.train, lambda _: rows, lambda _: first, config["seed"], 0, 0, 1)
    batch = order.batch(step)
    read = (batch[name].to(there).split(micro) for name in ("tokens_BT", "targets_BT"))
    return model, track(zip(*read, strict=True), f"step {step}", rows // micro, "micro-batches")


if __name__ == "__main__":
    from triad.config.command_line import run_command

    run_command(noise_scale)
