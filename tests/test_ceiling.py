"""The ceiling of the demo is the true chance of every item: it equals enumeration, and the world's draws follow it."""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
import pandas as pd
import pytest

from ifcdsr_core.scenario import Scenario
from ifcdsr_core.sources.demo import ceiling, world
from ifcdsr_core.sources.demo.ceiling import OTHER_DOMAIN, PARTS, PICTURES, TITLES

SIZES = {"kind": 3, "stage": 2, "colour": 3, "pattern": 2, "theme": 2, "maker": 2}


def tiny(signal: float, **dials) -> Scenario:
    """A world of 9 + 11 items with few values, and 24 cases with histories of 2 to 4 items in each domain."""
    random = np.random.default_rng(5)
    items = pd.DataFrame({"item": np.arange(1, 21), "domain": ["x"] * 9 + ["y"] * 11, "title": None, "image": None})
    items["source_id"] = items["item"].astype(str)
    for name, size in SIZES.items():
        values = np.concatenate([random.permutation(np.arange(count) % size) for count in (9, 11)])
        items[name] = [f"{name} {value}" for value in values]
    items["released"] = np.where(items["item"] % 4 == 0, 100, 0)
    items["popularity"] = random.uniform(0.2, 1, 20)
    rows = []
    for case in range(24):
        late = case % 2
        free = items["item"][items["released"] <= 99 + late].to_numpy()
        own, other = (
            random.permutation(free[(free > 9) == code])[: random.integers(3, 5)] for code in (case < 12, case >= 12)
        )
        history = random.permutation(np.concatenate([own[1:], other]))
        rows.append(
            {
                "user": f"u{case}",
                "split": "test",
                "target_domain": "y" if case < 12 else "x",
                "items": np.append(history, own[0]).astype(np.int32),
                "timestamps": 99 + late + np.arange(len(history) + 1),
                **{f"liked_{name}": case % SIZES[name] for name in ("colour", "pattern", "theme", "maker")},
            }
        )
    options = world.OPTIONS | {"cross_domain_signal": signal, "makers": 2, "text_signal": 0.4} | dials
    return Scenario("food_kitchen", "demo", items, pd.DataFrame(rows), {"options": options})


def strengths(scenario: Scenario, without: tuple[str, ...]) -> dict[str, float]:
    """By attribute, what the world's docstring puts into the exponent."""
    dials = scenario.provenance["options"]
    visual = dials["visual_signal"] * (PICTURES not in without)
    text = dials["text_signal"] * (TITLES not in without)
    return {
        "colour": visual * world.COLOUR,
        "pattern": visual * world.PATTERN,
        "kind": visual * world.KIND,
        "theme": text * world.THEME,
        "maker": text * world.MAKER,
        "stage": world.STAGE,
    }


def chances(scenario: Scenario, strength: dict, wanted: dict, seen: list[int], domain: str, start: int) -> np.ndarray:
    """The rule of the world, as its docstring has it, (V,): 0 for what can't be chosen."""
    items = scenario.items
    exponent = sum(strength[name] * (items[name].to_numpy() == f"{name} {value}") for name, value in wanted.items())
    free = (items["domain"] == domain) & ~items["item"].isin(seen) & (items["released"] <= start)
    utility = items["popularity"].to_numpy() ** world.POPULARITY * np.exp(exponent) * free.to_numpy()
    return utility / utility.sum()


def enumerated(scenario: Scenario, case: dict, without: tuple[str, ...]) -> np.ndarray:
    """Bayes for one case, by the sum over every taste in both domains and every kind and stage before, (V,)."""
    strength, names = strengths(scenario, without), ("colour", "pattern", "theme", "maker")
    signal = scenario.provenance["options"]["cross_domain_signal"]
    of_item = scenario.items.set_index("item")
    start, tastes = case["timestamps"][0], list(product(*(range(SIZES[name]) for name in names)))

    def course(history, before):
        if not history:
            return before
        return {name: (int(of_item.loc[history[-1], name][-1]) + 1) % SIZES[name] for name in ("kind", "stage")}

    def likelihood(history, domain, taste):
        total = 0.0
        for kind, stage in product(range(3), range(2)):
            chance = 1.0
            for step, item in enumerate(history):
                wanted = dict(zip(names, taste, strict=True)) | course(history[:step], {"kind": kind, "stage": stage})
                chance *= chances(scenario, strength, wanted, history[:step], domain, start)[item - 1]
            total += chance / 6
        return total

    own_domain = case["target_domain"]
    own, other = (
        [item for item in case["items"][:-1] if (of_item.loc[item, "domain"] == own_domain) == wanted]
        for wanted in (True, False)
    )
    of_other = {taste: likelihood(other, "xy".replace(own_domain, ""), taste) for taste in tastes}
    mixture, total = np.zeros(len(scenario.items)), 0.0
    for taste in tastes:
        weight = likelihood(own, own_domain, taste)
        if OTHER_DOMAIN not in without:
            weight *= sum(
                of_other[eta]
                * np.prod(
                    [signal * (a == b) + (1 - signal) / SIZES[n] for n, a, b in zip(names, taste, eta, strict=True)]
                )
                for eta in tastes
            )
        wanted = dict(zip(names, taste, strict=True)) | course(own, {})
        mixture += weight * chances(scenario, strength, wanted, own, own_domain, start)
        total += weight
    return mixture / total


def of_cases(scenario: Scenario, blocks) -> np.ndarray:
    """(cases, V), 0 in the other domain."""
    whole = np.zeros((len(scenario.sequences), scenario.num_items))
    for rows, chance in blocks:
        first = 0 if chance.shape[1] == scenario.num_items_x else scenario.num_items_x
        whole[rows, first : first + chance.shape[1]] = chance
    return whole


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signal", "without"), [(0.0, ()), (1.0, ()), (0.6, ()), *((0.6, (part,)) for part in PARTS), (0.6, PARTS)]
)
def test_bayes_is_the_sum_over_all_that_the_history_leaves_open(signal, without, monkeypatch):
    monkeypatch.setattr(ceiling, "_BLOCK", 24 * 5)  # several blocks
    scenario = tiny(signal)
    found = of_cases(scenario, ceiling.bayes(scenario, scenario.sequences, without))
    for row, case in list(enumerate(scenario.sequences.to_dict("records")))[::11]:
        np.testing.assert_allclose(found[row], enumerated(scenario, case, without), atol=1e-12, rtol=1e-10)


def test_the_oracle_applies_the_rule_to_what_the_user_likes():
    scenario = tiny(0.5)
    found = of_cases(scenario, ceiling.oracle(scenario, scenario.sequences))
    strength, of_item = strengths(scenario, ()), scenario.items.set_index("item")
    for row, case in enumerate(scenario.sequences.to_dict("records")):
        own = [item for item in case["items"][:-1] if of_item.loc[item, "domain"] == case["target_domain"]]
        wanted = {name: case[f"liked_{name}"] for name in ("colour", "pattern", "theme", "maker")}
        wanted |= {name: (int(of_item.loc[own[-1], name][-1]) + 1) % SIZES[name] for name in ("kind", "stage")}
        expected = chances(scenario, strength, wanted, own, case["target_domain"], case["timestamps"][0])
        np.testing.assert_allclose(found[row], expected, atol=1e-12)


@pytest.mark.parametrize(
    ("part", "dials"),
    [(PICTURES, {"visual_signal": 0.0}), (TITLES, {"text_signal": 0.0}), (OTHER_DOMAIN, {"cross_domain_signal": 0.0})],
)
def test_a_part_whose_dial_is_at_0_brings_bayes_exactly_nothing(part, dials):
    scenario = tiny(**{"signal": 1.0, **({"signal": 0.0} if part == OTHER_DOMAIN else dials)})
    whole, less = (of_cases(scenario, ceiling.bayes(scenario, scenario.sequences, w)) for w in ((), (part,)))
    np.testing.assert_allclose(whole, less, rtol=1e-12)


# --- on worlds as the book has them -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")

    @cache
    def make(name="food_kitchen", **dials):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(world, "_draw_pictures", lambda *_: None)
            scenario = world.build(name, folder, **dials)
        scenario.provenance["options"] = world.OPTIONS | dials
        return scenario

    return make


def log_chances(scenario: Scenario, blocks) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each case: log chance of the target, its mean under the chances, and the chance of the target, (cases,)."""
    cases = scenario.split("test")
    target = np.array([items[-1] for items in cases["items"]]) - 1
    found = np.empty((3, len(cases)))
    for rows, chance in blocks:
        first = 0 if chance.shape[1] == scenario.num_items_x else scenario.num_items_x
        assert np.allclose(chance.sum(axis=1), 1) and (chance >= 0).all()
        of_target = chance[np.arange(len(rows)), target[rows] - first]
        mean = (chance * np.log(np.where(chance > 0, chance, 1))).sum(axis=1)
        found[:, rows] = np.log(of_target), mean, (chance**2).sum(axis=1) - of_target
    return tuple(found)


@pytest.mark.slow
def test_targets_are_drawn_by_the_chances_and_who_knows_more_gives_them_more(build):
    scenario = build(cross_domain_signal=0.7)
    cases = scenario.split("test")
    every = {
        "oracle": log_chances(scenario, ceiling.oracle(scenario, cases)),
        "bayes": log_chances(scenario, ceiling.bayes(scenario, cases)),
        **{part: log_chances(scenario, ceiling.bayes(scenario, cases, (part,))) for part in PARTS},
    }
    for name in ("oracle", "bayes", OTHER_DOMAIN):  # the others believe in rules that are not the world's
        log_of_target, mean, excess = every[name]
        for off in (log_of_target - mean, excess):  # expected to be 0
            assert abs(off.mean()) < 3 * off.std() / np.sqrt(len(off)), name
    score = {name: log_of_target.mean() for name, (log_of_target, *_) in every.items()}
    assert score["oracle"] > score["bayes"] > max(score[part] for part in PARTS)
