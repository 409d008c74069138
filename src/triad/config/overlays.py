"""What an overlay, such as debug=tiny, changes of what was typed beside it."""

from collections.abc import Iterator, Mapping

from triad.config.command_line import key_of
from triad.config.identity import OVERLAYS
from triad.config.provenance import Chains


def find_overlaid(chains: Chains, choices: Mapping[str, str], typed: list[str]) -> Iterator[str]:
    """One sentence for each choice that was typed and of which an overlay sets another value."""
    groups = [key_of(word) for word in typed if key_of(word) in choices]
    for overlay in OVERLAYS:
        for group in groups:
            changed = [
                f"{key}={chain[0].text}"
                for key, chain in chains.items()
                if len(chain) > 1
                and _is_of(chain[0].where, overlay)
                and any(_is_of(origin.where, group) for origin in chain[1:])
            ]
            if changed and group != overlay:
                yield (
                    f"{overlay}={choices[overlay]} changes {group}={choices[group]}: {' '.join(changed)}; "
                    "a key that is typed stays"
                )


def _is_of(where: str, group: str) -> bool:
    return where.startswith(f"conf/{group}/")
