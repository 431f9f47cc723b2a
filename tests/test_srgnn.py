"""SR-GNN against a walk over nodes and edges, one history at a time."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
import torch.nn.functional as F
from test_models import cases, make

from ifcdsr_core.batches import IGNORE

HISTORIES = ([3, 14, 3, 14, 3, 7, 3], [5, 5, 9], [2], [30, 1, 12, 30, 13, 1])  # repeats, moves made twice, a self-loop


def by_hand(model, history):
    """(1) to (7) for one history, with dictionaries of nodes and lists of edges."""
    edges = list(itertools.pairwise(history))
    state = {item: model.item_embedding.weight[item] for item in history}
    weights = dict(model.named_parameters())
    w_ih, w_hh, b_ih, b_hh = (weights[f"cell.{name}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    size = model.config.hidden_size
    for _ in range(model.config.num_layers):
        following = {}
        for item in state:
            before = [state[start] for start, end in edges if end == item]
            after = [state[end] for start, end in edges if start == item]
            none = torch.zeros(size)
            message = torch.cat(
                [
                    weights["from_before.weight"] @ (sum(before) / len(before) if before else none)
                    + weights["from_before.bias"],
                    weights["from_after.weight"] @ (sum(after) / len(after) if after else none)
                    + weights["from_after.bias"],
                ]
            )
            given, own = w_ih @ message + b_ih, w_hh @ state[item] + b_hh
            reset = torch.sigmoid(given[:size] + own[:size])
            keep = torch.sigmoid(given[size : 2 * size] + own[size : 2 * size])
            candidate = torch.tanh(given[2 * size :] + reset * own[2 * size :])
            following[item] = keep * state[item] + (1 - keep) * candidate
        state = following
    newest, overall = state[history[-1]], 0
    for item in history:
        gate = torch.sigmoid(
            weights["attend_newest.weight"] @ newest
            + weights["attend_each.weight"] @ state[item]
            + weights["attend_each.bias"]
        )
        overall = overall + (weights["attention.weight"][0] @ gate) * state[item]
    return weights["combine.weight"] @ torch.cat([newest, overall]) + weights["combine.bias"]


def strong(num_layers):
    """A model whose weights are large enough for every part to matter."""
    model = make("srgnn", {"num_layers": num_layers})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.7)
        model.item_embedding.weight[0] = 0
    return model


@pytest.mark.parametrize("num_layers", [1, 3])
def test_every_prefix_is_a_graph_of_its_own(num_layers):
    model = strong(num_layers)
    item_seq = torch.zeros(len(HISTORIES), 7, dtype=torch.long)
    for number, history in enumerate(HISTORIES):
        item_seq[number, : len(history)] = torch.tensor(history)
    row, position = (item_seq != 0).nonzero(as_tuple=True)
    sessions = model.sessions(item_seq, row, position)
    for number, (r, p) in enumerate(zip(row.tolist(), position.tolist(), strict=True)):
        torch.testing.assert_close(sessions[number], by_hand(model, HISTORIES[r][: p + 1]), rtol=1e-4, atol=1e-5)


def test_the_loss_is_the_mean_cross_entropy_over_both_domains_and_the_scores_are_of_the_whole_history():
    model, batch = strong(1), cases()[:9]
    items, total, count = model.item_embedding.weight[1:], 0, 0
    for row, labels in enumerate(batch.labels.tolist()):
        for position, label in enumerate(labels):
            if label != IGNORE:
                logits = items @ by_hand(model, batch.item_seq[row, : position + 1].tolist())
                total, count = total + F.cross_entropy(logits, torch.tensor(label - 1)), count + 1
    torch.testing.assert_close(model.loss(batch), total / count, rtol=1e-4, atol=1e-5)
    whole = [by_hand(model, [item for item in row if item]) for row in batch.item_seq.tolist()]
    torch.testing.assert_close(
        torch.cat([model.score(batch, 0), model.score(batch, 1)], dim=1),
        torch.stack(whole) @ items.T,
        rtol=1e-4,
        atol=1e-5,
    )


def test_an_empty_history_scores_all_items_alike():
    batch = cases()[:4]
    batch = dataclasses.replace(batch, item_seq=torch.zeros_like(batch.item_seq))
    assert strong(1).score(batch, 1).count_nonzero() == 0
