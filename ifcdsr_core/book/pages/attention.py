"""Page 05e, attention: what a trained IFCDSR looks at, in tables, words and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ifcdsr_core.analysis.inspection import ALL, BY, Parts, attention, scorers, top_items
from ifcdsr_core.analysis.paired import LEVEL, signed
from ifcdsr_core.analysis.significance import holm
from ifcdsr_core.batches import XY, Batch, X, Y
from ifcdsr_core.book.figures import BLACK, DOMAIN_COLOURS, GREY, WIDTH, drawn, percent, pixels, subplots
from ifcdsr_core.book.markup import escape
from ifcdsr_core.models.ifcdsr import IFCDSR
from ifcdsr_core.scenario import PAD_ID, Scenario


def examples_table(chosen: pd.DataFrame, scenario: Scenario) -> pd.DataFrame:
    """``examples`` for a page: place, target domain, user, what was bought, and its rank among all of the domain."""
    test = scenario.split("test")
    target = [int(test["items"].iloc[case][-1]) for case in chosen["case"]]
    sizes = {"x": scenario.num_items_x, "y": scenario.num_items_y}
    return pd.DataFrame(
        {
            "Place": chosen["place"].to_numpy(),
            "Target": [scenario.domain_names["xy".index(code)] for code in chosen["target_domain"]],
            "User": test["user"].astype(str).to_numpy()[chosen["case"]],
            "Bought next": scenario.items["title"].to_numpy()[np.array(target, dtype=int) - 1],
            "Rank": [
                rank_text(rank, sizes[code]) for rank, code in zip(chosen["rank"], chosen["target_domain"], strict=True)
            ],
        }
    )


def rank_text(rank: float, count: int) -> str:
    """A rank in words; a shared one may be half-way between two."""
    return f"{rank:,g} of {count:,}"


def encoder_names(model: IFCDSR, names: tuple[str, str]) -> dict[str, str]:
    """The model's encoders in words: ``x_image`` is "Food by image", ``xy_id`` "merged by ID"."""
    words = {X: names[0], Y: names[1], XY: "merged"}
    return {
        f"{branch}_{modality}": f"{words[branch]} {BY.get(modality, modality)}"
        for branch in model.branches
        for modality in model.modalities
    }


def lag_verdict(lags: pd.DataFrame, words: Mapping[str, str]) -> str:
    """What ``by_lag`` says of the newest item, in one sentence per modality.

    Args:
        words: of ``encoder_names``.
    """
    sentences = []
    for modality in dict.fromkeys(encoder.rpartition("_")[2] for encoder in lags["encoder"]):
        told = []
        for encoder, part in lags.groupby("encoder", sort=False):
            if encoder.rpartition("_")[2] == modality:
                newest = part[part["lag"] == 0].iloc[0]
                name = escape(words[encoder].removesuffix(f" {BY.get(modality, modality)}"))
                told.append(
                    f"{name} {newest['weight']:.0%}, {newest['weight'] / newest['even']:.1f} times the even "
                    f"share of {newest['even']:.0%}"
                )
        sentences.append(f"{_sentence(BY.get(modality, modality))} the newest item gets: {'; '.join(told)}.")
    return " ".join(sentences)


def sharing_verdict(table: pd.DataFrame, words: Mapping[str, str]) -> str:
    """What ``sharing`` says, one paragraph per reference, with Holm's correction for all ratios of the table.

    Args:
        table: of ``sharing``, one or more below each other.
        words: of ``encoder_names``.
    """
    table = table.assign(beyond=holm(table["p"]) < LEVEL)
    table = table.assign(modality=table["encoder"].str.rpartition("_")[2])
    phrases = {"target": "with the target", "newest": "with the newest item"}
    paragraphs = []
    for reference, part in table.groupby("reference", sort=False):
        told = []
        for modality, rows in part.groupby("modality", sort=False):
            halves = [
                _beyond(rows[rows["shown"] == shown], what, words)
                for shown, what in ((True, "a picture shows"), (False, "no picture shows"))
            ]
            told.append(f"{_sentence(BY.get(modality, modality))}: {'; '.join(halves)}.")
        paragraphs.append(f"**Items that share something {phrases[reference]}.** {' '.join(told)}")
    depends = table.groupby(["modality", "shown"], sort=False)["beyond"].any()
    told = [
        f"{BY.get(modality, modality)} the attention {_depends(depends[modality, True], depends[modality, False])}"
        for modality in table["modality"].unique()
    ]
    return "\n\n".join([*paragraphs, f"Taken together: {'; '.join(told)}."])


def _depends(on_shown: bool, on_hidden: bool) -> str:
    if on_shown and on_hidden:
        return "depends on both, what a picture shows and what none shows"
    if on_shown:
        return "depends on what a picture shows, and not measurably on what none shows"
    if on_hidden:
        return "depends on what no picture shows, and not measurably on what one shows"
    return "depends measurably neither on what a picture shows nor on what none shows"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _beyond(rows: pd.DataFrame, what: str, words: Mapping[str, str]) -> str:
    rows = rows[rows["usual"].notna()]
    found = [
        f"{escape(words[row.encoder])}, {row.attribute}: {row.usual:.2f} ({row.usual_low:.2f} to {row.usual_high:.2f})"
        for row in rows[rows["beyond"]].itertuples()
    ]
    counted = f"of {len(rows)} ratios for what {what}, "
    if not found:
        return counted + "none differs from 1 beyond chance"
    return counted + f"{len(found)} differ{'s' if len(found) == 1 else ''} from 1 beyond chance ({', '.join(found)})"


def scorer_page(table: pd.DataFrame) -> pd.DataFrame:
    """``scorer_table`` for a page: one row per scorer, with MRR and difference from the whole for each domain."""
    wide = None
    for name, part in table.groupby("domain", sort=False):
        columns = pd.DataFrame(
            {
                "Uses": part["group"],
                "Scorer": part["scorer"],
                f"{name} MRR": part["MRR"],
                f"{name}: minus all": part["difference"].astype(object),
            }
        )
        wide = columns if wide is None else wide.merge(columns, on=["Uses", "Scorer"])
    return wide


def scorer_verdict(table: pd.DataFrame) -> str:
    """Who carries the result, in a few sentences per domain, made of ``scorer_table``."""
    paragraphs = []
    for name, part in table.groupby("domain", sort=False):
        whole = part.loc[part["scorer"] == ALL, "MRR"].iloc[0]
        single = part[part["group"] == "one encoder"].sort_values("MRR", ascending=False, kind="stable")
        best, worst = single.iloc[0], single.iloc[-1]
        sentences = [
            f"**{escape(name)}**: all parts together reach an MRR of {whole:.2f}. The best encoder alone is "
            f"*{best['scorer']}* with {best['MRR']:.2f} ({best['MRR'] / whole:.0%} of it), the weakest "
            f"*{worst['scorer']}* with {worst['MRR']:.2f}."
        ]
        modality = part[part["group"] == "one modality"].set_index("scorer")["MRR"]
        sentences.append(_sentence(", ".join(f"{label} {value:.2f}" for label, value in modality.items())) + ".")
        left_out = [
            f"*{row.scorer.removeprefix('without ')}* {signed(row.difference.value)}{_chance(row.holm)}"
            for row in part[part["group"] == "all but one branch"].itertuples()
        ]
        if left_out:
            sentences.append(f"Leaving out one branch changes the MRR by: {', '.join(left_out)}.")
        better = part[(part["holm"] < LEVEL) & part["difference"].map(lambda d: d is not None and d.value > 0)]
        level = part[(part["holm"] >= LEVEL) & (part["group"] != "all but one branch")]
        if len(better):
            sentences.append(f"Better than the whole, beyond chance: {_quoted(better['scorer'])}.")
        else:
            sentences.append("No part, and no leaving out, is better than the whole beyond chance.")
        sentences.append(
            f"Not told apart from the whole: {_quoted(level['scorer'])}."
            if len(level)
            else "Every encoder, branch and modality alone is told apart from the whole."
        )
        paragraphs.append(" ".join(sentences))
    return "\n\n".join(paragraphs)


def _chance(p: float) -> str:
    return "" if p < LEVEL else " (not beyond chance)"


def _quoted(labels: Sequence[str]) -> str:
    return ", ".join(f"*{label}*" for label in labels)


@dataclass(frozen=True)
class View:
    """One test case for the figures.

    Attributes:
        title: the user, the target domain, and the target's rank.
        items: (L,) ids of the merged history in time order; ``target``: the id of the next item.
        attention: (encoders, L), index in words; NaN where an item is not in the encoder's sub-sequence.
        top: (scorers, k) ids of the best items of the target's domain, best first, index in words.
        ranks: rank of the target among all items of its domain, by the same index.
        num_items: items of the target's domain.
    """

    title: str
    items: np.ndarray
    target: int
    attention: pd.DataFrame
    top: pd.DataFrame
    ranks: pd.Series
    num_items: int


def views(model: IFCDSR, scenario: Scenario, cases: Batch, chosen: pd.DataFrame, k: int = 10) -> dict[str, list[View]]:
    """The chosen cases with their attention and with what each encoder, and all together, recommend; by place.

    Args:
        cases: the encoded test split.
        chosen: of ``examples``.
    """
    rows = torch.as_tensor(chosen["case"].to_numpy(dtype=np.int64, copy=True))
    part, users = cases[rows.to(cases.item_seq.device)], scenario.split("test")["user"].astype(str).to_numpy()
    looks, words = attention(model, part), encoder_names(model, scenario.domain_names)
    found: dict[str, list[View]] = {}
    listed = [
        top_items(model, part, parts, k) for parts in _shown_scorers(model).values()
    ]  # (ids (C, k), ranks (C,)) each
    for number, row in enumerate(chosen.itertuples()):
        domain = "xy".index(row.target_domain)
        length = int((part.item_seq[number] != PAD_ID).sum())
        weights = looks[looks["case"] == number].pivot(index="encoder", columns="position", values="weight")
        weights = weights.reindex(index=list(words), columns=range(length)).rename(index=words)
        labels = [_scorer_words(label, scenario.domain_names, domain) for label in _shown_scorers(model)]
        ranks = pd.Series([rank[number] for _, rank in listed], index=labels)
        count = model.inputs.item_range(domain)[1]
        found.setdefault(row.place, []).append(
            View(
                f"User {users[row.case]}, next item in {scenario.domain_names[domain]}: "
                f"rank {rank_text(row.rank, count)}",
                part.item_seq[number, :length].cpu().numpy(),
                int(part.target_item[number]),
                weights,
                pd.DataFrame([ids[number] for ids, _ in listed], index=labels),
                ranks,
                count,
            )
        )
    return found


def _shown_scorers(model: IFCDSR) -> dict[str, Parts]:
    groups = scorers(model)
    return {**groups["one encoder"], **groups["everything"]}


def _scorer_words(label: str, names: tuple[str, str], domain: int) -> str:
    """A scorer's name with those of the domains: for a target in Food, "own by ID" is "Food by ID"."""
    role, _, rest = label.partition(" ")
    branch = {"own": names[domain], "source": names[1 - domain]}.get(role, role)
    return f"{branch} {rest}"


SLATE, VIOLET = "#4A5A74", "#6F5BC4"  # by ID and by image, as in the drawings of the introduction
OF_TARGET = {"edgecolor": BLACK, "linewidth": 2.2}  # frames of pictures
OF_HISTORY = {"edgecolor": GREY, "linewidth": 1.2, "linestyle": ":"}


def _colour(scorer: str) -> str:
    return VIOLET if "image" in scorer else SLATE if "ID" in scorer else BLACK


def attention_views(scenario: Scenario, views: Sequence[View]) -> Figure:
    """Each case's history as pictures, oldest first, the target apart; below, where every encoder looks, in percent.

    Args:
        views: of ``views``.
    """
    label, gap, line, row = 1.15, 0.22, 0.2, 0.185  # inches: encoder names, before the target, a title, a row of cells
    longest = max((len(view.items) for view in views), default=1)
    side = min(0.5, (WIDTH - label - gap - 0.05) / (longest + 1))
    heights = [line + side + 0.22 + row * len(view.attention) + 0.25 for view in views]
    ax = _sheet(sum(heights))
    for name, colour, x in zip(scenario.domain_names, DOMAIN_COLOURS, (WIDTH - 1.3, WIDTH - 0.65), strict=True):
        ax.text(x, line / 2, drawn(f"\u25a0 {name}", 20), fontsize=8, color=colour, va="center")
    top = 0.0
    for view, height in zip(views, heights, strict=True):
        ax.text(0, top + line / 2, drawn(view.title), fontsize=9.5, fontweight="bold", va="center")
        start, under = label + side * (longest - len(view.items)), top + line + side + 0.2
        for number, item in enumerate(view.items):
            _thumbnail(ax, scenario, item - 1, (start + number * side, top + line), side)
        _thumbnail(ax, scenario, view.target - 1, (label + side * longest + gap, top + line), side)
        for at, text in ((label + side * (longest - 0.5), "newest"), (label + side * (longest + 0.5) + gap, "target")):
            ax.text(at, under - 0.1, text, fontsize=7, color="#4B5563", ha="center", va="center")
        for number, (encoder, weights) in enumerate(view.attention.iterrows()):
            y = under + row * number + 0.04 * (number // 2)  # a little apart, pair by pair
            colour, middle = _colour(encoder), y + row / 2
            ax.text(label - 0.08, middle, drawn(encoder, 30), fontsize=8, ha="right", va="center", color=colour)
            for place, weight in enumerate(weights):
                if not np.isnan(weight):
                    x, shade = start + place * side, {"alpha": min(1.0, 0.04 + weight), "linewidth": 0}
                    ax.add_patch(plt.Rectangle((x, y), side, row, facecolor=colour, **shade))
                    ink = "white" if weight > 0.75 else BLACK
                    text = f"{100 * weight:.0f}"
                    ax.text(x + side / 2, middle, text, fontsize=7, ha="center", va="center", color=ink)
        top += height
    return ax.figure


def top_views(scenario: Scenario, views: Sequence[View]) -> Figure:
    """What each encoder would recommend first, one row per encoder, and last all together; the target framed black.

    What is in the history already has a dotted frame. At the left the rank of the target in that row, at the right the
    target itself.

    Args:
        views: of ``views``.
    """
    label, gap, line = 2.4, 0.35, 0.24  # inches: names and ranks, before the target, a title
    count = max((view.top.shape[1] for view in views), default=1)
    side = min(0.32, (WIDTH - label - gap) / (count + 1))
    heights = [line + side * len(view.top) + 0.25 for view in views]
    ax = _sheet(sum(heights))
    top = 0.0
    for view, height in zip(views, heights, strict=True):
        ax.text(0, top + line / 2, drawn(view.title), fontsize=9.5, fontweight="bold", va="center")
        for number, (scorer, items) in enumerate(view.top.iterrows()):
            y = top + line + side * number
            middle, rank = y + side / 2, rank_text(view.ranks[scorer], view.num_items)
            ax.text(label - 1.05, middle, drawn(scorer, 40), fontsize=8, ha="right", va="center", color=_colour(scorer))
            ax.text(label - 0.08, middle, rank, fontsize=7.5, ha="right", va="center", color="#4B5563")
            for place, item in enumerate(items[items > 0]):
                frame = OF_TARGET if item == view.target else OF_HISTORY if item in view.items else {"linewidth": 0}
                _thumbnail(ax, scenario, item - 1, (label + place * side, y), side, frame)
        x = label + count * side + gap
        _thumbnail(ax, scenario, view.target - 1, (x, top + line), side, OF_TARGET)
        ax.text(x + side / 2, top + line + side + 0.08, "target", fontsize=7, color="#4B5563", ha="center", va="center")
        top += height
    return ax.figure


def _sheet(height: float):
    """One axis over a whole figure of the page's width, with inches as its units and y downwards."""
    fig = plt.figure(figsize=(WIDTH, height), layout="none")
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, WIDTH), ylim=(height, 0))
    ax.set_axis_off()
    return ax


def _thumbnail(
    ax, scenario: Scenario, row: int, corner: tuple[float, float], side: float, frame: dict | None = None
) -> None:
    """A picture by its left upper corner, framed in the colour of its domain unless told otherwise."""
    (x, y), domain = corner, "xy".index(scenario.items["domain"].iloc[row])
    frame, inset = frame or {"edgecolor": DOMAIN_COLOURS[domain], "linewidth": 1.3}, 0.07 * side
    box = (x + inset, x + side - inset, y + side - inset, y + inset)
    ax.imshow(pixels(scenario, row), extent=box, interpolation="hamming", aspect="auto", zorder=2)
    ax.add_patch(plt.Rectangle((box[0], box[3]), box[1] - box[0], box[2] - box[3], facecolor="none", zorder=3, **frame))
    width, height = ax.figure.get_size_inches()
    ax.set(xlim=(0, width), ylim=(height, 0))  # imshow moves them


def attention_by_lag(lags: pd.DataFrame, words: Mapping[str, str]) -> Figure:
    """Mean attention by distance from the newest item beside the even share, one panel per sub-sequence.

    Args:
        lags: of ``inspection.by_lag``.
        words: names of the encoders.
    """
    branches = list(dict.fromkeys(encoder.rpartition("_")[0] for encoder in lags["encoder"]))
    fig, axes = subplots(len(branches), columns=3, height=2.5, sharey=True)
    for ax, branch in zip(axes, branches, strict=True):
        for modality, label, colour in (("id", "ID", SLATE), ("image", "image", VIOLET)):
            part = lags[lags["encoder"] == f"{branch}_{modality}"]
            ax.plot(part["lag"], 100 * part["weight"], marker="o", color=colour, label=label)
        ax.plot(part["lag"], 100 * part["even"], color=BLACK, linewidth=1, linestyle=":", label="even share")
        ax.set(
            title=drawn(words[f"{branch}_id"].removesuffix(" by ID")), xlabel="steps back (0: newest)", ylim=(0, None)
        )
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        percent(ax.yaxis)
    axes[0].set_ylabel("attention, mean of the cases")
    axes[-1].legend(loc="upper right")
    return fig


def attention_sharing(table: pd.DataFrame, words: Mapping[str, str]) -> Figure:
    """Attention on items that share an attribute, as a multiple of what is expected; one row of panels per reference.

    Args:
        table: of ``inspection.sharing``, one or more below each other.
        words: names of the encoders.
    """
    references, attributes = list(table["reference"].unique()), list(table["attribute"].unique())
    encoders = list(table["encoder"].unique())
    size, shared = (WIDTH, 2.2 * len(references) + 0.4), {"sharey": True, "sharex": "row"}
    fig, axes = plt.subplots(len(references), len(attributes), figsize=size, squeeze=False, **shared)
    for row, reference in zip(axes, references, strict=True):
        for ax, attribute in zip(row, attributes, strict=True):
            part = table[(table["reference"] == reference) & (table["attribute"] == attribute)].set_index("encoder")
            for y, encoder in enumerate(encoders):
                cell, colour = part.loc[encoder], VIOLET if encoder.endswith("image") else SLATE
                hollow = {"markerfacecolor": "white", "alpha": 0.55}
                for name, at, style in (("even", y - 0.16, hollow), ("usual", y + 0.16, {})):
                    ends = [cell[f"{name}_low"], cell[f"{name}_high"]]
                    ax.plot(ends, [at] * 2, color=colour, linewidth=1.4, alpha=style.get("alpha"))
                    ax.plot(cell[name], at, marker="o", color=colour, markersize=4, linestyle="", **style)
            ax.axvline(1, color=BLACK, linewidth=1, zorder=1)
            ax.set(
                yticks=range(len(encoders)),
                yticklabels=[drawn(words[encoder]) for encoder in encoders],
                ylim=(len(encoders) - 0.5, -0.5),
            )
            ax.set_title(f"{drawn(attribute)}\n({'shown' if part['shown'].iloc[0] else 'not shown'})", fontsize=9)
            ax.grid(False, axis="y")
            ax.tick_params(axis="y", length=0)
            ax.xaxis.set_major_locator(MaxNLocator(3))
        row[0].set_ylabel(
            f"shared with the\n{'newest item' if reference == 'newest' else reference}", fontweight="bold"
        )
    axes[-1, len(attributes) // 2].set_xlabel("attention on items that share it, as a multiple of what is expected")
    fig.legend(
        handles=[
            plt.Line2D([], [], marker="o", color=GREY, **style, label=f"expected: {text}")
            for text, style in (
                ("an even share", {"markerfacecolor": "white"}),
                ("what their positions usually get", {}),
            )
        ],
        loc="outside lower center",
        ncols=2,
    )
    return fig


def scorers_figure(table: pd.DataFrame) -> Figure:
    """MRR of every scorer with its interval, one panel per domain; the line marks all parts together.

    Args:
        table: of ``inspection.scorer_table``.
    """
    domains = list(table["domain"].unique())
    count = table["scorer"].nunique()
    fig, axes = subplots(len(domains), height=0.21 * count + 0.9, sharey=True)
    for ax, domain in zip(axes, domains, strict=True):
        part = table[table["domain"] == domain].reset_index(drop=True)
        group = part["group"].ne(part["group"].shift()).cumsum() - 1
        at = part.index + 0.6 * group  # groups apart
        for y, row in zip(at, part.itertuples(), strict=True):
            whiskers = [[row.MRR - row.low], [row.high - row.MRR]]
            ax.errorbar(row.MRR, y, xerr=whiskers, fmt="o", color=_colour(row.scorer), capsize=2, linewidth=1.3)
        ax.axvline(part["MRR"].iloc[-1], color=BLACK, linewidth=1, linestyle=":", zorder=1)
        ax.set(
            title=drawn(f"target in {domain}"),
            yticks=at,
            yticklabels=part["scorer"].map(drawn),
            xlabel="MRR, 999 negatives",
            ylim=(at.max() + 0.7, -0.7),
            xlim=(0, None),
        )
        ax.grid(False, axis="y")
        ax.tick_params(axis="y", length=0)
        percent(ax.xaxis)
    return fig
