"""What takes more than declarations to refuse about data: packages of its own extra."""

from importlib.util import find_spec

from triad.config.identity import PREPARATION
from triad.config.locations import tell_install
from triad.config.offers import get_declared, walk_parts
from triad.config.refusals import Impossible
from triad.config.rules import SEPARATED


def find_missing(config: dict) -> list[tuple[str, str]]:
    """Parts of the preparation that need packages which are not installed: their keys, and the packages."""
    return [
        (key, package)
        for group in PREPARATION
        for key, part in walk_parts(config.get(group), group)
        for package in get_declared(part, "packages") or ()
        if find_spec(package) is None
    ]


def is_separated(config: dict) -> bool:
    """Whether documents of a row do not see each other; `triad prepare` asks without rows."""
    return config.get("packing") in SEPARATED


def facts(config: dict) -> dict:
    """What the sentence below names."""
    key, package = next(iter(find_missing(config)), ("", ""))
    return {"part": key, "package": package}


TABLE = [
    Impossible(
        "only text is packed",
        "packing=best_fit data=packages task=classification model=encoder",
        lambda c: is_separated(c) and get_declared(c["data"], "yields") != "text",
        "packing={packing} packs text, and data.yields is something else: leave packing out",
    ),
    Impossible(
        "some filters are packages of their own",
        "data/clean=web",
        find_missing,
        f"{{part}} needs the package {{package}}: {tell_install('data')}, or leave it out with ~{{part}}",
    ),
]
