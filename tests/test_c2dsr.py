"""C2DSR against loops over the edges of its graphs and over sequences, one at a time."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from test_models import cases, make
from worlds import NUM_X, NUM_Y, tiny

DOMAINS = {"x": range(1, NUM_X + 1), "y": range(NUM_X + 1, NUM_X + NUM_Y + 1)}
OTHER = {"x": "y", "y": "x"}


def histories():
    """(history, target) of each case, as lists."""
    return [([int(item) for item in row[:-1]], int(row[-1])) for row in tiny().sequences["items"]]


def walk(history, branch):
    return history if branch == "xy" else [item for item in history if item in DOMAINS[branch]]


def vectors(model, branch):
    """Input of each item: its own vector and the mean of the graph's layers, by a loop over edges, times sqrt(D)."""
    own = model.item_embedding.weight
    edges = [
        edge
        for history, target in histories()
        for path in [walk(history + [target], branch)]
        for edge in itertools.pairwise(path)
    ]
    layer = total = {item: own[item] for item in range(1, NUM_X + NUM_Y + 1)}
    for _ in range(model.config.graph_layers):
        summed, degree = {item: torch.zeros_like(own[0]) for item in layer}, dict.fromkeys(layer, 0)
        for start, end in edges:
            summed[start], degree[start] = summed[start] + layer[end], degree[start] + 1
        layer = {item: summed[item] / max(1, degree[item]) for item in layer}
        total = {item: total[item] + layer[item] for item in layer}
    depth, size = model.config.graph_layers + 1, model.config.hidden_size
    return {item: (own[item] + total[item] / depth) * size**0.5 for item in total}


def states(model, inputs, branch, items):
    vectors = torch.stack([inputs[branch][item] for item in items])[None]
    return model.encoders[branch](vectors, torch.tensor([items]))[0]


def strong(**options):
    """A model whose weights are large enough for every part to matter."""
    model = make("c2dsr", options)
    with torch.no_grad():
        model.item_embedding.weight[1:].normal_(std=0.6)
        for discriminator in model.discriminators.values():
            discriminator.weight.normal_(std=0.2)
            discriminator.bias.fill_(0.3)
    return model, {branch: vectors(model, branch) for branch in ("x", "y", "xy")}


@pytest.mark.parametrize("graph_layers", [1, 2])
@pytest.mark.parametrize("branch", ["x", "y", "xy"])
def test_an_item_gets_the_mean_of_its_successors(graph_layers, branch):
    model, inputs = strong(graph_layers=graph_layers)
    items = list(inputs[branch]) if branch == "xy" else list(DOMAINS[branch])
    torch.testing.assert_close(
        model.vectors(torch.tensor([items]), branch)[0],
        torch.stack([inputs[branch][item] for item in items]),
        rtol=1e-4,
        atol=1e-5,
    )


def test_the_graph_weighs_an_edge_by_how_often_it_occurs():
    edges = [edge for history, target in histories() for edge in itertools.pairwise(history + [target])]
    assert len(set(edges)) < len(edges)  # otherwise the test above would not tell
    graph = make("c2dsr", {}).graphs["xy"]
    successors, offsets = graph(torch.tensor([5, 0, 17]))
    assert offsets.tolist() == [0, offsets[1], offsets[1]]  # padding has no successors
    assert sorted(successors.tolist()[: offsets[1]]) == sorted(end for start, end in edges if start == 5)


def test_the_loss_is_two_predictions_and_the_infomax_objective():
    model, inputs = strong(infomax_weight=0.4)
    items = model.item_embedding.weight
    false_items = {"x": [4, 11, 12], "y": [13, 30, 21]}

    def falsify(item, domain):
        return false_items[domain][item % 3] if item in DOMAINS[domain] else item

    model.corrupt = lambda item_seq, domain: item_seq.clone().apply_(lambda item: falsify(item, "xy"[domain]))
    prediction, positions, infomax = 0.0, 0, {"x": [], "y": []}
    for history, target in histories():
        path, merged = history + [target], states(model, inputs, "xy", history)
        for place, following in enumerate(path[1:]):  # cross-domain
            domain = "x" if following <= NUM_X else "y"
            prediction += cross_entropy(items, merged[place], following, domain)
            positions += 1
        for domain in ("x", "y"):  # single-domain
            own = [place for place, item in enumerate(history) if item in DOMAINS[domain]]
            other = [place for place, item in enumerate(history) if item not in DOMAINS[domain]]
            if not own:
                continue
            hidden = states(model, inputs, domain, walk(history, domain))
            for number, following in enumerate(walk(path, domain)[1:]):
                prediction += cross_entropy(items, hidden[number] + merged[own[number]], following, domain)
            if other:
                false = states(model, inputs, "xy", [falsify(item, domain) for item in history])
                user, bilinear = sum(hidden) / len(own), model.discriminators[domain]
                scores = [
                    user @ bilinear.weight[0] @ (sum(seen[place] for place in other) / len(other)) + bilinear.bias
                    for seen in (merged, false)
                ]
                infomax[domain].append(-torch.sigmoid(scores[0]).log() - (1 - torch.sigmoid(scores[1])).log())
    expected = 0.6 * prediction / positions + 0.4 * sum(sum(losses) / len(losses) for losses in infomax.values())
    torch.testing.assert_close(model.loss(cases()), expected.squeeze(), rtol=1e-4, atol=1e-5)


def cross_entropy(items, query, item, domain):
    support = DOMAINS[domain]
    return F.cross_entropy(items[list(support)] @ query, torch.tensor(support.index(item)))


def test_ranking_adds_the_merged_state_and_that_of_the_domain():
    model, inputs = strong()
    for number, domain in enumerate(("x", "y")):
        scores = model.score(cases(), number)
        for row, (history, _) in enumerate(histories()):
            query = states(model, inputs, "xy", history)[-1]
            if walk(history, domain):
                query = query + states(model, inputs, domain, walk(history, domain))[-1]
            torch.testing.assert_close(
                scores[row], model.item_embedding.weight[list(DOMAINS[domain])] @ query, rtol=1e-4, atol=1e-4
            )


def test_corruption_draws_items_of_one_domain_and_leaves_the_other():
    model, item_seq = make("c2dsr", {}), cases().item_seq
    for number, domain in enumerate(("x", "y")):
        drawn = torch.stack([model.corrupt(item_seq, number) for _ in range(40)])
        member = model.in_domain(item_seq, number)
        assert (drawn[:, ~member] == item_seq[~member]).all()
        assert drawn[:, member].unique().tolist() == list(DOMAINS[domain])


def test_sequences_of_one_domain_have_no_infomax_objective():
    batch = cases()[[1, 4, 7]]  # items of X only
    assert make("c2dsr", {"infomax_weight": 0.0}).loss(batch) == make("c2dsr", {"infomax_weight": 0.5}).loss(batch) * 2
