"""MIFN against loops over nodes and items, its graph against counting by hand."""

from __future__ import annotations

import collections
import dataclasses
import itertools

import pytest
import torch
from test_models import cases, make
from test_psjnet import DOMAINS, flows, strong
from worlds import NUM_X, NUM_Y, tiny

from ifcdsr_core.batches import IGNORE
from ifcdsr_core.models.mifn import WINDOW


def neighbours(model):
    """{item: {neighbour: how often they stood next to each other}}, the strongest first."""
    counts = {item: collections.Counter() for item in range(1, NUM_X + NUM_Y + 1)}
    for items in tiny().sequences["items"]:
        for one, other in itertools.pairwise(map(int, items)):
            counts[one][other] += 1
            counts[other][one] += 1
    return {item: strongest(model, near.items()) for item, near in counts.items()}


def strongest(model, pairs):
    ordered = sorted(pairs, key=lambda pair: (-pair[1], -model.graph.favour[pair[0]].item()))
    return dict(ordered[: model.config.num_neighbours])


def subgraph(model, graph, history, target):
    pooled = collections.Counter()
    for item in history[-WINDOW:]:
        pooled.update(graph[item])
    if target in graph[history[-1]]:
        pooled[target] -= 1
    kept = [(node, count) for node, count in pooled.items() if count > 0 and node not in history[-WINDOW:]]
    return list(strongest(model, kept))


def distribution(model, history, domain, target=None):
    """P of all items of the domain, the nodes, and 1 - p."""
    embedding, ktu, graph = model.item_embedding.weight, model.knowledge, neighbours(model)
    nodes = subgraph(model, graph, history, target)
    own, flow = flows(model, model.behaviour, history)
    here = int(history[-1] not in DOMAINS[0])
    h, t = own[here], flow[here]
    e = {node: embedding[node] for node in nodes}
    inner = [node for node in nodes if node in DOMAINS[here]]
    cross = [node for node in nodes if node not in DOMAINS[here]]
    weights = {}
    for role, members, asked in ((0, inner, h), (1, cross, t)):
        if members:
            scores = torch.stack(
                [
                    ktu.weigh.weight[role]
                    @ torch.tanh(ktu.attend_state[role].weight @ asked + ktu.attend_node[role].weight @ e[n])
                    for n in members
                ]
            )
            weights.update(zip(members, scores.softmax(dim=0), strict=True))
    passed = {}
    for n in nodes:
        f = torch.sigmoid(ktu.gate_state.weight @ torch.cat([h, t]) + ktu.gate_node(e[n]))
        if n in inner:
            passed[n] = f * weights[n] * e[n]
        else:
            met = sum(((ktu.match[0] * e[n] * e[m]).sum() * e[m] for m in inner), torch.zeros_like(h))
            passed[n] = (1 - f) * weights[n] * e[n] + met
    updated = {}
    for n in nodes:
        if n in DOMAINS[domain]:
            message = []
            for role, members in ((0, inner), (1, cross)):
                joined = [m for m in members if m == n or m in graph[n] or n in graph[m]]
                message.append(ktu.spread[role](sum((passed[m] for m in joined), torch.zeros_like(h))).relu())
            updated[n] = ktu.update(torch.cat(message)[None], e[n][None])[0]

    decoder, sequence = model.decoders[domain], torch.cat([own[domain], flow[1 - domain]])
    query = decoder.of_sequence(sequence)
    p_sequence = torch.stack([query @ embedding[item] for item in DOMAINS[domain]]).softmax(dim=0)
    if not updated:
        return p_sequence, nodes, torch.ones(())
    energy = torch.stack(
        [
            decoder.weigh.weight[0] @ torch.tanh(decoder.of_state.weight @ own[domain] + decoder.of_node.weight @ new)
            for new in updated.values()
        ]
    )
    p = torch.sigmoid(decoder.switch(torch.cat([sequence, sum(updated.values())])))[0]
    p_graph = torch.zeros_like(p_sequence)
    for n, share in zip(updated, energy.softmax(dim=0), strict=True):
        p_graph[n - DOMAINS[domain].start] = share
    return (1 - p) * p_sequence + p * p_graph, nodes, 1 - p


@pytest.mark.parametrize("size", [1, 3, 12])
def test_graph_counted_by_hand(size):
    model = make("mifn", {"num_neighbours": size})
    for item, near in neighbours(model).items():
        assert model.graph.neighbours[item].tolist() == list(near) + [0] * (size - len(near))
        assert model.graph.counts[item].tolist() == list(near.values()) + [0] * (size - len(near))


def test_among_equals_the_more_frequent_comes_first():
    favour = make("mifn", {}).graph.favour
    ends = collections.Counter(int(item) for items in tiny().sequences["items"] for item in [*items[:-1], *items[1:]])
    by_favour = sorted(range(1, NUM_X + NUM_Y + 1), key=lambda item: favour[item].item())
    assert [ends[item] for item in by_favour] == sorted(ends.values())
    assert len(favour.unique()) == len(favour) and 0 <= favour.min() and favour.max() < 1


@pytest.mark.parametrize("size", [3, 12])
def test_nodes_counted_by_hand(size):
    model, batch = make("mifn", {"num_neighbours": size}), cases()
    graph = neighbours(model)
    case, position = (batch.labels != IGNORE).nonzero(as_tuple=True)
    for target in (None, batch.labels[case, position]):
        nodes = model.nodes(batch, case, position, target)
        for number, (row, last) in enumerate(zip(case.tolist(), position.tolist(), strict=True)):
            history = batch.item_seq[row, : last + 1].tolist()
            expected = subgraph(model, graph, history, None if target is None else int(target[number]))
            assert nodes[number].tolist() == expected + [0] * (size - len(expected))


def test_the_edge_that_is_to_be_predicted_is_left_out_however_often_its_item_stands_in_the_history():
    model = make("mifn", {"num_neighbours": 12})
    item, target = next(
        (item, other) for item, near in neighbours(model).items() for other, count in near.items() if count == 1
    )
    history = torch.tensor([[item, item, 0]])
    assert target in model.graph.strongest(history, None)
    assert target not in model.graph.strongest(history, torch.tensor([target]))


@pytest.mark.parametrize("size", [6, 12])
def test_score_is_the_mixture_written_out(size):
    model, batch, seen = strong("mifn", num_neighbours=size), cases(), set()
    for domain in (0, 1):
        scores = model.score(batch, domain)
        torch.testing.assert_close(scores.exp().sum(dim=1), torch.ones(len(batch)))
        for row, items in enumerate(tiny().sequences["items"][:18]):
            history = [int(item) for item in items[:-1]]
            expected, nodes, _ = distribution(model, history, domain)
            seen.update((node in DOMAINS[0], history[-1] in DOMAINS[0]) for node in nodes)
            torch.testing.assert_close(scores[row].exp(), expected, rtol=1e-3, atol=1e-6)
    assert len(seen) == 4  # nodes of both domains after items of both


@pytest.mark.parametrize("size, weight", [(3, 1.0), (12, 0.4)])
def test_loss_written_out(size, weight):
    model, batch = strong("mifn", num_neighbours=size, switch_weight=weight), cases()[:15]
    total, positions, found = 0.0, 0, 0
    for row, position in (batch.labels != IGNORE).nonzero().tolist():
        history, target = batch.item_seq[row, : position + 1].tolist(), int(batch.labels[row, position])
        domain = int(target not in DOMAINS[0])
        p, nodes, not_p = distribution(model, history, domain, target)
        total = total - p[target - DOMAINS[domain].start].log()
        total = total - (0 if target in nodes else weight * not_p.log())
        positions, found = positions + 1, found + (target in nodes)
    assert 0 < found < positions
    torch.testing.assert_close(model.loss(batch), total / positions, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("num_negatives", [0, 4])
def test_a_batch_without_predictions_in_a_domain(num_negatives):
    model, batch = make("mifn", {}, num_negatives=num_negatives), cases()
    labels = batch.labels.where(batch.labels <= NUM_X, IGNORE)
    loss = model.loss(dataclasses.replace(batch, labels=labels))
    loss.backward()
    assert loss.isfinite() and all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_a_sample_of_all_items_is_the_exact_loss():
    exact, sampled = (make("mifn", {}, num_negatives=number) for number in (0, NUM_X + NUM_Y))
    torch.testing.assert_close(exact.loss(cases()), sampled.loss(cases()))


def test_a_step_never_counts_itself():
    """With each item in one sequence only, the target is no node in training: the graph knows it from there alone."""
    sequences = torch.arange(1, 13).view(3, 4)
    batch = cases()[:3]
    batch = dataclasses.replace(batch, item_seq=sequences[:, :3], labels=sequences[:, 1:], target_item=sequences[:, 3])
    model = make("mifn", {}, train=batch)
    case, position = (batch.labels != IGNORE).nonzero(as_tuple=True)
    target = batch.labels[case, position]
    assert (model.nodes(batch, case, position) == target[:, None]).any(dim=1).all()
    assert not (model.nodes(batch, case, position, target) == target[:, None]).any()
