"""The page of costs says what the shipped benchmarks say."""

from __future__ import annotations

from ifcdsr_core.book.pages import costs

ABOUT = {
    "processor": "Some <one>",
    "instructions": "AVX2",
    "bfloat16_products": False,
    "torch": "2.15",
    "commit": "abc",
    "threads": 2,
    "rounds": 5,
}


def row(name: str, ours: float, before: float, floor: float, **more) -> dict:
    sides = {"ours": ours, "before": before, "floor": floor}
    return {
        "row": name,
        "measured": ABOUT,
        **more,
        **{
            side: {"per_second": rate, "lowest": 0.9 * rate, "highest": 1.1 * rate, "peak_mib": 1024.0}
            for side, rate in sides.items()
        },
    }


RECORD = {
    "rows": [
        row("SASRec", 300, 100, 450, loss="sampled"),
        row("IFCDSR", 100, 50, 120, loss="exact"),
        row("IFCDSR", 200, 50, 500, loss="sampled"),
    ]
}


def test_speeds_are_ratios_of_medians():
    table = costs.speeds(RECORD)
    assert table["Model"].tolist() == ["IFCDSR", "IFCDSR", "SASRec"]  # in the order of tables
    assert table["Loss"].tolist() == ["exact", "sampled", "sampled"]
    assert table["Gain"].tolist() == [2, 4, 3] and table["Cost"].tolist() == [1.2, 2.5, 1.5]
    assert table["± %"].tolist() == [10] * 3 and table["GiB"].tolist() == [1] * 3


def test_the_verdict_names_both_ends():
    said = costs.verdict(RECORD, {"rows": [row("MIFN", 30, 10, 60)]})
    assert "sampled loss is 3.0 to 4.0 times as fast as before, and takes 1.5 to 2.5 times as long" in said
    assert "Ranking is 3.0 times" in said


def test_the_machine_is_said_and_escaped():
    said = costs.machine(RECORD)
    assert r"Some \<one\>" in said and "without instructions for bfloat16" in said and said.endswith("commit abc.")


def test_each_machine_is_said_once():
    other = row("MIFN", 1, 1, 1, loss="exact", measured={**ABOUT, "instructions": "AVX512", "commit": "def"})
    said = costs.machine({"rows": [*RECORD["rows"], other]})
    assert said.count("Measured on") == 2 and said.count("AVX512") == 1


def test_bfloat16_has_rows_of_its_own_or_none():
    assert costs.speeds(RECORD, "bfloat16").empty and costs.verdict_bfloat16(RECORD) == ""
    assert costs.machine(RECORD, "bfloat16") == "Nothing was measured in bfloat16."
    both = {
        "rows": [
            *RECORD["rows"],
            row("IFCDSR", 150, 50, 300, loss="exact", precision="bfloat16"),
            row("IFCDSR", 450, 225, 900, loss="sampled", precision="bfloat16"),
        ]
    }
    assert costs.speeds(both, "bfloat16")["This code"].tolist() == [150, 450]
    assert len(costs.speeds(both)) == len(RECORD["rows"])
    said = costs.verdict_bfloat16(both)
    assert "takes 1.5 times as long as the sampled one did before; its matrix products alone take 0.8 times" in said


def test_the_figure_shows_every_row():
    axes = costs.bars(RECORD, {"rows": [row("MIFN", 30, 10, 60)]}).axes
    assert [[bar.get_width() for bar in ax.patches] for ax in axes] == [[3, 4], [3]]


def test_shipped_benchmarks_have_all_that_the_page_shows():
    training, ranking = costs.measured("training"), costs.measured("ranking")
    for record in (training, ranking):
        assert min(row["measured"]["rounds"] for row in record["rows"]) >= 5
        assert {"IFCDSR without images", "IFCDSR", "SASRec"} <= set(costs.speeds(record)["Model"])
    table = costs.peer(training, ranking)
    assert len(table) == 5 and table.notna().sum().sum() > 20


def test_other_steps_are_those_of_their_benchmarks():
    ours = [one for one in costs.measured("partition")["results"] if one["version"] == "ours"]
    table = costs.other_steps()
    shown = table[table["Step"] == "re-partition"]
    assert shown["Speed"].tolist() == [f"{one['rows_per_second']:,} a second" for one in ours]
    assert ours[-1]["ratings"] >= 30_000_000 and ours[-1]["peak_bytes"] < 8e9
