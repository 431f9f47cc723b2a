"""The command line: it does what the functions do, and wrong input gets one clear line and exit code 1."""

from __future__ import annotations

import re
import shlex

import pytest
from worlds import tiny

from ifcdsr_core.__main__ import _parser, main
from ifcdsr_core.paths import ROOT
from ifcdsr_core.runs import lists, search
from ifcdsr_core.sources import complete_options
from ifcdsr_core.sources.demo import world


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("IFCDSR_DATA", str(tmp_path))
    monkeypatch.delenv("IFCDSR_MIRROR", raising=False)
    scenario = tiny(80)
    scenario.provenance.update(version=world.VERSION, options=complete_options("demo", {}))
    scenario.save(tmp_path / "scenarios" / "demo" / "food_kitchen")
    return tmp_path


TRAIN = ["train", "--model", "sasrec", "--epochs", "1", "--set", "hidden_size=8", "--set", "inner_size=8"]


@pytest.mark.slow
def test_train_evaluate_list_and_ship(capsys, data):
    assert main(TRAIN) == 0
    folder = capsys.readouterr().out.splitlines()[0]
    assert main(["evaluate", folder]) == 0
    assert "ranks equal those" in capsys.readouterr().out
    assert main(["runs"]) == 0
    assert "demo-food_kitchen-sasrec-seed0" in capsys.readouterr().out
    assert main(["ship", folder, "--to", str(data / "shipped")]) == 0
    assert len(list((data / "shipped").iterdir())) == 1


@pytest.mark.slow
def test_a_search_keeps_what_the_book_then_trains_with(capsys, data, monkeypatch):
    """Twelve candidates, four, two; given again, all are found."""
    monkeypatch.setattr(search, "results_dir", lambda: data / "results")
    command = ["sweep", "search", "--models", "gru4rec", "--epochs", "9", "--jobs", "1"]
    assert main([*command, "--keep"]) == 0
    first = capsys.readouterr()
    outcome = search.load("demo", "food_kitchen")
    assert len(first.out.splitlines()) == 1 + len(outcome) == 19 and first.err.count("validation MRR") == 18
    assert "test" not in first.out + first.err  # it has no say, and nobody is tempted
    assert lists.settings("demo", "food_kitchen", "gru4rec")[0]["l2"] == search.best(outcome)["l2"]
    assert main(command) == 0
    again = capsys.readouterr()
    assert again.out == first.out and not again.err.count("validation MRR")
    assert main([*command, "--ship"]) == 1 and "--ship ships what tables show" in capsys.readouterr().err
    for wrong in (["comparison"], ["search", "--source-option", "visual_signal=0"]):
        assert main(["sweep", *wrong, "--keep"]) == 1
        assert "--keep goes with search, and without --source-option" in capsys.readouterr().err


def test_prepare_says_what_is_there(capsys):
    assert main(["prepare"]) == 0
    assert "12 items of Food, 18 of Kitchen" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, says",
    [
        (
            ["train", "--scenario", "food_kitchn"],
            "unknown scenario 'food_kitchn': choose one of food_kitchen, movie_book",
        ),
        (["train", "--set", "alpa=0.5"], "unknown option 'alpa' of model 'ifcdsr': it has hidden_size"),
        (["train", "--set", "alpha=high"], "alpha is 'high': it must be of type float"),
        (["train", "--set", "alpha=1.5"], "alpha is 1.5: it must be at least 0 and at most 1"),
        (["train", "--set", "target=z"], "unknown target 'z': choose one of both, x, y"),
        (["train", "--source-option", "visual=1"], "unknown option 'visual' of source 'demo'"),
        (["train", "--device", "tpu"], "unknown device 'tpu'"),
        (["train"], "no pictures"),
        (["evaluate", "no/such/folder"], "is not a run's folder"),
        (
            ["prepare", "--source-option", "visual_signal=2"],
            "visual_signal is 2.0: it must be at least 0 and at most 1",
        ),
        (["embed", "--encoder", "clip"], "clip"),
    ],
)
def test_wrong_input_gets_one_line_and_exit_code_1(capsys, data, arguments, says):
    before = sorted(path for path in data.rglob("*") if path.is_file())
    assert main(arguments) == 1
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and error[0].startswith("error: ") and says in error[0], error
    assert sorted(path for path in data.rglob("*") if path.is_file()) == before


@pytest.mark.parametrize("name", ["items.parquet", "sequences.parquet", "scenario.json"])
def test_a_damaged_scenario_is_named_and_left_alone(capsys, data, name):
    path = data / "scenarios" / "demo" / "food_kitchen" / name
    path.write_bytes(path.read_bytes()[:40])
    assert main(TRAIN) == 1
    error = capsys.readouterr().err.strip()
    assert name in error and "prepare the scenario again" in error and "\n" not in error
    assert path.stat().st_size == 40


PAGES = ("README.md", "jupyter_book/reproduce.md", "jupyter_book/add_your_own_model.md")


def test_commands_that_pages_name_are_understood(monkeypatch):
    """Every ``python -m ifcdsr_core`` of a code block: its parts, not what they lead to."""
    told = []
    for page in PAGES:
        blocks = re.findall(r"^```.*?\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        text = "\n".join(blocks).replace("\\\n", " ")
        told += re.findall(r"^ *python -m ifcdsr_core ([^#\n;|&>]*[^#\n;|&> ])", text, re.MULTILINE)
    assert len(told) > 40
    for command in told:
        words = ["1" if word.startswith("$") else word for word in shlex.split(re.sub(r"\$\{[^}]*\}", "", command))]
        if "--help" not in words:
            _parser().parse_args(words)


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    assert all(f"\n    {name} " in out for name in ("prepare", "embed", "train", "evaluate", "runs", "ship"))
