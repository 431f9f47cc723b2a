"""ABXI against numpy loops over users, positions and padding, laid out as its authors do."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from test_models import cases, make
from worlds import NUM_X, NUM_Y, tiny

from ifcdsr_core.batches import IGNORE, encode
from ifcdsr_core.errors import InputError
from ifcdsr_core.models.abxi import ABXI

LONGEST = 20  # of ``make``
POSITIONS = pytest.mark.parametrize("positions", ["from_end", "from_start"])


def strong(**options):
    """A model whose weights are large enough for every part to matter."""
    model = make("abxi", {"inner_size": 7, "domain_rank": 2, "invariant_rank": 3, "num_negatives": 4, **options})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    return model


def of_domain(item, domain):
    return (item <= NUM_X) == (domain == 0)


class ByHand:
    """The equations in float64, one position at a time; a row of zeros stands where there is padding, which is seen."""

    def __init__(self, model):
        self.w = {name: value.detach().double().numpy() for name, value in model.named_parameters()}
        self.config = model.config

    def layer_norm(self, name, h):
        standard = (h - h.mean()) / np.sqrt(h.var() + 1e-5)
        return standard * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def feed_forward(self, name, h):
        gate = self.w[f"{name}.gate.weight"] @ h
        return self.w[f"{name}.leave.weight"] @ (gate / (1 + np.exp(-gate)) * (self.w[f"{name}.enter.weight"] @ h))

    def lora(self, name, h):
        return self.w[f"{name}.1.weight"] @ (self.w[f"{name}.0.weight"] @ h)

    def states(self, row, branch):
        """h at each position of a sequence with padding (None) where its authors have it; 0 at padding."""
        size, real = self.config.hidden_size, [at for at, item in enumerate(row) if item is not None]
        z = np.zeros((len(row), size))
        for order, at in enumerate(real):
            place = len(real) - 1 - order if self.config.positions == "from_end" else order
            z[at] = self.w["item_embedding.weight"][row[at]] + self.w["position_embedding.weight"][place]
        projections = self.w["attention.query_key_value.weight"], self.w["attention.query_key_value.bias"]
        query, key, value = np.split(z @ projections[0].T + projections[1], 3, axis=1)
        found, width = np.zeros_like(z), size // self.config.num_heads
        for at in real:
            mixed = []
            for head in range(self.config.num_heads):
                part = slice(head * width, (head + 1) * width)
                weights = np.exp(key[: at + 1, part] @ query[at, part] / np.sqrt(width))
                mixed.append(weights @ value[: at + 1, part] / weights.sum())
            attended = self.w["attention.output.weight"] @ np.concatenate(mixed) + self.w["attention.output.bias"]
            a = self.layer_norm("attention_norm", z[at] + attended)
            added = self.feed_forward("feed_forward", a) + self.lora(f"domain_loras.{branch}", a)
            found[at] = self.layer_norm(f"encoder_norms.{branch}", a + added)
        return found

    def project(self, merged, own, domain):
        invariant = self.feed_forward("invariant", merged) + self.lora(f"invariant_loras.{domain}", merged)
        specific = self.feed_forward(f"specific.{domain}", own)
        return self.layer_norm(f"invariant_norms.{domain}", merged + invariant) + self.layer_norm(
            f"specific_norms.{domain}", own + specific
        )

    def left(self, row):
        """Padding before a row, as the authors have it."""
        return [None] * ((LONGEST - len(row)) if self.config.positions == "from_end" else 0)

    def user_loss(self, sequence, negatives):
        history, targets = sequence[:-1], sequence[1:]
        padding = self.left(history)
        states = {2: self.states(padding + history, 2)}
        for domain in (0, 1):
            row = []
            for at, target in enumerate(targets):
                before = [item for item in history[: at + 1] if of_domain(item, domain)]
                row.append(before[-1] if of_domain(target, domain) and before else None)
            states[domain] = self.states(padding + row, domain)
        nll = {0: [], 1: []}
        for at, target in enumerate(targets, start=len(padding)):
            domain = 0 if of_domain(target, 0) else 1
            g = self.project(states[2][at], states[domain][at], domain)
            logits = self.w["item_embedding.weight"][[target, *negatives]] @ g / self.config.temperature
            nll[domain].append(np.log(np.exp(logits).sum()) - logits[0])
        return sum(np.mean(values) for values in nll.values() if values)

    def scores(self, history, domain):
        own = [item for item in history if of_domain(item, domain)]
        merged = self.states(self.left(history) + history, 2)[-1]
        gaps = [None] * (len(history) - len(own)) if self.config.positions == "from_start" else []
        state = self.states(self.left(own) + gaps + own, domain)[-1] if own else np.zeros_like(merged)
        first, last = ((1, NUM_X), (NUM_X + 1, NUM_X + NUM_Y))[domain]
        return self.w["item_embedding.weight"][first : last + 1] @ self.project(merged, state, domain)


@POSITIONS
def test_loss_written_out(positions):
    model, batch = strong(positions=positions), cases()
    torch.manual_seed(3)
    negatives, drawn = model.negatives(batch)
    hand, rows = ByHand(model), [[int(item) for item in row] for row in tiny().sequences["items"]]
    expected = [hand.user_loss(row, negatives[user][drawn[user]].tolist()) for user, row in enumerate(rows)]
    torch.manual_seed(3)
    assert model.loss(batch).item() == pytest.approx(np.mean(expected), rel=1e-5)


@POSITIONS
@pytest.mark.parametrize("domain", [0, 1])
def test_scores_written_out(positions, domain):
    model, batch = strong(positions=positions).eval(), cases()
    hand, scores = ByHand(model), model.score(batch, domain)
    for user, row in enumerate(tiny().sequences["items"]):
        expected = hand.scores([int(item) for item in row[:-1]], domain)
        np.testing.assert_allclose(scores[user].detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_negatives_are_of_both_domains_distinct_and_none_of_the_users_own():
    model, batch = strong(), cases()
    seen = []
    for _ in range(2):
        negatives, drawn = model.negatives(batch)
        assert negatives.shape == drawn.shape == (len(batch), 8) and drawn.float().mean() > 0.9
        for user, row in enumerate(tiny().sequences["items"]):
            items = negatives[user][drawn[user]].tolist()
            assert len(set(items)) == len(items) and not set(items) & {int(item) for item in row}
            assert sum(item <= NUM_X for item in items) <= 4 and sum(item > NUM_X for item in items) <= 4
        seen.append(negatives)
    assert not torch.equal(*seen)  # drawn anew


def test_of_a_small_domain_all_others_are_negatives():
    model, batch = strong(num_negatives=100), cases()
    negatives, drawn = model.negatives(batch)
    for user, row in enumerate(tiny().sequences["items"]):
        others = set(range(1, NUM_X + NUM_Y + 1)) - {int(item) for item in row}
        assert set(negatives[user][drawn[user]].tolist()) == others


def test_counted_from_the_end_positions_tell_how_many_items_follow_but_not_which():
    """Another fifth item of the same domain, and another target after it, change no earlier prediction."""
    row = [3, 14, 20, 7, 9, 15, 22]
    rows = [row, [*row[:4], 2, 29, 18], row[:5]]  # same domains; fewer items
    model = strong()
    losses = []
    for one in rows:
        batch = encode(pd.DataFrame({"items": [one]}), NUM_X, LONGEST)
        early = batch.labels.clone()
        early[:, 3:] = IGNORE
        torch.manual_seed(0)
        losses.append(model.loss(dataclasses.replace(batch, labels=early)).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert losses[0] != pytest.approx(losses[2], rel=1e-6)


def test_what_is_adapted_starts_as_it_was():
    model = make("abxi", {})
    some = torch.randn(5, 8)
    for lora in (*model.domain_loras, *model.invariant_loras):
        assert torch.equal(lora(some), torch.zeros(5, 8)) and lora[1].weight.std() > 0
    assert model.item_embedding.weight.abs().max() <= 0.04


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_heads": 3}, "num_heads is 3: it must be a divisor of hidden_size \\(256\\)"),
        ({"temperature": 0.0}, "temperature is 0.0: it must be more than 0"),
        ({"domain_rank": 0}, "domain_rank is 0: it must be at least 1 and at most 65,536"),
        ({"num_negatives": 0}, "num_negatives is 0: it must be at least 1"),
        ({"dropout": 1.0}, "dropout is 1.0: it must be at least 0 and less than 1"),
    ],
)
def test_what_cannot_be_is_one_line(options, message):
    with pytest.raises(InputError, match=message):
        ABXI.Config(**options)
