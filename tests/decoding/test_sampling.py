"""What is drawn: which tokens, how often, and from which seed."""

import math
from collections import Counter
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.decoding.small_models import CONTEXT, WORDS, make
from tests.decoding.toy import Table, beam, sampling
from triad.decoding.decode import decode, stream
from triad.decoding.greedy import Greedy
from triad.decoding.sampling import Sampling
from triad.decoding.truncation import penalise_repetition

FALLING, UNSORTED = [0.5, 0.25, 0.125, 0.125], [0.1, 0.45, 0.05, 0.3, 0.1]
NONE_YET = torch.full((1, 1), -1)
EDGES = [  # probabilities, settings, the tokens that may be drawn: as transformers' processors in fp64
    (FALLING, {"top_p": 0.6}, [0, 1]),
    (FALLING, {"top_p": 0.7}, [0, 1]),
    (FALLING, {"top_p": 0.5000001}, [0, 1]),
    (FALLING, {"top_p": 1e-8}, [0]),
    (FALLING, {"top_p": 0.0}, [0]),
    (UNSORTED, {"top_p": 0.7}, [1, 3]),
    ([0.4, 0.2, 0.2, 0.2], {"top_k": 2}, [0, 1, 2, 3]),  # a tie
    (FALLING, {"top_k": 9}, [0, 1, 2, 3]),
    (FALLING, {"top_k": 0}, [0, 1, 2, 3]),
    (UNSORTED, {"min_p": 0.2}, [0, 1, 3, 4]),
    (UNSORTED, {"min_p": 1.0}, [1]),
    (UNSORTED, {"temperature": 2.0, "min_p": 0.5}, [1, 3]),
    (UNSORTED, {"top_k": 3, "top_p": 0.8, "min_p": 0.5}, [1, 3]),
]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("probabilities", "settings", "kept"), EDGES, ids=str)
def test_which_tokens_are_kept_and_with_which_probability(
    probabilities: list[float], settings: dict, kept: list[int], dtype: torch.dtype
) -> None:
    logits_BV = torch.tensor([probabilities], dtype=torch.float64).log().to(dtype)
    found = sampling(**settings).adjust(logits_BV, NONE_YET).softmax(-1)[0].double()
    powers = [p ** (1 / settings.get("temperature", 1.0)) for p in probabilities]
    total = sum(powers[token] for token in kept)
    expected = [power / total * (token in kept) for token, power in enumerate(powers)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_the_likeliest_token_is_always_kept(dtype: torch.dtype, scale: float) -> None:
    drawn = torch.Generator().manual_seed(0)
    logits_BV = (torch.randn(64, 300, generator=drawn, dtype=torch.float64) * scale).to(dtype)
    hardest: list[dict] = [{"top_p": 0.0}, {"top_p": 1e-8}, {"min_p": 1.0}, {"top_k": 1}]
    coldest: list[dict] = [{"temperature": 1e-6}, {"temperature": 1e-30}]
    for settings in (*hardest, *coldest, coldest[0] | hardest[0] | hardest[2] | hardest[3]):
        adjusted_BV = sampling(**settings).adjust(logits_BV, NONE_YET.expand(64, 1))
        assert not adjusted_BV.isnan().any()
        assert (adjusted_BV.gather(1, logits_BV.argmax(1, keepdim=True)) > -math.inf).all()
        chosen_B = sampling(**settings).choose(logits_BV, NONE_YET.expand(64, 1), torch.full((64,), 1.0))
        torch.testing.assert_close(
            logits_BV.gather(1, chosen_B[:, None])[:, 0], logits_BV.amax(1), rtol=0, atol=0
        )


def test_repetition_makes_a_token_less_likely_whatever_its_sign_once_and_never_for_padding() -> None:
    logits_BV = torch.tensor([[2.0, -1.0, 0.5, 0.0], [2.0, -1.0, 0.5, 4.0]])
    tokens_BT = torch.tensor([[0, 1, 1], [-1, -1, 2]])
    found = penalise_repetition(logits_BV, tokens_BT, 2.0)
    assert found.tolist() == [[1.0, -2.0, 0.5, 0.0], [2.0, -1.0, 0.25, 4.0]]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"temperature": -0.1}, "temperature=-0.1"),
        ({"temperature": math.nan}, "temperature=nan"),
        ({"temperature": math.inf}, "temperature=inf"),
        ({"top_k": -1}, "top_k=-1"),
        ({"top_p": 1.1}, "top_p=1.1"),
        ({"top_p": -0.1}, "top_p=-0.1"),
        ({"min_p": 1.5}, "min_p=1.5"),
        ({"min_p": math.nan}, "min_p=nan"),
        ({"repetition_penalty": 0.0}, "repetition_penalty=0.0"),
    ],
)
def test_settings_out_of_range_are_refused_in_one_sentence(settings: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^decoding.{sentence}: "):
        Sampling(
            **{"temperature": 1.0, "top_k": None, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}
            | settings
        )


PAIRS = [[8, 11, 7, 6], [4, 9, 7, 12], [6, 7, 3, 16], [8, 11, 7, 6]]  # in 32nds, of each token after another


@pytest.mark.parametrize(
    ("settings", "power"), [({}, 1.0), ({"temperature": 0.5}, 2.0), ({"top_k": 2}, 1.0)], ids=str
)
def test_pairs_of_tokens_are_drawn_as_often_as_they_should_be(settings: dict, power: float) -> None:
    """Pearson's chi-square of 8,000 pairs: the 99.9 % quantile for 15 degrees of freedom is 37.7."""
    asked: Any = {"ends": (), "max_tokens": 2, "context": 16, "vocab_size": 4}
    drawn = decode(Table(PAIRS), [[1]] * 8, sampling(**settings), n=1000, **asked)
    counts = Counter(tuple(sample.tokens) for samples in drawn for sample in samples)
    chi_square = 0.0
    for first, second in product(range(4), repeat=2):
        expected = 8000 * chance(1, first, power, settings) * chance(first, second, power, settings)
        assert expected or not counts[first, second]
        chi_square += (counts[first, second] - expected) ** 2 / expected if expected else 0.0
    assert chi_square < 37.7


def chance(before: int, token: int, power: float, settings: dict) -> float:
    """Of a token after another, by the definition."""
    weights = [weight**power for weight in PAIRS[before]]
    least = sorted(weights)[-settings.get("top_k", 4)]
    weights = [weight * (weight >= least) for weight in weights]
    return weights[token] / sum(weights)


@pytest.mark.parametrize("name", ["decoder", "moe", "lstm", "t5_small"])
def test_the_samples_of_a_row_follow_from_its_seed_and_not_from_its_batch(name: str) -> None:
    model = make(name)
    prompts, seeds = [[5], [3, 0, 7, 2], [5], [1, 4, 9]], [3, 1, 4, -1]
    read = [[1, 2, 3], [4], [1, 2, 3], [2, 8]] if model.sees == "source" else None
    asked: Any = {"ends": [7], "max_tokens": 8, "context": CONTEXT, "vocab_size": WORDS}
    together = decode(model, prompts, sampling(), sources=read, seeds=seeds, n=3, **asked)
    for index, prompt in enumerate(prompts):
        given = read and [read[index]]
        alone = decode(model, [prompt], sampling(), sources=given, seeds=[seeds[index]], n=3, **asked)[0]
        assert [sample.tokens for sample in alone] == [sample.tokens for sample in together[index]]
        source = given and given[0]
        streamed = stream(model, prompt, sampling(), source=source, seed=seeds[index], **asked)
        assert [*streamed] == alone[0].tokens
    assert len({(*sample.tokens,) for samples in together for sample in samples}) > 8  # of 12


def test_the_log_probability_is_the_models_own() -> None:
    model = make("gpt2")
    asked: Any = {"ends": [7], "max_tokens": 8, "context": CONTEXT, "vocab_size": WORDS}
    for sample in decode(model, [[3, 1]], Sampling(0.5, 5, 0.9, 0.01, 1.5), n=5, **asked)[0]:
        text = [3, 1, *sample.tokens, *[7] * sample.finished]
        logits_TV = model(torch.tensor([text]))[0][0].detach().log_softmax(-1)
        total = sum(float(logits_TV[at - 1, text[at]]) for at in range(2, len(text)))
        assert sample.log_probability == pytest.approx(total, abs=1e-9)


def test_an_ensemble_averages_probabilities() -> None:
    models = [make("gpt2"), make("lstm"), make("decoder")]
    asked: Any = {"ends": (), "max_tokens": 6, "context": CONTEXT, "vocab_size": WORDS}
    prompts = [[3, 1], [5]]
    for decoding in (Greedy(), beam(1)):
        found = decode(models, prompts, decoding, **asked)
        for prompt, (best,) in zip(prompts, found, strict=True):
            text, total = list(prompt), 0.0
            for token in best.tokens:
                with torch.no_grad():
                    each = [model(torch.tensor([text]))[0][0, -1].softmax(-1) for model in models]
                mean_V = torch.stack(each).mean(0)
                assert token == int(mean_V.argmax())
                total += math.log(float(mean_V[token]))
                text.append(token)
            assert best.log_probability == pytest.approx(total, abs=1e-9)


@pytest.mark.parametrize("decoding", [Greedy(), sampling(), beam(3)], ids=lambda each: type(each).__name__)
def test_a_constraint_holds_and_what_stops_a_row_ends_it(decoding: Any) -> None:
    model = make("gpt2")
    asked: Any = {"ends": [7], "max_tokens": 8, "context": CONTEXT, "vocab_size": WORDS}

    def alternate(tokens: list[int]) -> Tensor | None:
        """Even, then odd tokens; anything from the sixth on."""
        return torch.arange(WORDS) % 2 == len(tokens) % 2 if len(tokens) < 6 else None

    asked |= {"constraint": alternate, "stopped": lambda row: row[-1:] == [3]}
    drawn = decode(model, [[3, 1], [5]] * 20, decoding, **asked)
    for (best,) in drawn:
        assert all(token % 2 == at % 2 for at, token in enumerate(best.tokens[:6]))
        assert 3 not in best.tokens[:-1]
        assert best.finished or len(best.tokens) == 8
        assert best.finished or best.tokens[-1] != 3
    asked["constraint"] = lambda tokens: torch.zeros(WORDS, dtype=torch.bool)
    with pytest.raises(ValueError, match="the constraint allows no token"):
        decode(model, [[5]], decoding, **asked)


def test_prompts_that_do_not_fit_or_have_no_token_are_refused() -> None:
    model = make("gpt2")
    asked: Any = {"ends": [7], "max_tokens": 8, "vocab_size": WORDS}
    with pytest.raises(ValueError, match="a prompt of 17 tokens is longer than context=16"):
        decode(model, [[1] * 17], Greedy(), context=16, **asked)
    with pytest.raises(ValueError, match="an empty prompt"):
        decode(model, [[1], []], Greedy(), context=16, **asked)
    with pytest.raises(ValueError, match="n=0"):
        decode(model, [[1]], Greedy(), context=16, n=0, **asked)
    assert decode(model, [], Greedy(), context=16, **asked) == []


@pytest.mark.parametrize("decoding", [Greedy(), sampling(), beam(3)], ids=lambda each: type(each).__name__)
def test_in_lockstep_a_model_is_called_for_every_token_whatever_the_rows_are(decoding: Any) -> None:
    """Also where the window moves, and where every row has ended; the texts are the same."""
    model, calls = make("gpt2"), []
    hook = model.register_forward_hook(lambda *_: calls.append(1))
    asked: Any = {"ends": [*range(3, WORDS)], "context": 6, "vocab_size": WORDS}
    free = decode(model, [[3], [5, 1, 4]], decoding, max_tokens=14, **asked)
    assert len(calls) < 14
    calls.clear()
    locked = decode(model, [[3], [5, 1, 4]], decoding, max_tokens=14, lockstep=True, **asked)
    for (a,), (b,) in zip(free, locked, strict=True):
        assert (a.tokens, a.finished) == (b.tokens, b.finished)
        assert a.log_probability == pytest.approx(b.log_probability, abs=1e-9)
    assert len(calls) == 14
    hook.remove()
