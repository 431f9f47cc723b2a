"""Tri-CDR against loops over users, sequences and states."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from test_models import cases, make
from test_run import config, put_scenario, same
from worlds import NUM_X

from ifcdsr_core.batches import IGNORE
from ifcdsr_core.errors import InputError
from ifcdsr_core.models.tricdr import nt_xent
from ifcdsr_core.runs.run import run

PARTS = {"contrastive_weight": 0.0, "triplet_weight": 0.0}


def strong(**options):
    """A model whose weights are large enough for every part to matter."""
    model = make("tricdr", options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
        model.item_embedding.weight[0] = 0
    return model


def summaries_by_hand(model, history, domain):
    """Mixed, source and target summary of one history, as the authors' formula has it: with q - f."""
    target = model.targets[domain]
    mixed = [
        states(model, history, "xy"),
        states(model, [i for i in history if i <= NUM_X], "x"),
        states(model, [i for i in history if i > NUM_X], "y"),
    ]
    sequences = [mixed[0], mixed[2 - domain], mixed[1 + domain]]  # mixed, source, target
    size = model.config.hidden_size
    empty = [empty_by_hand(model, branch) for branch in ("xy", "yx"[domain], "xy"[domain])]
    newest = sequences[2][-1] if len(sequences[2]) else empty[2]
    interest = sum(mixed[0]) / len(mixed[0])
    # any share of the weights of f and q may as well be weights of q - f
    share = torch.randn(80, size, generator=torch.Generator().manual_seed(5)) / 3
    first = torch.cat(
        [
            target.of_state.weight + share,
            target.of_newest.weight - share,
            target.of_product.weight,
            share,
            target.of_interest.weight,
        ],
        dim=1,
    )
    result = []
    for sequence, nothing in zip(sequences, empty, strict=True):
        scores = []
        for f in sequence:
            inner = first @ torch.cat([f, newest, f * newest, newest - f, interest]) + target.of_state.bias
            for activation, linear in ((target.weigh[0], target.weigh[1]), (target.weigh[2], target.weigh[3])):
                inner = torch.where(inner > 0, inner, activation.weight * inner)
                inner = linear.weight @ inner + linear.bias
            scores.append(inner.item())
        odds = [math.exp(score - max(scores)) for score in scores]
        summary = sum((odd / sum(odds) * f for odd, f in zip(odds, sequence, strict=True)), torch.zeros(size))
        result.append(summary if len(sequence) else nothing)
    return result


def empty_by_hand(model, branch):
    """What stands for a sequence without items: nothing, or the last normalisation of nothing."""
    nothing = torch.zeros(model.config.hidden_size)
    return model.encoders[branch].norm(nothing) if model.config.empty_state == "padding" else nothing


def states(model, items, branch):
    item_seq = torch.tensor([items])
    return model.encoders[branch](model.item_embedding(item_seq), item_seq)[0] if items else []


def cosines_by_hand(model, summaries, domain):
    """Of the vector of a prediction with the items of its domain."""
    inner, _, outer = model.targets[domain].combine
    hidden = inner.weight @ torch.cat(summaries) + inner.bias
    query = outer.weight @ torch.where(hidden > 0, hidden, 0.01 * hidden) + outer.bias
    items = model.item_embedding.weight[1 : NUM_X + 1] if domain == 0 else model.item_embedding.weight[NUM_X + 1 :]
    return torch.stack([query @ item / (query.norm() * item.norm()) for item in items])


@torch.no_grad()
@pytest.mark.parametrize("empty_state", ["zero", "padding"])
@pytest.mark.parametrize("domain", [0, 1])
def test_attention_is_a_weighted_sum_of_what_came_before(domain, empty_state):
    """At every position of every history, in whichever domain it may be, and for those that lack a domain."""
    model, batch = strong(empty_state=empty_state), cases()[:12]
    case, position = (batch.item_seq != 0).nonzero(as_tuple=True)
    summaries, has_both = model.attend(batch, model.encode(batch), case, position, domain)
    for number, (row, end) in enumerate(zip(case.tolist(), position.tolist(), strict=True)):
        history = batch.item_seq[row, : end + 1].tolist()
        expected = torch.stack(summaries_by_hand(model, history, domain))
        torch.testing.assert_close(summaries[number], expected, rtol=1e-4, atol=1e-5)
        assert has_both[number] == (min(history) <= NUM_X < max(history))
    assert has_both.any() and not has_both.all()


@torch.no_grad()
@pytest.mark.parametrize("empty_state", ["zero", "padding"])
def test_loss_and_scores_are_those_of_the_cosines(empty_state):
    """Without TCL: the mean cross-entropy over the items of the next item's domain; ranking is by the same cosines."""
    model, batch = strong(**PARTS, temperature=0.4, empty_state=empty_state), cases()[:12]
    total, count = 0.0, 0
    for row, labels in enumerate(batch.labels.tolist()):
        for position, label in enumerate(labels):
            if label != IGNORE:
                domain, history = int(label > NUM_X), batch.item_seq[row, : position + 1].tolist()
                cosines = cosines_by_hand(model, summaries_by_hand(model, history, domain), domain)
                place = label - 1 - NUM_X * domain
                total, count = total - (cosines / 0.4).log_softmax(dim=0)[place].item(), count + 1
    assert model.loss(batch).item() == pytest.approx(total / count, rel=1e-4)
    for domain in (0, 1):
        for row, scores in enumerate(model.score(batch, domain)):
            history = [item for item in batch.item_seq[row].tolist() if item]
            cosines = cosines_by_hand(model, summaries_by_hand(model, history, domain), domain)
            torch.testing.assert_close(scores, cosines / 0.4, rtol=1e-4, atol=1e-4)


def projected_by_hand(model, batch):
    """By target domain, (m, s, t) of each user's newest prediction there that has items of both domains before it."""
    views = {0: [], 1: []}
    for domain, found in views.items():
        for row, labels in enumerate(batch.labels.tolist()):
            at = [p for p, label in enumerate(labels) if label != IGNORE and (label > NUM_X) == domain]
            history = batch.item_seq[row, : at[-1] + 1].tolist() if at else []
            if history and min(history) <= NUM_X < max(history):
                three = []
                for summary, (inner, _, outer) in zip(
                    summaries_by_hand(model, history, domain), model.targets[domain].projections, strict=True
                ):
                    hidden = (inner.weight @ summary + inner.bias).clamp(min=0)
                    three.append((outer.weight @ hidden + outer.bias).tolist())
                found.append(three)
    return views


def dot(one, other):
    return sum(a * b for a, b in zip(one, other, strict=True))


def nt_xent_by_hand(one, other, temperature):
    """Mean over both views of all users of -log(e^partner / sum over all other vectors)."""
    views = [[value / math.sqrt(dot(view, view)) for value in view] for view in [*one, *other]]
    total = 0.0
    for i, view in enumerate(views):
        partner = (i + len(one)) % len(views)
        others = [math.exp(dot(view, another) / temperature) for j, another in enumerate(views) if j != i]
        total -= math.log(math.exp(dot(view, views[partner]) / temperature) / sum(others))
    return total / len(views)


@torch.no_grad()
def test_the_coarse_part_is_nt_xent_of_all_pairs():
    batch = cases()
    models = [strong(**{**PARTS, "contrastive_weight": weight}, contrastive_temperature=0.3) for weight in (0.0, 0.7)]
    total, users = 0.0, 0
    for three in projected_by_hand(models[1], batch).values():
        m, s, t = zip(*three, strict=True)
        total += len(three) * sum(nt_xent_by_hand(*pair, 0.3) for pair in ((m, s), (m, t), (s, t))) / 3
        users += len(three)
    difference = models[1].loss(batch) - models[0].loss(batch)
    assert users > 10 and difference.item() == pytest.approx(0.7 * total / users, rel=1e-4)


@torch.no_grad()
def test_the_fine_part_keeps_the_source_nearer_to_the_mixed_sequence_than_to_the_target():
    batch = cases()
    models = [strong(**{**PARTS, "triplet_weight": weight}, triplet_margin=1.8) for weight in (0.0, 0.7)]
    for model in models:  # the mixed sequence projected as the source is: the two are then near, as they should be
        for target in model.targets:
            target.projections[0].load_state_dict(target.projections[1].state_dict())
    losses = []
    for three in projected_by_hand(models[1], batch).values():
        losses += [max(0.0, math.dist(s, m) - math.dist(s, t) + 1.8) for m, s, t in three]
    assert 0 < losses.count(0) < len(losses)  # both sides of the hinge occur
    difference = models[1].loss(batch) - models[0].loss(batch)
    assert difference.item() == pytest.approx(0.7 * sum(losses) / len(losses), rel=1e-4)


def test_contrast_of_one_user_or_of_none():
    view = torch.randn(1, 4, requires_grad=True)
    assert nt_xent(view, torch.randn(1, 4), 0.1).item() == pytest.approx(0, abs=1e-6)  # nobody to be told apart from
    batch = cases()
    alone = batch[(batch.item_seq_y == 0).all(dim=1)]  # nobody has items of both
    assert make("tricdr", {}).loss(alone).item() == pytest.approx(make("tricdr", PARTS).loss(alone).item())


def test_an_empty_history_scores_all_items_alike():
    batch = cases()[:4]
    empty = {name: torch.zeros_like(getattr(batch, name)) for name in ("item_seq", "item_seq_x", "item_seq_y")}
    assert strong().score(dataclasses.replace(batch, **empty), 1).count_nonzero() == 0


def test_the_domains_share_encoders_and_nothing_above_them():
    """What is predicted for Y does not move what only X uses."""
    model, batch = make("tricdr", {}), cases()
    only_y = dataclasses.replace(batch, labels=batch.labels.where(batch.labels > NUM_X, IGNORE))
    model.loss(only_y).backward()
    assert all(parameter.grad is None for parameter in model.targets[0].parameters())
    assert all(
        parameter.grad.abs().sum() > 0
        for encoder in model.encoders.values()
        for parameter in encoder.position_embedding.parameters()
    )


@torch.no_grad()
def test_pre_training_is_each_encoders_own_next_item():
    """Cross-entropy of the cosines of an encoder's states with the items of the next one's domain; no attention."""
    model, batch = strong(pretrain_epochs=1, temperature=0.4), cases()[:12]
    items, total, count = model.item_embedding.weight, 0.0, 0
    for row, labels in zip(batch.item_seq.tolist(), batch.labels.tolist(), strict=True):
        whole = [item for item in row if item] + [label for label in labels if label != IGNORE][-1:]
        count += len(whole) - 1
        parts = {"xy": whole, "x": [i for i in whole if i <= NUM_X], "y": [i for i in whole if i > NUM_X]}
        for branch, sequence in parts.items():
            for state, label in zip(states(model, sequence, branch), sequence[1:], strict=False):
                own = items[1 : NUM_X + 1] if label <= NUM_X else items[NUM_X + 1 :]
                cosines = torch.cosine_similarity(state[None], own) / 0.4
                total -= cosines.log_softmax(dim=0)[label - 1 if label <= NUM_X else label - 1 - NUM_X].item()
    usual = model.loss(batch).item()
    model.pretraining = True
    assert model.loss(batch).item() == pytest.approx(total / count, rel=1e-4) != usual


def test_pre_training_trains_encoders_and_items_alone():
    model = make("tricdr", {})
    model.pretraining = True
    model.loss(cases()).backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == name.startswith("targets"), name


def pretrained(**changes):
    options = {"hidden_size": 8, "inner_size": 8, "pretrain_epochs": 3}
    return config(model="tricdr", model_options=options, **{"epochs": 6, "patience": 2, **changes})


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("IFCDSR_DATA", str(tmp_path))
    put_scenario(tmp_path, seed=0)


@pytest.mark.slow
def test_epochs_of_pre_training_are_neither_ranked_nor_chosen_nor_counted_by_patience(data):
    done = run(pretrained())
    assert len(done.history) > 4 and done.best_epoch > 3  # with patience 2 these three would have been the last ones
    ranked = done.history.filter(like="mrr").notna().all(axis=1)
    assert ranked.tolist() == [epoch > 3 for epoch in done.history["epoch"]]


@pytest.mark.slow
@pytest.mark.parametrize("after", [2, 3, 4])
def test_interrupted_in_pre_training_or_after_it_continues_to_the_same_bits(data, tmp_path, monkeypatch, after):
    whole = run(pretrained())
    monkeypatch.setenv("IFCDSR_DATA", str(tmp_path / "other"))
    put_scenario(tmp_path / "other", seed=0)

    def interrupt(line):
        if line.startswith(f"epoch   {after}"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(pretrained(), report=interrupt)
    assert same(whole, run(pretrained()))


def test_a_training_is_not_pre_training_alone(data):
    with pytest.raises(InputError, match=r"pretrain_epochs is 3: it must be less than epochs \(3\)"):
        run(pretrained(epochs=3))
