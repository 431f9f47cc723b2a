"""Page 01: tables of data sets."""

from __future__ import annotations

import pandas as pd

from ifcdsr_core.book import markup
from ifcdsr_core.book.pages import data_statistics


def test_data_table_reads_easily():
    numbers = {
        "Food-Kitchen (demo)": {
            "unseen_targets": pd.DataFrame(
                {
                    "trained_on": ["train", "train"],
                    "split": ["test", "test"],
                    "domain": ["Food", "Kitchen"],
                    "targets": [4, 8],
                    "unseen": [1, 0],
                    "unseen_share": [0.25, 0.0],
                }
            )
        }
    }
    table = data_statistics.data_table(numbers, "unseen_targets")
    assert table["Unseen (%)"].tolist() == [25.0, 0.0] and table["Targets"].tolist() == [4, 8]
    assert markup.show(table, "c").data.count("demo") == 1  # said once for both rows


def test_against_paper_shows_counts_without_decimals():
    shipped = data_statistics.statistics_of("c2dsr", ["food_kitchen"])
    text = markup.show(data_statistics.against_paper(shipped), "c").data
    assert "| Food | items | 29,207 | 29,207 | 0 |" in text and "| both | avg. length | 9.85 | 9.91 | −0.06 |" in text
    assert "34,117" in data_statistics.paper_remarks(shipped).data
