"""Runs compared: over seeds, with the paper, against rivals, under both protocols, and step by step.

An experiment is, as ``experiments.run_all`` returns it, a dict from the label of a row to its finished runs, one per
seed. Metrics are in percent, differences of them in percentage points.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ifcdsr_core.errors import InputError
from ifcdsr_core.experiments import readings, shipped
from ifcdsr_core.metrics import METRICS, per_case
from ifcdsr_core.models import COUNTING
from ifcdsr_core.page import escape, first_columns, model_name, show, title
from ifcdsr_core.paper import HEADLINE, PAPER_TABLE1
from ifcdsr_core.run import Run, shipped_dir
from ifcdsr_core.scenario import DOMAIN_NAMES
from ifcdsr_core.significance import bootstrap_interval, holm, permutation_p

if TYPE_CHECKING:
    from IPython.display import Markdown

LEVEL = 0.05  # of significance
PROTOCOL_NAMES = {"sampled_999": "against 999 sampled negatives", "full": "against all items of the domain"}


# --- runs over seeds --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """A mean over seeds with the sample standard deviation, NaN where there is one seed only; ``best`` sets it bold."""

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
    """A p-value; what is below the resolution of the permutation test is shown as less than 0.001."""

    value: float

    def __str__(self) -> str:
        return "–" if math.isnan(self.value) else "<\u00a00.001" if self.value < 0.001 else f"{self.value:.3f}"


@dataclass(frozen=True)
class Difference:
    """A difference with the ends of its confidence interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{signed(self.value)} (" + f"{signed(self.low)} to {signed(self.high)})".replace(" ", "\u00a0")


def per_seed(experiment: Mapping[str, Sequence[Run]], names: tuple[str, str], protocol: str) -> pd.DataFrame:
    """Test metrics of every run: ``label``, ``seed``, ``domain`` (its name) and METRICS in percent."""
    rows = []
    for label, runs in experiment.items():
        for run in runs:
            metrics = run.metrics[run.metrics["protocol"] == protocol]
            for row in metrics.to_dict("records"):
                rows.append(
                    {
                        "label": label,
                        "seed": run.config["seed"],
                        "domain": names["xy".index(row["domain"])],
                        **{metric: 100 * row[metric] for metric in METRICS},
                    }
                )
    return pd.DataFrame(rows, columns=["label", "seed", "domain", *METRICS])


def over_seeds(
    experiment: Mapping[str, Sequence[Run]], names: tuple[str, str], protocol: str, metrics: Sequence[str] = HEADLINE
) -> pd.DataFrame:
    """Mean and standard deviation over seeds: ``Target``, ``Model`` and a column of ``Measured`` for each metric."""
    values = per_seed(experiment, names, protocol)
    rows = []
    for name in names:
        for label in experiment:
            chosen = values[(values["label"] == label) & (values["domain"] == name)]
            rows.append((name, label, *(Measured.of(chosen[metric]) for metric in metrics)))
    return pd.DataFrame(rows, columns=["Target", "Model", *metrics])


def with_intervals(experiment: Mapping[str, Sequence[Run]], names: tuple[str, str], protocol: str) -> pd.DataFrame:
    """``over_seeds`` with 95 % bootstrap intervals of the MRR over test cases, and what is best marked.

    A mean is marked ``best`` only where it is the largest of its column and domain, and larger than each of the others
    by a paired permutation test at the level of 5 % (Holm's correction for all tests of the column and domain).

    Raises:
        InputError: the runs were tested on different cases.
    """
    _check_same_cases([run for runs in experiment.values() for run in runs])
    table = over_seeds(experiment, names, protocol)
    intervals = []
    for name, code in zip(names, "xy", strict=True):
        cases = {
            metric: {
                label: case_means(runs, protocol, metric)[is_target(runs[0], code)]
                for label, runs in experiment.items()
            }
            for metric in HEADLINE
        }  # (cases,) each
        intervals += [Interval(*bootstrap_interval(values)) for values in cases["MRR"].values()]
        for metric, values in cases.items():
            best = max(values, key=lambda label: values[label].mean())
            p = holm([permutation_p(values[best] - values[label], samples=1999) for label in values if label != best])
            if len(p) and (p < LEVEL).all():
                row = (table["Target"] == name) & (table["Model"] == best)
                table.loc[row, metric] = table.loc[row, metric].map(lambda cell: replace(cell, best=True))
    table.insert(3, "95 % interval", intervals)
    for metric in HEADLINE[1:]:  # the spread of the MRR tells enough, and a page is narrow
        table[metric] = table[metric].map(lambda cell: replace(cell, std=math.nan))
    return table


def comparison(
    experiment: Mapping[str, Sequence[Run]], source: str, scenario: str, protocol: str, name: str
) -> Markdown:
    """The table of ``with_intervals`` for a page, captioned with what its runs have in common."""
    runs = [run for group in experiment.values() for run in group]
    seeds = sorted({run.config["seed"] for run in runs})
    repeats = (
        f"means over seeds {', '.join(map(str, seeds))}, the MRR ± standard deviation"
        if len(seeds) > 1
        else f"seed {seeds[0]} alone"
    )
    caption = (
        f"{title(source, scenario)}, test metrics in percent {PROTOCOL_NAMES[protocol]}: {repeats}; interval of "
        f"the MRR over test cases; bold where better than all others by a paired test. {training_data(runs[0])}"
    )
    return show(with_intervals(experiment, DOMAIN_NAMES[scenario], protocol), caption, name)


def inventory(results: Mapping[str, Mapping[str, Sequence[Run]]]) -> Markdown:
    """Which runs there are, by scenario, in a sentence each; one sentence if there are none."""
    from IPython.display import Markdown

    lines = [
        f"- {title(runs[0].config['source'], scenario)}: "
        + ", ".join(f"{label} ({len(group)} run{'s' if len(group) > 1 else ''})" for label, group in experiment.items())
        for scenario, experiment in results.items()
        for runs in [next(iter(experiment.values()))]
    ]
    return Markdown("\n".join(lines) or "This version of the book ships no results on the paper's test sets.")


def origin(runs: Iterable[Run], *commands: str) -> Markdown:
    """Where runs come from: shipped with the checkout or made here, by which code, and the commands to make them anew.

    Args:
        runs: any, some perhaps twice.
        commands: what to type after ``python -m ifcdsr_core``.
    """
    from IPython.display import Markdown

    different = {run.folder: run for run in runs}.values()
    known = [run for run in different if run.folder.parent == shipped_dir()]
    commits = sorted({run.provenance["commit"][:7] for run in known})
    minutes = sum(run.provenance["seconds"] for run in different) / 60
    came = f"{len(known)} of them shipped with this book (code of {', '.join(commits)})" if known else "all made here"
    return Markdown(
        f"*{len(different)} runs, {came}; {minutes:.0f} minutes of training in all. To make them anew:* "
        + ", ".join(f"`python -m ifcdsr_core {command} --recompute`" for command in commands)
    )


def training_data(run: Run) -> str:
    """What a run was trained on, in a sentence; on the paper's data also which share of the paper's that is."""
    count, of_paper = run.provenance["cases"]["train"], ""
    if run.config["source"] == "c2dsr":
        paper = int(PAPER_TABLE1.loc[PAPER_TABLE1["scenario"] == run.config["scenario"], "train"].iloc[0])
        of_paper = f", or {count / paper:.0%} of the number that the paper trains on"
    return f"Trained on {run.provenance['trained_on']}: {count:,}{of_paper}."


def beside_paper(experiment: Mapping[str, Sequence[Run]], printed: pd.DataFrame) -> pd.DataFrame:
    """MRR of the models that a printed table has too, printed values beside ours: only for the paper's own test set.

    IFCDSR without images is none of the paper's models and is left out.

    Args:
        printed: ``PAPER_TABLE2``, ``PAPER_TABLE3`` or ``PUBLISHED``.
    """
    columns, names = ["Target", "Model"], tuple(printed["Target"].unique())
    ours = over_seeds(experiment, names, "sampled_999", ("MRR",)).rename(columns={"MRR": "MRR here"})
    return ours.merge(printed[[*columns, "MRR"]].rename(columns={"MRR": "MRR printed"}), on=columns)


def baselines_verdict(experiment: Mapping[str, Sequence[Run]], printed: pd.DataFrame) -> str:
    """How far counting leads, beside the printed MRRs of models that learn, in a sentence a domain; empty without runs.

    Args:
        printed: of the same test set, such as ``PAPER_TABLE2``.
    """
    counting = {label: runs for label, runs in experiment.items() if runs[0].config["model"] in COUNTING}
    if not counting:
        return ""
    sentences = []
    ours = over_seeds(counting, tuple(printed["Target"].unique()), "sampled_999", ("MRR",))
    for name, part in ours.groupby("Target", sort=False):
        best = part.iloc[part["MRR"].map(lambda cell: cell.mean).argmax()]
        rows = printed[printed["Target"] == name]
        below = rows[rows["MRR"] < best["MRR"].mean]
        last = rows.iloc[-1]
        sentences.append(
            f"**{escape(name)}**: {escape(best['Model'])}, which learns nothing, has an MRR of {best['MRR']}; "
            f"{len(below)} of the {len(rows)} printed ones are lower, that of {escape(last['Model'])} "
            f"({last['MRR']:.2f}) {'among them' if last['Model'] in set(below['Model']) else 'is not'}."
        )
    return " ".join(sentences)


def grid_best(grid: pd.DataFrame) -> pd.DataFrame:
    """A line for each model of ``experiments.load_grid``: its best point and how the others did."""
    rows = []
    for model, part in grid.groupby("model", sort=False):
        best, score = part.iloc[part["validation_mrr"].argmax()], 100 * part["validation_mrr"]
        rows.append(
            (
                model_name(model),
                f"{best['learning_rate']:g}",
                f"{best['l2']:g}",
                int(best["best_epoch"]),
                score.max(),
                len(part),
                score.min(),
            )
        )
    return pd.DataFrame(
        rows, columns=["Model", "Learning rate", "L2", "Best epoch", "Validation MRR", "Points", "Worst"]
    )


def exact_runs(source: str, scenario: str) -> dict[str, list[Run]]:
    """The committed runs of the comparison's models, trained with the exact loss, whatever their other settings.

    Raises:
        InputError: a run folder is damaged.
    """
    found: dict[str, list[Run]] = {}
    listed = {run.folder for group in shipped(readings(scenario, range(10), source)).values() for run in group}
    for folder in sorted(shipped_dir().glob(f"{source}-{scenario}-*/")):
        run = Run.load(folder)
        if run.folder not in listed and run.config["model"] not in COUNTING and not run.config.get("train_negatives"):
            without = "" if run.config["model_options"].get("image_fusion", True) else " (no images)"
            found.setdefault(model_name(run.config["model"]) + without, []).append(run)
    return found


# --- against the rivals -----------------------------------------------------------------------------------------------


def reference(experiment: Mapping[str, Sequence[Run]]) -> str:
    """The label of IFCDSR's runs, which the others are compared with.

    Raises:
        InputError: there are none.
    """
    for label, runs in experiment.items():
        if runs[0].config["model"] == "ifcdsr":
            return label
    raise InputError("no runs of ifcdsr to compare with: add ifcdsr to the models")


def against_rivals(
    experiment: Mapping[str, Sequence[Run]], reference: str, names: tuple[str, str], protocol: str
) -> pd.DataFrame:
    """``reference`` against every other label: is the difference in MRR more than chance?

    The reciprocal rank of a case is averaged over seeds first, and cases are paired, since all runs rank the same ones.

    Returns:
        One row a domain and rival: ``Target``, ``Rival``, the ``Difference`` (95 % bootstrap interval over test cases)
        in points, the p-value of a paired permutation test, ``Holm``'s correction of it for all rows, and a
        ``Verdict``.

    Raises:
        InputError: the runs were tested on different cases.
    """
    rows = []
    for name, code in zip(names, "xy", strict=True):
        chosen = is_target(experiment[reference][0], code)
        for label in (label for label in experiment if label != reference):
            _check_same_cases([*experiment[reference], *experiment[label]])
            values = (
                case_means(experiment[reference], protocol, "MRR") - case_means(experiment[label], protocol, "MRR")
            )[chosen]
            rows.append(
                (name, label, Difference(float(values.mean()), *bootstrap_interval(values)), permutation_p(values))
            )
    table = pd.DataFrame(rows, columns=["Target", "Rival", "Difference", "p"])
    corrected = holm(table["p"])
    verdicts = [
        "undecided" if p >= LEVEL else "better" if difference.value > 0 else "worse"
        for p, difference in zip(corrected, table["Difference"], strict=True)
    ]
    return table.assign(p=table["p"].map(PValue), Holm=[PValue(p) for p in corrected], Verdict=verdicts)


def training_course(experiment: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """How far the training of each model went: epochs (of those allowed), the best of them, minutes on this device."""
    rows = [
        (label, f"{len(run.history)} of {run.config['epochs']}", run.best_epoch, run.history["seconds"].sum() / 60)
        for label, runs in experiment.items()
        for run in runs
        if run.config["model"] not in COUNTING
    ]
    return pd.DataFrame(rows, columns=["Model", "Epochs", "Best epoch", "Minutes"])


def exact_against_sampled(
    exact: Mapping[str, Sequence[Run]], sampled: Mapping[str, Sequence[Run]], names: tuple[str, str], protocol: str
) -> pd.DataFrame:
    """MRR after training with the exact loss and with sampled negatives, for the models that have runs of both.

    Returns:
        ``Target``, ``Model``, the MRRs, their ``Difference`` (exact minus sampled, 95 % bootstrap interval over test
        cases) and the p-value of a paired permutation test.
    """
    rows = []
    for name, code in zip(names, "xy", strict=True):
        for label in (label for label in exact if label in sampled and exact[label][0].config["model"] not in COUNTING):
            _check_same_cases([*exact[label], *sampled[label]])
            one, other = (
                case_means(runs[label], protocol, "MRR")[is_target(runs[label][0], code)] for runs in (exact, sampled)
            )
            rows.append(
                (
                    name,
                    label,
                    one.mean(),
                    other.mean(),
                    Difference(float((one - other).mean()), *bootstrap_interval(one - other)),
                    PValue(permutation_p(one - other)),
                )
            )
    return pd.DataFrame(rows, columns=["Target", "Model", "Exact loss", "Sampled loss", "Difference", "p"])


def rivals_verdict(table: pd.DataFrame, reference: str) -> str:
    """What ``against_rivals`` says, in a sentence a domain."""
    sentences = []
    for name, part in table.groupby("Target", sort=False):
        found = {verdict: list(rows["Rival"]) for verdict, rows in part.groupby("Verdict", sort=False)}
        words = [
            f"{word} {_listed(found[verdict])}"
            for verdict, word in (
                ("better", "better than"),
                ("worse", "worse than"),
                ("undecided", "not told apart from"),
            )
            if verdict in found
        ]
        sentences.append(f"**{escape(name)}**: {escape(reference)} is {'; '.join(words)}.")
    return " ".join(sentences)


def _listed(words: Sequence[str]) -> str:
    *front, end = map(escape, words)
    return f"{', '.join(front)} and {end}" if front else end


# --- what the protocol does to the numbers ----------------------------------------------------------------------------


def expected_reciprocal_rank(rank: np.ndarray, num_items: int, num_negatives: int) -> np.ndarray:
    """Mean reciprocal rank of a case over all draws of so many negatives, from its rank among all items, (cases,).

    With ``a`` of the ``M`` other items above the target, the number of those among ``N`` drawn is hypergeometric, and

        E[1 / (1 + H)] = (M + 1) / ((a + 1) (N + 1)) * (1 - C(M - a, N + 1) / C(M + 1, N + 1)).

    Args:
        rank: (cases,) ranks under ``full``; a tie's half counts as half an item.
        num_items: items of the domain.
        num_negatives: from 0 (nothing to lose against) to ``num_items - 1`` (``full``).
    """
    from scipy.special import gammaln

    others, above, drawn = num_items - 1, np.asarray(rank, dtype=np.float64) - 1, num_negatives
    free = others - above  # items below the target
    possible = free >= drawn + 1
    below = np.where(possible, free, drawn + 1)  # where all draws below are impossible, the term is 0
    log_none = (gammaln(below + 1) - gammaln(below - drawn)) - (gammaln(others + 2) - gammaln(others + 1 - drawn))
    return (others + 1) / ((above + 1) * (drawn + 1)) * (1 - np.where(possible, np.exp(log_none), 0.0))


def over_candidates(
    experiment: Mapping[str, Sequence[Run]], names: tuple[str, str], num_items: tuple[int, int], points: int = 25
) -> pd.DataFrame:
    """Expected MRR by number of negatives, from 9 to all: ``label``, ``domain``, ``negatives``, ``MRR`` (percent)."""
    rows = []
    for label, runs in experiment.items():
        for name, code, count in zip(names, "xy", num_items, strict=True):
            chosen = is_target(runs[0], code)
            for negatives in np.unique(np.geomspace(9, count - 1, points).round().astype(int)):
                values = [
                    expected_reciprocal_rank(run.ranks["full"].to_numpy()[chosen], count, negatives).mean()
                    for run in runs
                ]
                rows.append((label, name, int(negatives), 100 * float(np.mean(values))))
    return pd.DataFrame(rows, columns=["label", "domain", "negatives", "MRR"])


def both_protocols(experiment: Mapping[str, Sequence[Run]], names: tuple[str, str]) -> pd.DataFrame:
    """MRR and place of every model under both protocols, and the ratio of the two numbers."""
    parts = {protocol: over_seeds(experiment, names, protocol, ("MRR",)) for protocol in ("sampled_999", "full")}
    means = {protocol: table["MRR"].map(lambda cell: cell.mean) for protocol, table in parts.items()}
    table = parts["full"][["Target", "Model"]].copy()
    for protocol, heading in (("sampled_999", "999 negatives"), ("full", "All items")):
        table[f"MRR, {heading.lower()}"] = parts[protocol]["MRR"]
        table[f"Place, {heading.lower()}"] = means[protocol].groupby(table["Target"]).rank(ascending=False).astype(int)
    table["Ratio"] = means["sampled_999"] / means["full"]
    return table


def protocol_verdict(table: pd.DataFrame) -> str:
    """What ``both_protocols`` says, in a sentence a domain."""
    from scipy.stats import kendalltau

    sentences = []
    for name, part in table.groupby("Target", sort=False):
        places = part[[column for column in part if column.startswith("Place")]]
        first = [part["Model"].iloc[places[column].argmin()] for column in places]
        moved = int((places.iloc[:, 0] != places.iloc[:, 1]).sum())
        same = (
            escape(first[0]) + " is first under both"
            if first[0] == first[1]
            else f"{escape(first[0])} is first against 999 negatives, {escape(first[1])} among all items"
        )
        tau = kendalltau(places.iloc[:, 0], places.iloc[:, 1]).statistic
        sentences.append(
            f"**{escape(name)}**: {same}; {moved} of {len(part)} models change their place "
            f"(rank correlation, Kendall's τ, {tau:.2f}); the numbers differ by a factor of "
            f"{part['Ratio'].min():.1f} to {part['Ratio'].max():.1f}."
        )
    return " ".join(sentences)


# --- paired differences -----------------------------------------------------------------------------------------------


def gains(
    after: Sequence[Run],
    before: Sequence[Run],
    names: tuple[str, str],
    protocol: str = "sampled_999",
    metric: str = "MRR",
) -> pd.DataFrame:
    """What a change brings, per domain, paired by seed and by case, in points.

    ``seed_error`` is the standard error of the gain over seeds (NaN with one seed), ``case_error`` that over test
    cases, ``noise`` twice the root of the sum of their squares. ``verdict`` compares the gain with the noise.

    Raises:
        InputError: the runs differ in seeds or in test cases.
    """
    if [run.config["seed"] for run in after] != [run.config["seed"] for run in before]:
        raise InputError("a gain is paired by seed: run both configurations with the same seeds")
    _check_same_cases([*after, *before])
    domain = after[0].ranks["target_domain"].to_numpy()
    rows = []
    for name, code in zip(names, "xy", strict=True):
        differences = np.stack(
            [
                case_means([a], protocol, metric) - case_means([b], protocol, metric)
                for a, b in zip(after, before, strict=True)
            ]
        )[:, domain == code]  # (seeds, cases)
        of_seed, of_case = differences.mean(axis=1), differences.mean(axis=0)
        seed_error = Measured.of(of_seed).std / math.sqrt(len(of_seed))
        case_error = Measured.of(of_case).std / math.sqrt(len(of_case))
        gain, noise = float(of_seed.mean()), 2 * math.hypot(case_error, np.nan_to_num(seed_error))
        verdict = "within noise" if abs(gain) <= noise else "a gain" if gain > 0 else "a loss"
        rows.append(
            {
                "domain": name,
                "gain": gain,
                "seed_error": seed_error,
                "case_error": case_error,
                "noise": noise,
                "verdict": verdict,
            }
        )
    return pd.DataFrame(rows)


def of_seeds(runs: Sequence[Run], like: Sequence[Run]) -> list[Run]:
    """Those of ``runs`` whose seeds are those of ``like``, to be paired with them."""
    wanted = {run.config["seed"] for run in like}
    return [run for run in runs if run.config["seed"] in wanted]


def step_gains(
    experiment: Mapping[str, Sequence[Run]], names: tuple[str, str], protocol: str = "sampled_999"
) -> pd.DataFrame:
    """Gains from each label of an experiment to the next, of the seeds that both have; the column ``step`` in front."""
    parts = [
        gains(of_seeds(after, before), of_seeds(before, after), names, protocol).assign(step=label)
        for (_, before), (label, after) in pairwise(experiment.items())
    ]
    return first_columns(pd.concat(parts, ignore_index=True), "step")


# Of the arms of the controls: what is compared, the arm with it, the arm without it.
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
DOMAIN_STEPS = (
    ("over the merged sequence alone", "multiple attention", "merged sequence alone"),
    ("over each domain alone", "multiple attention", "own domain alone"),
)


def control_gains(
    controls: Mapping[float, Mapping[str, Sequence[Run]]], steps: Sequence[tuple[str, str, str]], names: tuple[str, str]
) -> pd.DataFrame:
    """Gains between the arms of a control, for each position of its dial.

    Args:
        controls: by signal, the runs of ``experiments.image_control``, ``text_control`` or ``domain_control``.
        steps: ``IMAGE_STEPS``, ``TEXT_STEPS`` or ``DOMAIN_STEPS``.

    Returns:
        The columns of ``gains``, with ``compared`` and ``signal`` in front.
    """
    parts = [
        gains(runs[after], runs[before], names).assign(compared=label, signal=signal)
        for label, after, before in steps
        for signal, runs in sorted(controls.items())
    ]
    return first_columns(pd.concat(parts, ignore_index=True), "compared", "signal")


def control_table(table: pd.DataFrame) -> pd.DataFrame:
    """``control_gains`` for a page: a column for each position of the dial, gain ± noise in its cells."""
    texts = [f"{signed(row.gain)} ± {row.noise:.2f}".replace(" ", "\u00a0") for row in table.itertuples()]
    cells = table.assign(cell=texts, signal=table["signal"].map("{:g}".format))
    order = list(dict.fromkeys(zip(cells["compared"], cells["domain"], strict=True)))
    wide = cells.pivot(index=["compared", "domain"], columns="signal", values="cell").loc[order]
    return (
        wide.reset_index().rename(columns={"compared": "What is gained", "domain": "Target"}).rename_axis(columns=None)
    )


def modality_verdict(table: pd.DataFrame, steps: Sequence[tuple[str, str, str]], things: str) -> str:
    """What ``control_gains`` of a modality says: do the controls hold, and how much gain is owed to what it shows?

    Args:
        steps: ``IMAGE_STEPS`` or ``TEXT_STEPS``.
        things: in the plural, ``pictures`` or ``titles``.
    """
    own, other, over = (table[table["compared"] == label] for label, *_ in steps)
    none, full = over["signal"] == 0, over["signal"] == 1
    placebo = other[other["signal"] == 1]
    if (placebo["verdict"] == "a gain").any():
        owed = f"so much of the gain needs nothing that {things} tell, a second opinion of every item is enough"
    elif (placebo["verdict"] == "a loss").any():
        owed = "a second opinion of every item that knows nothing of it does harm"
    else:
        gained = (own.loc[own["signal"] == 1, "verdict"] == "a gain").any()
        owed = "within noise" + (", so that the gain is owed to what they tell" if gained else "")
    return " ".join(
        [
            _held(
                f"{things} explain nothing",
                "an item's own must not beat those of other items",
                over[none],
                "a gain",
                False,
            ),
            _held(f"{things} explain behaviour", "its own must beat those of other items", over[full], "a gain", True),
            f"There, its own bring {with_noise(own[own['signal'] == 1])} over none at all, and {things} of other items "
            f"{with_noise(placebo)}: {owed}.",
            *_course(own),
        ]
    )


def with_noise(part: pd.DataFrame) -> str:
    """Gains of a table of ``gains`` in words, such as "+1.20 ± 0.30 (Food) and ...", in points."""
    return " and ".join(f"{signed(row.gain)} ± {row.noise:.2f} ({escape(row.domain)})" for row in part.itertuples())


def domain_verdict(table: pd.DataFrame) -> str:
    """What ``control_gains`` of the domains says: does the gain grow with what the domains have in common?"""
    return " ".join(
        sentence
        for label, *_ in DOMAIN_STEPS
        for sentence in (f"*Multiple attention {escape(label)}.*", *_course(table[table["compared"] == label]))
    )


def _held(where: str, expected: str, part: pd.DataFrame, verdict: str, wanted: bool) -> str:
    """One control in a sentence: in how many target domains it holds."""
    if part.empty:
        return ""
    held = part[(part["verdict"] == verdict) == wanted]
    word = "**holds**" if len(held) == len(part) else f"**holds in {len(held)} of {len(part)} domains**"
    return f"Where {where}, {expected}: this {word}: {with_noise(part)}."


def _course(part: pd.DataFrame) -> list[str]:
    """How a gain goes with the dial, in a sentence a domain."""
    sentences = []
    for domain, rows in part.groupby("domain", sort=False):
        first, last = rows.iloc[0], rows.iloc[-1]
        rise, noise = last["gain"] - first["gain"], math.hypot(first["noise"], last["noise"])
        word = "rises" if rise > noise else "falls" if rise < -noise else "changes within noise"
        sentences.append(
            f"{escape(domain)}: from the dial at {first['signal']:g} to {last['signal']:g} the gain {word}, from "
            f"{signed(first['gain'])} ± {first['noise']:.2f} to {signed(last['gain'])} ± {last['noise']:.2f} "
            "points."
        )
    return sentences


def case_means(runs: Sequence[Run], protocol: str, metric: str) -> np.ndarray:
    """A metric per test case, averaged over runs, in percent, (cases,)."""
    return 100 * np.mean([per_case(run.ranks[protocol].to_numpy(), metric) for run in runs], axis=0)


def is_target(run: Run, domain: str) -> np.ndarray:
    """Which test cases have their target in a domain, (cases,) bool."""
    return run.ranks["target_domain"].to_numpy() == domain


def _check_same_cases(runs: Sequence[Run]) -> None:
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
    return f"{value:+z.2f}".replace("-", "−")
