"""Write the weights of a run to one file: `python -m triad.export run=outputs/<run_id> to=safetensors`."""

from pathlib import Path
from typing import Literal

from triad.formats import safetensors
from triad.storage.durable import replacing

GROUP = "Use a trained model"

LARGEST_BYTES = 5 * 10**9  # of one file, the habit of the Hugging Face hub


def export(
    run: str,
    to: Literal["safetensors", "torch"] = "safetensors",
    checkpoint: str = "best",
    weights: str | None = None,
    largest_bytes: int = LARGEST_BYTES,
) -> None:
    """Write the weights of a checkpoint, under single-device names, into the run's folder.

    `checkpoint` is best, by the metric that the run monitors, last, a step, or a folder, which may take the
    place of `run`. `weights` null: those that are validated, such as an average; else model, ema, swa or
    average, as far as it was kept. The files are
    model.safetensors, which every framework reads, or above `largest_bytes`
    model-00001-of-0000n.safetensors and so on, with model.safetensors.index.json; an average that `weights`
    names is in their names, as in model-ema.safetensors. Tensors go to the file one at a time. to=torch:
    model.pt, a dict for torch.load(..., weights_only=True).
    """
    from triad.checkpoints.folder import describe_checkpoint, find_checkpoint, find_validated
    from triad.runs.directory import find_run_of

    path = find_checkpoint(Path(run), checkpoint)
    holder = find_run_of(path)
    folder = holder.path if holder else path
    stem = "model" if weights in (None, "model") else f"model-{weights}"
    write = safetensors.save if to == "safetensors" else _export_torch
    written = write(path, weights or find_validated(path), folder, stem, largest_bytes)
    print(describe_checkpoint(path, weights))
    print("\n".join(f"{file}  {file.stat().st_size:,} bytes" for file in written))


def _export_torch(path: Path, weights: str, folder: Path, stem: str, _: int) -> list[Path]:
    import torch

    from triad.checkpoints.tensors import read_weights as read

    file = folder / f"{stem}.pt"
    with replacing(file) as stream:
        torch.save(read(path, weights), stream)
    return [file]


if __name__ == "__main__":
    from triad.config.command_line import run_command

    run_command(export)
