"""The rows of a mixture for a Lightning trainer: each source is read in its own order, which it keeps.

B rows of this rank, R of all, N sources.
"""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, IterableDataset

from triad.data.batches import TrainBatches, ValBatches, batch_validation, make_loader
from triad.data.mixed_tokens import MixedTokens
from triad.data.mixture import MixtureOrder
from triad.data.packing import RowReader, pack
from triad.data.sources.mixture import name_source
from triad.schedules.batch_size import Rule

PLACES = 1 << 48  # of one source: a place of the mixture is source * PLACES + place
MEASURED = 1 << 16  # rows whose targets are counted, at most


class MixedRows:
    """The rows of training of several sources, in an order of which each row is of one source."""

    def __init__(self, readers: Mapping[str, RowReader], order: MixtureOrder) -> None:
        self.names, self.readers, self.order = [*readers], [*readers.values()], order

    def __len__(self) -> int:
        return sum(map(len, self.readers))

    def locate(self, rows_R: np.ndarray, seed: int) -> np.ndarray:
        """The places of some rows of the infinite order of training."""
        source_R, own_R = self.order.find(rows_R)
        places_R = source_R * PLACES
        for n, at_R in self._split(source_R):
            places_R[at_R] += self.readers[n].locate(own_R[at_R], derive_seed(seed, self.names[n]))
        return places_R

    def list_places(self) -> np.ndarray:
        """One epoch of each source, in the order of its text."""
        return np.concatenate([n * PLACES + reader.list_places() for n, reader in enumerate(self.readers)])

    def find_firsts(self, places_R: np.ndarray) -> np.ndarray:
        """The position of each row's first token in the token file of its source."""
        firsts_R = np.empty_like(places_R)
        for n, at_R in self._split(places_R // PLACES):
            firsts_R[at_R] = self.readers[n].find_firsts(places_R[at_R] % PLACES)
        return firsts_R

    def find_sources(self, places_R: np.ndarray) -> list[str]:
        """The source of each row."""
        return [self.names[n] for n in (places_R // PLACES).tolist()]

    def measure(self, places_R: np.ndarray) -> dict[str, Any]:
        """What the readers measure, and the targets of each source by its name."""
        lengths_R, pieces, counts = torch.zeros(len(places_R), dtype=torch.int64), [], {}
        for n, at_R in self._split(places_R // PLACES):
            found = self.readers[n].measure(places_R[at_R] % PLACES)
            lengths_R[at_R], counts[self.names[n]] = found["lengths_R"], found["count"]
            pieces += [found["document_lengths_D"]] if "document_lengths_D" in found else []
        found = {"count": int(lengths_R.sum()), "lengths_R": lengths_R, "counts": counts}
        return found | ({"document_lengths_D": torch.cat(pieces)} if pieces else {})

    def read(self, places_B: np.ndarray) -> dict[str, torch.Tensor]:
        """What the readers read, row by row."""
        found: dict[str, torch.Tensor] = {}
        for n, at_B in self._split(places_B // PLACES):
            for name, rows in self.readers[n].read(places_B[at_B] % PLACES).items():
                whole = found.setdefault(name, rows.new_empty(len(places_B), *rows.shape[1:]))
                whole[torch.from_numpy(at_B)] = rows
        return found

    def _split(self, source_R: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Each source that some rows are of, and which."""
        for n in np.unique(source_R).tolist():
            yield n, np.nonzero(source_R == n)[0]


def derive_seed(seed: int, name: str) -> int:
    """The seed of a source's own order: two sources of the same text do not read it alike."""
    return int.from_bytes(blake2b(f"{seed}/{name}".encode(), digest_size=8).digest(), "big")


def count_targets(reader: RowReader, seed: int) -> Fraction:
    """Targets of a row on average, exact for a small source: of the first rows of its order."""
    rows = np.arange(min(len(reader), MEASURED))
    return Fraction(reader.measure(reader.locate(rows, seed))["count"], len(rows))


class ValSources(IterableDataset[dict[str, Any]]):
    """The rows of validation, of which those of a batch are all of one `source`.

    The sources take turns, so that the first few batches, which may be all that is validated, have each.
    """

    def __init__(self, batches: Mapping[str, ValBatches]) -> None:
        self.batches = batches

    def count_batches(self) -> int:
        """How many there are of all sources."""
        return sum(batches.count_batches() for batches in self.batches.values())

    def __iter__(self) -> Iterator[dict[str, Any]]:
        left = {source: iter(batches) for source, batches in self.batches.items()}
        while left:
            for source in [*left]:
                if batch := next(left[source], None):
                    yield batch | {"source": source}
                else:
                    del left[source]


class MixedWindows(LightningDataModule):
    """Rows of a mixture, of which `first_row(k)` have been consumed, or left out, when step k begins.

    first_row(k) = rule(k) + sum over skips that begin at step k or before of rule(end) - rule(begin)
    """

    def __init__(
        self,
        tokens: MixedTokens,
        context: int,
        rule: Rule,
        seed: int,
        packing: str,
        shuffle: str = "every_epoch",
    ) -> None:
        super().__init__()
        self.rule, self.seed, self.skips = rule, seed, tokens.skips
        readers, self.targets, self.val = {}, {}, {}
        for name, files in tokens.sources.items():
            with name_source(name):
                readers[name] = pack(files.train, context, packing, shuffle)
                self.val[name] = pack(files.val, context, packing)
                self.targets[name] = count_targets(readers[name], derive_seed(seed, name))
                if not self.targets[name]:
                    raise ValueError("the train split has no token to predict; give it more text")
        self.train = MixedRows(readers, tokens.order(self.first_row, self.targets))

    def batch_rows(self, step: int) -> int:
        """Sequences in the global batch of a step."""
        return self.rule(step + 1) - self.rule(step)

    def first_row(self, step: int) -> int:
        """Rows consumed or left out before a step."""
        left_out = (self.rule(end) - self.rule(begin) for begin, end in self.skips if begin <= step)
        return self.rule(step) + sum(left_out)

    find_first = first_row

    def count_steps(self, epochs: float) -> dict[str, int]:
        """The steps that read, in the shares of the mixture, so many times the rows that all sources have."""
        return {"steps": self.rule.count_steps(epochs, len(self.train)), "rows": len(self.train)}

    def describe_passes(self, steps: int) -> Iterator[str]:
        """What share of the tokens each source has in so many steps, and how often it is passed over."""
        read_N = [
            int(rows) * self.targets[name]
            for name, rows in zip(self.targets, self.train.order.count(self.first_row(steps)), strict=True)
        ]
        for name, reader, read in zip(self.targets, self.train.readers, read_N, strict=True):
            passes = read / reader.measure(reader.list_places())["count"]
            share = f"{float(read / sum(read_N)):.1%} of the tokens"
            yield f"data.sources.{name}: {share} up to step {steps}, {float(passes):.2f} passes over it"

    def train_dataloader(self) -> DataLoader:
        strategy, start = self.trainer.strategy, self.trainer.global_step
        if self.trainer.is_global_zero:
            print(*self.describe_passes(self.trainer.max_steps), sep="\n", flush=True)
        places = strategy.data_rank, strategy.data_ranks
        batches = TrainBatches(self.train, self.batch_rows, self.first_row, self.seed, start, *places)
        return make_loader(batches, strategy.root_device)

    def val_dataloader(self) -> DataLoader:
        strategy = self.trainer.strategy
        places = strategy.data_rank, strategy.data_ranks
        batches = {}
        for name, reader in self.val.items():
            with name_source(name):
                batches[name] = batch_validation(reader, self.batch_rows(0), *places)
        return make_loader(ValSources(batches), strategy.root_device)
