"""One process per rank trains several prepared runs: a matrix of layouts pays for its start-up once."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from train import train
from triad.door import rank

if __name__ == "__main__":
    for directory in sys.argv[1:]:
        if code := rank(train, Path(directory)):
            sys.exit(code)
