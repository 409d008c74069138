"""What takes more than declarations to refuse about data: packages of its own extra."""

from importlib.util import find_spec

from triad.config.identity import PREPARATION
from triad.config.locations import tell_install
from triad.config.offers import get_declared, walk_parts
from triad.config.refusals import Impossible
from triad.data.sources.mixture import read_plan


def find_missing(config: dict) -> list[tuple[str, str]]:
    """Parts of the preparation that need packages which are not installed: their keys, and the packages."""
    return [
        (key, package)
        for group in PREPARATION
        for key, part in walk_parts(config.get(group), group)
        for package in get_declared(part, "packages") or ()
        if find_spec(package) is None
    ]


def find_unmixable(config: dict) -> str:
    """What is wrong with the shares of a mixture, or ""."""
    data = config["data"]
    if not get_declared(data, "encloses"):
        return ""
    names = [name for name, source in data["sources"].items() if source is not None]
    try:
        read_plan(names, data["weights"], data["schedule"], data["skip"])
    except ValueError as error:
        return str(error)
    return ""


def is_separated(config: dict) -> bool:
    """Whether documents of a row do not see each other; `triad prepare` asks without rows."""
    return config.get("packing") in ("documents", "best_fit")


def facts(config: dict) -> dict:
    """What the sentence below names."""
    key, package = next(iter(find_missing(config)), ("", ""))
    return {"part": key, "package": package, "unmixable": find_unmixable(config)}


TABLE = [
    Impossible(
        "each source of a mixture has a share",
        "data=mixture data.weights.packages=-1",
        find_unmixable,
        "{unmixable}",
    ),
    Impossible(
        "a mixture counts rows",
        "data=mixture batch=tokens packing=none",
        lambda c: get_declared(c["data"], "encloses") and "tokens" in c.get("batch", ()),
        "batch=tokens takes rows by their length, and data=mixture by their source: use batch=fixed",
    ),
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
        "some filters are packages of their own",
        "data/clean=web",
        find_missing,
        f"{{part}} needs the package {{package}}: {tell_install('data')}, or leave it out with ~{{part}}",
    ),
]
