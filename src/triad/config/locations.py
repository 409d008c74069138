"""Where conf/, sweeps/ and train.py lie: at the top of the repository, or within the installed package."""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]
INSTALLED = (PACKAGE / "share").is_dir()  # the wheel puts them there
REPOSITORY = PACKAGE / "share" if INSTALLED else PACKAGE.parents[1]
CONF = REPOSITORY / "conf"
TRAIN = REPOSITORY / "train.py"
