"""What must hold of every model that predicts the next token; asked of one with 17 words and 16 places."""

import torch
from torch import Tensor, nn


def tokens(batch: int = 2, length: int = 12) -> Tensor:
    return torch.randint(17, (batch, length), generator=torch.Generator().manual_seed(0))


def changing_a_token_changes_no_logit_before_it(model: nn.Module) -> None:
    x = tokens()
    changed = x.clone()
    changed[:, 7] = (x[:, 7] + 1) % 17
    before, after = model.eval()(x)[0], model(changed)[0]
    torch.testing.assert_close(before[:, :7], after[:, :7], rtol=0, atol=1e-6)
    assert not torch.allclose(before[:, 7], after[:, 7])


def a_cache_gives_the_logits_of_the_whole(model: nn.Module, pieces: list[int]) -> None:
    x = tokens()
    model = model.double().eval()
    cache = model.empty_cache(2)
    with torch.no_grad():
        parts = [model(part, cache=cache)[0] for part in x.split(pieces, dim=1)]
        torch.testing.assert_close(torch.cat(parts, 1), model(x)[0])
