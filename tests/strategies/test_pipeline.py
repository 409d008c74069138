"""How a pipeline is cut, filled and walked. That it trains like one process is the layouts' test."""

import copy
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from lightning.pytorch.plugins import Precision
from torch import nn

from tests.warm import WarmProcess
from triad.config.build import build
from triad.config.compose import compose
from triad.decoding.decode import decode
from triad.decoding.greedy import Greedy
from triad.launch.rank import exit_together
from triad.layers.routing import auxiliary_loss
from triad.models.decoder import Decoder
from triad.optim.gradient import Gradient
from triad.optim.initialise import initialise
from triad.strategies.pipeline import ORDERS, Pipeline, micro_batches, place_stages
from triad.strategies.stage import Stage, check_stages, divide_units, keep_stages


def decoder(depth: int = 2, tied: bool = True) -> Decoder:
    torch.manual_seed(0)
    words = (
        *("model=decoder", "context=8", "model.width=8", f"model.depth={depth}", f"model.tied={tied}"),
        *("model.attention.heads=2", "model.attention.rotary=null", "model.attention.query_key_norm=null"),
        *("model.feedforward.hidden=8", "strategy=ddp"),
    )
    return build(compose([*words])["model"])(vocab_size=11, initial=lambda **_: 0.02)


@pytest.mark.parametrize("stages", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("units", [9, 14, 32])
def test_every_unit_is_in_one_stage_and_stages_differ_by_one_at_most(units: int, stages: int) -> None:
    runs = divide_units(units, stages)
    assert [unit for run in runs for unit in run] == list(range(units))
    assert len(runs) == stages
    assert max(map(len, runs)) - min(map(len, runs)) <= 1


def test_the_stages_with_embedding_and_readout_take_what_does_not_divide() -> None:
    assert [*map(len, divide_units(14, 4))] == [4, 3, 3, 4]
    assert [*map(len, divide_units(5, 2))] == [3, 2]
    assert [*map(len, divide_units(11, 4))] == [3, 3, 2, 3]


def test_folded_orders_put_the_last_stage_beside_the_first() -> None:
    assert place_stages(ORDERS["1f1b"], 3) == [0, 1, 2]
    assert place_stages(ORDERS["interleaved"], 3) == [0, 1, 2, 0, 1, 2]
    assert place_stages(ORDERS["zbv"], 3) == [0, 1, 2, 2, 1, 0]


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize("processes", [2, 3, 8])
@pytest.mark.parametrize("largest", [None, 1, 3])
def test_micro_batches_hold_all_rows_and_suit_the_order(
    name: str, processes: int, largest: int | None
) -> None:
    order = ORDERS[name]
    for rows in range(1, 70):
        number, size = micro_batches(order, rows, largest, processes)
        assert number * size >= rows
        assert size <= (largest or rows)
        if order.filled:
            assert number >= processes * order.stages
        if name in ("interleaved", "zero_bubble"):
            assert number % processes == 0


@pytest.mark.parametrize("tied", [True, False])
def test_stages_one_after_another_are_the_model_and_keep_its_names(tied: bool) -> None:
    whole, tokens_BT = decoder(tied=tied), torch.arange(10).view(2, 5)
    expected, _ = whole(tokens_BT)
    names, carried = set(), (tokens_BT,)
    for units in divide_units(4, 3):
        part = copy.deepcopy(whole)
        stage = Stage(part, units, lambda _: None, nullcontext)
        keep_stages(part, [stage])
        for name, parameter in part.named_parameters():
            assert torch.equal(parameter, whole.get_parameter(name))
        assert {*map(id, part.parameters())} == {*map(id, stage.parameters())}
        names |= dict(part.named_parameters()).keys()
        carried = stage(*carried)
    assert torch.equal(carried[0], expected)
    assert names == dict(whole.named_parameters()).keys()


@pytest.mark.parametrize("router", ["hash", "mixtral router.over_layers=pool"])
def test_stages_one_after_another_route_as_the_model_and_carry_its_auxiliary_loss(router: str) -> None:
    words = f"model=moe context=8 model.width=8 model.depth=2 model.attention.heads=2 router={router}"
    whole = build(compose(words.split())["model"])(vocab_size=11, initial=lambda **_: 0.5)
    initialise(whole, 0)
    tokens_BT = torch.arange(10).view(2, 5).where(torch.arange(5) < torch.tensor([[5], [3]]), -1)
    _, routings = whole(tokens_BT)
    carried = (tokens_BT,)
    for units in divide_units(4, 3):
        stage = Stage(copy.deepcopy(whole), units, _mean, nullcontext)
        carried = stage(*carried, tokens_BT=tokens_BT, targets_BT=tokens_BT.where(tokens_BT >= 0, -100))
        for layer, statistics_S in stage.statistics[0][1].items():
            torch.testing.assert_close(statistics_S, routings[layer].statistics_BS.sum(0))
    expected = auxiliary_loss(routings[0].terms_BA + routings[1].terms_BA)
    torch.testing.assert_close(carried[1], expected.sum())
    assert (carried[1] > 0) == ("pool" in router)


def test_what_cannot_be_cut_is_refused_in_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"5 stages.*2 blocks.*4 units.*model.depth=3"):
        check_stages(decoder(), 5)
    with pytest.raises(ValueError, match="LSTM has no `embed`"):
        check_stages(nn.LSTM(2, 2), 2)


def test_two_processes_sample_like_one_sum_losses_and_count_a_tied_weight_once(
    warm: WarmProcess, tmp_path: Path
) -> None:
    assert warm.launch(["-W", "error", __file__, str(tmp_path)], ranks=2) == 0
    whole = decoder(depth=3)
    drawn = decode(whole, [[1, 2]], Greedy(), ends=(), max_tokens=12, context=8, vocab_size=11)
    wanted = drawn[0][0].tokens
    loss = _mean(torch.arange(10).view(2, 5).flip(1))
    nll, _ = whole(torch.arange(10).view(2, 5), loss=loss)
    (nll / 10).backward()
    norm = Gradient(whole).norm().item()
    for name in ("1f1b", "interleaved", "zbv"):
        ranks = [torch.load(tmp_path / f"{name}-{rank}.pt") for rank in range(2)]
        assert [rank["text"] for rank in ranks] == [wanted] * 2
        assert sum(rank["nll"] for rank in ranks) == pytest.approx(nll.item(), rel=1e-5)
        assert [rank["norm"] for rank in ranks] == pytest.approx([norm] * 2, rel=1e-5)
        for rank in ranks:
            if rank["embedding"] is not None:  # an order that folds keeps both ends in process 0
                torch.testing.assert_close(rank["embedding"], whole.embedding.weight.grad)


def _mean(targets_BT: torch.Tensor) -> partial:
    from triad.layers.cross_entropy import cross_entropy_sum

    return partial(cross_entropy_sum, targets_BT=targets_BT)


def _in_each_process(folder: Path) -> None:
    dist.init_process_group("gloo")
    mesh = dist.device_mesh.init_device_mesh("cpu", (2,), mesh_dim_names=("pipeline",))
    tokens_BT = torch.arange(10).view(2, 5)
    for name in ("1f1b", "interleaved", "zbv"):
        model = decoder(depth=3)
        pipeline = Pipeline(model, mesh["pipeline"], name, torch.device("cpu"), _mean, None, Precision())
        asked = {"max_tokens": 12, "context": 8, "vocab_size": 11, "lockstep": True}
        drawn = decode(model, [[1, 2]], Greedy(), ends=(), **asked)
        text = drawn[0][0].tokens
        with torch.no_grad():
            nll, _ = model(tokens_BT, loss=_mean(tokens_BT.flip(1)))
        pipeline({"tokens_BT": tokens_BT, "targets_BT": tokens_BT.flip(1), "count": 10, "rows": 2})
        pipeline.add_tied()
        norm = Gradient(model, mesh.get_group(), pipeline.copies).norm()
        gradient = model.embedding.weight.grad if model.embedding else None
        figures = {"text": text, "nll": nll.item(), "norm": norm.item(), "embedding": gradient}
        torch.save(figures, folder / f"{name}-{dist.get_rank()}.pt")
    exit_together(0)


if __name__ == "__main__":
    _in_each_process(Path(sys.argv[1]))
