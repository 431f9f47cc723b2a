"""What the papers print, for comparison with our numbers. Nothing here is a result of this book."""

from __future__ import annotations

import pandas as pd

HEADLINE = ("MRR", "NDCG@5", "NDCG@10")  # the metrics the paper reports

# Table 1 of IFCDSR (Wu et al., WWW Companion '25). #train and the average length are of both domains together.
PAPER_TABLE1 = pd.DataFrame(
    [
        ("food_kitchen", "Food", 29_207, 34_117, 2_722, 2_747, 9.91),
        ("food_kitchen", "Kitchen", 34_886, 34_117, 5_451, 5_659, 9.91),
        ("movie_book", "Movie", 36_845, 58_515, 2_032, 1_978, 11.98),
        ("movie_book", "Book", 63_937, 58_515, 5_612, 5_730, 11.98),
    ],
    columns=["scenario", "domain", "items", "train", "valid", "test", "avg_length"],
)


def _printed(names: tuple[str, str], rows: dict[str, tuple[float, ...]]) -> pd.DataFrame:
    """A table of the paper in our layout: ``Target``, ``Model`` and HEADLINE, X first."""
    return pd.DataFrame(
        [
            (name, model, *values[3 * position : 3 * position + 3])
            for position, name in enumerate(names)
            for model, values in rows.items()
        ],
        columns=["Target", "Model", *HEADLINE],
    )


# Wu et al., WWW Companion '25, Tables 2 and 3 (test, percent) and Table 4 (ablation, MRR of the movie domain, percent).
PAPER_TABLE2 = _printed(
    ("Food", "Kitchen"),
    {
        "GRU4Rec": (5.79, 5.48, 6.13, 3.06, 2.55, 3.10),
        "SASRec": (7.30, 6.90, 7.79, 3.79, 3.35, 3.93),
        "SR-GNN": (7.84, 7.58, 8.35, 4.01, 3.47, 4.13),
        "MIFN": (8.55, 8.28, 9.01, 4.09, 3.57, 4.29),
        "Tri-CDR": (8.35, 8.18, 8.89, 4.29, 3.63, 4.33),
        "IFCDSR": (9.05, 8.85, 9.92, 4.95, 4.56, 5.24),
    },
)
PAPER_TABLE3 = _printed(
    ("Movie", "Book"),
    {
        "GRU4Rec": (3.83, 3.14, 3.73, 1.68, 1.34, 1.52),
        "SASRec": (3.79, 3.23, 3.69, 1.81, 1.41, 1.71),
        "SR-GNN": (3.85, 3.27, 3.78, 1.78, 1.40, 1.66),
        "PSJNet": (4.63, 4.06, 4.76, 2.44, 2.07, 2.35),
        "MIFN": (5.05, 4.21, 5.20, 2.51, 2.12, 2.31),
        "Tri-CDR": (5.15, 4.62, 5.05, 2.32, 2.08, 2.22),
        "IFCDSR": (6.08, 5.02, 5.86, 2.75, 2.37, 2.65),
    },
)
PAPER_TABLE4 = pd.DataFrame(
    {"original framework": [5.03], "+ image fusion": [5.63], "+ multiple attention": [6.08]},
    index=pd.Index(["Movie MRR"], name="Domain and metric"),
)
# What the papers of the rivals themselves print on Food-Kitchen, test, percent: Cao et al., CIKM 2022 (C2DSR).
PUBLISHED = _printed(
    ("Food", "Kitchen"), {"SASRec": (7.30, 6.90, 7.79, 3.79, 3.35, 3.93), "C2DSR": (8.91, 8.65, 9.71, 4.65, 4.16, 4.94)}
)
# Bian et al., WWW 2025, in the README of github.com/DiMarzioBian/ABXI at commit 72e52c9: test MRR, percent, mean over 5
# seeds, among 999 negatives that the user never interacted with (protocol ``unseen_999``).
PUBLISHED_ABXI = {
    "food_kitchen": pd.DataFrame({"Target": ["Food", "Kitchen"], "Model": "ABXI", "MRR": [16.55, 12.19]}),
    "beauty_electronics": pd.DataFrame({"Target": ["Beauty", "Electronics"], "Model": "ABXI", "MRR": [18.05, 11.60]}),
}
PAPER_COMPARISON = {"food_kitchen": PAPER_TABLE2, "movie_book": PAPER_TABLE3}
