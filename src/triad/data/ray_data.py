"""Chunks of documents worked on by a cluster: Ray Data (Moritz et al. 2018, arXiv:1712.05889)."""

import pickle
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from logging import ERROR, getLogger
from typing import Any, TypeVar

Chunk = TypeVar("Chunk")
Done = TypeVar("Done")
BLOCK_BYTES = 1 << 20  # of a message between processes: about a chunk


class RayData:
    """The nodes of a cluster of Ray's; without an `address` this machine, until this process ends.

    The documents are read on the node that this process runs on, which writes the product, too; only they
    and what is left of them go over the network. Each node needs Triad and the packages of the filters.
    """

    packages = ("ray",)

    def __init__(self, address: str | None) -> None:
        self.address = address

    def map(self, work: Callable[[Chunk], Done], read: Callable[[], Iterator[Chunk]]) -> Iterator[Done]:
        ray: Any = import_module("ray")
        import_module("ray.data")
        if not ray.is_initialized():
            ray.init(self.address, include_dashboard=False, log_to_driver=False, logging_level=ERROR)
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.target_max_block_size = BLOCK_BYTES
        context.enable_progress_bars = False
        getLogger("ray.data").setLevel(ERROR)
        chunks = ray.data.read_datasource(_make_datasource(read), num_cpus=0, override_num_blocks=1)
        # of other resources than the reader, lest it be fused with it and do all in one process
        for row in chunks.map(partial(_work, work), num_cpus=1).iter_rows():
            done, chunk = pickle.loads(row["pickled"])
            if done is None and chunk is None:
                for _ in read():  # to have the reader raise its error here
                    pass
                raise OSError("documents could not be read at first and then could; start again")
            yield work(chunk) if done is None else done


def _work(work: Callable[[Chunk], Done], row: dict[str, Any]) -> dict[str, Any]:
    """What `work` makes of a chunk; the chunk itself where it fails, for the first process to fail alike."""
    chunk = pickle.loads(row["pickled"])
    try:
        done = (work(chunk), None) if chunk is not None else (None, None)
    except Exception:
        done = (None, chunk)
    return {"pickled": pickle.dumps(done)}


def _make_datasource(read: Callable[[], Iterator[Any]]) -> Any:
    pyarrow: Any = import_module("pyarrow")
    ray_data: Any = import_module("ray.data")
    metadata: Any = import_module("ray.data.block").BlockMetadata

    def read_chunks() -> Iterator[Any]:
        try:
            yield from read()
        except Exception:
            yield None

    def read_blocks() -> Iterator[Any]:
        for chunk in read_chunks():
            yield pyarrow.table({"pickled": pyarrow.array([pickle.dumps(chunk)], pyarrow.large_binary())})

    class Chunks(ray_data.Datasource):
        """One stream of chunks, read where this process runs."""

        supports_distributed_reads = False

        def estimate_inmemory_data_size(self) -> None:
            return None

        def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[Any]:
            return [ray_data.ReadTask(read_blocks, metadata(None, None, None, None))]

    return Chunks()
