"""Where conf/, sweeps/ and train.py lie: at the top of the repository, or within the installed package."""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]
INSTALLED = (PACKAGE / "share").is_dir()  # the wheel puts them there
REPOSITORY = PACKAGE / "share" if INSTALLED else PACKAGE.parents[1]
CONF = REPOSITORY / "conf"
TRAIN = REPOSITORY / "train.py"


def tell_install(extra: str) -> str:
    """The command that adds an extra of pyproject.toml. The index's project `triad` is another one."""
    checkout = "the checkout of Triad" if INSTALLED else REPOSITORY
    return f"pip install '.[{extra}]' in {checkout}"
