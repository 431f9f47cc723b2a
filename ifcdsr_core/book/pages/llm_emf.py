"""Page 06, LLM-EMF: which modality helps where, over runs of ``lists.modalities``, ``planted``, ``text_encoders``.

Gains are in points of MRR, each over the ID alone, paired by seed and by test case (``paired.arm_gains``).
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from ifcdsr_core.analysis.paired import Runs, arm_gains, chosen_by, first_columns, of_both_seeds, over_seeds, signed
from ifcdsr_core.analysis.subgroups import PROPERTY_NAMES, gain_by_group
from ifcdsr_core.book.figures import BLACK, BLUE, GREY, ORANGE, PLUM, WIDTH, drawn, subplots
from ifcdsr_core.book.markup import data_title, escape, unbroken
from ifcdsr_core.features.enhanced_titles import load_estimates
from ifcdsr_core.files import new_file, reading
from ifcdsr_core.paths import data_dir, results_dir
from ifcdsr_core.runs import lists
from ifcdsr_core.scenario import Scenario

BASE = "ID"
ENCODERS = (*lists.TEXT_ENCODERS, "small_clip")  # whose view of real titles is shown
POPULAR = 200  # items of X with the most interactions, of which examples are drawn
HAS_TITLE = {"0": "without a title", "1": "with a title", "0–1": "with or without a title"}


def world_name(visual_signal: float, text_signal: float) -> str:
    """What explains behaviour in a world of the demo, such as "pictures and titles"."""
    parts = [what for what, signal in (("pictures", visual_signal), ("titles", text_signal)) if signal]
    return " and ".join(parts) or "neither"


def over_id(experiment: Runs, names: tuple[str, str]) -> pd.DataFrame:
    """What each arm adds to the ID alone: ``paired.arm_gains``, the arm's label as ``arm``.

    Raises:
        InputError: the runs differ in test cases.
    """
    steps = [(arm, arm, BASE) for arm in experiment if arm != BASE]
    return arm_gains(experiment, steps, names).rename(columns={"compared": "arm"})


def planted_table(worlds: Mapping[tuple[float, float], Runs], names: tuple[str, str]) -> pd.DataFrame:
    """MRR of every arm by what explains behaviour (pictures, titles, both, neither): one row per world and domain.

    Args:
        worlds: runs by (visual_signal, text_signal).
    """
    rows = []
    for dials, experiment in worlds.items():
        table = over_seeds(experiment, names, "sampled_999", ("MRR",)).pivot(
            index="Target", columns="Model", values="MRR"
        )
        rows += [
            {"Explained by": world_name(*dials), "Target": name} | table.loc[name, list(experiment)].to_dict()
            for name in names
        ]
    return pd.DataFrame(rows)


def planted_gains(worlds: Mapping[tuple[float, float], Runs], names: tuple[str, str]) -> pd.DataFrame:
    """``over_id`` of every world, with ``world`` in front."""
    parts = [over_id(experiment, names).assign(world=world_name(*dials)) for dials, experiment in worlds.items()]
    return first_columns(pd.concat(parts, ignore_index=True), "world")


def planted_verdict(table: pd.DataFrame) -> str:
    """What ``planted_gains`` says: which arms gain or lose beyond noise, one sentence per world."""
    sentences = []
    for world, part in table.groupby("world", sort=False):
        told = []
        for verdict, words in {"a gain": "a gain", "a loss": "a loss", "within noise": "nothing beyond noise"}.items():
            found = [
                f"{escape(row.arm)} ({escape(row.domain)}, {signed(row.gain)} ± {row.noise:.2f})"
                for row in part[part["verdict"] == verdict].itertuples()
            ]
            if found:
                told.append(f"{words} for {', '.join(found)}")
        where = "neither pictures nor titles explain" if world == "neither" else f"{world} explain"
        sentences.append(f"- Where **{where}** behaviour: {'; '.join(told)}.")
    return "\n".join(sentences)


def by_title(table: pd.DataFrame, experiment: Runs, names: tuple[str, str]) -> pd.DataFrame:
    """What texts add to the ID alone for targets with and without a title, one row per arm, domain and group.

    Where a domain has too few of one group to tell it apart, both are one.

    Args:
        table: ``subgroups.load_properties``; it has to know ``titled``.

    Returns:
        ``Arm``, ``Target``, ``The target is``, ``Cases``, ``Gain`` in points, and its 95 % bootstrap interval over test
        cases, ``From`` and ``To``.
    """
    parts = []
    for arm in experiment:
        for name, code in zip(names, "xy", strict=True) if arm != BASE else ():
            part = _gain_over_id(table, experiment, arm, "titled", code)
            parts.append(part.assign(Arm=arm, Target=name, said=part["group"].map(HAS_TITLE).astype(str)))
    headings = {"said": "The target is", "cases": "Cases", "gain": "Gain", "low": "From", "high": "To"}
    return pd.concat(parts, ignore_index=True)[["Arm", "Target", *headings]].rename(columns=headings)


def gain_panels(
    table: pd.DataFrame, experiment: Runs, names: tuple[str, str], along: str
) -> dict[tuple[str, str], pd.DataFrame]:
    """``subgroups.gain_by_group`` of every arm over the ID alone, by the title of a panel and what its axis shows."""
    return {
        (f"{arm}: {name}", PROPERTY_NAMES[along]): _gain_over_id(table, experiment, arm, along, code)
        for arm in experiment
        if arm != BASE
        for name, code in zip(names, "xy", strict=True)
    }


def _gain_over_id(table: pd.DataFrame, experiment: Runs, arm: str, along: str, domain: str) -> pd.DataFrame:
    """``subgroups.gain_by_group`` of an arm over the ID alone, by the protocol that all were chosen by."""
    both = of_both_seeds(experiment[arm], experiment[BASE])
    return gain_by_group(table, *both, along, chosen_by(experiment), domain)


def modalities_verdict(table: pd.DataFrame) -> str:
    """What ``over_id`` says, in one sentence per arm."""
    sentences = []
    for arm, part in table.groupby("arm", sort=False):
        words = "; ".join(
            f"{escape(row.domain)} {signed(row.gain)} ± {row.noise:.2f}, {row.verdict}" for row in part.itertuples()
        )
        sentences.append(f"**{escape(arm)}** against the ID alone: {words}.")
    return " ".join(sentences)


def world_gains(table: pd.DataFrame) -> Figure:
    """What every arm adds to the ID alone, by what explains behaviour: one panel per domain, whiskers of noise.

    Args:
        table: of ``planted_gains``.
    """
    domains, worlds, arms = (list(table[name].unique()) for name in ("domain", "world", "arm"))
    fig, axes = subplots(len(domains), height=3.1, sharey=True)
    for ax, domain in zip(axes, domains, strict=True):
        ax.axhline(0, color=BLACK, linewidth=1)
        for number, (arm, colour, marker) in enumerate(zip(arms, (BLUE, ORANGE, PLUM), "os^", strict=False)):
            part = table[(table["domain"] == domain) & (table["arm"] == arm)].set_index("world").loc[worlds]
            places = np.arange(len(worlds)) + 0.2 * (number - (len(arms) - 1) / 2)
            style = {"marker": marker, "markersize": 6, "linestyle": "", "capsize": 2.5}
            ax.errorbar(places, part["gain"], yerr=part["noise"], color=colour, label=drawn(arm), **style)
        ax.set(
            title=drawn(domain),
            xticks=range(len(worlds)),
            xlim=(-0.5, len(worlds) - 0.5),
            xticklabels=[drawn(world, 9, 5) for world in worlds],
            xlabel="what explains behaviour",
        )
        ax.grid(False, axis="x")
    axes[0].set_ylabel("gain over the ID alone (points)")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(arms))
    return fig


def text_map(places: np.ndarray, groups: Sequence[str], in_x: np.ndarray, names: tuple[str, str]) -> Figure:
    """Items on a flat map of their texts, one colour per group, named where most of its items are.

    Args:
        places: (R, 2) of ``clip_embedding.flat_map``.
        groups: (R,) such as the themes that titles name.
        in_x: (R,) bool, items of X: dots; those of Y are crosses.
    """
    fig, ax = plt.subplots(figsize=(WIDTH, 4.6))
    groups = np.asarray(groups)
    labels = sorted(set(groups))
    for label, colour in zip(labels, sns.husl_palette(len(labels), l=0.55), strict=True):
        for marker, inside in (("o", in_x), ("x", ~in_x)):
            chosen = (groups == label) & inside
            ax.scatter(*places[chosen].T, color=[colour], marker=marker, s=16, linewidth=1.0, alpha=0.8)
        centre = np.median(places[groups == label], axis=0)
        ax.text(
            *centre,
            drawn(label),
            fontsize=8,
            ha="center",
            va="center",
            zorder=5,
            bbox={"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": colour, "alpha": 0.85},
        )
    ax.legend(
        handles=[
            plt.Line2D([], [], marker=marker, color=GREY, linestyle="", label=drawn(name))
            for name, marker in zip(names, "ox", strict=True)
        ],
        loc="upper right",
    )
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    return fig


def enhancement_costs() -> pd.DataFrame:
    """The shipped estimates of ``enhance --dry-run --keep``, ``load_estimates``, for a page."""
    kept = load_estimates()
    return pd.DataFrame(
        {
            "Data": [unbroken(data_title(row.source, row.scenario)) for row in kept.itertuples()],
            "Titles": kept["titles"],
            "Items without": kept["without_title"],
            "Prompt tokens": kept["prompt_tokens"],
            "Answer tokens": kept["answer_tokens"],
            "USD": kept["cost"],
        }
    )


def enhanced_examples(scenario: Scenario, count: int = 2) -> pd.DataFrame:
    """Some titles of each domain of the demo, with what rules add: ``Domain``, ``Title``, ``Added by rules``."""
    from ifcdsr_core.features.texts import item_texts

    enhanced, domain = item_texts(scenario, "rules"), scenario.items["domain"].to_numpy()
    rows = [
        row for code in "xy" for row in np.random.default_rng(0).permutation(np.flatnonzero(domain == code))[:count]
    ]
    names, titles = scenario.domain_names, scenario.items["title"].to_numpy()
    shown = [
        (names["xy".index(domain[row])], titles[row], enhanced[row].removeprefix(titles[row]).lstrip(". "))
        for row in rows
    ]
    return pd.DataFrame(shown, columns=["Domain", "Title", "Added by rules"])


def encoders_record(scenario: Scenario, encoders: Iterable[str] = ENCODERS, count: int = 6) -> dict:
    """What text encoders make of a scenario's titles, embedded here: numbers, and titles of a few items as examples.

    Examples are ``count`` titled X items, drawn with seed 0 from the ``POPULAR`` most frequent ones; each is shown with
    the Y title nearest to it, by cosine, under each encoder that knows most words.

    Returns:
        Lists of rows: ``titled`` (items, and those with a title, by domain), ``encoders`` (width, items with a vector,
        share of words known, titles in parts), ``nearest`` (X title, encoder, Y title, cosine).
    """
    from ifcdsr_core.features.texts import LEXICAL, embed_texts, item_texts, lexical_unknown

    titles, in_x = item_texts(scenario), (scenario.items["domain"] == "x").to_numpy()
    has_title = np.array([title is not None for title in titles])
    examples = _popular(scenario, has_title & in_x, count)
    record = {
        "titled": [
            {"domain": name, "items": int(part.sum()), "titled": int((part & has_title).sum())}
            for name, part in zip(scenario.domain_names, (in_x, ~in_x), strict=True)
        ],
        "encoders": [],
        "nearest": [],
    }
    for encoder in encoders:
        features = embed_texts(scenario, "title", encoder)
        known = 1 - (lexical_unknown(titles) if encoder == LEXICAL else features.unknown)
        row = {"encoder": encoder, "width": features.matrix.shape[1], "embedded": int((~features.missing).sum())}
        record["encoders"].append(row | {"known": known, "long": features.long})
        if known > 0.5:
            record["nearest"] += [
                {"title": titles[item], "encoder": encoder, "nearest": titles[other], "cosine": round(cosine, 4)}
                for item, other, cosine in _nearest(
                    features.matrix, examples, np.flatnonzero(~in_x & ~features.missing)
                )
            ]
    return record


def _popular(scenario: Scenario, allowed: np.ndarray, count: int) -> np.ndarray:
    """Rows of some items, drawn from the most frequent of those allowed, (V,) bool, in all sequences."""
    ids = scenario.sequences["items"].explode().astype(int).to_numpy()
    times = np.where(allowed, np.bincount(ids, minlength=len(allowed) + 1)[1:], -1)
    most = np.argsort(-times, kind="stable")[: min(POPULAR, int(allowed.sum()))]
    return np.random.default_rng(0).permutation(most)[:count]


def _nearest(matrix: np.ndarray, rows: np.ndarray, others: np.ndarray) -> list[tuple[int, int, float]]:
    """Each of some rows with the row nearest to it among others, and their cosine."""
    cosine = matrix[rows] @ matrix[others].T  # (R, O)
    best = cosine.argmax(axis=1)
    return list(zip(rows.tolist(), others[best].tolist(), cosine.max(axis=1).tolist(), strict=True))


def keep_encoders() -> Path:
    """Write ``encoders_record`` of ABXI's Food-Kitchen for the page; return the path of its numbers.

    They go to ``data/results``, for machines without the files; the examples, which are titles of others, stay in the
    data folder.

    Raises:
        InputError: files of the data, or the package of minilm, are not available.
    """
    from ifcdsr_core.sources import prepare

    record = encoders_record(prepare("abxi", "food_kitchen", titles=True))
    examples = {_EXAMPLES: record.pop(_EXAMPLES)}
    for part, path in ((examples, data_dir() / _FILE), (record, results_dir() / _FILE)):
        with new_file(path) as staging:
            staging.write_text(json.dumps(part, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return results_dir() / _FILE


_FILE, _EXAMPLES = "text_encoders.json", "nearest"


def _encoders() -> dict:
    with reading(results_dir() / _FILE) as path:
        record = json.loads(path.read_text(encoding="utf-8"))
        return {part: record[part] for part in ("titled", "encoders")}


def encoder_coverage() -> pd.DataFrame:
    """The shipped numbers of text encoders for a page: one row per encoder."""
    record = _encoders()
    items = sum(row["items"] for row in record["titled"])
    return pd.DataFrame(
        {
            "Encoder": row["encoder"],
            "Dimensions": row["width"],
            "Items with a vector (%)": 100 * row["embedded"] / items,
            "Words known (%)": 100 * row["known"],
            "Titles in parts": row["long"],
        }
        for row in record["encoders"]
    )


def titled_sentence() -> str:
    """How many items have a title, by domain."""
    return ", ".join(
        f"{row['titled']:,} of {row['items']:,} {escape(row['domain'])} items" for row in _encoders()["titled"]
    )


def nearest_titles(width: int = 60) -> pd.DataFrame:
    """Titles of X, and the nearest of Y by each encoder, cut to ``width`` signs; empty without ``keep_encoders``.

    Raises:
        InputError: the file of examples is damaged.
    """
    path = data_dir() / _FILE
    if not path.is_file():
        return pd.DataFrame(columns=["Title"])
    with reading(path, "delete it"):
        rows = pd.DataFrame(json.loads(path.read_text(encoding="utf-8"))[_EXAMPLES])[["title", "encoder", "nearest"]]
        for column in ("title", "nearest"):
            rows[column] = [textwrap.shorten(title, width, placeholder=" …") for title in rows[column]]
    return pd.DataFrame(
        {"Title": title} | dict(zip(part["encoder"], part["nearest"], strict=True))
        for title, part in rows.groupby("title", sort=False)
    )
