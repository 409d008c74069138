"""What a model gives for a text that comes in pieces, through its cache, is what it gives for the whole."""

import pytest
import torch

from tests.decoding.small_models import NAMES, WORDS, make
from triad.config.offers import get_declared, read_choices


@torch.no_grad()
@pytest.mark.parametrize("name", [*NAMES, "key shift"])  # every file of conf/model that generates
def test_a_cache_gives_the_logits_of_the_whole_in_every_model(name: str) -> None:
    model, pieces = make(name), (5, 1, 4, 2)
    draws = torch.Generator().manual_seed(0)
    tokens_BT = torch.randint(WORDS, (2, sum(pieces)), generator=draws)
    has_source = get_declared(read_choices("model").get(name, {}), "sees") == "source"
    source = (torch.randint(WORDS, (2, 7), generator=draws),) if has_source else ()
    cache = model.empty_cache(2)
    parts = [model(*source, part_BT, cache=cache)[0] for part_BT in tokens_BT.split(pieces, dim=1)]
    torch.testing.assert_close(torch.cat(parts, 1), model(*source, tokens_BT)[0], rtol=1e-9, atol=1e-9)
