"""What the model looks at: attention and scorers against computations written anew, verdicts from hand-made tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from worlds import NUM_X, NUM_Y, tiny

from ifcdsr_core.analysis import inspection
from ifcdsr_core.analysis.inspection import ALL, HIDDEN, PLACES, SHOWN, Part
from ifcdsr_core.analysis.paired import Difference
from ifcdsr_core.batches import encode
from ifcdsr_core.book.pages import attention
from ifcdsr_core.errors import InputError
from ifcdsr_core.models.base import ModelInputs
from ifcdsr_core.models.ifcdsr import IFCDSR
from ifcdsr_core.protocol import rank_cases

ENCODERS = ["x_id", "x_image", "y_id", "y_image", "xy_id", "xy_image"]


@pytest.fixture(scope="module")
def world():
    return tiny()


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    features = F.normalize(torch.randn(NUM_X + NUM_Y, 6), dim=1)
    built = IFCDSR(IFCDSR.Config(hidden_size=8, dropout=0.5), ModelInputs(NUM_X, NUM_Y, 20, {"image": features}))
    for parameter in built.parameters():  # far from the small initial weights, so that attention is uneven
        parameter.data += 0.5 * torch.randn_like(parameter) * (parameter.dim() > 1)
    return built.eval()


@pytest.fixture(scope="module")
def cases(world):
    return encode(world.split("test"), NUM_X, 20)


@pytest.fixture(scope="module")
def table(model, cases):
    return inspection.attention(model, cases)


# --- whom to look at ---


def test_examples_come_from_the_places_the_rule_names():
    rank = np.array([1, 1, 1, *range(2, 19)], dtype=float)[::-1]  # 20 cases of x, worst first
    ranks = pd.DataFrame({"target_domain": ["x"] * 20 + ["y"] * 4, "full": [*rank, 4.0, 2.0, 9.0, 3.0]})
    chosen = inspection.examples(ranks, users=2, seed=5)
    assert chosen["place"].unique().tolist() == list(PLACES)
    of_x = chosen[chosen["target_domain"] == "x"].groupby("place")["rank"].agg(list)
    assert of_x["ranked first"] == [1, 1] and all(r in (6, 7, 8, 9) for r in of_x["in the middle"])
    assert all(r in (15, 16, 17, 18) for r in of_x["far down"])
    assert (ranks["full"].to_numpy()[chosen["case"]] == chosen["rank"]).all()
    of_y = chosen[chosen["target_domain"] == "y"].groupby("place")["rank"].agg(list)
    assert sorted(of_y["ranked first"]) == [2, 3]  # none has rank 1: the best
    pd.testing.assert_frame_equal(chosen, inspection.examples(ranks, users=2, seed=5))
    draws = {tuple(inspection.examples(ranks, seed=seed)["case"]) for seed in range(20)}
    assert len(draws) > 5  # drawn, not the first of each place
    with pytest.raises(InputError, match="users is 0"):
        inspection.examples(ranks, users=0)


def test_only_the_demo_has_pictures():
    assert inspection.pictured("demo") == "demo"
    with pytest.raises(InputError, match="source is 'c2dsr': only the demo has pictures"):
        inspection.pictured("c2dsr")


# --- attention ---


def test_attention_is_that_of_the_newest_item_of_each_sub_sequence(model, cases, table):
    matrices = dict(zip(model.modalities, model.item_matrices(), strict=True))
    for case in range(0, len(cases), 3):
        history = [item for item in cases.item_seq[case].tolist() if item]
        for encoder in ENCODERS:
            branch, modality = encoder.split("_")
            keep = [n for n, item in enumerate(history) if branch == "xy" or (item <= NUM_X) == (branch == "x")]
            rows = table[(table["case"] == case) & (table["encoder"] == encoder)]
            assert rows["position"].tolist() == keep and rows["item"].tolist() == [history[n] for n in keep]
            assert rows["lag"].tolist() == list(range(len(keep)))[::-1] and (rows["length"] == len(keep)).all()
            if keep:
                items = torch.tensor([[history[n] for n in keep]])
                vectors = F.embedding(items, matrices[modality])
                expected = model.encoders[encoder].attention(vectors, items)[0].mean(dim=0)[-1]
                torch.testing.assert_close(torch.tensor(rows["weight"].to_numpy(), dtype=torch.float32), expected)


def test_attention_depends_neither_on_batches_nor_on_dropout(model, cases, table):
    model.train()
    again = inspection.attention(model, cases, batch_size=4)
    assert model.training
    model.eval()
    keys = ["case", "encoder", "position"]
    again, table = (frame.sort_values(keys, ignore_index=True) for frame in (again, table))
    pd.testing.assert_frame_equal(again, table, check_exact=False, atol=1e-6)


def made_attention(weights: list[list[float]], items: list[list[int]], encoder: str = "x_image") -> pd.DataFrame:
    """One encoder's attention to histories of X items."""
    rows = [
        {
            "case": case,
            "encoder": encoder,
            "position": place,
            "item": of[place],
            "lag": len(of) - 1 - place,
            "length": len(of),
            "weight": given[place],
        }
        for case, (of, given) in enumerate(zip(items, weights, strict=True))
        for place in range(len(of))
    ]
    return pd.DataFrame(rows)


def test_by_lag_by_hand():
    lags = inspection.by_lag(made_attention([[0.2, 0.8], [0.1, 0.3, 0.6]], [[1, 2], [3, 4, 5]]), min_cases=1)
    assert lags["lag"].tolist() == [0, 1, 2] and lags["cases"].tolist() == [2, 2, 1]
    assert lags["weight"].tolist() == pytest.approx([0.7, 0.25, 0.1])
    assert lags["even"].tolist() == pytest.approx([5 / 12, 5 / 12, 1 / 3])
    assert inspection.by_lag(made_attention([[0.2, 0.8], [1.0]], [[1, 2], [3]]), min_cases=2)["lag"].tolist() == [0]
    text = attention.lag_verdict(lags, {"x_image": "Food by image"})
    assert text == "By image the newest item gets: Food 70%, 1.7 times the even share of 42%."


# --- attention and what items have in common ---


def catalogue(**columns) -> pd.DataFrame:
    """Four items whose attributes differ, except those named."""
    return pd.DataFrame({name: columns.get(name, list("abcd")) for name in (*SHOWN, *HIDDEN)})


def test_sharing_with_the_target_by_hand():
    looks = made_attention([[0.9, 0.1], [0.3, 0.7]], [[1, 2], [2, 1]])
    items = catalogue(colour=["red", "blue", "red", "red"])  # item 1 has the colour of the targets 3 and 4
    found = inspection.sharing(looks, items, np.array([3, 4]), "target").set_index("attribute")
    row = found.loc["colour"]
    assert row["share"] == 0.5 and row["shown"] and not found.loc["theme", "shown"]
    assert row["even"] == pytest.approx((0.9 + 0.7) / (0.5 + 0.5))
    # usual of the place: (0.9 + 0.3) / 2 for the older, (0.1 + 0.7) / 2 for the newest
    assert row["usual"] == pytest.approx((0.9 + 0.7) / (0.6 + 0.4))
    # resamples: only the first case (0.9 / 0.6), only the second (0.7 / 0.4), or both
    assert (row["usual_low"], row["usual_high"]) == pytest.approx((1.5, 1.75))
    assert np.isnan(found.loc["stage", ["even", "usual", "usual_low", "p"]].astype(float)).all()  # nothing shares it


def test_sharing_with_the_newest_leaves_the_newest_out():
    looks = made_attention([[0.4, 0.1, 0.5], [0.2, 0.3, 0.5]], [[1, 2, 3], [2, 1, 3]])
    found = inspection.sharing(looks, catalogue(kind=["mug", "pan", "mug", "pot"]), np.array([4, 4]), "newest")
    row = found.set_index("attribute").loc["kind"]
    assert row["share"] == 0.5  # item 1 of the two that are left
    assert row["even"] == pytest.approx((0.4 + 0.3) / (0.25 + 0.25))
    assert row["usual"] == pytest.approx((0.4 + 0.3) / (0.3 + 0.2))


def test_sharing_says_what_is_wrong():
    looks = made_attention([[0.5, 0.5]], [[1, 2]])
    with pytest.raises(InputError, match="no column 'theme'"):
        inspection.sharing(looks, catalogue().drop(columns="theme"), np.array([3]), "target")
    with pytest.raises(InputError, match="unknown reference 'oldest'"):
        inspection.sharing(looks, catalogue(), np.array([3]), "oldest")


def test_sharing_is_found_where_it_was_planted_and_only_there():
    random = np.random.default_rng(0)
    items = pd.DataFrame({name: random.integers(3, size=40) for name in (*SHOWN, *HIDDEN)})
    histories = [random.permutation(39)[:6] + 1 for _ in range(300)]
    weights = [np.exp(0.7 * (items["kind"].to_numpy()[h - 1] == items["kind"].iloc[h[-1] - 1])) for h in histories]
    looks = pd.concat(
        [
            made_attention([w / w.sum() for w in weights], histories, "x_image"),
            made_attention(random.dirichlet(np.ones(6), 300), histories, "x_id"),
        ],
        ignore_index=True,
    )
    found = inspection.sharing(looks, items, np.full(300, 40), "newest")
    strong = found[(found["encoder"] == "x_image") & (found["attribute"] == "kind")].iloc[0]
    assert strong["usual_low"] > 1.2
    text = attention.sharing_verdict(found, {"x_id": "Food by ID", "x_image": "Food by image"})
    assert (
        "By image: of 3 ratios for what a picture shows, 1 differs from 1 beyond chance (Food by image, kind: " in text
    )
    assert "By ID: of 3 ratios for what a picture shows, none differs" in text
    assert text.endswith(
        "by image the attention depends on what a picture shows, and not measurably on what none "
        "shows; by ID the attention depends measurably neither on what a picture shows nor on what "
        "none shows."
    )
    turned = found.assign(
        p=found["p"].where(found["attribute"] != "kind", 0.9).where(found["attribute"] != "stage", 1e-6)
    )
    text = attention.sharing_verdict(turned, {"x_id": "Food by ID", "x_image": "Food by image"})
    assert "by image the attention depends on what no picture shows, and not measurably on what one shows" in text


# --- scorers ---


def test_all_parts_together_are_the_model(model, cases):
    whole = Part(model, [(role, modality) for role in inspection.ROLES for modality in model.modalities])
    for domain in (0, 1):
        torch.testing.assert_close(whole.score(cases, domain), model.score(cases, domain))
    pd.testing.assert_frame_equal(rank_cases(whole, cases, 0), rank_cases(model, cases, 0))


def test_a_part_alone_is_its_softmax(model, cases):
    """Source by image, target in X: h of S^Y against the pictures of X; merged by ID: a softmax over both domains."""

    def opinion(encoder, item_seq, matrix, first, last):
        hidden = model.encoders[encoder](F.embedding(item_seq, matrix), item_seq)
        length = (item_seq != 0).sum(dim=1)
        h = hidden[torch.arange(len(cases)), (length - 1).clamp(min=0)] * (length > 0)[:, None]
        cosine = F.normalize(h, dim=1) @ F.normalize(matrix, dim=1)[first:last].T
        return (cosine / model.config.temperature).log_softmax(dim=1)

    id_matrix, image_matrix = model.item_matrices()
    with torch.no_grad():
        found = Part(model, [("source", "image")]).score(cases, 0).log_softmax(dim=1)
        expected = opinion("y_image", cases.item_seq_y, image_matrix, 1, NUM_X + 1)
        torch.testing.assert_close(found, expected)
        both = Part(model, [("merged", "id"), ("own", "image")]).score(cases, 1)
        merged = opinion("xy_id", cases.item_seq, id_matrix, 1, NUM_X + NUM_Y + 1)[:, NUM_X:]
        own = opinion("y_image", cases.item_seq_y, image_matrix, NUM_X + 1, NUM_X + NUM_Y + 1)
        torch.testing.assert_close(both, torch.log(0.4 * 0.7 * merged.exp() + 1.0 * 0.3 * own.exp()))


def test_a_part_that_the_model_lacks():
    bare = IFCDSR(IFCDSR.Config(hidden_size=8, image_fusion=False), ModelInputs(NUM_X, NUM_Y, 20))
    with pytest.raises(InputError, match="no part \\('own', 'image'\\)"):
        Part(bare, [("own", "image")])


def test_scorers_are_ranked_by_the_same_protocol(model, cases):
    ranks = inspection.scorer_ranks(model, cases, seed=3)
    assert not model.training  # ranking a part leaves the model as it was
    assert len(ranks.columns) == 1 + 6 + 3 + 2 + 3 + 1
    np.testing.assert_array_equal(ranks["everything", ALL], rank_cases(model, cases, 3)["sampled_999"])
    without = Part(model, [(role, modality) for role in ("own", "merged") for modality in ("id", "image")])
    np.testing.assert_array_equal(
        ranks["all but one branch", "without source"], rank_cases(without, cases, 3)["sampled_999"]
    )
    table = inspection.scorer_table(ranks, ("Food", "Kitchen"))
    assert table.groupby("domain")["scorer"].nunique().tolist() == [15, 15]


def test_a_model_with_one_branch_has_no_scorer_of_nothing(cases):
    features = F.normalize(torch.randn(NUM_X + NUM_Y, 6), dim=1)
    config = IFCDSR.Config(hidden_size=8, multiple_attention=False)
    ranks = inspection.scorer_ranks(IFCDSR(config, ModelInputs(NUM_X, NUM_Y, 20, {"image": features})).eval(), cases, 0)
    assert "all but one branch" not in ranks.columns.get_level_values(0) and ("everything", ALL) in ranks


def made_ranks(of_part, of_whole, of_rest) -> pd.DataFrame:
    count = len(of_part)
    columns = {
        ("one encoder", "own by ID"): of_part,
        ("one encoder", "own by image"): of_rest,
        ("one modality", "all three by ID"): of_part,
        ("all but one branch", "without source"): of_whole,
        ("everything", ALL): of_whole,
    }
    return pd.DataFrame(
        {
            ("", "target_domain"): ["x"] * count + ["y"] * count,
            **{name: [*values] * 2 for name, values in columns.items()},
        }
    )


def test_scorer_table_by_hand():
    table = inspection.scorer_table(made_ranks([4, 4], [2, 1], [10, 10]), ("Food", "Kitchen"))
    food = table[table["domain"] == "Food"].set_index("scorer")
    assert food["MRR"].tolist() == pytest.approx([25, 10, 25, 75, 75])
    assert food.at["own by ID", "difference"].value == pytest.approx(-50)  # -25 and -75
    assert (food.at["own by ID", "difference"].low, food.at["own by ID", "difference"].high) == (-75, -25)
    assert food.at[ALL, "difference"] is None and np.isnan(food.at[ALL, "holm"])
    page = attention.scorer_page(table)
    assert page.columns.tolist() == [
        "Uses",
        "Scorer",
        "Food MRR",
        "Food: minus all",
        "Kitchen MRR",
        "Kitchen: minus all",
    ]
    assert isinstance(page.loc[0, "Food: minus all"], Difference) and page["Food MRR"].tolist() == food["MRR"].tolist()


def test_the_verdict_on_scorers_follows_the_numbers():
    random = np.random.default_rng(0)
    good = random.integers(1, 6, 300)
    names = ("Food", "Kitchen")
    text = attention.scorer_verdict(inspection.scorer_table(made_ranks(good + 5, good, good + 40), names))
    food = text.split("\n\n")[0]
    assert food.startswith("**Food**: all parts together reach an MRR of ")
    assert "The best encoder alone is *own by ID*" in food and "the weakest *own by image*" in food
    assert "changes the MRR by: *source* +0.00 (not beyond chance)." in food
    assert "No part, and no leaving out, is better" in food and "alone is told apart from the whole." in food
    text = attention.scorer_verdict(inspection.scorer_table(made_ranks(good, good + 5, good + 5), names))
    assert "Better than the whole, beyond chance: *own by ID*, *all three by ID*." in text
    assert "Not told apart from the whole: *own by image*." in text


# --- figures ---


@pytest.fixture(scope="module")
def views(model, world, cases):
    ranks = rank_cases(model, cases, 0)
    return attention.views(model, world, cases, inspection.examples(ranks), k=4), ranks


def texts(figure) -> list[str]:
    return [text.get_text() for ax in figure.axes for text in ax.texts]


def test_a_view_is_the_case(views, model, world, cases):
    found, ranks = views
    chosen = inspection.examples(ranks)
    for number, view in enumerate(view for place in PLACES for view in found[place]):
        case, domain = int(chosen["case"].iloc[number]), "xy".index(chosen["target_domain"].iloc[number])
        assert view.items.tolist() == [item for item in cases.item_seq[case].tolist() if item]
        assert view.target == cases.target_item[case]
        one = cases[torch.tensor([case])]
        scores = model.score(one, domain)[0]
        assert view.top.loc[ALL].tolist() == (scores.argsort(descending=True)[:4] + (1, NUM_X + 1)[domain]).tolist()
        assert view.ranks[ALL] == ranks["full"][case]
        names = world.domain_names
        assert view.top.index.tolist() == [
            f"{branch} by {m}" for branch in (names[domain], names[1 - domain], "merged") for m in ("ID", "image")
        ] + [ALL]
        for encoder, weights in view.attention.iterrows():
            own = [encoder.startswith("merged") or (item <= NUM_X) == encoder.startswith("Food") for item in view.items]
            assert (~np.isnan(weights.to_numpy())).tolist() == own
    table = attention.examples_table(chosen, world)
    assert table["Rank"].iloc[0] == f"{chosen['rank'].iloc[0]:g} of {NUM_X}" and table["Target"].iloc[0] == "Food"


def test_pictures_of_a_case(views, world):
    from ifcdsr_core.book import figures
    from ifcdsr_core.book.pages import attention

    view = views[0][PLACES[2]][1]
    drawn = attention.attention_views(world, [view])
    (ax,) = drawn.axes
    assert len(ax.images) == len(view.items) + 1
    cells = [f"{100 * weight:.0f}" for weight in view.attention.to_numpy().ravel() if not np.isnan(weight)]
    assert [text for text in texts(drawn) if text.isdigit()] == cells
    drawn = attention.top_views(world, [view])
    (ax,) = drawn.axes
    assert len(ax.images) == 7 * 4 + 1
    framed = sum(patch.get_linewidth() > 2 for patch in ax.patches)
    assert framed == 1 + int((view.top == view.target).to_numpy().sum())
    assert f"{view.ranks[ALL]:,g} of {NUM_Y}" in texts(drawn)
    dotted = sum(patch.get_linestyle() == ":" for patch in ax.patches)
    assert dotted == int(view.top.isin(view.items).to_numpy().sum())
    figures.plt.close("all")


def test_figures_of_all_cases(table, world, model, cases):
    from ifcdsr_core.book import figures
    from ifcdsr_core.book.pages import attention

    words = attention.encoder_names(model, world.domain_names)
    assert list(words) == ENCODERS and words["y_image"] == "Kitchen by image"
    lags = inspection.by_lag(table, min_cases=1)
    drawn = attention.attention_by_lag(lags, words)
    assert [ax.get_title(loc="left") for ax in drawn.axes] == ["Food", "Kitchen", "merged"]
    of_id, of_image, even = drawn.axes[1].lines
    assert of_image.get_ydata().tolist() == pytest.approx((100 * lags[lags["encoder"] == "y_image"]["weight"]).tolist())
    assert even.get_ydata().tolist() == pytest.approx((100 * lags[lags["encoder"] == "y_id"]["even"]).tolist())
    number = np.arange(len(world.items))
    items = world.items.assign(**{name: number % (3 + n) for n, name in enumerate((*SHOWN, *HIDDEN))})
    shared = inspection.sharing(table, items, cases.target_item.numpy(), "newest")
    drawn = attention.attention_sharing(shared, words)
    points = [line.get_xdata()[0] for line in drawn.axes[2].lines if line.get_marker() == "o"]
    assert points[1::2] == pytest.approx(shared[shared["attribute"] == "kind"]["usual"].tolist())
    scored = inspection.scorer_table(inspection.scorer_ranks(model, cases, 0), world.domain_names)
    drawn = attention.scorers_figure(scored)
    at = [container.lines[0].get_xdata()[0] for container in drawn.axes[1].containers]
    assert at == pytest.approx(scored[scored["domain"] == "Kitchen"]["MRR"].tolist())
    assert [label.get_text() for label in drawn.axes[0].get_yticklabels()][-1] == ALL
    figures.plt.close("all")
