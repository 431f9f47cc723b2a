"""How fast and how large the re-partition is: ours against a straightforward pandas version, at growing sizes.

    python benchmarks/partition.py --sizes 300000 3000000 30000000 --out partition.json

At each size two rating files of the 2014 format are generated (a sixth of the ratings in the smaller domain) and each
version runs in a fresh process: from CSV to sequences, with the paper's rules. Peak memory and CPU seconds are the
child's own, as the operating system counts them; CPU seconds include start-up and imports, ``seconds`` do not, but
other work on the machine makes these longer. Both versions must find the same sequences.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]


def run_ours(paths: list[Path], work: Path) -> tuple[dict, list]:
    """Convert to Parquet, then partition; seconds of each step, and the sequences as plain values."""
    from ifcdsr_core.sources.amazon.partition import Rules, partition
    from ifcdsr_core.sources.amazon.reviews import interactions

    begin = time.perf_counter()
    parquet = [interactions(path, work)[0] for path in paths]
    converted = time.perf_counter()
    items, sequences, account = partition(*parquet, Rules(window_days=30, ties="by_name"))
    done = time.perf_counter()
    name = items["source_id"].to_numpy()
    facts = {
        "convert_seconds": converted - begin,
        "partition_seconds": done - converted,
        "seconds": done - begin,
        "funnel": account["funnel"],
        "leakage": account["leakage"],
    }
    return facts, [(row.user, row.split == "train", name[row.items - 1].tolist()) for row in sequences.itertuples()]


def run_pandas(paths: list[Path], work: Path) -> tuple[dict, list]:
    """The same rules as one would write them first: pandas throughout, a loop over users at the end."""
    import pandas as pd

    begin = time.perf_counter()
    x, y = (
        pd.read_csv(path, names=["user", "item", "rating", "time"]).assign(domain=domain)
        for path, domain in zip(paths, "xy", strict=True)
    )
    log = pd.concat([x[x["user"].isin(y["user"])], y[y["user"].isin(x["user"])]])
    log = log.sort_values(["user", "time", "domain", "item"]).drop_duplicates(["user", "domain", "item"])
    of_user, of_item = (log.groupby(column)["time"].transform("size") for column in ("user", "item"))
    sequences = []
    for user, history in log[(of_user >= 10) & (of_item >= 10)].groupby("user"):
        times, domains, items = (history[column].tolist() for column in ("time", "domain", "item"))
        first, found = 0, []
        for last in range(len(items)):
            while times[last] - times[first] > 30 * 86_400 or last - first >= 15:
                first += 1
            if found and found[-1][0] == first:
                found.pop()
            found.append((first, last + 1))
        found = [(a, b) for a, b in found if b - a >= 6 and 3 <= domains[a:b].count("x") <= b - a - 3]
        sequences += [(user, (a, b) != found[-1], items[a:b]) for a, b in found]
    return {"seconds": time.perf_counter() - begin}, sequences


def child(which: str, work: Path, paths: list[Path]) -> None:
    """Run one version here and print its figures as JSON; or write the files, with size and seed for paths."""
    if which == "generate":
        from raw_amazon import write_sized

        return print(json.dumps([str(path) for path in write_sized(work, *map(int, map(str, paths)))]))
    facts, sequences = {"ours": run_ours, "pandas": run_pandas}[which](paths, work)
    used = resource.getrusage(resource.RUSAGE_SELF)
    facts |= {"cpu_seconds": used.ru_utime + used.ru_stime, "peak_bytes": used.ru_maxrss * 1024}
    digest = hashlib.sha256(json.dumps(sorted(sequences)).encode()).hexdigest()
    print(json.dumps({**facts, "sequences": len(sequences), "sha256": digest}))


def in_child(which: str, work: Path, *arguments) -> subprocess.CompletedProcess:
    """A fresh process; what is large is done there alone, for Linux counts a parent's memory to its child's peak."""
    return subprocess.run(
        [sys.executable, __file__, "--child", which, str(work), *map(str, arguments)], capture_output=True, text=True
    )


def measure(which: str, ratings: int, work: Path, paths: list[Path]) -> dict:
    """One version's facts."""
    done = in_child(which, work, *paths)
    if done.returncode:
        return {"version": which, "ratings": ratings, "failed": done.stderr.strip().splitlines()[-1:]}
    facts = json.loads(done.stdout)
    return {"version": which, "ratings": ratings, "rows_per_second": round(ratings / facts["seconds"]), **facts}


def benchmark(sizes: list[int], pandas_up_to: int, seed: int) -> dict:
    """All versions at all sizes, the machine they ran on, and their ratios."""
    results = []
    for ratings in sizes:
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(path) for path in json.loads(in_child("generate", folder, ratings, seed).stdout)]
            results.append(measure("ours", ratings, Path(folder) / "work", paths))
            if ratings <= pandas_up_to:
                results.append(measure("pandas", ratings, Path(folder) / "work", paths))
            else:
                results.append({"version": "pandas", "ratings": ratings, "skipped": why_skipped(results, ratings)})
        for result in results[-2:]:
            shown = {key: value for key, value in result.items() if key not in ("funnel", "leakage", "sha256")}
            print(json.dumps(shown), flush=True)
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "results": results,
        "ratios": ratios(results),
        "machine": {
            "cores": os.cpu_count(),
            "memory_bytes": pages,
            "load_average": os.getloadavg(),
            "system": platform.platform(),
            "python": platform.python_version(),
            **{name: version(name) for name in ("polars", "pandas", "numpy", "pyarrow")},
        },
    }


def why_skipped(results: list[dict], ratings: int) -> str:
    """What the pandas version would take at a size it is not run at, if it goes on as at the largest it was run at."""
    known = [result for result in results if result["version"] == "pandas" and "seconds" in result]
    if not known:
        return "not asked for"
    times = ratings / known[-1]["ratings"]
    return (
        f"by the run before, some {times * known[-1]['peak_bytes'] / 1e9:.0f} GB and "
        f"{times * known[-1]['seconds'] / 60:.0f} minutes or more"
    )


def ratios(results: list[dict]) -> list[dict]:
    """Per size: pandas' time and memory over ours, whether both agree, and our growth from the size before."""
    by = {(result["version"], result["ratings"]): result for result in results if "seconds" in result}
    rows, before = [], None
    for (which, ratings), ours in by.items():
        if which != "ours":
            continue
        row, other = {"ratings": ratings}, by.get(("pandas", ratings))
        if other:
            row |= {
                "pandas_seconds_over_ours": other["seconds"] / ours["seconds"],
                "pandas_memory_over_ours": other["peak_bytes"] / ours["peak_bytes"],
                "same_sequences": other["sha256"] == ours["sha256"],
            }
        if before:
            row |= {
                "ratings_grew": ratings / before["ratings"],
                "seconds_grew": ours["seconds"] / before["seconds"],
                "cpu_seconds_grew": ours["cpu_seconds"] / before["cpu_seconds"],
                "memory_grew": ours["peak_bytes"] / before["peak_bytes"],
            }
        rows.append(row)
        before = ours
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[300_000, 3_000_000, 30_000_000])
    parser.add_argument("--pandas-up-to", type=int, default=3_000_000, help="skip pandas above this number of ratings")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the results there as JSON")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        return child(given.child[0], Path(given.child[1]), [Path(path) for path in given.child[2:]])
    found = benchmark(given.sizes, given.pandas_up_to, given.seed)
    print(json.dumps({"ratios": found["ratios"], "machine": found["machine"]}, indent=2))
    if given.out:
        given.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
