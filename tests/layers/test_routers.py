"""Each router against its equations, written out token by token."""

import math
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from triad.layers.moe import MixtureOfExperts
from triad.layers.routers.base_layer import BaseLayer, assign_balanced
from triad.layers.routers.deepseek_v3 import DeepSeekV3
from triad.layers.routers.expert_choice import ExpertChoice
from triad.layers.routers.gshard import GShard
from triad.layers.routers.hash import Hash
from triad.layers.routers.sinkhorn import Sinkhorn, log_plan
from triad.layers.routers.switch import Switch
from triad.layers.routers.top_k import TopK
from triad.layers.routing import auxiliary_loss

T, D, E = 12, 8, 4
V3 = partial(DeepSeekV3, top_k=2, groups=2, top_groups=1, scale=2.5, speed=0.01, balance=0.3)
ROUTERS = {
    "top_k": partial(TopK, top_k=2, normalize=True, balance=0.3, z=0.1, over_layers="sum"),
    "top_k, as they are": partial(TopK, top_k=3, normalize=False, balance=0.3, z=0.0, over_layers="sum"),
    "top_k, pooled": partial(TopK, top_k=2, normalize=True, balance=0.3, z=0.1, over_layers="pool"),
    "switch": partial(Switch, capacity=1.0, balance=0.3),
    "gshard": partial(GShard, capacity=0.75, balance=0.3),
    "deepseek_v3": V3,
    "deepseek_v3, one group": partial(V3, groups=1, top_k=3),
    "deepseek_v3, two of four groups": partial(V3, groups=4, top_groups=2),
    "expert_choice": partial(ExpertChoice, capacity=2.0),
    "hash": Hash,
    "sinkhorn": partial(Sinkhorn, iterations=3),
    "base": BaseLayer,
}
CAUSAL = [name for name in ROUTERS if name not in ("expert_choice", "sinkhorn", "base")]
every_router = pytest.mark.parametrize("name", ROUTERS)


def layer(router, dtype=torch.float64, experts=E):
    torch.manual_seed(1)
    model = MixtureOfExperts(D, 16, experts, 0, router, None).to(dtype)
    for tensor in (*model.parameters(), *model.buffers()):
        torch.nn.init.normal_(tensor, 0, 0.5)
    return model


def inputs(batch=3, dtype=torch.float64):
    """Tokens of a sequence have something in common, so that some experts are in demand."""
    torch.manual_seed(2)
    x_BTD = torch.randn(batch, T, D, dtype=dtype) + 2 * torch.randn(batch, 1, D, dtype=dtype)
    return x_BTD, torch.randint(50, (batch, T))


def best(values, k):
    """Indices of the k largest, the largest first."""
    return sorted(range(len(values)), key=lambda i: -values[i])[:k]


def softmax(row):
    total = sum(math.exp(value) for value in row)
    return [math.exp(value) / total for value in row]


def scores(router, x_TD):
    return (x_TD @ router.weight.mT).tolist()


def naive_top_k(router, x_TD, _):
    logits = scores(router, x_TD)
    p = [softmax(row) for row in logits]
    chosen = [best(row, router.top_k) for row in p]
    weights = {}
    for t, experts in enumerate(chosen):
        total = sum(p[t][e] for e in experts) if router.normalize else 1
        weights |= {(t, e): p[t][e] / total for e in experts}
    rows = T if router.pools else T * router.top_k
    f = [sum(e in experts for experts in chosen) / rows for e in range(E)]
    balance = E * sum(f[e] * sum(row[e] for row in p) / T for e in range(E))
    z = sum(math.log(sum(math.exp(value) for value in row)) ** 2 for row in logits) / T
    return weights, router.balance * balance + router.z * z, 0


def naive_switch(router, x_TD, _):
    p = [softmax(row) for row in scores(router, x_TD)]
    room = [math.ceil(T / E * router.capacity)] * E
    weights, f, dropped = {}, [0.0] * E, 0
    for t, row in enumerate(p):
        e = best(row, 1)[0]
        f[e] += 1 / T
        if room[e]:
            room[e] -= 1
            weights[t, e] = row[e]
        else:
            dropped += 1
    loss = router.balance * E * sum(f[e] * sum(row[e] for row in p) / T for e in range(E))
    return weights, loss, dropped / T


def splitmix(x):
    """SplitMix64's next number, in whole numbers modulo 2^64."""
    x = (x + 0x9E3779B97F4A7C15) % 2**64
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
    return x ^ x >> 31


def naive_chances(tokens, pairs):
    """For each token a number between 0 and 1, of the words so far and the pair of experts."""
    sofar, found = 0, []
    for t, (word, (one, two)) in enumerate(zip(tokens.tolist(), pairs, strict=True)):
        sofar += splitmix(splitmix(word) + t * 0x9E3779B97F4A7C15)
        found.append(splitmix(sofar + splitmix(one * 2**32 + two)) % 2**63 / 2**63)
    return found


def naive_gshard(router, x_TD, tokens):
    p = [softmax(row) for row in scores(router, x_TD)]
    room = [math.ceil(2 * T / E * router.capacity)] * E
    weights, first, dropped = {}, [0] * E, 0
    pairs = [best(row, 2) for row in p]
    chances = naive_chances(tokens, pairs)
    for t, (row, (one, two)) in enumerate(zip(p, pairs, strict=True)):
        first[one] += 1
        asked = 2 * row[two] / (row[one] + row[two]) > chances[t]
        for e in (one, two) if asked else (one,):
            if room[e]:
                room[e] -= 1
                weights[t, e] = row[e] / (row[one] + row[two])
            else:
                dropped += 1
    loss = router.balance * E * sum(first[e] / T * sum(row[e] for row in p) / T for e in range(E))
    return weights, loss, dropped / (2 * T)


def naive_deepseek_v3(router, x_TD, _):
    s = [[1 / (1 + math.exp(-value)) for value in row] for row in scores(router, x_TD)]
    k, size = router.top_k, E // router.groups
    weights, f = {}, [0.0] * E
    for t, row in enumerate(s):
        biased = [value + float(b) for value, b in zip(row, router.bias, strict=True)]
        groups = [range(g * size, (g + 1) * size) for g in range(router.groups)]
        strength = [
            sum(sorted((biased[e] for e in group), reverse=True)[: max(1, k // router.top_groups)])
            for group in groups
        ]
        allowed = [e for g in best(strength, router.top_groups) for e in groups[g]]
        chosen = sorted(allowed, key=lambda e: -biased[e])[:k]
        weights |= {(t, e): router.scale * row[e] / sum(row[i] for i in chosen) for e in chosen}
        for e in best(row, k):
            f[e] += E / (k * T)
    mean = [sum(row[e] / sum(row) for row in s) / T for e in range(E)]
    return weights, router.balance * sum(f[e] * mean[e] for e in range(E)), 0


def naive_expert_choice(router, x_TD, _):
    p = [softmax(row) for row in scores(router, x_TD)]
    each = math.ceil(T / E * router.capacity)
    weights = {(t, e): p[t][e] for e in range(E) for t in best([row[e] for row in p], each)}
    return weights, 0, 1 - len({t for t, _ in weights}) / T


def naive_hash(router, x_TD, tokens):
    return {(t, ((int(word) + 1) * 2654435769 % 2**32 >> 16) % E): 1.0 for t, word in enumerate(tokens)}, 0, 0


def naive_sinkhorn(router, x_TD, _):
    logits = scores(router, x_TD)
    plan = [[math.exp(value) for value in row] for row in logits]
    for _ in range(router.iterations):
        columns = [sum(row[e] for row in plan) for e in range(E)]
        plan = [[value / column * T / E for value, column in zip(row, columns, strict=True)] for row in plan]
        plan = [[value / sum(row) for value in row] for row in plan]
    chosen = [best(row, 1)[0] for row in plan]
    return {(t, e): softmax(logits[t])[e] for t, e in enumerate(chosen)}, 0, 0


def best_assignment(scores, room):
    """Every way to load the experts, token by token: the largest sum, and who gets what in it."""
    states = {(0,) * len(scores[0]): (0.0, ())}
    for row in scores:
        further = {}
        for load, (total, chosen) in states.items():
            for e, score in enumerate(row):
                at = (*load[:e], load[e] + 1, *load[e + 1 :])
                if load[e] < room and total + score > further.get(at, (-math.inf,))[0]:
                    further[at] = total + score, (*chosen, e)
        states = further
    return max(states.values())


def naive_base(router, x_TD, _):
    table = scores(router, x_TD)
    _, chosen = best_assignment(table, math.ceil(T / E))
    return {(t, e): 1 / (1 + math.exp(-table[t][e])) for t, e in enumerate(chosen)}, 0, 0


def naive(model, x_TD, tokens):
    """What the layer gives for one sequence, its auxiliary loss and the share of what was dropped."""
    name = type(model.router).__name__
    written_out = {
        "TopK": naive_top_k,
        "Switch": naive_switch,
        "GShard": naive_gshard,
        "DeepSeekV3": naive_deepseek_v3,
        "ExpertChoice": naive_expert_choice,
        "Hash": naive_hash,
        "Sinkhorn": naive_sinkhorn,
        "BaseLayer": naive_base,
    }
    weights, loss, dropped = written_out[name](model.router, x_TD, tokens)
    y, e = torch.zeros_like(x_TD), model.experts
    for (t, i), weight in weights.items():
        y[t] += weight * ((F.silu(x_TD[t] @ e.gate_EDF[i]) * (x_TD[t] @ e.up_EDF[i])) @ e.down_EFD[i])
    return y, float(loss), dropped


@every_router
def test_a_router_is_its_equations_token_by_token(name):
    model, (x, tokens) = layer(ROUTERS[name]), inputs()
    y, routing = model(x, tokens)
    for b in range(len(x)):
        expected, loss, dropped = naive(model, x[b], tokens[b])
        torch.testing.assert_close(y[b], expected)
        assert auxiliary_loss(routing.terms_BA)[b].item() == pytest.approx(loss)
        assert float(routing.dropped_B[b]) == pytest.approx(dropped)
    if name in ("switch", "gshard"):
        assert (routing.dropped_B > 0).all(), "nothing was dropped, so nothing was shown"


@every_router
def test_every_sequence_is_routed_alone(name):
    model, (x, tokens) = layer(ROUTERS[name]), inputs()
    y, routing = model(x, tokens)
    parts = [model(*part) for part in zip(x.split([1, 2]), tokens.split([1, 2]), strict=True)]
    torch.testing.assert_close(torch.cat([part for part, _ in parts]), y)
    for field in ("terms_BA", "statistics_BS"):
        pieces = torch.cat([getattr(part, field) for _, part in parts])
        torch.testing.assert_close(pieces, getattr(routing, field))


@every_router
def test_padding_changes_neither_what_a_token_gets_nor_a_figure(name):
    model, (x, tokens) = layer(ROUTERS[name]), inputs()
    lengths = (T, 7, 1)
    real = torch.arange(T + 5) < torch.tensor(lengths)[:, None]
    wide = torch.nn.functional.pad(x, (0, 0, 0, 5)) + 9.0 * ~real[..., None]  # all padding wants one expert
    y, routing = model(wide, torch.nn.functional.pad(tokens, (0, 5)).where(real, -1))
    if name in ("switch", "gshard", "expert_choice", "sinkhorn", "base"):
        words = model(wide, tokens.new_ones(3, T + 5))[0]
        assert not torch.allclose(words[:1, :T], y[:1, :T]), "as words it would change something"
    for b, length in enumerate(lengths):
        alone, expected = model(x[b : b + 1, :length], tokens[b : b + 1, :length])
        torch.testing.assert_close(y[b, :length], alone[0])
        torch.testing.assert_close(routing.terms_BA[b : b + 1], expected.terms_BA)
        torch.testing.assert_close(routing.statistics_BS[b : b + 1], expected.statistics_BS)


@every_router
def test_a_row_of_padding_alone_gives_numbers_and_weighs_nothing(name):
    model, (x, tokens) = layer(ROUTERS[name]), inputs()
    y, routing = model(x, torch.full_like(tokens, -1))
    loss_B = auxiliary_loss(routing.terms_BA)
    (y.sum() + loss_B.sum()).backward()
    assert y.isfinite().all()
    assert all(w.grad.isfinite().all() for w in model.parameters() if w.grad is not None)
    assert not torch.cat((loss_B, routing.statistics_BS.flatten())).any()


@pytest.mark.parametrize("name", CAUSAL)
def test_what_a_token_gets_does_not_depend_on_later_ones(name):
    model, (x, tokens) = layer(ROUTERS[name]), inputs()
    later = x.clone()
    later[:, 7:] = -x[:, 7:]
    torch.testing.assert_close(model(later, tokens)[0][:, :7], model(x, tokens)[0][:, :7])


@pytest.mark.parametrize("name", sorted(set(ROUTERS) - set(CAUSAL)))
def test_those_that_are_refused_for_causal_models_do_see_the_future(name):
    model, (x, tokens) = layer(ROUTERS[name]), inputs(batch=8)
    later = x.clone()
    later[:, 7:] = -x[:, 7:]
    assert not torch.allclose(model(later, tokens)[0][:, :7], model(x, tokens)[0][:, :7])


@pytest.mark.parametrize("name", [name for name in ROUTERS if name != "expert_choice"])
def test_outside_training_a_token_is_routed_alike_alone_and_in_a_sequence(name):
    model, (x, tokens) = layer(ROUTERS[name]).eval(), inputs()
    one_by_one = [model(x[:, t : t + 1], tokens[:, t : t + 1])[0] for t in range(T)]
    torch.testing.assert_close(torch.cat(one_by_one, 1), model(x, tokens)[0])
    assert not model.router(x, tokens)[1]().dropped_B.any()


@every_router
def test_loads_add_up_to_the_rows_and_carry_no_gradient(name):
    model, (x, tokens) = layer(ROUTERS[name]), inputs()
    routing = model(x, tokens)[1]
    rows_B = routing.load_BE.sum(1)
    if name == "gshard":  # the second expert is asked by chance in training
        assert (rows_B >= T).all()
        assert 3 * T < rows_B.sum() < 3 * 2 * T
        rows_B = model.router.eval()(x, tokens)[1]().load_BE.sum(1)
    assert (rows_B == T * model.router.top_k).all()
    assert routing.statistics_BS.shape == (3, E + 2)
    assert not routing.statistics_BS.requires_grad


@every_router
def test_entropy_is_that_of_uniform_and_of_certain_choices(name):
    if name == "hash":
        return
    model, (x, tokens) = layer(ROUTERS[name]), inputs()
    torch.nn.init.zeros_(model.router.weight)
    torch.testing.assert_close(model(x, tokens)[1].entropy_B, torch.full((3,), math.log(E)).double())


@every_router
def test_a_router_stays_in_fp32_under_autocast(name):
    model, (x, tokens) = layer(ROUTERS[name], torch.float32), inputs(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        low = model(x, tokens)[1]
    high = model(x, tokens)[1]
    torch.testing.assert_close((low.terms_BA, low.statistics_BS), (high.terms_BA, high.statistics_BS))


@every_router
def test_what_a_router_learns_from_is_the_gradient_of_the_equations(name):
    model, (x, tokens) = layer(ROUTERS[name]), inputs()
    learned = [tensor for tensor in model.router.parameters() if tensor.requires_grad]

    def loss(*weights):
        y, routing = model(x, tokens)
        return y.sin().sum() + auxiliary_loss(routing.terms_BA).sum()

    for weight in learned:
        (ours,) = torch.autograd.grad(loss(), weight)
        with torch.no_grad():
            at, step = divmod(int(ours.abs().argmax()), D), 1e-6
            weight[at] += step
            above = loss().item()
            weight[at] -= 2 * step
            below = loss().item()
        assert (above - below) / (2 * step) == pytest.approx(float(ours[at]), rel=1e-4)


@pytest.mark.parametrize("name", ["top_k", "switch", "gshard", "deepseek_v3, one group"])
def test_the_balance_loss_is_1_when_uniform_and_rises_to_e_over_k_when_collapsed(name):
    model = layer(partial(ROUTERS[name], balance=1.0, **({"z": 0.0} if name == "top_k" else {})))
    k = model.router.top_k
    torch.nn.init.zeros_(model.router.weight)
    x, tokens = torch.ones(1, T, D, dtype=torch.float64), inputs(1)[1]
    assert model(x, tokens)[1].auxiliary_B.item() == pytest.approx(1)
    with torch.no_grad():
        model.router.weight[:] = -9.0
        model.router.weight[:k] = 9.0
    expected = E * 1.0 * 0.5 if name == "gshard" else E / k  # GShard counts first choices: one of two equals
    assert model(x, tokens)[1].auxiliary_B.item() == pytest.approx(expected)


def test_a_full_expert_drops_exactly_those_who_come_late():
    model = layer(partial(Switch, capacity=1.0, balance=0.0), experts=4)
    with torch.no_grad():
        model.router.weight.copy_(torch.eye(4, D))
    wishes = [0, 0, 0, 1, 0, 2, 2, 2]  # two places each
    x = 5 * F.one_hot(torch.tensor([wishes]), D).double()
    y, routing = model(x)
    assert y.any(-1)[0].tolist() == [True, True, False, True, False, True, True, False]
    assert routing.load_BE.tolist() == [[4, 1, 3, 0]]
    assert routing.dropped_B.tolist() == [3 / 8]
    y, untold = model.eval()(x)
    assert y.any(-1).all()
    assert untold is None
    assert model.router(x)[1]().dropped_B.tolist() == [0]


def test_gshard_asks_the_second_expert_as_often_as_its_weight_says():
    model = layer(partial(GShard, capacity=9.0, balance=0.0), experts=2)
    wanted = torch.tensor([0.1, 0.25, 0.4])  # w_2 of three sequences
    with torch.no_grad():
        model.router.weight.zero_()[0, 0] = 1.0
    x = torch.zeros(3, 4000, D, dtype=torch.float64)
    x[..., 0] = (1 / wanted.double() - 1).log()[:, None]
    tokens = torch.randint(50, (3, 4000), generator=torch.Generator().manual_seed(0))
    choice, told = model.router(x, tokens)
    routing = told()
    torch.testing.assert_close(routing.load_BE[:, 1] / 4000, 2 * wanted.double(), atol=0.02, rtol=0)
    assert not routing.dropped_B.any()
    assert torch.equal(choice.weight_BTk, model.router(x, tokens)[0].weight_BTk)
    other = model.router(x, tokens.flip(1))[0]
    assert not torch.equal(choice.weight_BTk, other.weight_BTk)
    one, two = choice.weight_BTk[:2, :, 1] > 0
    assert (one & two).double().mean() == pytest.approx(0.2 * 0.5, abs=0.02)  # sequences draw apart


def test_gshard_without_tokens_is_refused_in_training_only():
    model, (x, _) = layer(ROUTERS["gshard"]), inputs()
    with pytest.raises(ValueError, match="router=gshard needs the tokens"):
        model(x)
    assert model.eval()(x)[0].isfinite().all()


def test_sinkhorns_rows_add_up_to_one_and_its_columns_to_a_fair_share():
    logits = 3 * torch.randn(2, 64, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    logits[..., 0] += 5
    plan = log_plan(logits, 200, None).exp()
    torch.testing.assert_close(plan.sum(2), torch.ones(2, 64).double())
    torch.testing.assert_close(plan.sum(1), torch.full((2, 8), 8.0).double())
    load = F.one_hot(plan.argmax(-1), 8).sum(1)
    assert load.max() <= 2 * 8 < F.one_hot(logits.argmax(-1), 8).sum(1).max()


@pytest.mark.parametrize(("time", "experts"), [(1, 1), (2, 4), (5, 3), (8, 2), (9, 4)])
def test_base_layers_assign_as_the_best_of_all_ways(time, experts):
    score = torch.randn(5, time, experts, dtype=torch.float64, generator=torch.Generator().manual_seed(time))
    score[..., 0] += 2  # in demand
    score[4] = score[4].round()  # ties
    chosen = assign_balanced(score, None)
    for table, experts_T in zip(score, chosen, strict=True):
        room = math.ceil(time / experts)
        assert experts_T.bincount(minlength=experts).max() <= room
        total = table.gather(1, experts_T[:, None]).sum().item()
        assert total == pytest.approx(best_assignment(table.tolist(), room)[0])


@pytest.mark.parametrize("time", [256, 250])
def test_base_layers_assignment_is_optimal_by_duality(time):
    """sum_t max_e (s_te - u_e) + room sum_e u_e bounds every assignment, for all u >= 0: ours meets it."""
    generator = torch.Generator().manual_seed(0)
    skew = 3 * torch.randn(3, 1, 8, generator=generator)
    score = (torch.randn(3, time, 8, generator=generator) + skew).double()
    score[2] = score[2].abs().log()  # far from a bell
    chosen, room = assign_balanced(score, None), math.ceil(time / 8)
    assert score.argmax(-1)[0].bincount().max() > 2 * room, "nothing was to be balanced"
    for table, experts_T in zip(score, chosen, strict=True):
        assert experts_T.bincount(minlength=8).max() <= room
        found, price = table.gather(1, experts_T[:, None]), torch.zeros(8, dtype=torch.float64)
        for _ in range(8):  # the least price at which nobody of e would rather be with another expert
            for e in experts_T.unique():
                price = price.maximum(price[e] + (table - found)[experts_T == e].amax(0))
        bound = (table - price).amax(1).sum() + room * price.sum()
        torch.testing.assert_close(found.sum(), bound, rtol=1e-12, atol=1e-9)


def test_a_hash_sends_a_word_always_to_the_same_expert_and_spreads_words_over_all():
    router, tokens = Hash(D, 8), torch.arange(8000).view(4, 2000)
    choice, told = router(torch.randn(4, 2000, D), tokens)
    again = router(torch.randn(4, 2000, D), tokens.flip(1))[0]
    assert torch.equal(choice.expert_BTk, again.expert_BTk.flip(1))
    assert ((told().load_BE.sum(0) / 1000 - 1).abs() < 0.1).all()
    with pytest.raises(ValueError, match="router=hash needs the tokens"):
        router(torch.randn(1, 2, D))


def test_the_bias_brings_every_expert_near_the_mean_load_without_a_gradient():
    model = layer(partial(V3, groups=1, top_groups=1, speed=0.01, balance=0.0), torch.float32, experts=8)
    router = model.router
    torch.nn.init.zeros_(router.bias)
    weight = router.weight.detach().clone()
    generator, loads = torch.Generator().manual_seed(0), []
    for _ in range(300):
        x = torch.randn(8, 64, D, generator=generator) + torch.linspace(0, 1, D)
        load_E = router(x)[1]().load_BE.sum(0)
        loads.append(load_E / load_E.mean())
        router.rebalance(load_E)
    assert loads[0].max() > 1.5
    assert ((torch.stack(loads[-50:]).mean(0) - 1).abs() < 0.1).all()
    assert torch.equal(router.weight, weight)


def test_the_bias_chooses_and_does_not_weigh():
    model, (x, _) = layer(partial(V3, groups=1, top_k=1)), inputs()
    model.router.bias[:] = torch.tensor([0.0, 0.0, 9.0, 0.0])
    choice, told = model.router(x)
    assert (choice.expert_BTk == 2).all()
    torch.testing.assert_close(choice.weight_BTk, torch.full_like(choice.weight_BTk, 2.5))
    assert told().load_BE.sum(0).tolist() == [0, 0, 3 * T, 0]


def test_no_token_leaves_its_best_groups():
    model = layer(partial(V3, groups=4, top_groups=2, top_k=4), experts=16)
    chosen = model.router(inputs()[0])[0].expert_BTk // 4
    assert all(len(set(token)) <= 2 for token in chosen.flatten(0, 1).tolist())


@pytest.mark.parametrize(
    ("router", "sentence"),
    [
        (partial(V3, groups=3), "router.groups=3 does not divide experts=4"),
        (partial(V3, top_groups=3), "router.top_groups=3 must lie between 1 and router.groups=2"),
        (partial(V3, top_k=3), "router.top_k=3 must lie between 1 and the 2 experts"),
        (partial(Sinkhorn, iterations=0), "router.iterations=0"),
        (partial(Switch, capacity=0.0, balance=0.0), "router.capacity=0.0 leaves no room"),
    ],
)
def test_what_cannot_be_is_refused_with_its_values(router, sentence):
    with pytest.raises(ValueError, match=sentence):
        layer(router)(inputs()[0])


RECOVERING = {
    "switch": partial(Switch, capacity=2.0, balance=0.01),
    "gshard": partial(GShard, capacity=2.0, balance=0.01),
    "deepseek_moe": partial(TopK, top_k=1, normalize=False, balance=0.01, z=0.0, over_layers="sum"),
    "expert_choice": partial(ExpertChoice, capacity=1.0),
}


@pytest.mark.parametrize("name", RECOVERING)
def test_planted_clusters_are_recovered(name):
    """Four kinds of token, each with a function of its own: a kind's tokens share a first expert."""
    model = layer(RECOVERING[name], torch.float32)
    generator = torch.Generator().manual_seed(3)
    centres, maps = (torch.randn(4, *shape, generator=generator) for shape in ((D,), (D, D)))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(200):
        kind = torch.stack([torch.randperm(32, generator=generator) % 4 for _ in range(8)])
        x = 2 * centres[kind] + 0.3 * torch.randn(8, 32, D, generator=generator)
        y, routing = model(x, torch.randint(1000, (8, 32), generator=generator))
        loss = (y - torch.einsum("btd,btdf->btf", x, maps[kind])).square().mean() + routing.auxiliary_B.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    expert = F.linear(x, model.router.weight).argmax(-1)
    table = torch.stack([torch.bincount(expert[kind == k], minlength=E) for k in range(4)])
    assert table.amax(1).sum() / table.sum() > 0.95, table
    assert len(set(table.argmax(1).tolist())) == 4, table
