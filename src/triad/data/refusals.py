"""What takes more than declarations to refuse about data: packages of extras, also those of metrics."""

from importlib.util import find_spec

from triad.config.identity import PREPARATION
from triad.config.locations import tell_install
from triad.config.offers import get_declared, walk_parts
from triad.config.refusals import Impossible
from triad.config.rules import SEPARATED
from triad.data.sources.mixture import read_plan

EXTRAS = dict.fromkeys(PREPARATION, "data") | {
    "tokenizer": "hf",
    "engine": "ray",
    "metrics": "eval",
}  # what installs the packages of a group


def find_missing(config: dict) -> list[tuple[str, str]]:
    """Parts that need packages which are not installed: their keys, and the packages."""
    return [
        (key, package)
        for group in EXTRAS
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
    return config.get("packing") in SEPARATED


def facts(config: dict) -> dict:
    """What the sentence below names."""
    key, package = next(iter(find_missing(config)), ("", ""))
    group = key.partition(".")[0]
    remedies = {"engine": "choose data/engine=local", "tokenizer": "take another tokenizer"}
    return {
        "part": key,
        "package": package,
        "install": tell_install(EXTRAS.get(group, "")),
        "remedy": remedies.get(group, f"leave it out with ~{key}"),
        "unmixable": find_unmixable(config),
    }


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
        "only text is packed",
        "packing=best_fit data=packages task=classification model=encoder",
        lambda c: is_separated(c) and get_declared(c["data"], "yields") != "text",
        "packing={packing} packs text, and data.yields is something else: leave packing out",
    ),
    Impossible(
        "some filters and tokenizers are packages of their own",
        "data/clean=web",
        find_missing,
        "{part} needs the package {package}: {install}, or {remedy}",
    ),
]
