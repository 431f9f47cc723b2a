"""Page 05b, the ledger: where the papers are silent or contradict themselves, our choice, and its measured price.

``GAPS`` has the words and ``lists.READINGS`` the runs. An effect is another reading minus ours, in points of MRR,
paired by seed and by test case.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ifcdsr_core.analysis.paired import (
    Difference,
    Runs,
    case_means,
    differences,
    expected_reciprocal_rank,
    is_target,
    of_both_seeds,
    over_seeds,
)
from ifcdsr_core.book.markup import SOURCE_NAMES, escape
from ifcdsr_core.metrics import reciprocal_rank
from ifcdsr_core.protocol import NUM_NEGATIVES
from ifcdsr_core.runs.lists import OURS, OURS_TEXT, READINGS
from ifcdsr_core.runs.store import Run
from ifcdsr_core.scenario import DOMAIN_NAMES

if TYPE_CHECKING:
    from IPython.display import Markdown


@dataclass(frozen=True)
class Gap:
    """A place where the papers leave a choice open.

    Attributes:
        silent: what the papers say, and what they do not say.
        choice: what is done in this book.
        unchecked: what cannot be measured here, and what that would take; empty where everything can.
    """

    number: int
    topic: str
    silent: str
    choice: str
    unchecked: str = ""


GAPS = (
    Gap(
        1,
        "Temperature",
        "Equations (3) and (4) put plain cosines, between −1 and 1, into a softmax over tens of thousands of items. "
        "That distribution is almost uniform whatever the model has learned. No scale is mentioned.",
        "Cosines are divided by 0.07, the customary value of contrastive learning, or by what a search on validation "
        "finds, where there was one.",
    ),
    Gap(
        2,
        "The source domain's vote",
        "Equation (8) adds P^Y of an item of X. But P^Y is a softmax over the items of Y, and gives items of X "
        "nothing.",
        "The state of the Y branch is compared with the items of X, with a softmax over these.",
    ),
    Gap(
        3,
        "Among how many items the target is ranked",
        "The protocol is not stated. The rivals' rows, but for Tri-CDR's, are those of C2DSR's paper, which ranks "
        "the target among 999 random items of its domain; how ties count is not stated either.",
        "Every run is ranked in all ways from the same scores, with 999 seeded negatives the same for all models, and "
        "ties averaged.",
    ),
    Gap(
        4,
        "C2DSR is missing",
        "The data of Table 1 are those of C2DSR, to the digit, and so are the rivals' rows, but for Tri-CDR's. C2DSR's "
        "own row, second only to IFCDSR's, is left out.",
        "C2DSR stands in every comparison. Below, IFCDSR minus C2DSR.",
    ),
    Gap(
        5,
        "Windows and order",
        "The released files hold windows of 6 to 15 items over at most 365 or 30 days; the papers mention the 3 "
        "items of each domain only. Times have the resolution of a day, so that the order within a day is unknown.",
        "The released windows, sorted by time; items of the same day in the order of the file.",
    ),
    Gap(
        6,
        "The filter of 10 interactions",
        "Users and items with fewer than 10 interactions are dropped: before or after the users of both domains are "
        "chosen, once or until nothing changes?",
        "The released files are taken as they are; nothing is filtered again.",
        "The order of filters can only be tried on the raw reviews, before any filter. That needs Amazon's review "
        "files of the four categories; the page From raw files to Table 1 then counts what each order leaves.",
    ),
    Gap(
        7,
        "Attention",
        "Equation (1) says Attention(F) and no more: layers, heads, positions, a feed-forward part and norms are "
        "open. It has to be causal, or (6) would predict what it sees.",
        "One block as in SASRec with the norm first: 2 heads, learned positions, a feed-forward part.",
    ),
    Gap(
        8,
        "Which CLIP, and no picture",
        "Features of width 512 fit CLIP ViT-B/32 and ViT-B/16. Preprocessing, and what stands in for a missing "
        "picture, are not said.",
        "ViT-B/32 with OpenAI's weights for real pictures; a small CLIP of our own for the demo. An item without a "
        "picture gets the mean of its domain.",
        "Which CLIP is better on Amazon's pictures: that needs these pictures and the published weights.",
    ),
    Gap(
        9,
        "A projection of the images",
        "The shapes say that the image state lives in CLIP's space and is compared with the frozen features; a "
        "projection before that is customary and not mentioned.",
        "None.",
    ),
    Gap(
        10,
        "Roles of the domains",
        "The weights of (7) are given for the target X. Are the roles swapped for Y in training too, so that there "
        "are two models, or is there one?",
        "One model, trained on the mean of (7) and its mirror image; the roles are swapped in (8).",
    ),
    Gap(
        11,
        "Which epoch is tested",
        "100 epochs are trained. Which of them is tested, chosen on what, and whether it is the same for both "
        "domains, is not said.",
        "The epoch with the best validation MRR against 999 negatives, averaged over both domains.",
    ),
    Gap(
        12,
        "LLM-EMF's prompt and weights",
        "The successor adds texts written by a language model. Neither its prompt nor the weights of the three "
        "modalities are given.",
        "A prompt of our own, its version recorded with every answer. The ID keeps IFCDSR's 0.7; image and text share "
        "the rest evenly. Without a language model, the texts are plain titles.",
        "What a language model's texts add to plain titles: that needs such a model and CLIP's published weights.",
    ),
    Gap(
        13,
        "Repeats",
        "Every number is printed once: no seeds, no spread, no test.",
        "Seeds, their standard deviation, intervals over test cases and paired tests. The effect below is what "
        "another seed does: the standard deviation over seeds.",
    ),
    Gap(
        14,
        "What others say of the paper",
        "A summary in circulation credits it with 12.6 % more Recall@10 on four data sets.",
        "Neither is in the paper, which has two scenarios of two domains each and no Recall@10. We compare with its "
        "own tables.",
        "There is nothing to run: it is a matter of reading.",
    ),
    Gap(
        15,
        "The loss of the real runs",
        "This one is ours. On the real data the softmax over all items is estimated from a sample of them in "
        "training; the papers say nothing of sampling.",
        "1,024 items per step, weighted so that the estimate of the denominator is unbiased; the exact loss on the "
        "demo.",
    ),
)

# --- effects ----------------------------------------------------------------------------------------------------------


def effects(runs: Runs, num_items: tuple[int, int], rivals: Runs) -> pd.DataFrame:
    """What every other reading does to the MRR on one data set, as far as there are runs of it.

    Args:
        runs: of ``lists.readings``, on one source and scenario.
        num_items: of each domain.
        rivals: of ``lists.comparison`` on the same data; those of C2DSR and Popularity are used.

    Returns:
        One row per reading: ``gap``, ``reading``, ``data`` (the source, in words), and for each target domain by its
        name a ``Difference`` in points with its interval (for gap 13 a standard deviation).

    Raises:
        InputError: runs that do not belong together.
    """
    ours = runs[OURS]
    as_here = {"ifcdsr": ours, "llm_emf": runs.get(OURS_TEXT)}
    source, names = ours[0].config["source"], DOMAIN_NAMES[ours[0].config["scenario"]]
    rows: list[tuple] = []
    for reading in READINGS:
        labels = [reading.label] if reading.changes_y is None else [f"{reading.label}, {code}" for code in "xy"]
        if all(label in runs for label in labels):
            arms = [differences(*of_both_seeds(runs[label], as_here[reading.model]), names) for label in labels]
            rows.append((reading.gap, reading.label, arms[0][0], arms[-1][1]))
    rows += [(3, label, *cells) for label, cells in _protocols(ours, num_items, rivals)]
    for group in rivals.values():
        if group[0].config["model"] == "c2dsr":
            pair = of_both_seeds(ours, group)
            label = f"IFCDSR minus C2DSR, {len(pair[0])} seed{'s' if len(pair[0]) > 1 else ''}"
            rows.append((4, label, *differences(*pair, names)))
    if len(ours) > 1:
        spread = over_seeds({OURS: ours}, names, "sampled_999", ("MRR",))["MRR"]
        rows.append((13, f"another seed, of {len(ours)}", *(f"± {cell.std:.2f}" for cell in spread)))
    table = pd.DataFrame(rows, columns=["gap", "reading", *names])
    table.insert(2, "data", SOURCE_NAMES.get(source, source))
    return table.sort_values("gap", kind="stable", ignore_index=True)


def _protocols(ours: Sequence[Run], num_items: tuple[int, int], rivals: Runs) -> list[tuple[str, list[Difference]]]:
    """What other rules of ranking make of the same scores."""

    def expected(run: Run, code: str) -> np.ndarray:
        count = num_items["xy".index(code)]
        return 1 / expected_reciprocal_rank(run.ranks["full"].to_numpy(), count, min(NUM_NEGATIVES, count - 1))

    def among_equals(run: Run, sign: int) -> pd.Series:
        return run.ranks["sampled_999"] + sign * run.ranks["sampled_999_ties"] / 2

    rows = [
        ("ranked among all items of the domain", _rescored(ours, lambda run, code: run.ranks["full"])),
        ("averaged over all draws of 999 negatives", _rescored(ours, expected)),
    ]
    popularity = [run for group in rivals.values() for run in group if run.config["model"] == "popularity"]
    for who, group in (("", ours), (", for Popularity", popularity)):
        if group and "sampled_999_ties" in group[0].ranks:
            for where, sign in (("before", -1), ("behind", 1)):
                cells = _rescored(group, lambda run, code, sign=sign: among_equals(run, sign))
                rows.append((f"the target {where} its equals{who}", cells))
    return rows


def _rescored(runs: Sequence[Run], rank_of: Callable[[Run, str], np.ndarray | pd.Series]) -> list[Difference]:
    """The same scores ranked by another rule, minus ours, by domain."""
    cells = []
    for code in "xy":
        other = 100 * np.mean([reciprocal_rank(rank_of(run, code)) for run in runs], axis=0)
        ours = case_means(runs, "sampled_999", "MRR", code)
        cells.append(Difference.of(other[is_target(runs[0], code)] - ours))
    return cells


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """One line per gap: the reading with the largest effect, of those beyond noise if there are any.

    Args:
        table: of ``effects``; several data sets may be joined if they have the same domains.
    """
    names = list(table.columns[3:])
    rows = []
    for gap in GAPS:
        part = table[table["gap"] == gap.number]
        if len(part):
            sizes = part[names].map(_size).max(axis=1)
            largest = part.loc[max(sizes.index, key=sizes.get)]
            said, cells = f"{largest['reading']}; {largest['data']}", [str(largest[name]) for name in names]
        else:
            said, cells = "cannot be checked here", ["–"] * len(names)
        rows.append((gap.number, gap.topic, said, *cells))
    return pd.DataFrame(rows, columns=["#", "Left open", "Largest effect", *names])


def _size(cell) -> tuple[bool, float]:
    """What effects are ordered by; a standard deviation comes last."""
    return (cell.beyond_noise, abs(cell.value)) if isinstance(cell, Difference) else (False, 0.0)


def entry(gap: Gap) -> Markdown:
    """What the papers say of a gap, what is done here, and what cannot be checked, for a page."""
    from IPython.display import Markdown

    lines = [f"**{gap.number}. {escape(gap.topic)}.** {escape(gap.silent)} *Here:* {escape(gap.choice)}"]
    if gap.unchecked:
        lines.append(f"*Cannot be checked here:* {escape(gap.unchecked)}")
    return Markdown("\n\n".join(lines))


def measured(table: pd.DataFrame, number: int) -> pd.DataFrame:
    """The rows of one gap, for a page: of each reading one after the other what it does on each data set."""
    rows = table[table["gap"] == number].drop(columns="gap")
    number_of_reading, _ = pd.factorize(rows["reading"])  # in the order in which they first appear
    return rows.iloc[number_of_reading.argsort(kind="stable")].rename(columns={"reading": "Reading", "data": "Data"})


def verdict(table: pd.DataFrame) -> str:
    """Which readings move the MRR beyond noise, up or down, in one sentence per data set."""
    sentences = []
    for data, part in table.groupby("data", sort=False):
        part = part[part["gap"] != 4]
        names = [name for name in table.columns[3:] if part[name].notna().any()]
        moved = {"raises": [], "lowers": []}
        for _, row in part.iterrows():
            for name in names:
                cell = row[name]
                if isinstance(cell, Difference) and cell.beyond_noise:
                    moved["raises" if cell.value > 0 else "lowers"].append(f"{escape(row['reading'])} ({escape(name)})")
        count = sum(isinstance(cell, Difference) for name in names for cell in part[name])
        where = f"On {'the ' if data == 'demo' else ''}{escape(data)}"
        sentences.append(
            f"**{where}**: of {count} effects, {len(moved['lowers'])} lower the MRR beyond noise and "
            f"{len(moved['raises'])} raise it" + (f": {'; '.join(moved['raises'])}." if moved["raises"] else ".")
        )
    return "\n\n".join(sentences)
