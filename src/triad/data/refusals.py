"""What takes more than declarations to refuse about data: packages of its own extra."""

from importlib.util import find_spec

from triad.config.identity import PREPARATION
from triad.config.locations import tell_install
from triad.config.offers import get_declared, walk_parts
from triad.config.refusals import Impossible


def find_missing(config: dict) -> list[tuple[str, str]]:
    """Parts of the preparation that need packages which are not installed: their keys, and the packages."""
    return [
        (key, package)
        for group in (*PREPARATION, "engine")
        for key, part in walk_parts(config.get(group), group)
        for package in get_declared(part, "packages") or ()
        if find_spec(package) is None
    ]


def facts(config: dict) -> dict:
    """What the sentence below names."""
    key, package = next(iter(find_missing(config)), ("", ""))
    extra = "ray" if key == "engine" else "data"
    remedy = "choose data/engine=local" if key == "engine" else f"leave it out with ~{key}"
    return {"part": key, "package": package, "install": tell_install(extra), "remedy": remedy}


TABLE = [
    Impossible(
        "some filters are packages of their own",
        "data/clean=web",
        find_missing,
        "{part} needs the package {package}: {install}, or {remedy}",
    ),
]
