"""Where conf/, sweeps/ and train.py lie: at the top of the repository, or within the installed package.

What else this start reads, `own_packages` and `own_folders`, triad.config.own_code puts here.
"""

import re
import tomllib
from importlib import metadata
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
INSTALLED = (PACKAGE / "share").is_dir()  # the wheel puts them there
REPOSITORY = PACKAGE / "share" if INSTALLED else PACKAGE.parents[1]
NAME = re.compile(r"[\w.-]+")  # of a package, at the head of a requirement
CONF = REPOSITORY / "conf"
TRAIN = REPOSITORY / "train.py"

own_packages: dict[str, Path] = {}  # that this start permits, by name: a folder, or the file of a module
own_folders: list[Path] = []  # of configurations, as conf/ is one: --config-dir


def conf_folders() -> tuple[Path, ...]:
    """Where YAML files are looked for, first to last."""
    return (CONF, *own_folders)


def tell_install(extra: str) -> str:
    """The command that adds an extra of pyproject.toml. The index's project `triad` is another one."""
    checkout = "the checkout of Triad" if INSTALLED else REPOSITORY
    return f"pip install '.[{extra}]' in {checkout}"


def list_requirements() -> list[str]:
    """The packages that the project can use, by its metadata when installed, or by its pyproject.toml."""
    if INSTALLED:
        lines = metadata.requires("triad") or []
    else:
        project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        lines = sum(project["optional-dependencies"].values(), project["dependencies"])
    return sorted({found[0] for line in lines if (found := NAME.match(line))})
