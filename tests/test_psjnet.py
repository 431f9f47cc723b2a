"""PSJNet against loops over cases, timestamps and roles."""

from __future__ import annotations

import pytest
import torch
from test_models import cases, make
from worlds import NUM_X, NUM_Y, tiny

from ifcdsr_core.batches import IGNORE

DOMAINS = (range(1, NUM_X + 1), range(NUM_X + 1, NUM_X + NUM_Y + 1))


def strong(name, **options):
    """A model whose weights are large enough for every part to matter."""
    model = make(name, options)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5, generator=generator)
        model.item_embedding.weight[0] = 0
    return model


def flows(model, flow, history):
    """Newest state of each domain's encoder and of the flow from it, by loops over the items and over the roles."""
    embedding, zero = model.item_embedding.weight, torch.zeros(model.config.hidden_size)
    states = []  # of each domain, by how many of its items are seen
    for domain in (0, 1):
        own = [embedding[item] for item in history if item in DOMAINS[domain]]
        states.append([zero, *(flow.encoders[domain](torch.stack(own)[None])[0][0] if own else [])])
    newest = []
    for domain in (0, 1):
        unit, joined, state, seen = flow.units[domain], [], zero, [0, 0]
        of_state_g, of_state_c = unit.of_state.weight.chunk(2)
        of_role_g, of_role_c = unit.of_role.weight.chunk(2)
        for item in history:
            seen[item not in DOMAINS[0]] += 1
            if item not in DOMAINS[domain]:
                continue
            h, o = states[domain][seen[domain]], states[1 - domain][seen[1 - domain]]
            parts = []
            for role in unit.roles:
                g = unit.gate(torch.cat([h, o])) + of_state_g @ state + of_role_g @ role + unit.keep
                c = torch.tanh(unit.candidate(h) + of_state_c @ state + of_role_c @ role)
                g = 1 / (1 + torch.exp(-g))
                parts.append(g * state + (1 - g) * c)
            state = sum(parts) / len(parts)
            joined.append(state)
        newest.append(flow.transfers[domain](torch.stack(joined)[None])[0][0, -1] if joined else zero)
    return [states[domain][-1] for domain in (0, 1)], newest


def logits(model, history, domain):
    own, flow = flows(model, model.flow, history)
    query = model.outputs[domain](torch.cat([own[domain], flow[1 - domain]]))
    return torch.stack([query @ model.item_embedding.weight[item] for item in DOMAINS[domain]])


@pytest.mark.parametrize("num_roles", [1, 3])
def test_scores_written_out(num_roles):
    model, batch = strong("psjnet", num_roles=num_roles), cases()
    for domain in (0, 1):
        scores = model.score(batch, domain)
        for row, items in enumerate(tiny().sequences["items"][:18]):
            expected = logits(model, [int(item) for item in items[:-1]], domain)
            torch.testing.assert_close(scores[row], expected, rtol=1e-4, atol=1e-5)


def test_loss_written_out():
    model, batch = strong("psjnet"), cases()[:15]
    total, positions = 0.0, 0
    for row, position in (batch.labels != IGNORE).nonzero().tolist():
        history, target = batch.item_seq[row, : position + 1].tolist(), int(batch.labels[row, position])
        domain = int(target not in DOMAINS[0])
        log_p = logits(model, history, domain).log_softmax(dim=0)[target - DOMAINS[domain].start]
        total, positions = total - log_p, positions + 1
    torch.testing.assert_close(model.loss(batch), total / positions, rtol=1e-4, atol=1e-4)


def test_roles_make_a_difference():
    """Where all roles are alike, they are as one."""
    many, one = strong("psjnet", num_roles=3), strong("psjnet", num_roles=1)
    state = {name: value for name, value in one.state_dict().items() if not name.endswith("roles")}
    many.load_state_dict(state, strict=False)
    assert not torch.allclose(many.score(cases(), 0), one.score(cases(), 0))
    with torch.no_grad():
        for unit, alike in zip(many.flow.units, one.flow.units, strict=True):
            unit.roles.copy_(alike.roles.expand(3, -1))
    torch.testing.assert_close(many.score(cases(), 0), one.score(cases(), 0))
