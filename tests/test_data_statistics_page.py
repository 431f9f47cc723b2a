"""Page 01: tables of data sets."""

from __future__ import annotations

import pandas as pd

from ifcdsr_core.analysis import counts
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


def test_the_rebuilt_training_file_stands_beside_the_papers():
    tables = data_statistics.of_rebuilt({})
    text = markup.show(data_statistics.training_file(tables), "c").data
    assert "| rebuilt | 24,015 | 3,012 | 14.09 | 51.40 | 12 | 2004 to 2014, median 2013 |" in text
    assert "| the paper's, as printed | 34,117 | – | 9.94 | – | – | – |" in text
    remarks = data_statistics.training_file_remarks(tables).data
    assert "24,015 sequences, 70% of the paper's 34,117" in remarks and "\n" not in remarks
    assert data_statistics.of_rebuilt({"here": {"training_file": 1}}) == {"training_file": 1}  # those at hand


def test_every_shipped_data_set_has_a_row():
    shown = data_statistics.data_table(data_statistics.of_all(), "table1")
    assert shown["Data"].nunique() == len(counts.SHIPPED) == len(shown) / 2
    assert "train=rebuilt" in " ".join(shown["Data"]) and "train_users=both" in " ".join(shown["Data"])
