"""Runs compared: over seeds, with the paper, against rivals, under both protocols, and step by step.

Runs come as ``sweep.run_all`` returns them: by the label of a table's row or column, one per seed. Metrics are in
percent, differences of them in percentage points. All runs rank the same test cases, so differences are paired by case;
where a case has one number per seed, these are averaged first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pandas as pd

from ifcdsr_core.analysis.paper import HEADLINE
from ifcdsr_core.analysis.significance import bootstrap_interval, half_width, holm, mean_p
from ifcdsr_core.errors import InputError
from ifcdsr_core.metrics import METRICS, per_case
from ifcdsr_core.models import CONTROLS, COUNTING, MODELS
from ifcdsr_core.runs.store import Run

LEVEL = 0.05  # of significance
Runs = Mapping[str, Sequence[Run]]  # finished runs by label, one per seed

# --- runs over seeds --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """A mean over seeds with the sample standard deviation, NaN with one seed; ``best`` sets it in bold face."""

    mean: float
    std: float
    best: bool = False

    @classmethod
    def of(cls, values: Sequence[float]) -> Measured:
        return cls(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else math.nan)

    def __str__(self) -> str:
        return f"{self.mean:.2f}" if math.isnan(self.std) else f"{self.mean:.2f}\u00a0±\u00a0{self.std:.2f}"


@dataclass(frozen=True)
class Interval:
    """The ends of a confidence interval."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:.2f}\u00a0to\u00a0{self.high:.2f}"


@dataclass(frozen=True)
class PValue:
    """A p-value; below 0.001 it is shown as such."""

    value: float

    def __str__(self) -> str:
        return "–" if math.isnan(self.value) else "<\u00a00.001" if self.value < 0.001 else f"{self.value:.3f}"


@dataclass(frozen=True)
class Difference:
    """A difference with the ends of its confidence interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: np.ndarray) -> Difference:
        """The mean of paired differences, (cases,), with its 95 % bootstrap interval over test cases."""
        return cls(float(values.mean()), *bootstrap_interval(values))

    @classmethod
    def over_seeds(cls, values: np.ndarray) -> Difference:
        """The mean of paired differences, (seeds, cases), with its 95 % interval over both (``half_width``)."""
        if not values.size:
            return cls(math.nan, math.nan, math.nan)
        mean, noise = float(values.mean()), half_width(values)
        return cls(mean, mean - noise, mean + noise)

    @property
    def beyond_noise(self) -> bool:
        """Whether zero is outside the interval, and the difference large enough to be shown with two decimals."""
        return not self.low <= 0 <= self.high and abs(self.value) >= 0.005

    def __str__(self) -> str:
        return f"{signed(self.value)} (" + f"{signed(self.low)} to {signed(self.high)})".replace(" ", "\u00a0")


def per_seed(experiment: Runs, names: tuple[str, str], protocol: str) -> pd.DataFrame:
    """Test metrics of every run: ``label``, ``seed``, ``domain`` (its name) and METRICS in percent."""
    rows = [
        (label, run.config["seed"], names["xy".index(row["domain"])], *(100 * row[metric] for metric in METRICS))
        for label, runs in experiment.items()
        for run in runs
        for row in run.metrics[run.metrics["protocol"] == protocol].to_dict("records")
    ]
    return pd.DataFrame(rows, columns=["label", "seed", "domain", *METRICS])


def over_seeds(
    experiment: Runs, names: tuple[str, str], protocol: str, metrics: Sequence[str] = HEADLINE
) -> pd.DataFrame:
    """Mean and standard deviation over seeds: ``Target``, ``Model`` and one column of ``Measured`` per metric."""
    values = per_seed(experiment, names, protocol)
    rows = []
    for name in names:
        for label in experiment:
            chosen = values[(values["label"] == label) & (values["domain"] == name)]
            rows.append((name, label, *(Measured.of(chosen[metric]) for metric in metrics)))
    return pd.DataFrame(rows, columns=["Target", "Model", *metrics])


def with_intervals(experiment: Runs, names: tuple[str, str], protocol: str) -> pd.DataFrame:
    """``over_seeds`` with 95 % bootstrap intervals of the MRR over test cases, the best means marked.

    A mean is marked ``best`` if it is the largest of its column and domain, and larger than each of the others by the
    test of ``against_rivals``, with Holm's correction for all tests of the column and domain. Controls are left out of
    this, and what is no model.

    Raises:
        InputError: the runs were tested on different cases.
    """
    check_same_cases([run for runs in experiment.values() for run in runs])
    table, intervals = over_seeds(experiment, names, protocol), []
    for name, code in zip(names, "xy", strict=True):
        for metric in HEADLINE:
            if metric == "MRR":
                means = [case_means(runs, protocol, metric, code) for runs in experiment.values()]
                intervals += [Interval(*bootstrap_interval(cases)) for cases in means]
            models = {label: runs for label, runs in experiment.items() if not _is_control(runs)}
            row = (table["Target"] == name) & (table["Model"] == _clearly_best(models, protocol, metric, code))
            table.loc[row, metric] = table.loc[row, metric].map(lambda cell: replace(cell, best=True))
    table.insert(3, "95 % interval", intervals)
    for metric in HEADLINE[1:]:  # the spread of the MRR says enough, and a page is narrow
        table[metric] = table[metric].map(lambda cell: replace(cell, std=math.nan))
    return table


def _is_control(runs: Sequence[Run]) -> bool:
    return runs[0].config["model"] in CONTROLS or runs[0].config["model"] not in MODELS


def _clearly_best(models: Runs, protocol: str, metric: str, domain: str) -> str | None:
    """The label whose mean beats every other beyond chance, if there is one."""
    best = max(models, key=lambda label: case_means(models[label], protocol, metric, domain).mean(), default=None)
    rivals = [label for label in models if label != best]
    p = holm([mean_p(paired_values(models[best], models[label], protocol, metric, domain)) for label in rivals])
    return best if len(p) and (p < LEVEL).all() else None


def beside_paper(experiment: Runs, printed: pd.DataFrame, protocol: str = "sampled_999") -> pd.DataFrame:
    """Our MRR beside the printed one, for models that the printed table has too: only for the same test sequences.

    IFCDSR without images is not a model of the paper and is left out.

    Args:
        printed: a table of ``analysis.paper`` with an MRR for each target and model.
        protocol: by which the printed numbers were measured.
    """
    columns, names = ["Target", "Model"], tuple(printed["Target"].unique())
    ours = over_seeds(experiment, names, protocol, ("MRR",)).rename(columns={"MRR": "MRR here"})
    return ours.merge(printed[[*columns, "MRR"]].rename(columns={"MRR": "MRR printed"}), on=columns)


# --- against the rivals -----------------------------------------------------------------------------------------------


def reference(experiment: Runs) -> str:
    """The label of IFCDSR's runs, with which the others are compared.

    Raises:
        InputError: no run is of IFCDSR.
    """
    for label, runs in experiment.items():
        if runs[0].config["model"] == "ifcdsr":
            return label
    raise InputError("no runs of ifcdsr to compare with: add ifcdsr to the models")


def against_rivals(experiment: Runs, reference: str, names: tuple[str, str], protocol: str) -> pd.DataFrame:
    """``reference`` against every other label: is the difference in MRR more than chance?

    Returns:
        One row per domain and rival: ``Target``, ``Rival``, the ``Difference`` in points with its 95 % interval over
        seeds and test cases, its p-value (``mean_p``), ``Holm``'s correction of it for all rows, and a ``Verdict``.
        Compared are the runs of seeds that both have.

    Raises:
        InputError: the runs have no seed in common, or were tested on different cases.
    """
    rows = []
    for name, code in zip(names, "xy", strict=True):
        for label in (label for label in experiment if label != reference):
            values = paired_values(experiment[reference], experiment[label], protocol, "MRR", code)
            rows.append((name, label, Difference.over_seeds(values), mean_p(values)))
    table = pd.DataFrame(rows, columns=["Target", "Rival", "Difference", "p"])
    corrected = holm(table["p"])
    verdicts = [
        "undecided" if not p < LEVEL else "better" if difference.value > 0 else "worse"  # NaN without cases
        for p, difference in zip(corrected, table["Difference"], strict=True)
    ]
    return table.assign(p=table["p"].map(PValue), Holm=[PValue(p) for p in corrected], Verdict=verdicts)


# --- what the protocol does to the numbers ----------------------------------------------------------------------------


def expected_reciprocal_rank(rank: np.ndarray, num_items: int, num_negatives: int) -> np.ndarray:
    """Mean reciprocal rank of each case over all draws of negatives, from its rank among all items, (cases,).

    With ``a`` of the ``M`` other items above the target, the number ``H`` of these among ``N`` drawn ones is
    hypergeometric, and

        E[1 / (1 + H)] = (M + 1) / ((a + 1) (N + 1)) * (1 - C(M - a, N + 1) / C(M + 1, N + 1)).

    Args:
        rank: (cases,) ranks under ``full``; a tie's half counts as half an item.
        num_items: items of the domain.
        num_negatives: from 0 (the target alone) to ``num_items - 1`` (``full``).
    """
    from scipy.special import gammaln

    others, above, drawn = num_items - 1, np.asarray(rank, dtype=np.float64) - 1, num_negatives
    free = others - above  # items below the target
    possible = free >= drawn + 1
    below = np.where(possible, free, drawn + 1)  # where they are fewer than the draws, the term is 0
    log_none = (gammaln(below + 1) - gammaln(below - drawn)) - (gammaln(others + 2) - gammaln(others + 1 - drawn))
    return (others + 1) / ((above + 1) * (drawn + 1)) * (1 - np.where(possible, np.exp(log_none), 0.0))


def over_candidates(
    experiment: Runs,
    names: tuple[str, str],
    num_items: tuple[int, int],
    points: int = 25,
    negatives: Sequence[int] = (),
) -> pd.DataFrame:
    """Expected MRR by number of negatives: ``label``, ``domain``, ``negatives``, ``MRR`` (percent).

    Args:
        points: this many numbers from 9 to all, evenly on a log scale.
        negatives: these numbers instead; where a domain has fewer, all it has.
    """
    rows = []
    for label, runs in experiment.items():
        for name, code, count in zip(names, "xy", num_items, strict=True):
            chosen = is_target(runs[0], code)
            ranks = [run.ranks["full"].to_numpy()[chosen] for run in runs]
            numbers = np.minimum(negatives, count - 1) if len(negatives) else np.geomspace(9, count - 1, points).round()
            for number in np.unique(numbers).astype(int):
                values = [expected_reciprocal_rank(rank, count, number).mean() for rank in ranks]
                rows.append((label, name, int(number), 100 * float(np.mean(values))))
    return pd.DataFrame(rows, columns=["label", "domain", "negatives", "MRR"])


def both_protocols(experiment: Runs, names: tuple[str, str]) -> pd.DataFrame:
    """MRR and place of every model under both protocols, and the ratio of the two numbers."""
    parts = {protocol: over_seeds(experiment, names, protocol, ("MRR",)) for protocol in ("sampled_999", "full")}
    means = {protocol: table["MRR"].map(lambda cell: cell.mean) for protocol, table in parts.items()}
    table = parts["full"][["Target", "Model"]].copy()
    for protocol, heading in (("sampled_999", "999 negatives"), ("full", "All items")):
        table[f"MRR, {heading.lower()}"] = parts[protocol]["MRR"]
        places = means[protocol].groupby(table["Target"]).rank(ascending=False, method="min")
        table[f"Place, {heading.lower()}"] = places.astype("Int64")  # none in a domain without test cases
    table["Ratio"] = means["sampled_999"] / means["full"]
    return table


# --- paired differences -----------------------------------------------------------------------------------------------


def gains(
    after: Sequence[Run], before: Sequence[Run], names: tuple[str, str], protocol: str = "sampled_999"
) -> pd.DataFrame:
    """What a change brings to the MRR: one row per domain, in points, paired by seed and by case.

    ``seed_error`` is the standard error of the gain over seeds (NaN with one seed), ``case_error`` that over test
    cases, ``noise`` the ``half_width`` that both make. ``verdict`` compares the gain with the noise. A domain without
    test cases has no row.

    Raises:
        InputError: the runs differ in seeds or in test cases.
    """
    check_same_seeds(after, before)
    rows = []
    for name, code in zip(names, "xy", strict=True):
        values = paired_values(after, before, protocol, "MRR", code)
        if not values.size:
            continue
        of_seed, of_case = values.mean(axis=1), values.mean(axis=0)
        seed_error = Measured.of(of_seed).std / math.sqrt(len(of_seed))
        case_error = Measured.of(of_case).std / math.sqrt(len(of_case))
        gain, noise = float(of_seed.mean()), half_width(values)
        verdict = "within noise" if abs(gain) <= noise else "a gain" if gain > 0 else "a loss"
        rows.append((name, gain, seed_error, case_error, noise, verdict))
    return pd.DataFrame(rows, columns=["domain", "gain", "seed_error", "case_error", "noise", "verdict"])


def differences(after: Sequence[Run], before: Sequence[Run], names: tuple[str, str]) -> list[Difference]:
    """``gains`` in MRR as a ``Difference`` per domain; gain ± noise are the ends of its interval."""
    return [
        Difference(row.gain, row.gain - row.noise, row.gain + row.noise)
        for row in gains(after, before, names).itertuples()
    ]


def rise(first: pd.Series | pd.DataFrame, last: pd.Series | pd.DataFrame):
    """How much larger the gain of ``last`` is than that of ``first``, and the noise of this; rows of ``gains``."""
    return last["gain"] - first["gain"], np.hypot(first["noise"], last["noise"])


def paired_values(after: Sequence[Run], before: Sequence[Run], protocol: str, metric: str, domain: str) -> np.ndarray:
    """How much a metric, in percent, is larger for ``after``: (seeds, cases) of the seeds that both have.

    What only counts has no seed: its run is paired with every run of the other.

    Raises:
        InputError: the runs have no seed in common, or were tested on different cases.
    """
    check_same_cases([*after, *before])
    if not any(runs[0].config["model"] in COUNTING for runs in (after, before)):
        after, before = of_both_seeds(after, before)
        check_same_seeds(after, before)
    upper, lower = (
        np.stack([case_means([run], protocol, metric, domain) for run in _once(runs)]) for runs in (after, before)
    )
    return upper - lower


def _once(runs: Sequence[Run]) -> Sequence[Run]:
    return runs[:1] if runs[0].config["model"] in COUNTING else runs


def of_both_seeds(after: Sequence[Run], before: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    """Those of two groups of runs whose seeds the other one has, too: what ``gains`` can pair."""
    seeds = set.intersection(*({run.config["seed"] for run in runs} for runs in (after, before)))
    after, before = ([run for run in runs if run.config["seed"] in seeds] for runs in (after, before))
    return after, before


# What is compared in a control: its name, the arm with it, the arm without it.
IMAGE_STEPS = (
    ("images", "with images", "without images"),
    ("other items' images", "with other items' images", "without images"),
    ("images over those of other items", "with images", "with other items' images"),
)
TEXT_STEPS = (
    ("texts", "with text", "without text"),
    ("other items' texts", "with other items' text", "without text"),
    ("texts over those of other items", "with text", "with other items' text"),
)
TITLE_STEPS = (
    ("titles over the ID alone", "ID + wordllama", "ID"),
    ("titles over those of other items", "ID + wordllama", "ID + other items' text"),
)
DOMAIN_STEPS = (
    ("over the merged sequence alone", "multiple attention", "merged sequence alone"),
    ("over each domain alone", "multiple attention", "own domain alone"),
)


def chosen_by(experiment: Runs) -> str:
    """The protocol by which the epochs of an experiment's arms were chosen: all are trained, and alike.

    Of a comparison it tells nothing: its first rows only count, and nothing is chosen for them.
    """
    return next(iter(experiment.values()))[0].config["select_protocol"]


def arm_gains(experiment: Runs, steps: Sequence[tuple[str, str, str]], names: tuple[str, str]) -> pd.DataFrame:
    """Gains between the arms of an experiment, over the seeds that both have, by the protocol they were ``chosen_by``.

    Args:
        steps: ``IMAGE_STEPS`` or one of the others above; one that lacks an arm has no rows.

    Returns:
        The columns of ``gains``, with ``compared`` in front.

    Raises:
        InputError: no step has both its arms, or one's have no seed in common.
    """
    protocol = chosen_by(experiment)
    parts = [
        gains(*of_both_seeds(experiment[after], experiment[before]), names, protocol).assign(compared=label)
        for label, after, before in steps
        if after in experiment and before in experiment
    ]
    if not parts:
        raise InputError(f"no two of the arms that are compared are among {', '.join(experiment)}")
    return first_columns(pd.concat(parts, ignore_index=True), "compared")


def step_gains(experiment: Runs, names: tuple[str, str]) -> pd.DataFrame:
    """``arm_gains`` from each label to the next, which is told as ``step``."""
    steps = [(after, after, before) for before, after in pairwise(experiment)]
    return arm_gains(experiment, steps, names).rename(columns={"compared": "step"})


def control_gains(
    controls: Mapping[float, Runs], steps: Sequence[tuple[str, str, str]], names: tuple[str, str]
) -> pd.DataFrame:
    """Gains between the arms of a control, for each position of its dial.

    Args:
        controls: by signal, the runs of ``lists.image_control``, ``text_control`` or ``domain_control``.
        steps: ``IMAGE_STEPS`` or one of the others above.

    Returns:
        The columns of ``gains``, with ``compared`` and ``signal`` in front.
    """
    parts = [
        gains(runs[after], runs[before], names).assign(compared=label, signal=signal)
        for label, after, before in steps
        for signal, runs in sorted(controls.items())
    ]
    return first_columns(pd.concat(parts, ignore_index=True), "compared", "signal")


# --- one number per test case -----------------------------------------------------------------------------------------


def case_means(runs: Sequence[Run], protocol: str, metric: str, domain: str = "") -> np.ndarray:
    """A metric per test case in percent, averaged over runs, (cases,).

    Args:
        domain: ``x`` or ``y`` for the cases with that target domain alone.
    """
    values = 100 * np.mean([per_case(run.ranks[protocol].to_numpy(), metric) for run in runs], axis=0)
    return values[is_target(runs[0], domain)] if domain else values


def is_target(run: Run, domain: str) -> np.ndarray:
    """Which test cases have their target in a domain, (cases,) bool."""
    return run.ranks["target_domain"].to_numpy() == domain


def check_same_seeds(after: Sequence[Run], before: Sequence[Run]) -> None:
    """Raise an InputError unless two groups of runs, not empty, have the same seeds in the same order."""
    seeds, others = ([run.config["seed"] for run in runs] for runs in (after, before))
    if not seeds or seeds != others:
        raise InputError("a gain is paired by seed: run both configurations with the same seeds")


def check_same_cases(runs: Sequence[Run]) -> None:
    """Raise an InputError if two runs were tested on different cases, as far as they tell them."""
    for run in runs[1:]:
        columns = [
            name for name in ("user", "target_item", "target_domain") if name in runs[0].ranks and name in run.ranks
        ]
        if not run.ranks[columns].equals(runs[0].ranks[columns]):
            raise InputError(
                f"{run.folder.name} and {runs[0].folder.name} were tested on different cases: "
                "only runs on the same data can be compared"
            )


def signed(value: float) -> str:
    """A number with its sign and two decimals, as in a sentence."""
    return f"{value:+z.2f}".replace("-", "−")


def first_columns(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """``table`` with some columns in front."""
    return table[[*columns, *(name for name in table.columns if name not in columns)]]
