"""Page 04, comparison: all models, and IFCDSR against each rival."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ifcdsr_core.analysis import paired
from ifcdsr_core.analysis.paired import Runs, beside_paper, reference
from ifcdsr_core.book.evidence import PROTOCOL_NAMES, training_course
from ifcdsr_core.book.figures import BLUE, GREY, ORANGE, by_domain, drawn, is_ours, nothing, percent, subplots
from ifcdsr_core.book.markup import data_title, escape, model_name, show, unbroken
from ifcdsr_core.runs import lists, search, store
from ifcdsr_core.scenario import DOMAIN_NAMES, DOMAINS

if TYPE_CHECKING:
    from IPython.display import Markdown


def search_best(outcome: pd.DataFrame) -> pd.DataFrame:
    """One line per model of ``search.load``: what was chosen, how it did on validation, and what the search took.

    ``Minutes`` are those of all candidates together on one core, each of their epochs once.
    """
    rows, settings = [], [*search.SETTINGS, *search.OPTIONS]
    for model, part in outcome.groupby("model", sort=False):
        row = search.best(part)
        rows.append(
            {
                "Model": model_name(model),
                "Learning rate": unbroken(f"{row['learning_rate']:g}"),
                "L2": unbroken(f"{row['l2']:g}"),
                "Dropout": row["dropout"],
                "Temperature": row["temperature"],
                "Best epoch": f"{row['best_epoch']:g} of {row['epochs']:g}",
                "Validation MRR": 100 * row["validation_mrr"],
                "Minutes": part.groupby(settings, dropna=False)["minutes"].max().sum(skipna=False),
            }
        )
    return pd.DataFrame(rows)


def patience(source: str, scenario: str) -> pd.DataFrame:
    """What the first round of a search passed over (``lists.passed_over``), under what was chosen, all to the plateau.

    One row per shipped run of seed 0, for the models that have any; none where there is none. No test case has a say.
    """
    chosen = [runs[0] for runs in store.shipped(lists.comparison(scenario, [0], source)).values()]
    others = [runs[0] for runs in store.shipped(lists.passed_over(scenario, source)).values()]
    searched = {run.config["model"] for run in others}
    columns = ["Model", "Rate", "L2", "Dropout", "Best epoch", "Validation MRR"]
    rows = [
        (
            model_name(run.config["model"]),
            f"{run.config['learning_rate']:g}{' (chosen)' if run is first else ''}",
            unbroken(f"{run.config['l2']:g}"),
            run.config["model_options"]["dropout"],
            run.best_epoch,
            100 * run.validation_mrr,
        )
        for first in chosen
        if first.config["model"] in searched
        for run in [first, *(other for other in others if other.config["model"] == first.config["model"])]
    ]
    return pd.DataFrame(rows, columns=columns)


def patience_verdict(table: pd.DataFrame) -> str:
    """What ``patience`` says, in one sentence."""
    firsts = table.groupby("Model", sort=False).head(1)
    others = table.drop(firsts.index)
    chosen = others["Model"].map(firsts.set_index("Model")["Validation MRR"])
    better = others[others["Validation MRR"] > chosen]
    which = [f"{row.Model} at rate {row.Rate}" for row in better.itertuples()]
    return (
        f"Of {len(others)} settings that were passed over, {len(better)} came further on validation than what was "
        f"chosen{f': {_listed(which)}' if which else ''}."
    )


def budget(results: Mapping[tuple[str, str], Runs]) -> pd.DataFrame:
    """How the models of all comparisons were trained: ``training_course`` under the title of each data set.

    ``Candidates``: among how many a search chose a model's settings; None where there was no search.

    Args:
        results: by source and scenario.
    """
    parts = []
    for (source, scenario), experiment in results.items():
        alike, course = lists.trained_alike(source, scenario), training_course(experiment)
        outcomes = [search.found(source, alike, experiment[label][0].config["model"]) for label in course["Model"]]
        candidates = [None if rows is None else search.num_candidates(rows) for rows in outcomes]
        course.insert(0, "Data", data_title(source, scenario))
        course.insert(2, "Candidates", pd.Series(candidates, dtype=object))
        parts.append(course)
    return pd.concat(parts, ignore_index=True)


def beside_authors(experiment: Runs, published: pd.DataFrame) -> pd.DataFrame:
    """ABXI's published MRR beside ours by its authors' choice of negatives, their ratio, and ours by the book's.

    Args:
        published: one of ``paper.PUBLISHED_ABXI``.
    """
    table = beside_paper(experiment, published, "unseen_999")
    pairs = zip(table["MRR here"], table["MRR printed"], strict=True)
    by_the_book = beside_paper(experiment, published)["MRR here"]
    return table.assign(Ratio=[here.mean / printed for here, printed in pairs], **{"999 of all kinds": by_the_book})


def of_more_users() -> pd.DataFrame:
    """Test MRR in percent of models that LLMCDSR's data have trained on the users of both domains, and on all.

    One row per domain and model that has both among the shipped runs, over the seeds that both have.
    """
    protocol, rows = "sampled_999", []
    few, more = (
        store.shipped(lists.comparison("food_kitchen", range(10), "llmcdsr", source_options={"train_users": users}))
        for users in ("both", "all")
    )
    for label in (label for label in more if label in few):
        both = paired.of_both_seeds(few[label], more[label])
        if not both[0]:
            continue
        for name, code in zip(DOMAIN_NAMES["food_kitchen"], DOMAINS, strict=True):
            means = [paired.case_means(runs, protocol, "MRR", code) for runs in both]
            gained = paired.Difference.over_seeds(paired.paired_values(*reversed(both), protocol, "MRR", code))
            rows.append((name, label, *(mean.mean() for mean in means), gained, len(both[0])))
    columns = ["Target", "Model", "Users of both domains", "All users", "Difference", "Seeds"]
    return pd.DataFrame(rows, columns=columns).sort_values("Target", kind="stable", ignore_index=True)


def against_rivals(experiment: Runs, source: str, scenario: str, protocol: str) -> Markdown:
    """``paired.against_rivals`` for a page, and what it says; nothing where no run is of IFCDSR."""
    from IPython.display import Markdown

    if not any(runs[0].config["model"] == "ifcdsr" for runs in experiment.values()):
        return Markdown("")
    ours = reference(experiment)
    table = paired.against_rivals(experiment, ours, DOMAIN_NAMES[scenario], protocol)
    caption = (
        f"{data_title(source, scenario)}: MRR of {ours} minus that of each rival, in percentage points "
        f"{PROTOCOL_NAMES[protocol]}."
    )
    shown = show(table, caption, f"tab-rivals-{source}-{scenario}")
    return Markdown(f"{shown.data}\n\n{rivals_verdict(table, ours)}")


def rivals_verdict(table: pd.DataFrame, reference: str) -> str:
    """What ``paired.against_rivals`` says, in one sentence per domain."""
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


def models(values: Mapping[str, pd.DataFrame], paper: Mapping[str, pd.DataFrame] | None = None) -> Figure:
    """The MRR of every run, one line per model, one point per seed; one panel per data set and domain.

    Args:
        values: ``paired.per_seed`` under the title of each data set.
        paper: printed values, shown beside them as diamonds: only where data and test cases are the paper's.
    """
    panels = by_domain(values)
    lines = max((part["label"].nunique() for _, _, part in panels), default=1)
    fig, axes = subplots(max(1, len(panels)), height=0.27 * lines + 0.8 if panels else 0.2)
    if not panels:
        nothing(axes[0])
    for number, (ax, (title, domain, part)) in enumerate(zip(axes, panels, strict=False)):
        labels = list(part["label"].unique())
        for position, label in enumerate(labels):
            scores = part.loc[part["label"] == label, "MRR"].to_numpy()
            colour = ORANGE if is_ours(label) else BLUE
            ax.vlines(scores.mean(), position - 0.3, position + 0.3, color=colour, linewidth=2.4, zorder=3)
            spread = 0.12 * (np.arange(len(scores)) - (len(scores) - 1) / 2)
            ax.scatter(scores, position + spread, s=22, color="white", edgecolor=colour, linewidth=1.2, zorder=4)
            if paper:
                row = (paper[title]["Target"] == domain) & (paper[title]["Model"] == label.partition(" (")[0])
                printed = paper[title].loc[row, "MRR"]
                ax.scatter(
                    printed,
                    [position] * len(printed),
                    marker="D",
                    s=34,
                    facecolor="none",
                    edgecolor=GREY,
                    linewidth=1.5,
                    zorder=5,
                )
        ax.set(
            title=drawn(f"{domain} {title.partition(' ')[2]}"),
            yticks=range(len(labels)),
            ylim=(len(labels) - 0.4, -0.6),
            yticklabels=[drawn(label) for label in labels] if number % 2 == 0 else [],
            xlabel="MRR",
        )
        ax.margins(x=0.08)
        ax.set_xlim(left=0)
        ax.grid(False, axis="y")
        percent(ax.xaxis)
    if paper and panels:
        fig.legend(
            handles=[
                plt.Line2D(
                    [],
                    [],
                    marker="D",
                    markerfacecolor="none",
                    color=GREY,
                    linestyle="",
                    label="printed in the paper (IFCDSR with images)",
                ),
                plt.Line2D(
                    [],
                    [],
                    marker="o",
                    color=BLUE,
                    markerfacecolor="white",
                    linestyle="",
                    label="our runs, one a seed; bar: mean",
                ),
            ],
            loc="outside lower center",
            ncols=2,
        )
    return fig
