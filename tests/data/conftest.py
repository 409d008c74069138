from pathlib import Path

import pytest

from triad.data.sources.shakespeare import shakespeare

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(scope="session")
def tiny_shakespeare():
    path = SHARED / "tinyshakespeare"
    if not path.exists():
        pytest.skip("tiny Shakespeare is not on this machine")
    return shakespeare(str(path), "", [], "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed")
