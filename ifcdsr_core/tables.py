"""Results as tables: the paper's printed numbers, our runs over seeds, paired differences, and how a page shows them.

An experiment is, as ``experiments.run_all`` returns it, a dict from the label of a row to its finished runs, one per
seed. Metrics are in percent, differences of them in percentage points.
"""

from __future__ import annotations

import json
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Mapping, Sequence

import numpy as np
import pandas as pd

from ifcdsr_core.errors import InputError, choose
from ifcdsr_core.metrics import METRICS, per_case
from ifcdsr_core.paths import ROOT, results_dir
from ifcdsr_core.scenario import DOMAIN_NAMES, Scenario
from ifcdsr_core.significance import bootstrap_interval

if TYPE_CHECKING:
    from IPython.display import Markdown

    from ifcdsr_core.run import Run, RunConfig

HEADLINE = ("MRR", "NDCG@5", "NDCG@10")  # the metrics the paper reports
PROTOCOL_NAMES = {"sampled_999": "against 999 sampled negatives", "full": "against all items of the domain"}
SOURCE_NAMES = {"demo": "demo", "c2dsr": "the paper's data", "llmcdsr": "LLMCDSR's data"}


def model_name(model: str) -> str:
    """How a page names a model: as its class is called."""
    from ifcdsr_core.models import MODELS

    return MODELS[choose("model", model, MODELS)].__name__


def title(source: str, scenario: str) -> str:
    """How a heading or an axis names a data set, such as "Food-Kitchen (demo)"."""
    return f"{'-'.join(DOMAIN_NAMES[scenario])} ({SOURCE_NAMES.get(source, source)})"


# --- what the paper prints --------------------------------------------------------------------------------------------


def _printed(names: tuple[str, str], rows: dict[str, tuple[float, ...]]) -> pd.DataFrame:
    """A table of the paper in our layout: ``Target``, ``Model`` and HEADLINE, X first."""
    return pd.DataFrame([(name, model, *values[3 * position:3 * position + 3])
                         for position, name in enumerate(names) for model, values in rows.items()],
                        columns=["Target", "Model", *HEADLINE])


# Wu et al., WWW Companion '25, Tables 2 and 3 (test, percent) and Table 4 (ablation, MRR of the movie domain, percent).
PAPER_TABLE2 = _printed(("Food", "Kitchen"), {
    "GRU4Rec": (5.79, 5.48, 6.13, 3.06, 2.55, 3.10),
    "SASRec": (7.30, 6.90, 7.79, 3.79, 3.35, 3.93),
    "SR-GNN": (7.84, 7.58, 8.35, 4.01, 3.47, 4.13),
    "MIFN": (8.55, 8.28, 9.01, 4.09, 3.57, 4.29),
    "Tri-CDR": (8.35, 8.18, 8.89, 4.29, 3.63, 4.33),
    "IFCDSR": (9.05, 8.85, 9.92, 4.95, 4.56, 5.24),
})
PAPER_TABLE3 = _printed(("Movie", "Book"), {
    "GRU4Rec": (3.83, 3.14, 3.73, 1.68, 1.34, 1.52),
    "SASRec": (3.79, 3.23, 3.69, 1.81, 1.41, 1.71),
    "SR-GNN": (3.85, 3.27, 3.78, 1.78, 1.40, 1.66),
    "PSJNet": (4.63, 4.06, 4.76, 2.44, 2.07, 2.35),
    "MIFN": (5.05, 4.21, 5.20, 2.51, 2.12, 2.31),
    "Tri-CDR": (5.15, 4.62, 5.05, 2.32, 2.08, 2.22),
    "IFCDSR": (6.08, 5.02, 5.86, 2.75, 2.37, 2.65),
})
PAPER_TABLE4 = pd.DataFrame({"original framework": [5.03], "+ image fusion": [5.63], "+ multiple attention": [6.08]},
                            index=pd.Index(["Movie MRR"], name="Domain and metric"))
PAPER_COMPARISON = {"food_kitchen": PAPER_TABLE2, "movie_book": PAPER_TABLE3}


# --- runs over seeds --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """A mean over seeds with the sample standard deviation, NaN where there is one seed only."""

    mean: float
    std: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Measured":
        return cls(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else math.nan)

    def __str__(self) -> str:
        return f"{self.mean:.2f}" if math.isnan(self.std) else f"{self.mean:.2f}\u00a0±\u00a0{self.std:.2f}"


@dataclass(frozen=True)
class Difference:
    """A difference with the ends of its confidence interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{_signed(self.value)} ({_signed(self.low)} to {_signed(self.high)})"


def per_seed(experiment: Mapping[str, Sequence[Run]], names: tuple[str, str], protocol: str) -> pd.DataFrame:
    """Test metrics of every run: ``label``, ``seed``, ``domain`` (its name) and METRICS in percent."""
    rows = []
    for label, runs in experiment.items():
        for run in runs:
            metrics = run.metrics[run.metrics["protocol"] == protocol]
            for row in metrics.to_dict("records"):
                rows.append({"label": label, "seed": run.config["seed"], "domain": names["xy".index(row["domain"])],
                             **{metric: 100 * row[metric] for metric in METRICS}})
    return pd.DataFrame(rows, columns=["label", "seed", "domain", *METRICS])


def over_seeds(experiment: Mapping[str, Sequence[Run]], names: tuple[str, str], protocol: str,
               metrics: Sequence[str] = HEADLINE) -> pd.DataFrame:
    """Mean and standard deviation over seeds: ``Target``, ``Model`` and a column of ``Measured`` for each metric."""
    values = per_seed(experiment, names, protocol)
    rows = []
    for name in names:
        for label in experiment:
            chosen = values[(values["label"] == label) & (values["domain"] == name)]
            rows.append((name, label, *(Measured.of(chosen[metric]) for metric in metrics)))
    return pd.DataFrame(rows, columns=["Target", "Model", *metrics])


def comparison(experiment: Mapping[str, Sequence[Run]], source: str, scenario: str, protocol: str, name: str
               ) -> Markdown:
    """The table of ``over_seeds`` for a page, captioned with what its runs have in common."""
    runs = [run for group in experiment.values() for run in group]
    seeds = sorted({run.config["seed"] for run in runs})
    repeats = f"mean ± standard deviation over seeds {', '.join(map(str, seeds))}" if len(seeds) > 1 else \
        f"seed {seeds[0]} alone"
    caption = f"{title(source, scenario)}, test metrics in percent {PROTOCOL_NAMES[protocol]}: {repeats}. " \
              f"{training_data(runs[0])}"
    return show(over_seeds(experiment, DOMAIN_NAMES[scenario], protocol), caption, name, best=True)


def inventory(results: Mapping[str, Mapping[str, Sequence[Run]]]) -> Markdown:
    """Which runs there are, by scenario, in a sentence each; one sentence if there are none."""
    from IPython.display import Markdown

    lines = [f"- {title(runs[0].config['source'], scenario)}: "
             + ", ".join(f"{label} ({len(group)} runs)" for label, group in experiment.items())
             for scenario, experiment in results.items() for runs in [next(iter(experiment.values()))]]
    return Markdown("\n".join(lines) or "This version of the book ships no results on the paper's test sets.")


def training_data(run: Run) -> str:
    """What a run was trained on, in a sentence; on the paper's data also which share of the paper's that is."""
    count, of_paper = run.provenance["cases"]["train"], ""
    if run.config["source"] == "c2dsr":
        from ifcdsr_core.statistics import PAPER_TABLE1

        paper = int(PAPER_TABLE1.loc[PAPER_TABLE1["scenario"] == run.config["scenario"], "train"].iloc[0])
        of_paper = f", or {count / paper:.0%} of the number that the paper trains on"
    return f"Trained on {run.provenance['trained_on']}: {count:,}{of_paper}."


def beside_paper(experiment: Mapping[str, Sequence[Run]], scenario: str) -> pd.DataFrame:
    """MRR of the models that both we and the paper ran, printed values beside ours: only for the paper's own test set.

    IFCDSR without images is none of the paper's models and is left out.
    """
    columns = ["Target", "Model"]
    ours = over_seeds(experiment, DOMAIN_NAMES[scenario], "sampled_999", ("MRR",)).rename(columns={"MRR": "MRR here"})
    paper = PAPER_COMPARISON[scenario][[*columns, "MRR"]].rename(columns={"MRR": "MRR in the paper"})
    return ours.merge(paper, on=columns)


def shipped_runs(source: str, scenario: str, folder: Path | None = None) -> dict[str, list[Run]]:
    """The committed runs on a data set, by model, in the order of MODELS and of seeds; empty if there are none.

    Raises:
        InputError: a run folder is damaged.
    """
    from ifcdsr_core.models import MODELS
    from ifcdsr_core.run import Run

    found: dict[str, list[Run]] = {}
    folders = sorted((folder or results_dir() / "runs").glob(f"{source}-{scenario}-*/"))
    runs = sorted(map(Run.load, folders),
                  key=lambda run: (list(MODELS).index(run.config["model"]), run.config["seed"]))
    for run in runs:
        without = "" if run.config["model_options"].get("image_fusion", True) else " (no images)"
        found.setdefault(model_name(run.config["model"]) + without, []).append(run)
    return found


# --- paired differences -----------------------------------------------------------------------------------------------


def case_differences(experiment: Mapping[str, Sequence[Run]], reference: str, names: tuple[str, str], protocol: str,
                     metrics: Sequence[str] = HEADLINE) -> pd.DataFrame:
    """``reference`` minus every other label, with 95 % bootstrap intervals over the test cases, in points.

    The metric of a case is averaged over seeds first, and cases are paired, since all runs rank the same ones.

    Returns:
        One row a label and domain: ``Difference``, ``Target`` and a column of ``Difference`` for each metric.

    Raises:
        InputError: the runs were tested on different cases.
    """
    domain = experiment[reference][0].ranks["target_domain"].to_numpy()
    rows = []
    for label in (label for label in experiment if label != reference):
        _check_same_cases([*experiment[reference], *experiment[label]])
        difference = {metric: _case_means(experiment[reference], protocol, metric)
                      - _case_means(experiment[label], protocol, metric) for metric in metrics}  # (cases,) each
        for name, code in zip(names, "xy"):
            chosen = {metric: values[domain == code] for metric, values in difference.items()}
            rows.append({"Difference": f"{reference} − {label}", "Target": name,
                         **{metric: Difference(float(values.mean()), *bootstrap_interval(values))
                            for metric, values in chosen.items()}})
    return pd.DataFrame(rows, columns=["Difference", "Target", *metrics])


def gains(after: Sequence[Run], before: Sequence[Run], names: tuple[str, str], protocol: str = "sampled_999",
          metric: str = "MRR") -> pd.DataFrame:
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
    for name, code in zip(names, "xy"):
        differences = np.stack([_case_means([a], protocol, metric) - _case_means([b], protocol, metric)
                                for a, b in zip(after, before)])[:, domain == code]  # (seeds, cases)
        of_seed, of_case = differences.mean(axis=1), differences.mean(axis=0)
        seed_error = Measured.of(of_seed).std / math.sqrt(len(of_seed))
        case_error = Measured.of(of_case).std / math.sqrt(len(of_case))
        gain, noise = float(of_seed.mean()), 2 * math.hypot(case_error, np.nan_to_num(seed_error))
        verdict = "within noise" if abs(gain) <= noise else "a gain" if gain > 0 else "a loss"
        rows.append({"domain": name, "gain": gain, "seed_error": seed_error, "case_error": case_error, "noise": noise,
                     "verdict": verdict})
    return pd.DataFrame(rows)


def step_gains(experiment: Mapping[str, Sequence[Run]], names: tuple[str, str], protocol: str = "sampled_999"
               ) -> pd.DataFrame:
    """Gains from each label of an experiment to the next, with the column ``step`` in front."""
    labels = list(experiment)
    parts = [gains(experiment[after], experiment[before], names, protocol).assign(step=after)
             for before, after in zip(labels, labels[1:])]
    return _first(pd.concat(parts, ignore_index=True), "step")


def image_gains(controls: Mapping[tuple[str, float], Mapping[str, Sequence[Run]]]) -> pd.DataFrame:
    """Gains of image fusion for each (scenario, visual_signal): the positive and the negative control."""
    parts = [gains(runs["with images"], runs["without images"], DOMAIN_NAMES[scenario])
             .assign(scenario=_unbroken("-".join(DOMAIN_NAMES[scenario])), visual_signal=signal)
             for (scenario, signal), runs in controls.items()]
    table = _first(pd.concat(parts, ignore_index=True), "scenario", "visual_signal")
    return table.assign(visual_signal=_whole(table["visual_signal"]))


def control_verdict(table: pd.DataFrame) -> str:
    """What ``image_gains`` says, in sentences made of its numbers."""
    sentences = []
    for signal, part in table.groupby("visual_signal", sort=True):
        counts = part["verdict"].value_counts()
        sentences.append(
            f"With `visual_signal` = {signal:g}, image fusion changes the MRR by {_signed(part['gain'].mean())} points "
            f"on average over {len(part)} comparisons: {counts.get('a gain', 0)} of them show a gain beyond noise, "
            f"{counts.get('a loss', 0)} a loss, {counts.get('within noise', 0)} are within noise.")
    if table["seed_error"].isna().any():
        sentences.append("With one seed the noise of training is not known and left out.")
    negative, positive = table[table["visual_signal"] == 0], table[table["visual_signal"] > 0]
    for part, name, gain_expected in ((negative, "negative", False), (positive, "positive", True)):
        if len(part):
            held = int(((part["verdict"] == "a gain") == gain_expected).sum())
            word = "holds" if held == len(part) else f"holds in {held} of {len(part)} comparisons"
            sentences.append(f"**The {name} control {word}.**")
    return " ".join(sentences)


def _case_means(runs: Sequence[Run], protocol: str, metric: str) -> np.ndarray:
    """A metric per test case, averaged over runs, in percent, (cases,)."""
    return 100 * np.mean([per_case(run.ranks[protocol].to_numpy(), metric) for run in runs], axis=0)


def _check_same_cases(runs: Sequence[Run]) -> None:
    columns = [name for name in ("user", "target_item", "target_domain") if name in runs[0].ranks]
    for run in runs[1:]:
        if not run.ranks[columns].equals(runs[0].ranks[columns]):
            raise InputError(f"{run.folder.name} and {runs[0].folder.name} were tested on different cases: "
                             "only runs on the same data can be compared")


def _first(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    return table[[*columns, *(name for name in table.columns if name not in columns)]]


def _signed(value: float) -> str:
    return f"{value:+z.2f}".replace("-", "−")


# --- one run ----------------------------------------------------------------------------------------------------------


def run_settings(run: Run) -> pd.DataFrame:
    """What a run was asked to do and what it found: ``Setting``, ``Value``."""
    config = {name: value for name, value in run.config.items() if not isinstance(value, dict)}
    settings = config | run.config["source_options"] | run.config["model_options"]
    facts = {"trained on": run.provenance["trained_on"], "trainable parameters": run.provenance["parameters"],
             **{f"{split} cases": count for split, count in run.provenance["cases"].items()},
             "best epoch": f"{run.best_epoch} of {len(run.history)}"}
    rows = [(name, f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value))
            for name, value in {**settings, **facts}.items()]
    return pd.DataFrame(rows, columns=["Setting", "Value"])


def run_metrics(run: Run, names: tuple[str, str]) -> pd.DataFrame:
    """All test metrics of a run in percent, a row for each protocol and target domain."""
    table = run.metrics.copy()
    table[list(METRICS)] *= 100
    table["protocol"] = table["protocol"].map({"sampled_999": "999 negatives", "full": "all items"})
    table["domain"] = table["domain"].map(dict(zip("xy", names)))
    return table.rename(columns={"protocol": "Ranked among", "domain": "Target", "cases": "Cases"})


def run_summary(run: Run, names: tuple[str, str]) -> str:
    """The last words of a training: what was run, its metrics, where its folder is."""
    what = f"{model_name(run.config['model'])} on {title(run.config['source'], run.config['scenario'])}, " \
           f"seed {run.config['seed']}. {training_data(run)}\nTest metrics in percent:"
    table = run_metrics(run, names).to_string(index=False, float_format="{:.2f}".format)
    return f"{what}\n{table}\nrun folder: {_shown_path(run.folder)}"


def _shown_path(path: Path) -> str:
    """Relative to the checkout where it lies inside, so that pages do not tell where the checkout is."""
    return os.path.relpath(path, ROOT) if path.is_relative_to(ROOT) else str(path)


# --- data sets --------------------------------------------------------------------------------------------------------

# Headings of the tables of statistics.py that pages show; "(%)" makes a percentage of a share.
_HEADINGS = {
    "table1": {"domain": "Domain", "items": "Items", "train": "Train", "valid": "Valid", "test": "Test",
               "avg_length": "Avg. length"},
    "lengths": {"split": "Split", "sequences": "Sequences", "mean": "Mean", "min": "Shortest", "median": "Median",
                "max": "Longest"},
    "concentration": {"domain": "Domain", "items": "Items", "untouched": "Untouched (%)", "gini": "Gini",
                      "head_share": "Top fifth has (%)", "top": "Most popular"},
    "order_ties": {"split": "Split", "tied_pairs": "Tied neighbours (%)", "target_tied": "Tied targets (%)",
                   "domain_open": "Open domains (%)", "targets_x": "Targets in X", "targets_x_least": "At least",
                   "targets_x_most": "At most"},
    "unseen_targets": {"trained_on": "Trained on", "split": "Targets of", "domain": "Domain", "targets": "Targets",
                       "unseen": "Unseen", "unseen_share": "Unseen (%)"},
}


def statistics_of(source: str, scenarios: Sequence[str]) -> dict[str, dict[str, pd.DataFrame]]:
    """The shipped tables of ``statistics`` on some scenarios of a source, under the title of each.

    Raises:
        InputError: there are none, or they are damaged.
    """
    from ifcdsr_core.statistics import load_summary, read_tables

    return {title(source, name): read_tables(load_summary(source, name)) for name in scenarios}


def data_table(numbers: Mapping[str, Mapping[str, pd.DataFrame]], table: str) -> pd.DataFrame:
    """One table of ``statistics.TABLES`` for several data sets, one below the other, with readable headings.

    Args:
        numbers: tables by name, as ``statistics.read_tables`` gives them, under the title of each data set.
    """
    headings, parts = _HEADINGS[table], []
    for name, given in numbers.items():
        part = given[table][list(headings)].rename(columns=headings)
        for heading in part.columns[part.columns.str.endswith("(%)")]:
            part[heading] = 100 * part[heading].astype(float)
        for heading in part.columns[~part.columns.str.endswith("(%)")]:
            part[heading] = _whole(part[heading])
        parts.append(part.assign(Data=_unbroken(name)))
    return _first(pd.concat(parts, ignore_index=True), "Data")


def against_paper(numbers: Mapping[str, Mapping[str, pd.DataFrame]]) -> pd.DataFrame:
    """Table 1 of the paper's own files beside the printed one, for data sets that have ``table1_against_paper``."""
    table = pd.concat([given["table1_against_paper"].assign(data=_unbroken(name)) for name, given in numbers.items()],
                      ignore_index=True)
    counts = table["quantity"] != "avg_length"
    for column in ("ours", "paper", "difference"):  # counts without decimals, in one column with averages
        table[column] = _whole(table[column][counts]).combine_first(table[column].astype(object))
    table["quantity"] = table["quantity"].replace("avg_length", "avg. length")
    return _first(table.drop(columns="note"), "data").rename(columns=str.capitalize)


def paper_remarks(numbers: Mapping[str, Mapping[str, pd.DataFrame]]) -> Markdown:
    """What has to be known about differences to Table 1, as a list; what follows from the files' own numbering."""
    from IPython.display import Markdown

    noted = [(name, row) for name, given in numbers.items()
             for row in given["table1_against_paper"].itertuples() if row.note]
    lines = [f"- {escape(name)}, {escape(row.quantity.replace('avg_length', 'average length'))}: {escape(row.note)}."
             for name, row in noted]
    return Markdown("\n".join(lines) or "All quantities of the table could be counted.")


def _unbroken(text: str) -> str:
    """The title of a data set so that a narrow column breaks it before the bracket only."""
    return text.replace("-", "\u2011").replace(" ", "\u00a0").replace("\u00a0(", " (")


def _whole(column: pd.Series) -> pd.Series:
    """Floats that are all whole or NaN as whole numbers, so that they show without decimals; else as it is."""
    if column.dtype != float or not (column.dropna() % 1 == 0).all():
        return column
    return pd.Series([value if math.isnan(value) else int(value) for value in column], column.index, dtype=object)


# --- picture features -------------------------------------------------------------------------------------------------


def feature_counts(scenario: Scenario, missing: np.ndarray) -> pd.DataFrame:
    """How many items of each domain have a picture, and how many take the fallback."""
    in_y = scenario.items["domain"].to_numpy() == "y"
    rows = [(name, int(mask.sum()), int((mask & ~missing).sum()), int((mask & missing).sum()))
            for name, mask in zip(scenario.domain_names, (~in_y, in_y))]
    return pd.DataFrame(rows, columns=["Domain", "Items", "With picture", "Without (fallback)"])


def nearest_neighbours(matrix: np.ndarray, queries: np.ndarray, among: np.ndarray, k: int) -> np.ndarray:
    """The k rows most similar to each query by cosine, the query itself left out.

    Args:
        matrix: (V, e) rows of length one.
        queries: (Q,) row numbers.
        among: (V,) bool, the rows that may be found.

    Returns:
        (Q, k) row numbers, most similar first.
    """
    similarity = np.where(among, matrix[queries] @ matrix.T, -np.inf)  # (Q, V)
    similarity[np.arange(len(queries)), queries] = -np.inf
    return np.argsort(-similarity, axis=1, kind="stable")[:, :k]


def neighbour_agreement(scenario: Scenario, matrix: np.ndarray, k: int = 5) -> pd.DataFrame:
    """How often the k nearest pictures share an attribute with the query's, in percent, beside what chance would give.

    Only for attributes that the scenario's items name (those of the demo do): a kind belongs to one domain, so it is
    not compared across domains. Empty where no attribute is named.
    """
    in_y = scenario.items["domain"].to_numpy() == "y"
    rows = []
    for attribute in (name for name in ("colour", "pattern", "kind") if name in scenario.items):
        values = scenario.items[attribute].to_numpy()
        for where, other in (("own domain", False), ("other domain", True)):
            if attribute == "kind" and other:
                continue
            hits, chance = [], []
            for of_y in (False, True):
                queries, among = np.flatnonzero(in_y == of_y), in_y == (of_y != other)
                found = nearest_neighbours(matrix, queries, among, k)  # (Q, k)
                hits.append(values[found] == values[queries, None])
                frequency = pd.Series(values[among]).value_counts(normalize=True)
                chance.append(frequency.reindex(values[queries], fill_value=0.0).to_numpy())
            rows.append((attribute, where, 100 * np.concatenate(hits).mean(), 100 * np.concatenate(chance).mean()))
    return pd.DataFrame(rows, columns=["Attribute", "Neighbours in", "Same (%)", "By chance (%)"])


def sample_rows(missing: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Up to ``count`` random rows of items that have a picture, in order."""
    with_picture = np.flatnonzero(~missing)
    return np.sort(np.random.default_rng(seed).permutation(with_picture)[:count])


def flat_map(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """Places (R, 2) in a t-SNE map, which keeps near what is near by cosine; distances between groups mean little."""
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(features) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", metric="cosine", random_state=seed, n_jobs=1).fit_transform(features)


def zero_shot() -> pd.DataFrame:
    """Zero-shot accuracy of the shipped small CLIP, as recorded beside its weights, in percent."""
    record = json.loads((Path(__file__).parent / "weights" / "small_clip.json").read_text(encoding="utf-8"))
    rows = [(pictures.replace("_", " "), asked, 100 * score["accuracy"], 100 * score["chance"])
            for pictures, scores in record["zero_shot"].items() for asked, score in scores.items()]
    return pd.DataFrame(rows, columns=["Pictures", "Asked for", "Accuracy (%)", "By chance (%)"])


# --- on a page --------------------------------------------------------------------------------------------------------


_GAIN_HEADINGS = {"step": "Step", "scenario": "Scenario (demo)", "visual_signal": "Visual signal", "domain": "Target",
                  "gain": "Gain in MRR", "seed_error": "Std. error over seeds", "case_error": "Std. error over cases",
                  "noise": "Noise (±)", "verdict": "Verdict"}


def show(table: pd.DataFrame, caption: str, name: str | None = None, best: bool = False) -> Markdown:
    """A table for a page, numbered and captioned in the book: a MyST table directive.

    The cell that shows it carries the metadata ``mystnb: {markdown_format: myst}``. Text is set left, all else right.
    What neighbouring rows have in common in the first column is said once.

    Args:
        table: an index with a name becomes the first column.
        name: label for references, unique in the book.
        best: set the largest number of each column bold, among the rows that share their first column.
    """
    from IPython.display import Markdown

    table = (table.reset_index() if table.index.name else table).rename(columns=_GAIN_HEADINGS)
    cells = table.map(_text).map(escape)
    group = table.iloc[:, 0]
    if best:
        numbers = table.map(lambda cell: cell.mean if isinstance(cell, Measured) else cell).select_dtypes("number")
        largest = numbers == numbers.groupby(group).transform("max")
        cells[numbers.columns] = cells[numbers.columns].mask(largest, "**" + cells[numbers.columns] + "**")
    cells.isetitem(0, cells.iloc[:, 0].where(group != group.shift(), ""))
    rule = [":--" if table[heading].map(lambda cell: isinstance(cell, str)).any() else "--:" for heading in table]
    lines = [[escape(heading) for heading in table.columns], rule, *cells.to_numpy().tolist()]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    option = f":name: {name}\n" if name else ""
    return Markdown(f":::{{table}} {escape(caption)}\n{option}\n{body}\n\n:::")


def escape(text: str) -> str:
    """``text`` so that MyST shows it as it is, on one line."""
    line = re.sub(r"[ \t\r\n]+", " ", text).strip()  # no-break spaces stay
    special = r"\`*_{}[]<>|$~^&"
    return "".join(f"\\{character}" if character in special else character for character in line)


def _text(cell) -> str:
    if isinstance(cell, float):
        return "–" if math.isnan(cell) else f"{cell:z,.2f}".replace("-", "−")
    if isinstance(cell, (int, np.integer)) and not isinstance(cell, bool):
        return f"{cell:,}".replace("-", "−")
    return "–" if cell is None else str(cell)
