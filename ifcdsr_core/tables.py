"""Tables of a run, of a data set, of picture features, for pages."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ifcdsr_core.comparisons import training_data
from ifcdsr_core.metrics import METRICS
from ifcdsr_core.page import escape, first_columns, model_name, title, unbroken, whole
from ifcdsr_core.paths import ROOT, results_dir
from ifcdsr_core.run import Run
from ifcdsr_core.scenario import Scenario

if TYPE_CHECKING:
    from IPython.display import Markdown


# --- one run ----------------------------------------------------------------------------------------------------------


def run_settings(run: Run) -> pd.DataFrame:
    """What a run was asked to do and what it found: ``Setting``, ``Value``."""
    config = {name: value for name, value in run.config.items() if not isinstance(value, dict)}
    settings = config | run.config["source_options"] | run.config["model_options"]
    facts = {
        "trained on": run.provenance["trained_on"],
        "trainable parameters": run.provenance["parameters"],
        **{f"{split} cases": count for split, count in run.provenance["cases"].items()},
        "best epoch": f"{run.best_epoch} of {len(run.history)}",
    }
    rows = [
        (name, f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value))
        for name, value in {**settings, **facts}.items()
    ]
    return pd.DataFrame(rows, columns=["Setting", "Value"])


def run_metrics(run: Run, names: tuple[str, str]) -> pd.DataFrame:
    """All test metrics of a run in percent, a row for each protocol and target domain."""
    table = run.metrics.copy()
    table[list(METRICS)] *= 100
    table["protocol"] = table["protocol"].map({"sampled_999": "999 negatives", "full": "all items"})
    table["domain"] = table["domain"].map(dict(zip("xy", names, strict=True)))
    return table.rename(columns={"protocol": "Ranked among", "domain": "Target", "cases": "Cases"})


def run_summary(run: Run, names: tuple[str, str]) -> str:
    """The last words of a training: what was run, its metrics, where its folder is."""
    what = (
        f"{model_name(run.config['model'])} on {title(run.config['source'], run.config['scenario'])}, "
        f"seed {run.config['seed']}. {training_data(run)}\nTest metrics in percent:"
    )
    table = run_metrics(run, names).to_string(index=False, float_format="{:.2f}".format)
    return f"{what}\n{table}\nrun folder: {_shown_path(run.folder)}"


def _shown_path(path: Path) -> str:
    """Relative to the checkout where it lies inside, so that pages do not tell where the checkout is."""
    return os.path.relpath(path, ROOT) if path.is_relative_to(ROOT) else str(path)


# --- data sets --------------------------------------------------------------------------------------------------------

# Headings of the tables of statistics.py that pages show; "(%)" makes a percentage of a share.
_HEADINGS = {
    "table1": {
        "domain": "Domain",
        "items": "Items",
        "train": "Train",
        "valid": "Valid",
        "test": "Test",
        "avg_length": "Avg. length",
    },
    "lengths": {
        "split": "Split",
        "sequences": "Sequences",
        "mean": "Mean",
        "min": "Shortest",
        "median": "Median",
        "max": "Longest",
    },
    "concentration": {
        "domain": "Domain",
        "items": "Items",
        "untouched": "Untouched (%)",
        "gini": "Gini",
        "head_share": "Top fifth has (%)",
        "top": "Most popular",
    },
    "order_ties": {
        "split": "Split",
        "tied_pairs": "Tied neighbours (%)",
        "target_tied": "Tied targets (%)",
        "domain_open": "Open domains (%)",
        "targets_x": "Targets in X",
        "targets_x_least": "At least",
        "targets_x_most": "At most",
    },
    "unseen_targets": {
        "trained_on": "Trained on",
        "split": "Targets of",
        "domain": "Domain",
        "targets": "Targets",
        "unseen": "Unseen",
        "unseen_share": "Unseen (%)",
    },
}


def statistics_of(source: str, scenarios: Sequence[str]) -> dict[str, dict[str, pd.DataFrame]]:
    """The shipped tables of ``statistics`` on some scenarios of a source, under the title of each.

    Raises:
        InputError: there are none, or they are damaged.
    """
    from ifcdsr_core.statistics import load_summary, read_tables

    return {title(source, name): read_tables(load_summary(source, name)) for name in scenarios}


def num_items(source: str, scenario: str) -> tuple[int, int]:
    """Items of each domain, from the shipped statistics.

    Raises:
        InputError: there are none.
    """
    table = next(iter(statistics_of(source, [scenario]).values()))["table1"]
    return tuple(int(count) for count in table["items"])


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
            part[heading] = whole(part[heading])
        parts.append(part.assign(Data=unbroken(name)))
    return first_columns(pd.concat(parts, ignore_index=True), "Data")


def against_paper(numbers: Mapping[str, Mapping[str, pd.DataFrame]]) -> pd.DataFrame:
    """Table 1 of the paper's own files beside the printed one, for data sets that have ``table1_against_paper``."""
    table = pd.concat(
        [given["table1_against_paper"].assign(data=unbroken(name)) for name, given in numbers.items()],
        ignore_index=True,
    )
    counts = table["quantity"] != "avg_length"
    for column in ("ours", "paper", "difference"):  # counts without decimals, in one column with averages
        table[column] = whole(table[column][counts]).combine_first(table[column].astype(object))
    table["quantity"] = table["quantity"].replace("avg_length", "avg. length")
    return first_columns(table.drop(columns="note"), "data").rename(columns=str.capitalize)


def paper_remarks(numbers: Mapping[str, Mapping[str, pd.DataFrame]]) -> Markdown:
    """What has to be known about differences to Table 1, as a list; what follows from the files' own numbering."""
    from IPython.display import Markdown

    noted = [
        (name, row) for name, given in numbers.items() for row in given["table1_against_paper"].itertuples() if row.note
    ]
    lines = [
        f"- {escape(name)}, {escape(row.quantity.replace('avg_length', 'average length'))}: {escape(row.note)}."
        for name, row in noted
    ]
    return Markdown("\n".join(lines) or "All quantities of the table could be counted.")


# --- picture features -------------------------------------------------------------------------------------------------


def feature_counts(scenario: Scenario, missing: np.ndarray) -> pd.DataFrame:
    """How many items of each domain have a picture, and how many take the fallback."""
    in_y = scenario.items["domain"].to_numpy() == "y"
    rows = [
        (name, int(mask.sum()), int((mask & ~missing).sum()), int((mask & missing).sum()))
        for name, mask in zip(scenario.domain_names, (~in_y, in_y), strict=True)
    ]
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


def enhancement_costs() -> pd.DataFrame:
    """The shipped estimates of ``enhance --dry-run --keep``, for a page."""
    kept = pd.read_csv(results_dir() / "enhancement.csv")
    return pd.DataFrame(
        {
            "Data": [unbroken(title(row.source, row.scenario)) for row in kept.itertuples()],
            "Titles": kept["titles"],
            "Items without": kept["without_title"],
            "Prompt tokens": kept["prompt_tokens"],
            "Answer tokens": kept["answer_tokens"],
            "USD": kept["cost"],
        }
    )


def enhanced_examples(scenario: Scenario, count: int = 2, seed: int = 0) -> pd.DataFrame:
    """Some titles of each domain of the demo, and the texts rules make of them: ``Domain``, ``Title``, ``Text``."""
    from ifcdsr_core.texts import item_texts

    enhanced, domain = item_texts(scenario, "rules"), scenario.items["domain"].to_numpy()
    rows = [
        row for code in "xy" for row in np.random.default_rng(seed).permutation(np.flatnonzero(domain == code))[:count]
    ]
    return pd.DataFrame(
        [
            (
                scenario.domain_names["xy".index(domain[row])],
                scenario.items["title"].iloc[row],
                enhanced[row].removeprefix(scenario.items["title"].iloc[row]).lstrip(". "),
            )
            for row in rows
        ],
        columns=["Domain", "Title", "Added by rules"],
    )


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
    rows = [
        (pictures.replace("_", " "), asked, 100 * score["accuracy"], 100 * score["chance"])
        for pictures, scores in record["zero_shot"].items()
        for asked, score in scores.items()
    ]
    return pd.DataFrame(rows, columns=["Pictures", "Asked for", "Accuracy (%)", "By chance (%)"])
