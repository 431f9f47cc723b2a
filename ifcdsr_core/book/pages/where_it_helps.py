"""Page 05d, where it helps: gains by properties of test cases, in tables, words and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ifcdsr_core.analysis.paired import PValue, case_means, reference, signed
from ifcdsr_core.analysis.subgroups import PROPERTY_NAMES, WORDS, contributions, gain_by_group, mrr_by_group, random_mrr
from ifcdsr_core.book.figures import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    drawn,
    group_axis,
    is_ours,
    nothing,
    percent,
    subplots,
)
from ifcdsr_core.book.markup import data_title, escape
from ifcdsr_core.errors import InputError
from ifcdsr_core.runs.lists import FULL
from ifcdsr_core.runs.store import Run
from ifcdsr_core.scenario import DOMAIN_NAMES

Panels = dict[tuple[str, str], pd.DataFrame]  # by the title of a panel and what its axis shows
Results = Mapping[str, Mapping[str, Sequence[Run]]]  # runs by scenario and label


def mrr_figure(panels: Mapping[tuple[str, str], pd.DataFrame]) -> Figure:
    """MRR of a few labels by group of a property, with intervals, and the cases of each group below its name.

    Args:
        panels: ``subgroups.mrr_by_group`` by the title of a panel and what its axis shows.
    """
    fig, axes = subplots(len(panels), height=2.7, sharey=True)
    for ax, ((title, along), table) in zip(axes, panels.items(), strict=True):
        of_label = list(table.groupby("label", sort=False))
        for number, ((label, part), colour, line) in enumerate(
            zip(of_label, (ORANGE, GREY, BLUE, GREEN), ("-", "--", "-.", ":"), strict=False)
        ):
            at = np.arange(len(part)) + 0.08 * (number - (len(of_label) - 1) / 2)  # so that no whisker hides another
            ax.errorbar(
                at,
                part["MRR"],
                yerr=[part["MRR"] - part["low"], part["high"] - part["MRR"]],
                color=colour,
                marker="o",
                capsize=3,
                linewidth=1.4,
                linestyle=line,
                label=drawn(label),
                clip_on=False,
            )
        group_axis(ax, part["group"], [f"n = {cases:,}" for cases in part["cases"]], title, along)
        percent(ax.yaxis)
    axes[0].set_ylim(bottom=0)
    for ax in axes[::2]:
        ax.set_ylabel("MRR")
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return fig


def models_figure(panels: Mapping[tuple[str, str], pd.DataFrame], chance: float, logarithmic: bool = True) -> Figure:
    """MRR of all models by group of a property, and the share of the cases below the name of each group.

    Args:
        panels: ``subgroups.mrr_by_group`` by the title of a panel and what its axis shows.
        chance: MRR of a random order, percent.
    """
    counted = {"Popularity": (GREEN, ":"), "Co-occurrence": (BLUE, "--")}
    fig, axes = subplots(max(1, len(panels)), height=2.9 if panels else 0.2, sharey=True)
    if not panels:
        nothing(axes[0])
        return fig
    for number, (ax, ((title, along), table)) in enumerate(zip(axes, panels.items(), strict=True)):
        for label, part in table.groupby("label", sort=False):
            colour, line = counted.get(label, (ORANGE, "-") if is_ours(label) else ("#B6BCC6", "-"))
            told = colour != "#B6BCC6"
            ax.plot(
                range(len(part)),
                part["MRR"],
                color=colour,
                linestyle=line,
                marker="o" if told else None,
                linewidth=2.2 if told else 1,
                zorder=3 if told else 2,
                label=drawn(label) if told else "other models that learn",
            )
        ax.axhline(chance, color=BLACK, linewidth=1, linestyle=":", label="random order")
        group_axis(ax, part["group"], [f"{share:.0f} %" for share in part["share"]], title, along)
        ax.set(**{"yscale": "log"} if logarithmic else {"ylim": (0, None)})
        percent(ax.yaxis)
        if number % 2 == 0:
            ax.set_ylabel("MRR, logarithmic" if logarithmic else "MRR")
    handles = dict(zip(*reversed(axes[0].get_legend_handles_labels()), strict=True))
    fig.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3)
    return fig


def trends_verdict(table: pd.DataFrame) -> str:
    """What ``trends`` says, as a list with one sentence per claim and a count at the end."""
    lines = []
    for row in table.to_dict("records"):
        what, along = f"the gain of {escape(row['Gain of'])}", escape(row["Along"])
        numbers = f"ρ = {signed(row['ρ'])}, p {_compared(row['p (Holm)'])}; same sign in {row['Seeds']} seeds"
        apart = f"highest less lowest third: {row['Ends apart']} points"
        direction = "rises" if row["ρ"] > 0 else "falls"
        claimed = {"rises": "should rise", "falls": "should fall"}.get(row["Claimed"])
        start = f"**{along}**: "
        if row["Verdict"] == "no trend":
            end = f", though it {claimed}" if claimed else ""
            lines.append(f"{start}no trend was found in {what}{end} ({numbers}; {apart}).")
        elif row["Verdict"] == "unclear":
            lines.append(f"{start}unclear: by rank {what} {direction}, its means do not ({numbers}; {apart}).")
        elif row["Verdict"] == "the opposite":
            lines.append(f"{start}the opposite of the claim: {what} {direction} ({numbers}; {apart}).")
        else:
            end = ", as claimed" if claimed else ", about which nothing is claimed"
            lines.append(f"{start}{what} {direction}{end} ({numbers}; {apart}).")
    claims = table[table["Claimed"] != WORDS[0]]
    count = claims["Verdict"].value_counts()
    lines.append(
        f"Of {len(claims)} claims, {count.get('as claimed', 0)} hold, for {count.get('the opposite', 0)} the "
        f"opposite does, {count.get('no trend', 0) + count.get('unclear', 0)} remain without support."
    )
    return "\n".join(f"- {line}" for line in lines)


def _compared(p: PValue) -> str:
    return str(p) if str(p).startswith("<") else f"= {p}"


def gain_panels(cases: Mapping[str, pd.DataFrame], results: Results, before: str, along: Sequence[str]) -> Panels:
    """``gain_by_group`` of IFCDSR over ``before``, both target domains together, by property and data set.

    Args:
        cases: ``case_properties`` by scenario.
        results: the runs of ``lists.parts`` by scenario.
        along: properties.
    """
    return {
        (_data_set(cases[name]), PROPERTY_NAMES[one]): gain_by_group(cases[name], runs[FULL], runs[before], one)
        for one in along
        for name, runs in results.items()
    }


def mrr_panels(
    cases: Mapping[str, pd.DataFrame], results: Results, labels: Sequence[str], along: Sequence[str]
) -> Panels:
    """``mrr_by_group`` of some labels, as ``gain_panels``."""
    return {
        (_data_set(cases[name]), PROPERTY_NAMES[one]): mrr_by_group(
            cases[name], {label: runs[label] for label in labels}, one
        )
        for one in along
        for name, runs in results.items()
    }


def domain_panels(cases: Mapping[str, pd.DataFrame], results: Results, along: str) -> Panels:
    """``mrr_by_group`` of all models, by target domain."""
    return {
        (f"{domain} {_data_set(cases[name]).partition(' ')[2]}", PROPERTY_NAMES[along]): mrr_by_group(
            cases[name], runs, along, domain=code
        )
        for name, runs in results.items()
        for domain, code in zip(DOMAIN_NAMES[name], "xy", strict=True)
    }


def _data_set(table: pd.DataFrame) -> str:
    return data_title(table.attrs["source"], table.attrs["scenario"])


def against_best(table: pd.DataFrame, experiment: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """``contributions`` by popularity to the lead of IFCDSR over the best other model, for both target domains.

    Returns:
        ``Target``, ``Group``, ``Cases``, ``Share`` (percent of the domain's cases), the ``MRR`` of IFCDSR, the best
        other model as ``Rival`` with ``Its MRR``, and ``Part`` of the difference in points.

    Raises:
        InputError: no runs of IFCDSR, or of no other model.
    """
    ours, parts = reference(experiment), []
    if len(experiment) < 2:
        raise InputError(f"{ours} is compared with another model: there is none")
    for domain, code in zip(DOMAIN_NAMES[table.attrs["scenario"]], "xy", strict=True):
        inside = (table["target_domain"] == code).to_numpy()
        rival = max(
            (label for label in experiment if label != ours),
            key=lambda label: case_means(experiment[label], "sampled_999", "MRR")[inside].mean(),
        )
        part = contributions(table, experiment[ours], experiment[rival], "popularity", code)
        parts.append(part.assign(Target=domain, Rival=rival))
    result = pd.concat(parts, ignore_index=True).astype({"group": str}).rename(columns=str.capitalize)
    result = result.rename(columns={"Ours": "MRR", "Other": "Its MRR"})
    return result[["Target", "Group", "Cases", "Share", "MRR", "Rival", "Its MRR", "Part"]]


def popularity_verdict(table: pd.DataFrame, experiment: Mapping[str, Sequence[Run]]) -> str:
    """What popularity explains of the results on a data set, in a few sentences per target domain.

    Args:
        table: ``case_properties``; experiment: runs by model, as ``lists.shipped_comparison`` gives them.
    """
    lead, chance, lines = against_best(table, experiment), random_mrr(), []
    ours = escape(reference(experiment))
    for (domain, part), code in zip(lead.groupby("Target", sort=False), "xy", strict=True):
        inside = (table["target_domain"] == code).to_numpy()
        unseen = inside & (table["popularity"] == 0).to_numpy()
        total, rival = part["Part"].sum(), escape(part["Rival"].iloc[0])
        word = "leads" if total > 0 else "trails"
        largest = part.iloc[(part["Part"] * np.sign(total)).argmax()]
        share = 100 * unseen.sum() / inside.sum()
        sentences = [f"**{escape(domain)}**: {share:.0f} % of the targets occur nowhere in training."]
        if unseen.any():
            values = [case_means(runs, "sampled_999", "MRR")[unseen].mean() for runs in experiment.values()]
            above = sum(value > chance for value in values)
            sentences.append(
                f"On these the MRRs lie between {min(values):.2f} and {max(values):.2f}; a random order "
                f"would have {chance:.2f}, which {above or 'none'} of the {len(values)} models "
                f"exceed{'s' if above < 2 else ''}."
            )
        sentences.append(
            f"{ours} {word} the best other model, {rival}, by {abs(total):.2f} points: "
            f"{signed(largest['Part'])} come from targets that occur {largest['Group']} times in "
            f"training ({largest['Share']:.0f} % of the cases), {signed(total - largest['Part'])} from "
            "all others."
        )
        lines.append(" ".join(sentences))
    return "\n".join(f"- {line}" for line in lines)
