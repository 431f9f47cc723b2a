"""Page 02, CLIP features: pictures, their neighbours, and a map of them, in tables and figures."""

from __future__ import annotations

import json
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

from ifcdsr_core.book.figures import DOMAIN_COLOURS, WIDTH, drawn, picture, pixels, subplots
from ifcdsr_core.features import SMALL_CLIP_RECORD
from ifcdsr_core.files import reading
from ifcdsr_core.scenario import Scenario


def gallery(scenario: Scenario, count: int = 8) -> Figure:
    """Pictures of ``count`` randomly chosen items of each domain with their titles, one row per domain."""
    random = np.random.default_rng(0)
    with_picture = scenario.items[scenario.items["image"].notna()]
    fig, axes = plt.subplots(2, count, figsize=(WIDTH, 2 * (WIDTH / count + 0.5)), squeeze=False)
    for row, (_, part) in zip(axes, with_picture.groupby("domain", sort=True), strict=False):
        for ax in row:
            ax.set_axis_off()
        for ax, item in zip(row, part.iloc[np.sort(random.permutation(len(part))[:count])].itertuples(), strict=False):
            named = isinstance(item.title, str) and item.title.strip()
            picture(ax, scenario, item.Index, item.title if named else item.source_id)
    return fig


def neighbours(
    scenario: Scenario, matrix: np.ndarray, queries: np.ndarray, found: Sequence[np.ndarray], headings: Sequence[str]
) -> Figure:
    """Each query's picture, then groups of its neighbours with their cosines, one row per query.

    Args:
        matrix: (V, e) features, rows of length one.
        queries: (Q,) row numbers.
        found: groups of neighbours, (Q, k) row numbers each, such as one per domain.
        headings: a heading for each group.
    """
    widths = [1, *(width for group in found for width in (0.4, *[1] * group.shape[1]))]
    side, line = WIDTH / (1.08 * sum(widths)), 0.2  # inches of a picture and of a line of text
    height = (side + line) * len(queries) + line
    fig, axes = plt.subplots(
        len(queries),
        len(widths),
        figsize=(WIDTH, height),
        squeeze=False,
        layout="none",
        gridspec_kw={
            "width_ratios": widths,
            "left": 0.005,
            "right": 0.995,
            "wspace": 0.08,
            "bottom": line / height,
            "top": 1 - line / height,
            "hspace": line / side,
        },
    )
    for number, row in enumerate(axes):
        for ax in row:
            ax.set_axis_off()
        picture(row[0], scenario, queries[number], "query")
        first = 2
        for group, heading in zip(found, headings, strict=True):
            for ax, item in zip(row[first:], group[number], strict=False):
                picture(ax, scenario, item, f"{matrix[queries[number]] @ matrix[item]:.2f}")
            if number == 0:
                row[first].set_title(drawn(heading, 40), pad=5)
            first += group.shape[1] + 1
    return fig


def picture_map(scenario: Scenario, points: np.ndarray, rows: np.ndarray, size: float = 0.26) -> Figure:
    """Thumbnails at their place in a map of the feature space, framed in the colour of their domain.

    Args:
        points: (R, 2) places.
        rows: (R,) row numbers of the items.
        size: of a thumbnail's longer side, as a share of 64 pixels.
    """
    fig, (ax,) = subplots(1, height=6.2)
    in_y = scenario.items["domain"].to_numpy()[rows] == "y"
    for domain, name in enumerate(scenario.domain_names):  # for the legend, hidden by the pictures
        ax.scatter(*points[in_y == domain].T, s=60, marker="s", color=DOMAIN_COLOURS[domain], label=drawn(name))
    for (x, y), row, of_y in zip(points, rows, in_y, strict=True):
        frame = {"edgecolor": DOMAIN_COLOURS[int(of_y)], "linewidth": 1.1}
        shown = pixels(scenario, row)
        picture = OffsetImage(shown, zoom=size * 64 / max(shown.shape[:2]))
        ax.add_artist(AnnotationBbox(picture, (x, y), pad=0.08, bboxprops=frame))
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, markerscale=1.2)
    return fig


def feature_counts(scenario: Scenario, missing: np.ndarray) -> pd.DataFrame:
    """How many items of each domain have a picture, and how many get the fallback."""
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


def sample_rows(missing: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Up to ``count`` random rows of items that have a picture, in order."""
    with_picture = np.flatnonzero(~missing)
    return np.sort(np.random.default_rng(seed).permutation(with_picture)[:count])


def flat_map(features: np.ndarray) -> np.ndarray:
    """Places (R, 2) in a t-SNE map, which keeps near what is near by cosine; distances between groups mean little."""
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(features) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", metric="cosine", random_state=0, n_jobs=1).fit_transform(features)


def zero_shot() -> pd.DataFrame:
    """Zero-shot accuracy of the shipped small CLIP, as recorded beside its weights, in percent."""
    with reading(SMALL_CLIP_RECORD):
        record = json.loads(SMALL_CLIP_RECORD.read_text(encoding="utf-8"))
    rows = [
        (pictures.replace("_", " "), asked, 100 * score["accuracy"], 100 * score["chance"])
        for pictures, scores in record["zero_shot"].items()
        for asked, score in scores.items()
    ]
    return pd.DataFrame(rows, columns=["Pictures", "Asked for", "Accuracy (%)", "By chance (%)"])
