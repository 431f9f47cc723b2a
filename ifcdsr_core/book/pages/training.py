"""Page 03, training: one run in tables and figures."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ifcdsr_core.book.evidence import training_data
from ifcdsr_core.book.figures import BLACK, DOMAIN_COLOURS, GREY, drawn, percent, subplots
from ifcdsr_core.book.markup import data_title, model_name
from ifcdsr_core.metrics import METRICS
from ifcdsr_core.paths import ROOT
from ifcdsr_core.runs.store import Run


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
    """All test metrics of a run in percent, one row per protocol and target domain."""
    table = run.metrics.copy()
    table[list(METRICS)] *= 100
    among = {"sampled_999": "999 negatives", "unseen_999": "999 unseen negatives", "full": "all items"}
    table["protocol"] = table["protocol"].map(among)
    table["domain"] = table["domain"].map(dict(zip("xy", names, strict=True)))
    return table.rename(columns={"protocol": "Ranked among", "domain": "Target", "cases": "Cases"})


def run_summary(run: Run, names: tuple[str, str]) -> str:
    """What a training ends with: what was run, its metrics, where its folder is."""
    what = (
        f"{model_name(run.config['model'])} on {data_title(run.config['source'], run.config['scenario'])}, "
        f"seed {run.config['seed']}. {training_data(run)}\nTest metrics in percent:"
    )
    table = run_metrics(run, names).to_string(index=False, justify="right", float_format="{:.2f}".format)
    return f"{what}\n{table}\nrun folder: {_shown_path(run.folder)}"


def _shown_path(path: Path) -> str:
    """Relative to the checkout where it lies inside, so that pages do not tell where the checkout is."""
    return os.path.relpath(path, ROOT) if path.is_relative_to(ROOT) else str(path)


def curves(run: Run, names: tuple[str, str], title: str) -> Figure:
    """Loss and validation MRR of each domain by epoch; the line marks the epoch whose weights were kept.

    The MRR is that against 999 negatives, of the kind that the epoch was chosen by if that was one.
    """
    history = run.history
    protocol = "unseen_999" if run.settings.select_protocol == "unseen_999" else "sampled_999"
    marker = "o" if len(history) <= 40 else ""
    fig, (left, right) = subplots(2, height=2.8)
    left.plot(history["epoch"], history["loss"], marker=marker, color=GREY)
    left.set(title=drawn(title), ylabel="training loss per position (nats)")
    for name, domain, colour in zip(map(drawn, names), "xy", DOMAIN_COLOURS, strict=True):
        scores = 100 * history[f"{protocol}_mrr_{domain}"]
        right.plot(history["epoch"], scores, marker=marker, color=colour, label=name)
    right.set(ylabel="validation MRR, 999 negatives")
    percent(right.yaxis)
    for ax in (left, right):
        ax.axvline(run.best_epoch, color=BLACK, linewidth=1, linestyle=":", zorder=1)
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.set_ylim(bottom=0)
    right.legend(loc="lower right")
    return fig


def ranks(ranks: pd.DataFrame, names: tuple[str, str], num_items: tuple[int, int], title: str) -> Figure:
    """Share of test cases whose target is among the first k, for all k, beside a random order of the candidates.

    Args:
        ranks: of a run: ``target_domain``, and a column of ranks for each protocol.
        num_items: items of each domain, the number of candidates under ``full``.
    """
    fig, axes = subplots(2, height=2.9, sharey=True)
    for ax, protocol, candidates in zip(axes, ("sampled_999", "full"), ((1000, 1000), num_items), strict=True):
        for name, domain, colour, count in zip(map(drawn, names), "xy", DOMAIN_COLOURS, candidates, strict=True):
            values = np.sort(ranks.loc[ranks["target_domain"] == domain, protocol])
            ax.step(values, 100 * np.arange(1, len(values) + 1) / len(values), where="post", color=colour, label=name)
            k = np.unique(np.geomspace(1, count, 100).round())
            ax.plot(k, 100 * k / count, color=colour, linewidth=1, linestyle=":")
        ax.set(xscale="log", xlim=(1, max(candidates)), ylim=(0, 100))
        percent(ax.yaxis)
    axes[0].set(title=drawn(title), ylabel="targets among the first k", xlabel="k, against 999 negatives")
    axes[1].set_xlabel("k, against all items of the domain")
    axes[0].plot([], [], color=GREY, linewidth=1, linestyle=":", label="random order")
    axes[0].legend(loc="upper left")
    return fig
