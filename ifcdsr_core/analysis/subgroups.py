"""Where does it help? Gains by properties of test cases that are known without any model.

A property is a number of a test case: how often its target was seen in training, how long its history is, how much its
target looks like what the user bought before. An average gain says that a part of a model helps; a reason for it also
says where. If pictures help because they tell what IDs cannot, their gain must be larger for targets that were hardly
seen in training. ``PREDICTIONS`` lists such claims, and ``trends`` tests them.

The properties of data that may not be passed on are kept as plain numbers, for pages that show shipped runs:

    from ifcdsr_core.runs.config import RunConfig

    keep_properties(properties(RunConfig(source="c2dsr", scenario="movie_book", train_on="valid")))

MRRs are in percent, gains in percentage points; the reciprocal rank of a case is averaged over seeds first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ifcdsr_core.analysis.paired import LEVEL, Difference, PValue, case_means, check_same_seeds
from ifcdsr_core.analysis.significance import bootstrap_interval, centred_ranks, difference_interval, holm, trend
from ifcdsr_core.errors import InputError, choose
from ifcdsr_core.files import new_file, reading
from ifcdsr_core.paths import results_dir
from ifcdsr_core.protocol import NUM_NEGATIVES
from ifcdsr_core.runs.assembly import training_splits
from ifcdsr_core.runs.config import RunConfig
from ifcdsr_core.runs.lists import FULL, NEITHER, NO_IMAGES, NO_MULTIPLE
from ifcdsr_core.runs.store import Run
from ifcdsr_core.scenario import SECONDS_A_DAY, Scenario

if TYPE_CHECKING:
    from ifcdsr_core.features.cache import Features

CHUNK_PAIRS = 50_000  # pairs of pictures compared at once
LEAST = 30  # cases of a group; a smaller one is joined to its neighbour

# What a page calls a property, and where its groups begin; None: at the quartiles of the cases.
PROPERTY_NAMES = {
    "popularity": "occurrences of the target in training",
    "history": "items in the history",
    "own_history": "items of the target's domain in the history",
    "own_share": "share of the target's domain in the history",
    "days": "days since the last item of the target's domain",
    "nearness": "largest cosine of the target's picture with the history's",
    "nearness_own": "the same, history of the target's domain",
    "titled": "whether the target has a title",
}
STARTS: dict[str, tuple[float, ...] | None] = {
    "popularity": (0, 1, 3, 6, 21),
    "history": (0, 8, 11),
    "own_history": (0, 3, 5, 7),
    "own_share": None,
    "days": None,
    "nearness": None,
    "nearness_own": None,
    "titled": (0, 1),
}

_RECORDED = ("source", "scenario", "scenario_fingerprint", "train_on", "holdout")

# --- properties of test cases -----------------------------------------------------------------------------------------


def properties(config: RunConfig) -> pd.DataFrame:
    """``case_properties`` of the scenario of a configuration, with pictures if it has some.

    Raises:
        InputError: the scenario or its features are not available.
    """
    from ifcdsr_core.features.images import embed_images
    from ifcdsr_core.sources import prepare

    scenario = prepare(config.source, config.scenario, **config.source_options)
    features = embed_images(scenario, config.encoder) if scenario.items["image"].notna().any() else None
    table = case_properties(scenario, config, features)
    if config.source_options.get("titles"):  # the same sequences without titles are the same test cases
        table.attrs["scenario_fingerprint"] += (
            f" {replace(scenario, items=scenario.items.assign(title=None)).fingerprint}"
        )
    return table


def case_properties(scenario: Scenario, config: RunConfig, features: Features | None = None) -> pd.DataFrame:
    """What is known about each test case without any model; one row per case, ordered as ``scenario.split("test")``.

    Args:
        config: says what runs train on (``train_on``, ``holdout``).
        features: of the items' own pictures.

    Returns:
        ``target_domain`` ('x', 'y'); ``popularity``, how often the target occurs in the training sequences;
        ``history``, items before the target; ``own_history``, those of the target's domain; ``own_share``, their share;
        ``days`` from the last of them to the target (NaN if there is none, or no timestamps); ``nearness``, the largest
        cosine of the target's picture with one of the history, and ``nearness_own``, with one of the history's items of
        the target's domain (NaN if there is no such pair of pictures); ``titled``, 1 where the target has a title, 0
        where it has none (NaN if no item or every item has one). ``attrs`` says which data and which training split the
        numbers are of.

    Raises:
        InputError: a split is empty, or the features are of another number of items.
    """
    splits = training_splits(scenario, config)
    seen = np.bincount(np.concatenate([*splits["train"]["items"]]), minlength=scenario.num_items + 1)  # (V + 1,)
    test = splits["test"]
    rows = _Rows.of(test, scenario.num_items_x)
    target, history = rows.item[rows.last], rows.length - 1  # (cases,)
    own_history = np.bincount(rows.case[rows.own], minlength=len(test))
    known = scenario.items["title"].notna().to_numpy()  # (V,)
    titled = np.where(known.any() and not known.all(), known[target - 1].astype(np.float64), np.nan)
    near, near_own = _nearness(features, scenario, rows)
    table = pd.DataFrame(
        {
            "target_domain": test["target_domain"].astype(str).to_numpy(),
            "popularity": seen[target],
            "history": history,
            "own_history": own_history,
            "own_share": own_history / history,
            "days": _days(test, rows),
            "nearness": near,
            "nearness_own": near_own,
            "titled": titled,
        }
    )
    of = (scenario.source, scenario.name, scenario.fingerprint, config.train_on, config.holdout)
    table.attrs = dict(zip(_RECORDED, of, strict=True))
    return table


@dataclass(frozen=True)
class _Rows:
    """The interactions of test sequences, one below the other.

    Attributes:
        length, last: (cases,) of each sequence, and the row of its target.
        item, case: (rows,) ids, and the number of the sequence.
        own, before: (rows,) bool: of the history and the target's domain, of the history.
    """

    length: np.ndarray
    last: np.ndarray
    item: np.ndarray
    case: np.ndarray
    own: np.ndarray
    before: np.ndarray

    @classmethod
    def of(cls, test: pd.DataFrame, num_items_x: int) -> _Rows:
        length = test["items"].map(len).to_numpy(dtype=np.int64)
        item, case = np.concatenate([*test["items"]]).astype(np.int64), np.repeat(np.arange(len(length)), length)
        last, before = np.cumsum(length) - 1, np.ones(len(item), dtype=bool)
        before[last] = False
        own = before & ((item > num_items_x) == (item[last] > num_items_x)[case])
        return cls(length, last, item, case, own, before)


def _days(test: pd.DataFrame, rows: _Rows) -> np.ndarray:
    """Days from the last item of the target's domain in the history to the target, (cases,)."""
    if test["timestamps"].isna().any():
        return np.full(len(test), np.nan)
    time = np.concatenate([*test["timestamps"]]).astype(np.float64)  # (rows,)
    place = np.full(len(test), -1)
    place[rows.case[rows.own]] = np.flatnonzero(rows.own)  # of several the last one stays
    return np.where(place >= 0, (time[rows.last] - time[place]) / SECONDS_A_DAY, np.nan)


def _nearness(features: Features | None, scenario: Scenario, rows: _Rows) -> tuple[np.ndarray, np.ndarray]:
    """Largest cosine of each case's target with its history, and with that of its domain, (cases,) each."""
    results = np.full((2, len(rows.last)), -np.inf)
    if features is not None:
        if len(features.matrix) != scenario.num_items:
            raise InputError(
                f"the features are of {len(features.matrix)} items, {scenario.source}/{scenario.name} has "
                f"{scenario.num_items}"
            )
        unit = features.matrix / np.maximum(np.linalg.norm(features.matrix, axis=1, keepdims=True), 1e-12)  # (V, e)
        pictured, target = ~features.missing, rows.item[rows.last][rows.case]  # (V,), (rows,)
        pairs = np.flatnonzero(rows.before & pictured[rows.item - 1] & pictured[target - 1])
        for start in range(0, len(pairs), CHUNK_PAIRS):  # a few hundred numbers per pair
            part = pairs[start : start + CHUNK_PAIRS]
            cosine = np.einsum("pe,pe->p", unit[rows.item[part] - 1], unit[target[part] - 1])
            of_own = rows.own[part]
            np.maximum.at(results[0], rows.case[part], cosine)
            np.maximum.at(results[1], rows.case[part][of_own], cosine[of_own])
    results[np.isinf(results)] = np.nan
    return results[0], results[1]


def properties_path(source: str, scenario: str) -> Path:
    """Where the committed properties of a data set live: ``data/results/cases/<source>-<scenario>.parquet``."""
    return results_dir() / "cases" / f"{source}-{scenario}.parquet"


def keep_properties(table: pd.DataFrame, path: Path | None = None) -> Path:
    """Write ``case_properties`` without columns that are empty or follow from others; no users and no items.

    The file's metadata say which data and which training split the numbers are of.

    Args:
        path: default: ``properties_path``.
    """
    path = path or properties_path(table.attrs["source"], table.attrs["scenario"])
    kept = table.drop(columns="own_share").dropna(axis="columns", how="all").astype({"target_domain": "category"})
    for name in kept.columns.drop("target_domain"):
        whole = kept[name].notna().all() and (kept[name] % 1 == 0).all()
        kept[name] = (
            pd.to_numeric(kept[name].astype(np.int64), downcast="unsigned") if whole else kept[name].astype(np.float32)
        )
    kept.attrs = dict(table.attrs)
    with new_file(path) as staging:
        kept.to_parquet(staging, index=False, compression="zstd")
    return path


def load_properties(source: str, scenario: str, path: Path | None = None) -> pd.DataFrame:
    """What ``keep_properties`` wrote, as ``case_properties`` gave it.

    Raises:
        InputError: there is none for this data set, it is damaged, or it can't be opened.
    """
    path = path or properties_path(source, scenario)
    choose("properties of test cases", path.stem, sorted(found.stem for found in path.parent.glob("*.parquet")))
    with reading(path):
        kept = pd.read_parquet(path)
        attrs = {name: kept.attrs[name] for name in _RECORDED}
        table = pd.DataFrame({"target_domain": kept["target_domain"].astype(str)})
        for name in ("popularity", "history", "own_history"):
            table[name] = kept[name].astype(np.int64)
        table["own_share"] = table["own_history"] / table["history"]
        for name in ("days", "nearness", "nearness_own", "titled"):
            table[name] = kept[name].astype(np.float64) if name in kept else np.nan
    table.attrs = attrs
    return table


def check_cases(table: pd.DataFrame, runs: Iterable[Run]) -> None:
    """Make sure that runs were trained and tested on what the properties are of.

    Raises:
        InputError: another data set, another training split, or other test cases.
    """
    of = table.attrs
    for run in runs:
        if run.provenance["scenario_fingerprint"] not in of["scenario_fingerprint"].split():
            raise InputError(
                f"{run.folder.name} was tested on other data than the properties of {of['source']}/"
                f"{of['scenario']}: its scenario_fingerprint is {run.provenance['scenario_fingerprint']}, "
                f"theirs {of['scenario_fingerprint']}"
            )
        trained = [
            (record["train_on"], record["holdout"] if record["train_on"] != "train" else None)
            for record in (run.config, of)
        ]
        if trained[0] != trained[1]:
            raise InputError(
                f"{run.folder.name} was trained on (split, holdout) {trained[0]}, the properties count "
                f"popularity in {trained[1]}"
            )
        if not np.array_equal(run.ranks["target_domain"].astype(str), table["target_domain"]):
            raise InputError(f"{run.folder.name} was tested on other cases than the properties are of")


# --- groups -----------------------------------------------------------------------------------------------------------


def groups(
    values: pd.Series, starts: Sequence[float] | None = None, least: int = LEAST, parts: int = 4
) -> pd.Categorical:
    """Cases by the size of a property; NaN stays out.

    Args:
        values: (cases,).
        starts: where each group begins; what is below the first belongs to it. Default: at quantiles of the cases.
        least: a group with fewer cases is joined to the smaller one of its neighbours.
        parts: number of quantile groups.

    Returns:
        (cases,) an ordered Categorical, its categories such as ``0``, ``1–2``, ``3 or more`` or ``0.50 to 0.63``.
    """
    numbers = np.asarray(values, dtype=np.float64)
    known = numbers[~np.isnan(numbers)]
    whole = bool((known % 1 == 0).all())
    if starts is None:
        inner = np.quantile(known, np.arange(1, parts) / parts) if len(known) else np.zeros(0)
        starts = [known.min(initial=np.inf), *(np.floor(inner) + 1 if whole else inner)]
    bounds = sorted({float(start) for start in starts})
    group = np.maximum(np.searchsorted(bounds, known, side="right") - 1, 0)
    bounds = [bounds[number] for number in np.unique(group)]  # no empty groups
    count = np.unique(group, return_counts=True)[1].tolist()
    while len(bounds) > 1 and min(count) < least:
        small = int(np.argmin(count))
        into = small + 1 if small == 0 or small + 1 < len(count) and count[small + 1] < count[small - 1] else small - 1
        left, right = min(small, into), max(small, into)
        count[left] += count.pop(right)
        bounds.pop(right)
    codes = np.maximum(np.searchsorted(bounds, numbers, side="right") - 1, 0)
    codes[np.isnan(numbers)] = -1
    parts = [numbers[codes == number] for number in range(len(bounds))]
    ends = [*bounds[1:], known.max(initial=-np.inf)]
    labels = [
        _label(part.min(), part.max() if whole else end, whole) if number == 0 or whole else _label(bound, end, whole)
        for number, (part, bound, end) in enumerate(zip(parts, bounds, ends, strict=False))
    ]
    return pd.Categorical.from_codes(codes, labels, ordered=True)


def _label(low: float, high: float, whole: bool) -> str:
    """Name of a group: its smallest and largest whole number, or where it begins and where the next one does."""
    if not whole:
        return f"{low:.2f} to {high:.2f}".replace("-", "−")
    return f"{low:.0f}" if low == high else f"{low:.0f}–{high:.0f}"


# --- MRRs and gains by group ------------------------------------------------------------------------------------------


def mrr_by_group(
    table: pd.DataFrame,
    experiment: Mapping[str, Sequence[Run]],
    name: str,
    protocol: str = "sampled_999",
    domain: str | None = None,
) -> pd.DataFrame:
    """MRR of every label for every group of a property.

    Args:
        table: ``case_properties``.
        name: the property.
        domain: 'x' or 'y' for the cases with their target there; the groups are then made of these.

    Returns:
        ``group, cases, share`` (of the cases, percent), ``label, MRR, low, high`` (95 % bootstrap interval over cases).

    Raises:
        InputError: the runs do not fit the properties, or there is no such property.
    """
    chosen, group = _grouped(table, [run for runs in experiment.values() for run in runs], name, domain)
    return _means(group, {label: case_means(runs, protocol, "MRR")[chosen] for label, runs in experiment.items()})


def gain_by_group(
    table: pd.DataFrame,
    after: Sequence[Run],
    before: Sequence[Run],
    name: str,
    protocol: str = "sampled_999",
    domain: str | None = None,
) -> pd.DataFrame:
    """What a change brings in every group of a property, paired by case: ``group, cases, share, gain, low, high``.

    Arguments and errors as for ``mrr_by_group``.
    """
    chosen, group = _grouped(table, [*after, *before], name, domain)
    gain = (case_means(after, protocol, "MRR") - case_means(before, protocol, "MRR"))[chosen]
    return _means(group, {"gain": gain}).drop(columns="label").rename(columns={"MRR": "gain"})


def _grouped(
    table: pd.DataFrame, runs: Sequence[Run], name: str, domain: str | None
) -> tuple[np.ndarray, pd.Categorical]:
    """Row numbers of the chosen cases, and the group of each."""
    choose("property", name, PROPERTY_NAMES)
    check_cases(table, runs)
    chosen = np.flatnonzero(table["target_domain"] == domain) if domain else np.arange(len(table))
    return chosen, groups(table[name].iloc[chosen], STARTS[name])


def _means(group: pd.Categorical, values: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Mean of some values, (cases,) each, with the ends of its interval, per group and label."""
    rows = []
    for category in group.categories:
        inside = np.asarray(group == category)
        cases, share = int(inside.sum()), 100 * float(inside.sum()) / (group.codes >= 0).sum()
        for label, of_cases in values.items():
            chosen = of_cases[inside]
            rows.append((category, cases, share, label, float(chosen.mean()), *bootstrap_interval(chosen)))
    return pd.DataFrame(rows, columns=["group", "cases", "share", "label", "MRR", "low", "high"])


def contributions(
    table: pd.DataFrame,
    ours: Sequence[Run],
    other: Sequence[Run],
    name: str,
    domain: str | None = None,
    protocol: str = "sampled_999",
) -> pd.DataFrame:
    """Where the difference between two models comes from: its parts by group, which add up to it.

    Returns:
        ``group, cases, share`` (percent), the MRRs ``ours`` and ``other``, and ``part``: their difference times the
        share.

    Arguments and errors as for ``mrr_by_group``.
    """
    both = mrr_by_group(table, {"ours": ours, "other": other}, name, protocol, domain)
    wide = both.pivot(index="group", columns="label", values="MRR")
    result = both.drop_duplicates("group")[["group", "cases", "share"]].reset_index(drop=True)
    for label in ("ours", "other"):
        result[label] = wide.loc[result["group"], label].to_numpy()
    return result.assign(part=result["share"] / 100 * (result["ours"] - result["other"]))


def random_mrr(candidates: int = NUM_NEGATIVES + 1) -> float:
    """MRR of a random order of ``candidates`` items, in percent."""
    return float(100 * (1 / np.arange(1, candidates + 1)).mean())


@dataclass(frozen=True)
class Prediction:
    """A prediction that follows from a reason why a part should help.

    Attributes:
        part: whose gain it is, in words; after, before: the labels of ``lists.parts`` that it is the difference of.
        along: a property of test cases.
        expected: 1 if the gain should rise with it, -1 if it should fall, 0 if nothing is claimed.
    """

    part: str
    after: str
    before: str
    along: str
    expected: int


PREDICTIONS = (
    Prediction("image fusion", FULL, NO_IMAGES, "popularity", -1),
    Prediction("image fusion", FULL, NO_IMAGES, "nearness", 1),
    Prediction("multiple attention without images", NO_IMAGES, NEITHER, "nearness", 0),
    Prediction("multiple attention", FULL, NO_MULTIPLE, "own_share", -1),
    Prediction("multiple attention", FULL, NO_MULTIPLE, "own_history", -1),
    Prediction("multiple attention", FULL, NO_MULTIPLE, "days", 1),
    Prediction("multiple attention", FULL, NO_MULTIPLE, "history", 0),
)


def ends_apart(gain: np.ndarray, values: np.ndarray, strata: np.ndarray) -> Difference:
    """Mean gain of the highest third of a property less that of the lowest, thirds taken within each stratum.

    Equal values stay together, so a third may be smaller or larger, and the strata may have unequal shares in them: the
    mean gain of each stratum is taken off first. NaN where a third is empty.
    """
    known = ~np.isnan(np.asarray(values, dtype=np.float64))
    gain, values, strata = (pd.Series(part)[known].reset_index(drop=True) for part in (gain, values, strata))
    gain = (gain - gain.groupby(strata).transform("mean")).to_numpy()
    place = centred_ranks(values.to_numpy(), strata.to_numpy())
    low, high = gain[place < -1 / 6], gain[place > 1 / 6]
    if not len(low) or not len(high):
        return Difference(math.nan, math.nan, math.nan)
    return Difference(float(high.mean() - low.mean()), *difference_interval(high, low))


WORDS = {-1: "falls", 0: "–", 1: "rises"}


def trends(
    table: pd.DataFrame,
    experiment: Mapping[str, Sequence[Run]],
    claims: Sequence[Prediction] = PREDICTIONS,
    protocol: str = "sampled_999",
) -> pd.DataFrame:
    """Whether gains rise or fall along properties as claimed, one row per claim.

    Args:
        table: ``case_properties``.
        experiment: the runs of ``lists.parts``, their seeds in the same order.

    Returns:
        ``Gain of``, ``Along``, ``Claimed``, ``ρ`` (rank correlation within target domains), ``p (Holm)`` (permutation
        test, corrected for all rows), ``Ends apart`` (highest less lowest third, points), ``Seeds`` in which the
        correlation has the same sign, ``Verdict``: ``as claimed``, ``the opposite``, ``no trend``, or, where nothing is
        claimed, ``rises`` or ``falls``; ``unclear`` where the correlation and the means of the thirds disagree.

    Raises:
        InputError: runs of other data or other seeds.
    """
    rows, raw = [], []
    strata = table["target_domain"].to_numpy()
    for claim in claims:
        after, before = experiment[claim.after], experiment[claim.before]
        check_same_seeds(after, before)
        check_cases(table, [*after, *before])
        values = table[claim.along].to_numpy(dtype=np.float64)
        gain = case_means(after, protocol, "MRR") - case_means(before, protocol, "MRR")
        rho, p = trend(gain, values, strata)
        apart = ends_apart(gain, values, strata)
        of_seed = [
            trend(case_means([a], protocol, "MRR") - case_means([b], protocol, "MRR"), values, strata, samples=0)[0]
            for a, b in zip(after, before, strict=True)
        ]
        same = sum(bool(one * rho > 0) for one in of_seed)
        seeds = f"{same} of {len(of_seed)}"
        rows.append((claim.part, PROPERTY_NAMES[claim.along], WORDS[claim.expected], rho, apart, seeds))
        raw.append(p)
    result = pd.DataFrame(rows, columns=["Gain of", "Along", "Claimed", "ρ", "Ends apart", "Seeds"])
    corrected = holm(raw)
    result.insert(4, "p (Holm)", [PValue(p) for p in corrected])
    return result.assign(
        Verdict=[
            _verdict(claim.expected, rho, p, apart.value)
            for claim, rho, p, apart in zip(claims, result["ρ"], corrected, result["Ends apart"], strict=True)
        ]
    )


def _verdict(expected: int, rho: float, p: float, apart: float) -> str:
    if math.isnan(p) or p >= LEVEL:
        return "no trend"
    if not rho * apart > 0:
        return "unclear"
    sign = 1 if rho > 0 else -1
    return WORDS[sign] if expected == 0 else "as claimed" if sign == expected else "the opposite"
