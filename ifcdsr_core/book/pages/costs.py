"""Page 07, what it costs: the shipped benchmarks of training, ranking, re-partition, pictures and embedding."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ifcdsr_core.book.figures import BLACK, GREY, PLUM, subplots
from ifcdsr_core.book.markup import escape
from ifcdsr_core.files import reading
from ifcdsr_core.paths import results_dir

PEER = "SASRec beside RecBole's"
SIDES = {  # of the peer's rows
    "ours": "this book, exact loss",
    "ours, sampled": "this book, sampled loss",
    "floor": "our products alone",
    "RecBole": "RecBole, as it comes",
    "RecBole, relieved": "RecBole, relieved",
}


def measured(benchmark: str, folder: str = "") -> dict:
    """What a benchmark found: one that goes with the book, or one in another folder.

    Raises:
        InputError: it is not there, damaged, or can't be opened.
    """
    path = (Path(folder) if folder else results_dir() / "benchmarks") / f"{benchmark}.json"
    with reading(path, f"python benchmarks/{benchmark}.py --out {path} makes it"):
        record = json.loads(path.read_text(encoding="utf-8"))
        if not record.keys() & {"rows", "results", "pictures_per_second"}:
            raise ValueError("it holds no results")
    return record


def machine(record: dict, precision: str = "float32") -> str:
    """What training in a precision, or ranking, was measured on, in a sentence for each machine."""
    measured_on: dict[str, list[str]] = {}
    for row in _rows(record, precision):
        about = row["measured"]
        products = "with" if about["bfloat16_products"] else "without"
        said = (
            f"Measured on {about['threads']} threads of {escape(about['processor'])} "
            f"({escape(about['instructions'])}, {products} instructions for bfloat16), torch {escape(about['torch'])}; "
            f"medians of {about['rounds']} rounds in turns; commit"
        )
        measured_on.setdefault(said, []).append(escape(about["commit"]))
    if not measured_on:
        return f"Nothing was measured in {precision}."
    return " ".join(f"{said} {', '.join(dict.fromkeys(commits))}." for said, commits in measured_on.items())


def speeds(record: dict, precision: str = "float32") -> pd.DataFrame:
    """Rates of this code and of the earlier one, by model (and loss).

    ``±`` is half the range of this code's rounds in percent of their median, ``Gain`` its multiple of the earlier
    code's rate, ``Cost`` its time as a multiple of the products'.
    """
    rows = []
    for row in _rows(record, precision):
        ours, before = row["ours"], row["before"]
        rate, floor = ours["per_second"], row.get("floor", {}).get("per_second")  # counting has no products
        rows.append(
            {
                "Model": row["row"],
                **({"Loss": row["loss"]} if "loss" in row else {}),
                "This code": round(rate),
                "± %": round(50 * (ours["highest"] - ours["lowest"]) / rate),
                "Before": round(before["per_second"]),
                "Gain": rate / before["per_second"],
                "Cost": floor / rate if floor else math.nan,
                "GiB": ours["peak_mib"] / 1024,
            }
        )
    return pd.DataFrame(rows, columns=list(rows[0]) if rows else ["Model", "Loss", "This code", "Before"])


def peer(training: dict, ranking: dict) -> pd.DataFrame:
    """SASRec here and in RecBole: sequences trained and cases ranked a second."""
    pair = [next(row for row in record["rows"] if row["row"] == PEER) for record in (training, ranking)]
    best = [max(row[side]["per_second"] for side in row if side.startswith("RecBole")) for row in pair]
    rows = []
    for side, name in SIDES.items():
        cells = [name]
        for row, theirs in zip(pair, best, strict=True):
            facts = row.get(side, {"per_second": math.nan, "peak_mib": math.nan})
            cells += [facts["per_second"], facts["per_second"] / theirs, facts["peak_mib"] / 1024]
        rows.append(cells)
    headings = ["Trained a second", "× best RecBole", "GiB", "Ranked a second", "× best RecBole ", "GiB "]
    return pd.DataFrame(rows, columns=["SASRec", *headings])


def bars(training: dict, ranking: dict) -> Figure:
    """Rates of this code by model, as multiples of the earlier code's, and where the products alone stand."""
    panels = {
        "Training, sampled loss": [row for row in _rows(training) if row["loss"] == "sampled"],
        "Ranking": _rows(ranking),
    }
    fig, axes = subplots(len(panels), height=3.4)
    for ax, (title, rows) in zip(axes, panels.items(), strict=True):
        rows = rows[::-1]
        before = np.array([row["before"]["per_second"] for row in rows])
        place = np.arange(len(rows))
        ours, floor = (
            np.array([row.get(side, {"per_second": math.nan})["per_second"] for row in rows]) / before
            for side in ("ours", "floor")
        )
        ax.barh(place, ours, color=PLUM, label="this code")
        ax.plot(floor, place, "|", color=BLACK, markersize=11, markeredgewidth=2, label="its products alone")
        ax.axvline(1, color=GREY, linestyle=":", linewidth=1.4)
        ax.set(yticks=place, yticklabels=[row["row"] for row in rows], xlabel="times the speed before", title=title)
        ax.grid(axis="y", visible=False)
    handles, names = axes[0].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside lower center", ncols=2)
    return fig


def verdict(training: dict, ranking: dict) -> str:
    """What the tables in float32 say, in sentences."""
    return f"{_training(training, 'float32')} {_said('Ranking', _rows(ranking))}"


def verdict_bfloat16(training: dict) -> str:
    """What the table in bfloat16 says, in sentences; nothing where nothing was measured."""
    rows = _rows(training, "bfloat16")
    exact, sampled = ({row["row"]: row for row in rows if row["loss"] == loss} for loss in ("exact", "sampled"))
    both = [name for name in exact if name in sampled]
    if not both:
        return ""
    ours = [sampled[name]["before"]["per_second"] / exact[name]["ours"]["per_second"] for name in both]
    floor = [sampled[name]["before"]["per_second"] / exact[name]["floor"]["per_second"] for name in both]
    return (
        f"{_training(training, 'bfloat16')} The exact loss takes {_range(ours)} times as long as the sampled one did "
        f"before; its matrix products alone take {_range(floor)} times as long."
    )


def _training(record: dict, precision: str) -> str:
    return " ".join(
        _said(f"Training with the {loss} loss", [row for row in _rows(record, precision) if row["loss"] == loss])
        for loss in ("exact", "sampled")
    )


def other_steps() -> pd.DataFrame:
    """The benchmarks of the re-partition, the pictures and their embedding: ours beside a plain version."""
    runs, rows, nan = measured("partition")["results"], [], math.nan
    for row in (run for run in runs if run["version"] == "ours"):
        plain = next((run for run in runs if (run["version"], run["ratings"]) == ("pandas", row["ratings"])), {})
        times, memory = (plain.get(name, nan) / row[name] for name in ("seconds", "peak_bytes"))
        speed = f"{row['rows_per_second']:,} a second"
        rows.append(("re-partition", f"{row['ratings']:,} ratings", speed, row["peak_bytes"] / 1e9, times, memory))
    images = measured("images")
    pool, rate = max(images["pictures_per_second"].items(), key=lambda item: item[1])
    what, times = f"{images['pictures']:,} pictures, {pool}", images["times_the_loop"][pool]
    rows.append(("download", what, f"{rate:,.0f} a second", nan, times, nan))
    embedding = measured("embedding")["results"]
    for encoder in dict.fromkeys(row["encoder"] for row in embedding):
        best = max(
            (row for row in embedding if row["encoder"] == encoder and row["way"] == "shards"),
            key=lambda row: row["pictures_per_second"],
        )
        what, speed = f"{best['pictures']:,} pictures, {encoder}", f"{best['pictures_per_second']:,.0f} a second"
        rows.append(("embedding", what, speed, nan, best["times_the_loop"], nan))
    return pd.DataFrame(
        rows,
        columns=["Step", "Of", "Speed", "Peak memory (GB)", "Times as fast as plain", "Plain takes times the memory"],
    )


def _rows(record: dict, precision: str = "float32") -> list[dict]:
    """The rows that compare this code with the earlier one, in the order of tables; ranking is in float32 alone."""
    first = {"IFCDSR without images": 0, "IFCDSR": 1, "LLM-EMF": 2}
    rows = [
        row
        for row in record["rows"]
        if {"ours", "before"} <= row.keys() and row.get("precision", "float32") == precision
    ]
    return sorted(rows, key=lambda row: (first.get(row["row"], len(first)), row["row"], row.get("loss", "")))


def _said(what: str, rows: Sequence[dict]) -> str:
    gains = [row["ours"]["per_second"] / row["before"]["per_second"] for row in rows]
    shares = [row["floor"]["per_second"] / row["ours"]["per_second"] for row in rows if "floor" in row]
    return (
        f"{what} is {_range(gains)} times as fast as before, and takes {_range(shares)} times as long as its matrix "
        "products alone."
    )


def _range(values: Sequence[float]) -> str:
    low, high = (f"{end(values):.1f}" for end in (min, max))
    return low if low == high else f"{low} to {high}"
