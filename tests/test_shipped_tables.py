"""Small tables go with the checkout: a page that can't read one says so in one line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from ifcdsr_core.analysis import counts, subgroups
from ifcdsr_core.book.pages import costs, llm_emf, numbering, raw_files
from ifcdsr_core.errors import InputError
from ifcdsr_core.features import enhanced_titles
from ifcdsr_core.paths import results_dir
from ifcdsr_core.runs import search

TABLES: dict[str, Callable] = {
    "windows.csv": raw_files.shown_rebuilt,
    "number_order.csv": numbering.order,
    "enhancement.csv": llm_emf.enhancement_costs,
    "text_encoders.json": llm_emf.encoder_coverage,
    "statistics/c2dsr-food_kitchen.json": partial(counts.load_summary, "c2dsr", "food_kitchen"),
    "cases/c2dsr-food_kitchen.parquet": partial(subgroups.load_properties, "c2dsr", "food_kitchen"),
    "search/demo-food_kitchen.csv": partial(search.load, "demo", "food_kitchen"),
    "benchmarks/training.json": partial(costs.measured, "training"),
    "benchmarks/partition.json": partial(costs.measured, "partition"),
    "benchmarks/images.json": partial(costs.measured, "images"),
}
OTHER = {".csv": b"a,b\n1,2\n", ".json": b"{}", ".parquet": b"PAR1PAR1"}  # whole, and something else


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A copy of the shipped tables."""
    for name in TABLES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(results_dir() / name, tmp_path / name)
    for module in (raw_files, numbering, enhanced_titles, llm_emf, counts, subgroups, search, costs):
        monkeypatch.setattr(module, "results_dir", lambda: tmp_path)
    return tmp_path


def refusal(call: Callable, path: Path) -> str:
    with pytest.raises(InputError) as caught:
        call()
    said = str(caught.value)
    assert path.stem in said and "\n" not in said
    return said


@pytest.mark.parametrize("name", TABLES)
def test_a_damaged_missing_or_closed_table_is_one_line(results, name):
    call, path = TABLES[name], results / name
    whole = path.read_bytes()
    assert len(call())
    torn = whole[: whole.rindex(b"\n", 0, -1) + 6] if path.suffix == ".csv" else whole[:-9]  # within the last row
    for content in (b"", torn, b"\xff\xfe\x00" + whole, b"[" * 100_000, b"[]", OTHER[path.suffix]):
        path.write_bytes(content)
        said = refusal(call, path)
        assert f"{path} is damaged" in said and ("restore it" in said or "makes it" in said)
        assert path.read_bytes() == content
    path.unlink()
    if name.startswith("search"):  # not every data set was searched on
        assert call() is None
    else:
        assert f"{path} is not there" in (said := refusal(call, path)) or said.startswith("unknown ")
    path.mkdir()  # stands for what is not to be read: tests may run as root, who may read all
    expected = "damaged" if path.suffix == ".parquet" else "can't be opened (Is a directory)"  # an empty data set
    assert f"{path} " in (said := refusal(call, path)) and expected in said


@pytest.mark.parametrize("name", ["windows.csv", "number_order.csv", "enhancement.csv"])
def test_a_number_that_is_missing_or_no_number_is_damage(results, name):
    path = results / name
    head, first, *rows = path.read_text().splitlines()
    text = {"source", "scenario", "prompt", "basis", "windows"}
    for place in [place for place, column in enumerate(head.split(",")) if column not in text]:
        for wrong in ("", "many"):
            cells = first.split(",")
            cells[place] = wrong
            path.write_text("\n".join([head, ",".join(cells), *rows, ""]))
            assert f"{path} is damaged" in refusal(TABLES[name], path)
