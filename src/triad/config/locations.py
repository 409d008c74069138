"""Where conf/, sweeps/ and train.py lie."""

from pathlib import Path

SOURCE = Path(__file__).parents[1]
REPOSITORY = SOURCE.parents[1]
CONF = REPOSITORY / "conf"
