"""Where conf/, sweeps/ and train.py lie."""

from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
CONF = REPOSITORY / "conf"
