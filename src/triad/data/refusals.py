"""What takes more than declarations to refuse about data: packages of extras."""

from importlib.util import find_spec

from triad.config.identity import PREPARATION
from triad.config.locations import tell_install
from triad.config.offers import get_declared, walk_parts
from triad.config.refusals import Impossible

EXTRAS = dict.fromkeys(PREPARATION, "data") | {"tokenizer": "hf"}  # what installs the packages of a group


def find_missing(config: dict) -> list[tuple[str, str]]:
    """Parts that need packages which are not installed: their keys, and the packages."""
    return [
        (key, package)
        for group in EXTRAS
        for key, part in walk_parts(config.get(group), group)
        for package in get_declared(part, "packages") or ()
        if find_spec(package) is None
    ]


def is_separated(config: dict) -> bool:
    """Whether documents of a row do not see each other; `triad prepare` asks without rows."""
    return config.get("packing") in ("documents", "best_fit")


def facts(config: dict) -> dict:
    """What the sentence below names."""
    key, package = next(iter(find_missing(config)), ("", ""))
    install = tell_install(EXTRAS.get(key.partition(".")[0], ""))
    remedy = "take another tokenizer" if key == "tokenizer" else f"leave it out with ~{key}"
    return {"part": key, "package": package, "remedy": f"{install}, or {remedy}"}


TABLE = [
    Impossible(
        "models whose tokens see all of a row",
        "packing=documents",
        lambda c: is_separated(c) and not get_declared(c["model"], "separates_documents"),
        "packing={packing} needs a model that keeps the documents of a row apart, and {model[_target_]} does "
        "not say so: use packing=windows or packing=none",
    ),
    Impossible(
        "only text is packed",
        "packing=best_fit data=packages task=classification model=encoder",
        lambda c: is_separated(c) and get_declared(c["data"], "yields") != "text",
        "packing={packing} packs text, and data.yields is something else: leave packing out",
    ),
    Impossible(
        "some filters and tokenizers are packages of their own",
        "data/clean=web",
        find_missing,
        "{part} needs the package {package}: {remedy}",
    ),
]
