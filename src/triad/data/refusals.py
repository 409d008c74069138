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


def makes_rows(config: dict) -> bool:
    """Whether the task makes the rows of such data; `triad prepare` asks without a task."""
    kinds = get_declared(config.get("task") or {}, "makes_rows") or ()
    return get_declared(config["data"], "yields") in kinds


def find_changing(config: dict) -> list[str]:
    """What is done to documents that may change their texts, or add some."""
    return [name for name in ("clean", "privacy", "synthetic") if config.get(name)]


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
        "changing": " and ".join(f"data/{name}" for name in find_changing(config)),
        "without": " ".join(f"data/{name}=none" for name in find_changing(config)),
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
        lambda c: is_separated(c) and (get_declared(c["data"], "yields") != "text" or makes_rows(c)),
        "packing={packing} packs text, and the rows here are pairs, labelled texts or those of the task: "
        "leave packing out",
    ),
    Impossible(
        "parts of an example are places in its texts",
        "data/clean=basic data=questions data.path=a",
        lambda c: get_declared(c["data"], "keeps_texts") and find_changing(c),
        "{changing} changes texts, and in these data tags and answers are places in them: leave it out with "
        "{without}; data/dedup and data/contamination leave whole examples out",
    ),
    Impossible(
        "a mixture's rows are windows",
        "data=mixture task=code",
        lambda c: makes_rows(c) and get_declared(c["data"], "encloses"),
        "the rows of data=mixture are windows of its sources, and task ({task[_target_]}) makes rows of its "
        "own: choose one source",
    ),
    Impossible(
        "rows that a task makes come by their length",
        "batch=ramp task=code",
        lambda c: makes_rows(c) and get_declared(c["batch"], "sizes") != "one",
        "task ({task[_target_]}) makes rows that are dealt by their length, in batches of one size: use "
        "batch=fixed or batch=tokens",
    ),
    Impossible(
        "some filters and tokenizers are packages of their own",
        "data/clean=web",
        find_missing,
        "{part} needs the package {package}: {install}, or {remedy}",
    ),
]
