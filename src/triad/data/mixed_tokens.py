"""The tokens of a mixture: a token file for each source, and the record of which are read from which step on.

The record is what a run keeps as its text, in data.json:

    stages   [{"from": step, "weights": {source: share}, "sources": {source: fingerprint}}, ...]
    skips    [[begin, end], ...], steps whose rows are left out
    asked    what the configuration of the last start asked for

A resumed run may be asked for other weights and further sources: stages follow, from the step at which it
goes on, and what stands before that step stays.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from triad.data.mixture import MixtureOrder
from triad.data.sources.mixture import Mixture, Skip, name_source
from triad.data.token_files import TokenFile, Tokens, prepare_tokens
from triad.data.tokenizers.tokenizer import Tokenizer

Record = dict[str, Any]


class Size(NamedTuple):
    """Tokens of one split of all sources, and the bytes of their text."""

    size: int
    bytes: int

    @property
    def bytes_per_token(self) -> float:
        return self.bytes / self.size


@dataclass(frozen=True)
class MixedTokens:
    """The tokens of each source, and the record."""

    sources: dict[str, Tokens]
    fingerprint: Record
    resumed: bool = False  # whether the record of a run was continued with other stages or skips

    labels = ()

    @property
    def train(self) -> Size:
        return _add_sizes(tokens.train for tokens in self.sources.values())

    @property
    def val(self) -> Size:
        return _add_sizes(tokens.val for tokens in self.sources.values())

    @property
    def xz_bits_per_byte(self) -> float | None:
        """`xz -9e` of the validation text of each source by itself; None where one is too long for it."""
        bits = 0.0
        for tokens in self.sources.values():
            if tokens.xz_bits_per_byte is None:
                return None
            bits += tokens.xz_bits_per_byte * tokens.val.bytes
        return bits / self.val.bytes

    @property
    def skips(self) -> list[Skip]:
        return [Skip(*skip) for skip in self.fingerprint["skips"]]

    def order(self, first_row: Callable[[int], int], targets: Mapping[str, Fraction]) -> MixtureOrder:
        """The sources of all rows; `targets` are those of a row of each source, on average."""
        return MixtureOrder(
            [
                (first_row(stage["from"]), [_get_share(stage, name) / targets[name] for name in self.sources])
                for stage in self.fingerprint["stages"]
            ]
        )

    def resume(self, record: Record | None, step: int) -> "MixedTokens":
        """These tokens as a run goes on with them from a step, of which `record` was kept.

        Raises ValueError for a source that is not what it was, and for words about what was trained before.
        """
        if record is None:
            return self
        known = _list_sources(record)
        for name, kept in known.items():
            if name not in self.sources:
                raise ValueError(
                    f"data.sources.{name}: the run has read it, and it stays: its share may be 0"
                )
            if self.sources[name].fingerprint != kept:
                raise ValueError(
                    f"data.sources.{name}: its text or its tokenizer is not what the run was started with;"
                    " start a new run"
                )
        asked, before = self.fingerprint["asked"], record["asked"]
        stages, skips = record["stages"], record["skips"]
        if asked != before:
            if asked["stages"] != before["stages"]:
                stages = _continue_stages(record, asked, step, self.fingerprint["stages"][0]["sources"])
            skips = _continue_skips(skips, asked["skips"], step)
        continued = {"stages": stages, "skips": skips, "asked": asked}
        return replace(self, fingerprint=continued, resumed=asked != before)


def prepare_mixture(mixture: Mixture, tokenizer: Tokenizer, cache: Path) -> MixedTokens:
    """The tokens of every source, from the cache where they were made before."""
    sources = {}
    for name, source in sorted(mixture.sources.items()):  # the order of the names decides between equals
        with name_source(name):
            sources[name] = prepare_tokens(source, tokenizer, cache)
    prints = {name: tokens.fingerprint for name, tokens in sources.items()}
    asked = {
        "stages": [
            {"from": step, "weights": {name: str(share) for name, share in weights.items()}}
            for step, weights in mixture.stages
        ],
        "skips": [[*skip] for skip in mixture.skips],
    }
    stages = [stage | {"sources": prints} for stage in asked["stages"]]
    return MixedTokens(sources, {"stages": stages, "skips": asked["skips"], "asked": asked})


def _add_sizes(files: Iterable[TokenFile]) -> Size:
    sizes, lengths = zip(*((file.size, file.bytes) for file in files), strict=True)
    return Size(sum(sizes), sum(lengths))


def _get_share(stage: Record, name: str) -> Fraction:
    return Fraction(stage["weights"].get(name, 0))


def _list_sources(record: Record) -> dict[str, str]:
    """All sources of a record with their fingerprints."""
    found: dict[str, str] = {}
    for stage in record["stages"]:
        found |= stage["sources"]
    return found


def _continue_stages(record: Record, asked: Record, step: int, sources: dict[str, str]) -> list[Record]:
    """The stages of a record before a step, and from there on what is asked for."""
    first, *schedule = asked["stages"]
    trained = [stage for stage in record["stages"] if stage["from"] < step]
    for stage in schedule:
        if stage["from"] < step and stage not in record["asked"]["stages"]:
            raise ValueError(
                f"data.schedule: from={stage['from']} lies before step {step}, at which the run goes on:"
                " leave it out; what was trained before stays recorded"
            )
    is_new = first != record["asked"]["stages"][0]
    if not trained or is_new or first["weights"] not in [stage["weights"] for stage in trained]:
        now = first  # data.weights hold from here on
    else:
        now = next((stage for stage in schedule if stage["from"] == step), trained[-1])
    now = now | {"from": step if trained else 0, "sources": sources}
    later = [stage | {"sources": sources} for stage in schedule if stage["from"] > step]
    goes_on = trained and trained[-1] | {"from": step} == now
    return [*trained, *([] if goes_on else [now]), *later]


def _continue_skips(before: list[list[int]], asked: list[list[int]], step: int) -> list[list[int]]:
    for skip in before:
        if skip[0] < step and skip not in asked:
            raise ValueError(f"data.skip: {skip[0]}:{skip[1]} was left out before step {step}; keep it")
    for skip in asked:
        if skip[0] < step and skip not in before:
            raise ValueError(
                f"data.skip: {skip[0]}:{skip[1]} begins before step {step}, at which the run goes on; begin"
                " there, or resume from an earlier checkpoint"
            )
    return asked
