"""Invariants of every model, and the equations of IFCDSR against a computation written out anew."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from worlds import NUM_X, NUM_Y, tiny

from ifcdsr_core.batches import IGNORE, Batch, encode
from ifcdsr_core.errors import InputError
from ifcdsr_core.models import MODELS
from ifcdsr_core.models.base import ModelInputs
from ifcdsr_core.models.encoder import AttentionConfig, CausalEncoder, Real
from ifcdsr_core.models.sasrec import SASRec
from ifcdsr_core.protocol import rank_cases
from ifcdsr_core.scenario import numbered

FEATURES = {
    modality: F.normalize(torch.randn(NUM_X + NUM_Y, 6, generator=torch.Generator().manual_seed(seed)), dim=1)
    for seed, modality in enumerate(("image", "text"), start=1)
}
COUNTING = ["popularity", "cooccurrence", "numbering"]
# options that switch off the parts of a loss that are no prediction of a next item
AUXILIARY = {"tricdr": {"contrastive_weight": 0.0, "triplet_weight": 0.0}, "c2dsr": {"infomax_weight": 0.0}}
# counted from the end, ABXI's positions tell how many items follow: test_abxi_model.py shows that they tell no more
AUXILIARY["abxi"] = {"positions": "from_start"}
VARIANTS = [
    *((name, {}) for name in COUNTING),
    ("gru4rec", {}),
    ("sasrec", {"num_layers": 2, "inner_size": 8}),
    ("sasrec", {"activation": "relu"}),
    ("srgnn", {}),
    ("srgnn", {"num_layers": 2}),
    ("psjnet", {}),
    ("psjnet", {"num_layers": 2, "num_roles": 1}),
    ("mifn", {}),
    ("mifn", {"num_neighbours": 3}),
    ("tricdr", {}),
    ("tricdr", {"triplet_weight": 0.0}),
    ("tricdr", {"pretrain_epochs": 1, "empty_state": "padding"}),
    ("c2dsr", {}),
    ("c2dsr", {"graph_layers": 2}),
    ("abxi", {}),
    ("abxi", {"positions": "from_start"}),
    ("ifcdsr", {}),
    ("ifcdsr", {"image_fusion": False}),
    ("ifcdsr", {"multiple_attention": False}),
    ("ifcdsr", {"image_projection": "linear"}),
    ("ifcdsr", {"positions": False, "inner_size": 0, "num_layers": 2}),
    ("ifcdsr", {"source_branch": "zero", "target": "x"}),
    ("ifcdsr", {"learn_temperature": True, "target": "y"}),
    ("llm_emf", {}),
    ("llm_emf", {"image_fusion": False}),
    ("llm_emf", {"text_fusion": False}),
    ("llm_emf", {"learn_mixing": True}),
    ("llm_emf", {"image_projection": "linear", "multiple_attention": False}),
]


def make(name, options, **more):
    torch.manual_seed(0)
    small = {} if name in COUNTING else {"hidden_size": 8, "dropout": 0.0}
    config = MODELS[name].Config(**{**small, **options})
    return MODELS[name](config, ModelInputs(NUM_X, NUM_Y, 20, FEATURES, **{"train": cases(), **more}))


def cases(max_seq_len=20):
    return encode(tiny().sequences, NUM_X, max_seq_len)


def name_of(variant):
    return "-".join([variant[0], *map(str, variant[1].values())])


@pytest.fixture(params=VARIANTS, ids=name_of)
def model(request):
    return make(*request.param)


@pytest.fixture(params=[variant for variant in VARIANTS if variant[0] not in COUNTING], ids=name_of)
def trained(request):
    return make(*request.param)


def test_every_model_is_tested_here():
    assert {name for name, _ in VARIANTS} == set(MODELS)


def test_padding_never_changes_a_score_or_the_loss(model):
    batch = cases()
    pad = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}
    for name, value in pad.items():
        if value.dim() == 2:
            pad[name] = F.pad(value, (0, 3), value=IGNORE if name.startswith("labels") else 0)
    wider = Batch(**pad)
    for domain in (0, 1):
        torch.testing.assert_close(model.score(batch, domain), model.score(wider, domain), rtol=1e-4, atol=1e-5)
    if any(p.requires_grad for p in model.parameters()):
        torch.testing.assert_close(loss(model, batch), loss(model, wider))


def loss(model, batch):
    torch.manual_seed(7)  # what a loss draws at random is drawn alike
    return model.loss(batch)


def test_a_case_is_scored_alike_alone_and_in_a_batch(model):
    batch = cases()
    together = model.score(batch, 1)
    for row in (0, 1, 2, 17):
        torch.testing.assert_close(model.score(batch[[row]], 1)[0], together[row], rtol=1e-4, atol=1e-5)


def test_scores_cover_the_domain_and_do_not_see_the_target(model):
    batch = cases()
    other = dataclasses.replace(
        batch,
        target_item=batch.target_item.flip(0),
        target_domain=batch.target_domain.flip(0),
        labels=batch.labels.flip(0),
        labels_x=batch.labels_x.flip(0),
        labels_y=batch.labels_y.flip(0),
    )
    for domain, count in ((0, NUM_X), (1, NUM_Y)):
        scores = model.score(batch, domain)
        assert scores.shape == (len(batch), count) and scores.isfinite().all()
        torch.testing.assert_close(scores, model.score(other, domain))


def test_frozen_features_get_no_gradient_and_all_parameters_get_one(trained):
    trained.loss(cases()).backward()
    assert not any(buffer.requires_grad for buffer in trained.buffers())
    without = [name for name, p in trained.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


@pytest.mark.slow
def test_one_batch_can_be_overfitted(trained):
    model = trained
    batch = cases()[:12]
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.03)
    first = model.loss(batch).item()
    for _ in range(60):
        loss = model.loss(batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert model.loss(batch).item() < 0.75 * first


def test_every_option_of_the_config_is_read():
    """Each field changes the loss, the scores or the parameters; a flag that nothing reads would not."""
    changes = {
        "hidden_size": 16,
        "num_layers": 2,
        "dropout": 0.5,
        "num_heads": 1,
        "inner_size": 9,
        "positions": False,
        "activation": "relu",
        "pretrain_epochs": 3,
        "empty_state": "padding",
        "alpha": 0.2,
        "lambda_1": 0.7,
        "lambda_2": 0.9,
        "image_fusion": False,
        "multiple_attention": False,
        "temperature": 0.5,
        "learn_temperature": True,
        "source_branch": "zero",
        "target": "x",
        "image_projection": "linear",
        "graph_layers": 2,
        "infomax_weight": 0.8,
        "contrastive_weight": 0.3,
        "contrastive_temperature": 0.5,
        "triplet_weight": 0.3,
        "triplet_margin": 2.0,
        "text_fusion": False,
        "text_share": 0.1,
        "learn_mixing": True,
        "num_roles": 2,
        "num_neighbours": 2,
        "switch_weight": 0.3,
        "domain_rank": 3,
        "invariant_rank": 3,
        "num_negatives": 5,
    }
    for name in set(MODELS) - set(COUNTING):
        fields = {f.name for f in dataclasses.fields(MODELS[name].Config)}
        assert fields <= set(changes), f"{name}: add {fields - set(changes)} to the changes above"
        reference = _outcome(make(name, {}))
        changed = changes | ({"positions": "from_start"} if name == "abxi" else {})
        for field in fields:
            assert _outcome(make(name, {field: changed[field]})) != reference, f"{name}.{field}"


def _outcome(model):
    """Of the first epoch, and with biases of normalisations that are not 0, as they are at the start."""
    for part in model.modules():
        if isinstance(part, torch.nn.LayerNorm):
            torch.nn.init.constant_(part.bias, 0.1)
    model.pretraining = model.pretrain_epochs > 0
    torch.manual_seed(3)
    batch = cases()
    loss = model.loss(batch).item()
    model.eval()
    return loss, model.score(batch, 0).sum().item(), sum(p.numel() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("name, options", VARIANTS[len(COUNTING) :], ids=map(name_of, VARIANTS[len(COUNTING) :]))
def test_no_future_leaks_into_a_prediction(name, options):
    """The loss of the first five items of each sequence is the same whether or not others follow them."""
    model = make(name, {**AUXILIARY.get(name, {}), **options})
    sequences = tiny().sequences
    long = sequences[sequences["items"].map(len) > 6]
    whole = encode(long, NUM_X, 20)
    early = encode(long.assign(items=[row[:5] for row in long["items"]]), NUM_X, 20)
    masked = dataclasses.replace(
        whole,
        **{
            field: _only_early(getattr(whole, field), getattr(early, field))
            for field in ("labels", "labels_x", "labels_y")
        },
    )
    torch.testing.assert_close(loss(model, masked), loss(model, early))
    assert loss(model, whole).item() != loss(model, early).item()


def _only_early(labels, wanted):
    kept = torch.full_like(labels, IGNORE)
    kept[:, : wanted.shape[1]] = wanted
    return kept


def test_score_is_equation_8_written_out():
    model = make("ifcdsr", {"alpha": 0.6, "lambda_1": 0.2, "lambda_2": 0.5, "temperature": 0.3})
    scenario = tiny()
    batch = cases()
    e_id, e_img = model.item_embedding.weight.detach(), F.pad(FEATURES["image"], (0, 0, 1, 0))
    domain_items = {0: range(1, NUM_X + 1), 1: range(NUM_X + 1, NUM_X + NUM_Y + 1)}
    scores = {domain: model.score(batch, domain).exp() for domain in (0, 1)}
    for row in (0, 1, 2, 4, 9):
        history = [int(i) for i in scenario.sequences["items"].iloc[row][:-1]]
        for domain in (0, 1):
            expected = torch.zeros(len(domain_items[domain]))
            parts = {
                "xy": (history, 0.5, range(1, NUM_X + NUM_Y + 1)),
                "x": ([i for i in history if i <= NUM_X], (1.0, 0.2)[domain], domain_items[domain]),
                "y": ([i for i in history if i > NUM_X], (0.2, 1.0)[domain], domain_items[domain]),
            }
            for branch, (items, weight, support) in parts.items():
                for modality, matrix, mixing in (("id", e_id, 0.6), ("image", e_img, 0.4)):
                    cosines = torch.zeros(len(support))
                    if items:
                        h = model.encoders[f"{branch}_{modality}"](matrix[items][None], torch.tensor([items]))[0, -1]
                        cosines = torch.stack([F.cosine_similarity(h, matrix[i], dim=0) for i in support])
                    p = (cosines / 0.3).softmax(dim=0)
                    expected += weight * mixing * torch.stack([p[support.index(i)] for i in domain_items[domain]])
            torch.testing.assert_close(scores[domain][row], expected, rtol=1e-4, atol=1e-6)


def test_loss_is_equations_5_to_7_written_out():
    options = {"alpha": 0.6, "lambda_1": 0.2, "lambda_2": 0.5, "temperature": 0.3, "target": "x"}
    model = make("ifcdsr", options)
    batch = cases()
    matrices = model.item_matrices()
    total, positions = 0.0, 0
    for branch, weight, seq, labels, support in (
        ("x", 1.0, batch.item_seq_x, batch.labels_x, range(1, NUM_X + 1)),
        ("y", 0.2, batch.item_seq_y, batch.labels_y, range(NUM_X + 1, NUM_X + NUM_Y + 1)),
        ("xy", 0.5, batch.item_seq, batch.labels, range(1, NUM_X + NUM_Y + 1)),
    ):
        hidden = model.encode([F.embedding(seq, matrix) for matrix in matrices], seq, branch)
        for row, position in torch.nonzero(labels != IGNORE).tolist():
            p = 0.0
            for h, matrix, mixing in zip(hidden, matrices, (0.6, 0.4), strict=True):
                cosines = F.cosine_similarity(h[row, position][None], matrix[list(support)], dim=1)
                p = p + mixing * (cosines / 0.3).softmax(dim=0)[support.index(int(labels[row, position]))]
            total = total - weight * p.log()
            positions += branch == "xy"
    torch.testing.assert_close(model.loss(batch), total / positions, rtol=1e-5, atol=1e-5)


def test_llm_emf_without_text_is_ifcdsr_and_every_modality_has_its_weight():
    batch = cases()
    for options in ({}, {"image_fusion": False}):
        one, other = make("ifcdsr", options), make("llm_emf", {"text_fusion": False, **options})
        assert torch.equal(loss(one, batch), loss(other, batch)) and torch.equal(
            one.score(batch, 1), other.score(batch, 1)
        )
    for options, weights in (
        ({}, [0.6, 0.3, 0.1]),
        ({"image_fusion": False}, [0.6, 0.4]),
        ({"text_fusion": False}, [0.6, 0.4]),
    ):
        model = make("llm_emf", {"alpha": 0.6, "text_share": 0.25, **options})
        torch.testing.assert_close(model.log_mixing.exp(), torch.tensor(weights))


def test_llm_emf_mixes_three_probabilities():
    """(5) with three terms, for the merged sequence alone, written out."""
    model = make("llm_emf", {"alpha": 0.5, "text_share": 0.4, "temperature": 0.3, "multiple_attention": False})
    batch, matrices = (
        cases(),
        [model.item_embedding.weight.detach(), *(F.pad(FEATURES[m], (0, 0, 1, 0)) for m in ("image", "text"))],
    )
    scores = model.score(batch, 0).exp()
    for row in (0, 1, 9):
        history = [int(i) for i in tiny().sequences["items"].iloc[row][:-1]]
        expected = torch.zeros(NUM_X)
        for modality, matrix, weight in zip(("id", "image", "text"), matrices, (0.5, 0.3, 0.2), strict=True):
            h = model.encoders[f"xy_{modality}"](matrix[history][None], torch.tensor([history]))[0, -1]
            cosines = F.cosine_similarity(h[None], matrix[1:], dim=1)
            expected += weight * (cosines / 0.3).softmax(dim=0)[:NUM_X]
        torch.testing.assert_close(scores[row], expected, rtol=1e-4, atol=1e-6)


def test_learned_mixing_weights_start_as_given_add_up_to_one_and_follow_the_gradient():
    model, fixed, batch = make("llm_emf", {"learn_mixing": True}), make("llm_emf", {}), cases()
    torch.testing.assert_close(model.log_mixing, fixed.log_mixing)
    torch.testing.assert_close(loss(model, batch), loss(fixed, batch))
    weights = model.parametrizations.log_mixing.original
    model.loss(batch).backward()
    step = 1e-2 * torch.tensor([1.0, -1.0, 0.5])
    with torch.no_grad():
        before = weights.clone()
        losses = []
        for sign in (1, -1):
            weights.copy_(before + sign * step)
            losses.append(loss(model, batch).item())
    assert (losses[0] - losses[1]) / 2 == pytest.approx((weights.grad @ step).item(), rel=0.02)
    assert model.log_mixing.exp().sum().item() == pytest.approx(1)
    with pytest.raises(InputError, match="learn_mixing is True: it must be false where a weight starts at 0"):
        make("llm_emf", {"learn_mixing": True, "alpha": 1.0})


def test_both_targets_is_the_mean_of_the_two():
    losses = {target: make("ifcdsr", {"target": target}).loss(cases()) for target in ("both", "x", "y")}
    torch.testing.assert_close(losses["both"], (losses["x"] + losses["y"]) / 2)


def test_sasrec_loss_is_the_mean_cross_entropy():
    model, batch = make("sasrec", {}), cases()
    logits = model.encoder_xy(model.item_embedding(batch.item_seq), batch.item_seq) @ model.item_embedding.weight.T
    logits[..., 0] = -torch.inf  # padding is no item
    expected = F.cross_entropy(logits.flatten(0, 1), batch.labels.flatten(), ignore_index=IGNORE)
    torch.testing.assert_close(model.loss(batch), expected)
    assert isinstance(model, SASRec)


@pytest.mark.parametrize("variant", [variant for variant in VARIANTS if variant[0] != "numbering"], ids=name_of)
def test_numbers_of_items_tell_a_model_nothing(variant, monkeypatch):
    """With the items numbered anew and each item's weights and lot as before, every score and rank is as before."""
    plain, anew = tiny(), numbered(tiny(), "redrawn")
    number = anew.items.reset_index().set_index("source_id")["index"][plain.items["source_id"]].to_numpy()
    place = torch.from_numpy(number.copy())  # (V,) position of each item among those numbered anew
    model, batch = make(*variant), cases()
    anew_batch = encode(anew.sequences, NUM_X, 20)
    features = {name: torch.empty_like(rows).index_copy_(0, place, rows) for name, rows in FEATURES.items()}
    lot = torch.randperm(NUM_X + NUM_Y + 1, generator=torch.Generator().manual_seed(0))  # by which MIFN breaks ties
    monkeypatch.setattr(torch, "randperm", lambda *_, **__: lot.clone().index_copy_(0, 1 + place, lot[1:]))
    other = MODELS[variant[0]](model.config, dataclasses.replace(model.inputs, features=features, train=anew_batch))
    monkeypatch.undo()
    with torch.no_grad():
        for (name, value), mine in zip(model.named_parameters(), other.parameters(), strict=True):
            mine.copy_(value)
            if len(value) == NUM_X + NUM_Y + 1:
                assert "embedding" in name
                mine[1 + place] = value[1:]
    for domain, (start, count) in enumerate(((0, NUM_X), (NUM_X, NUM_Y))):
        scores = other.eval().score(anew_batch, domain)[:, place[start : start + count] - start]
        torch.testing.assert_close(model.eval().score(batch, domain), scores, rtol=1e-4, atol=1e-5)
    ranks = [rank_cases(one, of, 0)["full"] for one, of in ((model, batch), (other, anew_batch))]
    assert (ranks[0] - ranks[1]).abs().mean() < 0.05  # scores closer than the last digits may change places


def test_the_control_does_profit_from_numbers():
    plain, anew = tiny(), numbered(tiny(), "redrawn")
    ranks = [rank_cases(make("numbering", {}), encode(one.sequences, NUM_X, 20), 0)["full"] for one in (plain, anew)]
    assert (ranks[0] != ranks[1]).mean() > 0.5


@torch.no_grad()
def test_sasrec_with_relu_is_the_formula_of_its_paper():
    """Pre-norm blocks of one head, position by position, with matrices: for a history, its last state."""
    options = {"activation": "relu", "num_layers": 2, "num_heads": 1, "inner_size": 8}
    model = make("sasrec", options)
    for parameter in model.parameters():
        parameter.normal_(std=0.5)
    items = [3, 14, 7, 20, 1]
    encoder = model.encoder_xy
    hidden = model.item_embedding.weight[items] + encoder.position_embedding.weight[: len(items)]
    for block in encoder.blocks:
        normal = block.attention_norm(hidden)
        query, key, value = block.query_key_value(normal).split(8, dim=1)
        mixed = [(query[t] @ key[: t + 1].T / 8**0.5).softmax(dim=0) @ value[: t + 1] for t in range(len(items))]
        hidden = hidden + block.output(torch.stack(mixed))
        enter, leave = block.inner[0], block.inner[-1]
        hidden = hidden + leave(enter(block.inner_norm(hidden)).clamp(min=0))
    expected = encoder.norm(hidden)[-1] @ model.item_embedding.weight[1 : NUM_X + 1].T
    batch = encode(pd.DataFrame({"items": [[*items, 2]]}), NUM_X, 20)
    torch.testing.assert_close(model.score(batch, 0)[0], expected, rtol=1e-4, atol=1e-5)
    gelu = make("sasrec", {**options, "activation": "gelu"})
    gelu.load_state_dict(model.state_dict())
    assert (gelu.score(batch, 0)[0] - expected).abs().max() > 0.01


def test_numbering_offers_what_follows_the_newest_item_of_the_domain():
    sequences = pd.DataFrame({"items": [[3, 14, 7, 20, 1], [14, 20, 1], [12, 1, 13]]})
    scores = make("numbering", {}).score(encode(sequences, NUM_X, 20), 0)  # the newest of X: 7, none, 1
    offered = [8, 9, 10, 11, 12, 7, 6, 5, 4, 3, 2, 1]
    assert [1 + at for at in scores[0].argsort(descending=True).tolist()] == offered
    assert scores[1].unique().tolist() == [0]
    assert 1 + scores[2].argmax() == 2


def test_popularity_and_co_occurrence_counted_by_hand():
    scenario, batch = tiny(), cases()
    histories = [set(map(int, row)) for row in scenario.sequences["items"]]
    count = [sum(item in history for history in histories) for item in range(NUM_X + NUM_Y + 1)]
    torch.testing.assert_close(make("popularity", {}).score(batch, 1)[3], torch.tensor(count[NUM_X + 1 :]).float())
    scores = make("cooccurrence", {}).score(batch, 0)
    for row in (0, 2, 9, 30):
        history = [int(item) for item in scenario.sequences["items"].iloc[row][:-1]]
        for item in (1, 5, NUM_X):
            cosine = sum(
                sum({item, other} <= h for h in histories) / (count[item] * count[other]) ** 0.5
                for other in history
                if other != item
            )
            assert scores[row, item - 1].item() == pytest.approx(cosine, abs=0.03)  # the order of ties is added
            assert scores[row, item - 1].item() >= cosine - 1e-5


def test_attention_weights_are_those_the_encoder_uses():
    """Values mixed with the weights that are shown, written out, give the encoder's own output."""
    torch.manual_seed(0)
    encoder = CausalEncoder(8, 20, AttentionConfig(hidden_size=8, num_layers=2, num_heads=2, inner_size=6)).eval()
    vectors = torch.randn(3, 5, 8)
    items = torch.ones(3, 5, dtype=torch.long)  # no padding
    weights = encoder.attention(vectors, items)  # (B, heads, L, L)
    assert torch.equal(weights, weights.tril()) and torch.allclose(weights.sum(dim=-1), torch.ones(3, 2, 5))
    real = Real(items)
    block, hidden = encoder.blocks[-1], encoder.blocks[0](real.rows(encoder.placed(vectors)), real)
    value = block.heads(hidden, real)[2]
    mixed = torch.stack([weights[:, head] @ value[:, head] for head in (0, 1)], dim=2).reshape(15, 8)
    hidden = hidden + block.output(mixed)
    wanted = encoder.norm(hidden + block.inner(block.inner_norm(hidden)))
    torch.testing.assert_close(encoder(vectors, items).flatten(0, 1), wanted)


def test_attention_in_bfloat16_is_near_that_in_float32():
    """Training in bfloat16 multiplies for itself what float32 leaves to a fused operator: outputs and gradients."""
    torch.manual_seed(0)
    encoder = CausalEncoder(16, 20, AttentionConfig(hidden_size=16, num_layers=2, num_heads=2, inner_size=6)).eval()
    items = torch.ones(3, 5, dtype=torch.long)
    items[0, 2:] = 0
    found = []
    for rounded in (False, True):
        vectors = torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(1)).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=rounded):
            states = encoder(vectors, items)
        states.float().square().sum().backward()
        with torch.autocast("cpu", torch.bfloat16, enabled=rounded):
            (earlier,) = torch.autograd.grad(encoder(vectors, items)[1, 1, 0], vectors)
        assert (earlier[1, 2:] == 0).all() and (earlier[1, :2] != 0).any()  # what comes later has no say
        found.append((states.float(), vectors.grad))
    for exact, rounded in zip(*found, strict=True):
        torch.testing.assert_close(exact, rounded, atol=0.05 * exact.abs().max().item(), rtol=0)
