"""How texts are decoded: as a run's configuration says, or as it is asked for."""

from typing import Any

from triad.config.errors import Refusal
from triad.config.offers import read_choices


def choose_recipe(own: dict | None, typed: dict[str, Any], n: int) -> dict:
    """A run's recipe with what is typed, or else the only one of conf/decoding that has all of that."""
    typed = {key: value for key, value in typed.items() if value is not None}
    choices = read_choices("decoding")
    base = own or next(iter(choices.values()))
    fitting = {name: node for name, node in choices.items() if typed.keys() <= node.keys()}
    if not typed.keys() <= base.keys():
        if len(fitting) != 1:
            numbers = {name: [key for key in node if key != "_target_"] for name, node in choices.items()}
            known = [f"{name}: {', '.join(keys) or 'none'}" for name, keys in numbers.items()]
            fault = "several decodings have this" if fitting else "no decoding has all of them"
            raise Refusal(f"{', '.join(typed)}: {fault}; type what one alone has ({'; '.join(known)})")
        (base,) = fitting.values()
    kept = {key: value for key, value in (own or {}).items() if key != "_target_" and key in base}
    recipe = base | kept | typed
    if n > 1 and not recipe.get("temperature") and recipe.get("beams", 1) < n:
        raise Refusal(f"n={n}: type temperature=1 to draw so many texts, or beams={n} for the best ones")
    return recipe
