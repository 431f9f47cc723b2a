"""Page 00, the verdict: what the papers claim, claim by claim, and what this book's runs say of it.

A verdict follows from numbers by the rule beside it; none is written by hand. *Reproduced* says where: the demo shows
whether the mechanism works where it is planted, the paper's data whether it works there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import pandas as pd

from ifcdsr_core.analysis.paired import (
    DOMAIN_STEPS,
    IMAGE_STEPS,
    TEXT_STEPS,
    TITLE_STEPS,
    Runs,
    against_rivals,
    arm_gains,
    reference,
    rise,
    signed,
    step_gains,
)
from ifcdsr_core.analysis.paper import PAPER_TABLE4
from ifcdsr_core.book.evidence import stopped_too_early, with_noise
from ifcdsr_core.book.markup import SOURCE_NAMES, escape
from ifcdsr_core.scenario import DOMAIN_NAMES

if TYPE_CHECKING:
    from IPython.display import Markdown


REPRODUCED, PARTLY, NOT, UNCHECKED = "Reproduced", "Reproduced in part", "Not reproduced", "Cannot be checked here"


@dataclass(frozen=True)
class Judgement:
    """A paper's claim in our words, where it is made, a verdict and on what data, its evidence, a page with details."""

    claim: str
    said_in: str
    verdict: str
    where: str
    evidence: str
    page: str


def images(gains: pd.DataFrame) -> Judgement:
    """Do pictures improve recommendation? By the image control, ``paired.control_gains``.

    Reproduced if in both domains the item's own pictures beat those of other items where pictures explain behaviour,
    and do not where they explain nothing.
    """
    over = gains[gains["compared"] == IMAGE_STEPS[2][0]]
    full, none = over[over["signal"] == 1], over[over["signal"] == 0]
    helps = full["verdict"] == "a gain"
    return Judgement(
        "A frozen CLIP's image vectors, mixed with learned IDs, improve the ranking.",
        "abstract; Table 4, second column",
        _graded([*helps, *(none["verdict"] != "a gain")]) if helps.any() else NOT,
        "on the demo",
        f"Where pictures explain behaviour, an item's own picture beats that of another item by {with_noise(full)} "
        f"points of MRR; where they explain nothing, by {with_noise(none)}. On Amazon's data it cannot be checked "
        "here: that needs the items' pictures and CLIP's published weights.",
        "05_ablation",
    )


def attention(gains: pd.DataFrame, real: Mapping[str, pd.DataFrame]) -> Judgement:
    """Does multiple attention improve on the merged sequence alone, and by what the domains share?

    Args:
        gains: of the domain control, ``paired.control_gains``.
        real: by the title of the data, gains without images on real data, ``paired.arm_gains``.

    Reproduced if the gain over the merged sequence at full signal is beyond noise in all domains, there and on the real
    data.
    """
    merged, elsewhere = _step(gains, 0), _on_real_data(real, 0)
    none, full = merged[merged["signal"] == 0], merged[merged["signal"] == 1]
    verdicts = [*full["verdict"], *(verdict for table in elsewhere.values() for verdict in table["verdict"])]
    return Judgement(
        "Attending to each domain and to the merged sequence separately improves the ranking.",
        "abstract; Table 4, third column",
        _graded(verdict == "a gain" for verdict in verdicts),
        "on the demo" + (" and on real data" if elsewhere else ""),
        f"On the demo it brings {with_noise(full)} points over the merged sequence alone. "
        f"{_measured(elsewhere, 'it brings')} Where the demo's domains have nothing in common it brings "
        f"{with_noise(none)}, of which nothing is carried over.",
        "05_ablation",
    )


def crossing(gains: pd.DataFrame, real: Mapping[str, pd.DataFrame]) -> Judgement:
    """Does the model profit from the other domain? By how the gain over each domain alone grows with what is shared.

    Real data have no dial: there the gain may be owed to the larger model, and decides nothing.

    Args:
        gains, real: as of ``attention``.
    """
    alone = _step(gains, 1)
    none, full = alone[alone["signal"] == 0].set_index("domain"), alone[alone["signal"] == 1].set_index("domain")
    values, noise = rise(none, full)
    rises = " and ".join(f"{signed(value)} ± {noise[name]:.2f} for {escape(name)}" for name, value in values.items())
    return Judgement(
        "The model captures interests that cross from one domain to the other.",
        "abstract",
        _graded(values > noise),
        "on the demo",
        f"Beside an encoder for each domain alone, the other domain and the merged sequence bring "
        f"{with_noise(full.reset_index())} points where all tastes carry over and {with_noise(none.reset_index())} "
        f"where none does: a rise by {rises}. {_measured(_on_real_data(real, 1), 'they bring')}".strip(),
        "05_ablation",
    )


def _step(gains: pd.DataFrame, number: int) -> pd.DataFrame:
    return gains[gains["compared"] == DOMAIN_STEPS[number][0]]


def _on_real_data(real: Mapping[str, pd.DataFrame], number: int) -> dict[str, pd.DataFrame]:
    """One of ``DOMAIN_STEPS`` on the data that have it, by title."""
    return {title: rows for title, table in real.items() if len(rows := _step(table, number))}


def _measured(real: Mapping[str, pd.DataFrame], brings: str) -> str:
    return " ".join(f"On {escape(title)}, without images, {brings} {with_noise(rows)}." for title, rows in real.items())


def balance(gains: pd.DataFrame, larger: str) -> Judgement:
    """Does separate attention keep the domain with more behaviour from dominating? The smaller should gain more by it.

    Reproduced if it does both where the domains have nothing in common and where all tastes carry over; in part if in
    one.

    Args:
        larger: the domain with more interactions.
    """
    merged, parts, held = _step(gains, 0), [], []
    for signal, where in ((0, "where tastes have nothing in common"), (1, "where all tastes carry over")):
        rows = merged[merged["signal"] == signal].set_index("domain")
        more, less = rows.loc[larger], rows.drop(index=larger).iloc[0]
        value, noise = rise(more, less)
        held.append(value > noise)
        parts.append(
            f"{where}, {escape(less.name)}, with less behaviour, gains {signed(less['gain'])} ± {less['noise']:.2f} "
            f"points by it, and {escape(larger)} {signed(more['gain'])} ± {more['noise']:.2f}"
        )
    return Judgement(
        "Separate attention keeps the domain with more behaviour from dominating the other.",
        "method section",
        _graded(held),
        "on the demo",
        f"Over the merged sequence alone, {'; '.join(parts)}.",
        "05_ablation",
    )


def outperforms(
    real: Mapping[str, Runs], demo: Runs, scenario: str, others: Mapping[tuple[str, str], Runs]
) -> Judgement:
    """Is IFCDSR significantly better than every rival? By paired tests with Holm's correction, in every domain.

    Reproduced if it is better in every test, in part if in most of them. The paper's test sets decide if IFCDSR has its
    images there; else data of others that come with their training files, where all models are trained to their plateau
    and IFCDSR is without images, a part of the model alone. What does not decide is reported nevertheless.

    Args:
        real: comparisons on the paper's test sets, by scenario; demo: one on the demo's ``scenario``.
        others: comparisons without images on such data of others, by source and scenario; those without IFCDSR, or
            with a run that stopped too early, say nothing here. Each is tested by the protocol that chose its epochs.
    """
    tests = {name: _against_rivals(runs, name, "sampled_999") for name, runs in real.items()}
    trained = {
        data: _against_rivals(runs, data[1], runs[reference(runs)][0].config["select_protocol"])
        for data, runs in others.items()
        if any(group[0].config["model"] == "ifcdsr" for group in runs.values())
        and not any(stopped_too_early(run) for group in runs.values() for run in group)
    }
    with_images = bool(real) and all(
        runs[reference(runs)][0].config["model_options"].get("image_fusion", True) for runs in real.values()
    )
    deciding, where = (
        (tests, "on the paper's test sets") if with_images else (trained, "on data of others, without images")
    )
    better = [verdict == "better" for table in deciding.values() for verdict in table["Verdict"]]
    verdict = UNCHECKED if not better else _graded(better) if 2 * sum(better) > len(better) else NOT
    said = []
    for source in dict.fromkeys(source for source, _ in trained):
        tables = {data: table for data, table in trained.items() if data[0] == source}
        ours = [others[data][reference(others[data])][0] for data in tables]
        few = any(run.config["source_options"].get("train_users") == "both" for run in ours)
        part = ", on their users of both domains alone" if few else ""
        how = f"without images but trained to the plateau{part}"
        said.append(f"On {SOURCE_NAMES[source]}, {how}: {_counted(tables.values())}.")
    if tests:
        how = "" if with_images else ", without images and without the training files"
        said.append(f"On the paper's test sets{how}: {_counted(tests.values())}.")
    if not with_images:
        said.append("What is claimed needs the training files, the items' pictures and CLIP's published weights.")
    planted = _against_rivals(demo, scenario, "sampled_999")
    won = int((planted["Verdict"] == "better").sum())
    said.append(f"On the demo, with pictures that matter by design, it is better in {won} of {len(planted)} tests.")
    return Judgement(
        "IFCDSR is significantly better than existing methods, in all four domains.",
        "abstract; Tables 2 and 3",
        verdict,
        "" if verdict == UNCHECKED else where,
        " ".join(said),
        "04_comparison" if with_images else "04d_complete_data",
    )


def _against_rivals(experiment: Runs, scenario: str, protocol: str) -> pd.DataFrame:
    return against_rivals(_existing(experiment), reference(experiment), DOMAIN_NAMES[scenario], protocol)


def _counted(tests: Iterable[pd.DataFrame]) -> str:
    """How many rivals IFCDSR is better than, and worse than, in each domain of tables of ``_against_rivals``."""
    parts = []
    for table in tests:
        for domain, rows in table.groupby("Target", sort=False):
            found = rows["Verdict"].value_counts()
            parts.append(
                f"{escape(domain)}: better than {found.get('better', 0)} of {len(rows)} models, worse than "
                f"{found.get('worse', 0)}"
            )
    return "; ".join(parts)


def _existing(experiment: Runs) -> Runs:
    """Without the model that came after IFCDSR."""
    return {label: runs for label, runs in experiment.items() if runs[0].config["model"] != "llm_emf"}


def partition(counted: pd.DataFrame) -> Judgement:
    """Were the data partitioned anew? By Table 1 against the files released by C2DSR's authors.

    Args:
        counted: ``table1_against_paper`` of both scenarios; what cannot be counted without the training file is left
            out.
    """
    known = counted[counted["ours"].notna() & (counted["quantity"] != "avg_length")]
    same = int((known["ours"] == known["paper"]).sum())
    return Judgement(
        "Four e-commerce data sets were partitioned anew.",
        "abstract",
        NOT if same == len(known) else PARTLY,
        "",
        f"{same} of {len(known)} numbers of the paper's Table 1 that can be counted in C2DSR's released files are "
        "equal to the digit: the partition is that of C2DSR (2022).",
        "01_data_statistics",
    )


def table4(ablation: Runs, scenario: str) -> Judgement:
    """Are both steps of Table 4 gains? On the demo, beyond noise, in both domains; printed sizes cannot be checked."""
    steps = step_gains(ablation, DOMAIN_NAMES[scenario])
    printed = PAPER_TABLE4.select_dtypes("number").to_numpy().ravel()
    sizes = " and ".join(f"{after - before:.2f}" for before, after in pairwise(printed))
    shown = "; ".join(f"{escape(step)}: {with_noise(part)}" for step, part in steps.groupby("step", sort=False))
    return Judgement(
        f"Each of the two parts adds to the original framework; for Movie {sizes} points of MRR.",
        "Table 4",
        _graded(steps["verdict"] == "a gain"),
        "on the demo, as to the signs",
        f"{shown}. The sizes on Amazon's Movie cannot be checked here: that needs its pictures.",
        "05_ablation",
    )


def successor(control: pd.DataFrame, titles: Mapping[str, Runs]) -> Judgement:
    """Do texts improve the ranking further? Measured for titles; there are no texts of a language model here.

    Args:
        control: of the text control, ``paired.control_gains``.
        titles: runs of ``lists.text_encoders`` on real data, by the title of the data set.
    """
    over = control[control["compared"] == TEXT_STEPS[2][0]]
    parts = []
    for name, runs in titles.items():
        gained = arm_gains(runs, TITLE_STEPS, DOMAIN_NAMES[runs["ID"][0].config["scenario"]])
        told = [f"{escape(step)} {with_noise(part)}" for step, part in gained.groupby("compared", sort=False)]
        parts.append(f"On {escape(name)}, by an encoder that knows words: {'; '.join(told)}.")
    return Judgement(
        "Texts written by a language model improve the ranking further (LLM-EMF).",
        "abstract of the successor",
        UNCHECKED,
        "",
        "That needs a language model's texts, the items' pictures and CLIP's published weights. Plain titles, embedded "
        "by their words, were tried. On the demo, where titles explain behaviour, an item's own beats that of another "
        "item by "
        f"{with_noise(over[over['signal'] == 1])} points of MRR; where they explain nothing, by "
        f"{with_noise(over[over['signal'] == 0])}. {' '.join(parts)}",
        "06_llm_emf",
    )


def report(judgements: Sequence[Judgement]) -> Markdown:
    """All judgements for a page: a count, then one paragraph each."""
    from IPython.display import Markdown

    counts = [(word, sum(one.verdict == word for one in judgements)) for word in (REPRODUCED, PARTLY, NOT, UNCHECKED)]
    counted = "; ".join(f"{word.lower()}: {count}" for word, count in counts if count)
    lines = [f"Of {len(judgements)} claims: {counted}."]
    for number, one in enumerate(judgements, 1):
        verdict = f"{one.verdict} {one.where}".strip()
        lines.append(
            f"**{number}. {escape(one.claim)}** ({escape(one.said_in)})\n: **{escape(verdict)}.** {one.evidence} "
            f"{{doc}}`Details <{one.page}>`"
        )
    return Markdown("\n\n".join(lines))


def _graded(held: Iterable[bool]) -> str:
    """Reproduced if every condition holds, in part if some do."""
    held = list(held)
    return REPRODUCED if all(held) else PARTLY if any(held) else NOT
