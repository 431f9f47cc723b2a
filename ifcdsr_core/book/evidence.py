"""What pages say of runs: where they come from, their table, and gains in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from ifcdsr_core.analysis.paired import Runs, over_seeds, rise, signed, with_intervals
from ifcdsr_core.analysis.paper import PAPER_TABLE1
from ifcdsr_core.book.markup import data_title, escape, show, unbroken
from ifcdsr_core.models import COUNTING, MODELS
from ifcdsr_core.runs.store import Run, shipped_dir
from ifcdsr_core.scenario import DOMAIN_NAMES

if TYPE_CHECKING:
    from IPython.display import Markdown

TRAINED = set(MODELS) - set(COUNTING)
MARK = "\N{DAGGER}"  # of what is not finished
PROTOCOL_NAMES = {
    "sampled_999": "against 999 sampled negatives",
    "unseen_999": "against 999 negatives that the user never interacted with",
    "full": "against all items of the domain",
}


def comparison_table(experiment: Runs, source: str, scenario: str, protocol: str, name: str) -> Markdown:
    """``paired.with_intervals`` for a page; the caption says what the runs have in common.

    A row with a run that stopped too early (``stopped_too_early``) is marked.
    """
    first = next(iter(experiment.values()))[0]
    early = {label for label, runs in experiment.items() if any(map(stopped_too_early, runs))}
    caption = (
        f"{data_title(source, scenario)}, test metrics in percent {PROTOCOL_NAMES[protocol]}: {repeats(experiment)}; "
        "interval of the MRR over test cases; bold where better than all others by a paired test. "
        f"{training_data(first)}{f' {MARK} not finished: the last epoch was the best.' if early else ''}"
    )
    marked = {f"{label} {MARK}" if label in early else label: runs for label, runs in experiment.items()}
    return show(with_intervals(marked, DOMAIN_NAMES[scenario], protocol), caption, name)


def stopped_too_early(run: Run) -> bool:
    """Whether the last epoch of a training was its best: more would have made it better."""
    return run.config["model"] in TRAINED and run.best_epoch == len(run.history)


def repeats(experiment: Runs) -> str:
    """Which seeds the rows of a table are means over."""
    seeds = sorted({run.config["seed"] for group in experiment.values() for run in group})
    if len(seeds) == 1:
        return f"seed {seeds[0]} alone"
    trained = [group for group in experiment.values() if group[0].config["model"] in TRAINED]
    some = "" if all(len(group) == len(seeds) for group in trained) else " (those that a row has)"
    return f"means over seeds {', '.join(map(str, seeds))}{some}, the MRR ± standard deviation"


def inventory(results: Mapping[str, Runs]) -> Markdown:
    """Which runs there are: one line per scenario, or a sentence that there are none."""
    from IPython.display import Markdown

    lines = [
        f"- {escape(data_title(runs[0].config['source'], scenario))}: "
        + ", ".join(
            f"{escape(label)} ({len(group)} run{'s' if len(group) > 1 else ''})" for label, group in experiment.items()
        )
        for scenario, experiment in results.items()
        for runs in [next(iter(experiment.values()))]
    ]
    return Markdown("\n".join(lines) or "This version of the book ships no results on the paper's test sets.")


def origin(runs: Iterable[Run], *commands: str) -> Markdown:
    """Where runs come from: shipped with the checkout or made here, by which code, and the commands to make them anew.

    Args:
        runs: any; a run that occurs twice counts once.
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
    """What a run was trained on, in a sentence; on the paper's data also as a share of the paper's number."""
    count, of_paper = run.provenance["cases"]["train"], ""
    if run.config["source"] == "c2dsr":
        paper = int(PAPER_TABLE1.loc[PAPER_TABLE1["scenario"] == run.config["scenario"], "train"].iloc[0])
        of_paper = f", or {count / paper:.0%} of the number that the paper trains on"
    return f"Trained on {run.provenance['trained_on']}: {count:,}{of_paper}."


def baselines_verdict(experiment: Runs, printed: pd.DataFrame) -> str:
    """The best MRR by counting beside the printed MRRs of models that learn, in one sentence per domain.

    Empty if no model of the runs only counts.

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


def control_table(table: pd.DataFrame) -> pd.DataFrame:
    """``paired.control_gains`` for a page: one column per position of the dial, gain ± noise in its cells."""
    texts = [unbroken(f"{signed(row.gain)} ± {row.noise:.2f}") for row in table.itertuples()]
    cells = table.assign(cell=texts, signal=table["signal"].map("{:g}".format))
    order = list(dict.fromkeys(zip(cells["compared"], cells["domain"], strict=True)))
    wide = cells.pivot(index=["compared", "domain"], columns="signal", values="cell").loc[order]
    return wide.reset_index().rename_axis(columns=None)


def modality_verdict(table: pd.DataFrame, steps: Sequence[tuple[str, str, str]], things: str) -> str:
    """What ``paired.control_gains`` of a modality says: do the controls hold, and what is the gain owed to?

    Args:
        steps: ``IMAGE_STEPS`` or ``TEXT_STEPS``.
        things: in the plural, ``pictures`` or ``titles``.
    """
    own, other, over = (table[table["compared"] == label] for label, *_ in steps)
    none, full = over["signal"] == 0, over["signal"] == 1
    placebo = other[other["signal"] == 1]
    if (placebo["verdict"] == "a gain").any():
        owed = f"that part of the gain needs nothing that {things} tell, a second opinion of every item is enough"
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
            *course(own),
        ]
    )


def ceiling_verdict(experiment: Runs, bounds: Runs, names: tuple[str, str]) -> str:
    """How far models get on the way to the best possible answer, in one sentence per domain.

    Args:
        bounds: of ``bounds.bounds``, the best possible answer first; without any there is nothing to say.
    """
    sentences = []
    table = over_seeds({**experiment, **bounds}, names, "sampled_999", ("MRR",))
    for name, part in table.groupby("Target", sort=False) if bounds else ():
        mrr = {row.Model: row.MRR.mean for row in part.itertuples()}
        most = mrr[next(iter(bounds))]
        best = sorted(experiment, key=mrr.get, reverse=True)[:3]
        reached = ", ".join(f"{escape(model)} {mrr[model] / most:.0%}" for model in best)
        sentences.append(
            f"**{escape(name)}**: the best possible MRR is {most:.2f}; of that reach {reached}"
            f"{', and the others less' if len(experiment) > len(best) else ''}."
        )
    return " ".join(sentences)


def share_of_ceiling(gains: pd.DataFrame, compared: str, ceiling: str) -> str:
    """How much of what Bayes gains at the end of the dial a model gains, in one sentence.

    What the model gains at the dial's start is not owed to what the dial sets, so it is the rise that counts.

    Args:
        gains: of a control, those of the ceiling among them; empty text without a row of either.
        compared, ceiling: the names of the model's gain and of Bayes's.
    """
    first, last = gains["signal"].min(), gains["signal"].max()
    ours, most = (gains[gains["compared"] == label] for label in (compared, ceiling))
    start, end = (ours[ours["signal"] == signal].set_index("domain") for signal in (first, last))
    rises = []
    for domain, points in most[most["signal"] == last].set_index("domain")["gain"].items():
        value, noise = rise(start.loc[domain], end.loc[domain])
        share = f"{signed(points)}: {value / points:.0%} of it".replace("-", "\N{MINUS SIGN}")
        rises.append(f"{signed(value)} ± {noise:.2f} points for {escape(domain)}, where Bayes gains {share}")
    return f"From the dial at {first:g} to {last:g} the model's gain changes by {'; by '.join(rises)}." if rises else ""


def with_noise(part: pd.DataFrame) -> str:
    """Gains of a table of ``gains`` in words, such as "+1.20 ± 0.30 (Food) and ...", in points."""
    return " and ".join(f"{signed(row.gain)} ± {row.noise:.2f} ({escape(row.domain)})" for row in part.itertuples())


def course(part: pd.DataFrame) -> list[str]:
    """How a gain changes with the dial, in one sentence per domain."""
    sentences = []
    for domain, rows in part.groupby("domain", sort=False):
        first, last = rows.iloc[0], rows.iloc[-1]
        value, noise = rise(first, last)
        word = "rises" if value > noise else "falls" if value < -noise else "changes within noise"
        sentences.append(
            f"{escape(domain)}: from the dial at {first['signal']:g} to {last['signal']:g} the gain {word}, from "
            f"{signed(first['gain'])} ± {first['noise']:.2f} to {signed(last['gain'])} ± {last['noise']:.2f} "
            "points."
        )
    return sentences


def _held(where: str, expected: str, part: pd.DataFrame, verdict: str, wanted: bool) -> str:
    """One control in a sentence: in how many target domains it holds; empty without rows."""
    if part.empty:
        return ""
    held = part[(part["verdict"] == verdict) == wanted]
    word = "**holds**" if len(held) == len(part) else f"**holds in {len(held)} of {len(part)} domains**"
    return f"Where {where}, {expected}: this {word}: {with_noise(part)}."
