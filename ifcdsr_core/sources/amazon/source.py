"""Amazon's public reviews, from the raw files: the papers' "we re-partitioned four e-commerce datasets", redone.

Raw files lie in ``amazon/<release>`` below the data folder (or below ``IFCDSR_MIRROR``), where
``python -m ifcdsr_core download --source amazon`` puts them. They are converted to Parquet once (``reviews``), cut into
sequences by named rules (``partition``), and everything is accounted for in the provenance.

- 2014 release, on which the papers' data rest: McAuley et al., *Image-Based Recommendations on Styles and Substitutes*,
  SIGIR 2015, https://jmcauley.ucsd.edu/data/amazon/index_2014.html; times are days.
- 2023 release: Hou et al., *Bridging Language and Items for Retrieval and Recommendation*, arXiv 2403.03952,
  https://amazon-reviews-2023.github.io; times are milliseconds, read as whole seconds.
- ``sample``: no release, but a small made-up one in the format of 2014's, see ``sample``.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from ifcdsr_core.errors import InputError, choose
from ifcdsr_core.paths import data_dir, picture_store
from ifcdsr_core.scenario import DOMAIN_NAMES, Scenario, numbered
from ifcdsr_core.sources.amazon import reviews as raw_reviews
from ifcdsr_core.sources.amazon import sample
from ifcdsr_core.sources.amazon.partition import Rules, partition, rules_of
from ifcdsr_core.sources.download.pictures import MANIFEST, link_images
from ifcdsr_core.sources.download.published import mirror_folder

VERSION = 4
SCENARIOS = ("food_kitchen", "movie_book")
CATEGORIES = {
    "Food": "Grocery_and_Gourmet_Food",
    "Kitchen": "Home_and_Kitchen",
    "Movie": "Movies_and_TV",
    "Book": "Books",
}
RELEASES, REVIEWS = ("2014", "2023", "sample"), ("ratings", "5core")
WINDOW_DAYS = {"food_kitchen": 365, "movie_book": 30}  # of the released C2DSR files
OPTIONS = {
    "release": "2014",
    "reviews": "ratings",  # 5core: the 2014 release's subset of users and items with five reviews each
    **asdict(Rules()),
    "window_days": 0,  # the papers' own, WINDOW_DAYS
    "numbering": "redrawn",  # items numbered at random; published: by name
}

_ADDRESS_2014 = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles/"
_ADDRESS_2023 = "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023/raw/"
# Neither release has checksums of its publisher. These are what others recorded: SHA-256 in the loaders of OmniRec
# (https://github.com/ISG-Siegen/OmniRec), sizes of ratings in Hgformer's registry of data sets.
_SHA256 = {
    "ratings_Books.csv": "87d923ddac2aacf40c1d0e0e056dbf4bf69c9c7d41852c6b434e781e759c0707",
    "ratings_Grocery_and_Gourmet_Food.csv": "ae9b32803a9f0ddf98222e00871e7a8ff7709e792f2ba8048131ca214617e33c",
    "ratings_Home_and_Kitchen.csv": "b0dae06e0b147abbf31878b4d16075a77b6ca8b8a5005b1a0b153b9d3ed310b2",
    "ratings_Movies_and_TV.csv": "05fd3bbb387bca99f16b7a64a26abb736429da416e3cc0cc7423483e9ec4c265",
}
_BYTES = {
    "ratings_Books.csv": 916_259_348,
    "ratings_Movies_and_TV.csv": 187_517_953,
    "Books.jsonl.gz": 6_216_820_644,
    "meta_Books.jsonl.gz": 4_942_125_770,
}


def raw_files(
    release: str, scenario: str, reviews: str = "ratings"
) -> list[tuple[str, str | None, int | None, str | None]]:
    """The raw files of a scenario: name, public address (None: made up here), bytes and SHA-256 (None: not recorded).

    In this order: reviews of X, reviews of Y, metadata of X, metadata of Y.

    Raises:
        InputError: unknown release, scenario or kind of reviews; only the 2014 release has 5core files of reviews.
    """
    choose("release", release, RELEASES)
    choose("reviews", reviews, REVIEWS)
    categories = [CATEGORIES[domain] for domain in DOMAIN_NAMES[choose("scenario", scenario, SCENARIOS)]]
    if release != "2014" and reviews != "ratings":
        raise InputError(
            f"reviews is {reviews!r}, but of release {release} only its full review files are read: "
            "set reviews to ratings"
        )
    if release == "2023":
        pairs = [(f"{category}.jsonl.gz", "review_categories/") for category in categories]
        pairs += [(f"meta_{category}.jsonl.gz", "meta_categories/") for category in categories]
        addresses = {name: _ADDRESS_2023 + folder + name for name, folder in pairs}
    else:
        pattern = "ratings_{}.csv" if reviews == "ratings" else "reviews_{}_5.json.gz"
        names = [pattern.format(category) for category in categories]
        names += [f"meta_{category}.json.gz" for category in categories]
        addresses = {name: _ADDRESS_2014 + name for name in names}
    if release == "sample":
        return [(name, None, None, None) for name in addresses]
    return [(name, address, _BYTES.get(name), _SHA256.get(name)) for name, address in addresses.items()]


def build(scenario: str, folder: Path, *, release: str, reviews: str, numbering: str, **rules) -> Scenario:
    """Build one scenario from raw files.

    Pictures are not fetched: an item has the one that the release's store has of it (see ``download.pictures``), else
    ``image`` is None. A further column ``image_urls`` has their addresses, the preferred one first.

    Args:
        scenario: ``food_kitchen`` or ``movie_book``.
        folder: where pictures go, to ``images``.
        release: ``2014``, ``2023`` or ``sample``, whose files are written first.
        reviews: ``ratings``, or ``5core`` (2014 only).
        numbering: of items, see ``scenario.numbered``.
        rules: the fields of ``partition.Rules``; window_days 0 is the papers' own.

    Raises:
        InputError: a raw file is not there, is damaged or is of other items than the reviews, a rule is out of its
            range, no sequence is left, or a leak is refused.
    """
    rules = rules_of({**rules, "window_days": rules["window_days"] or WINDOW_DAYS[scenario]})
    parquet, files = converted(scenario, release, reviews)
    for reviews_of, metadata_of in zip(parquet[:2], parquet[2:], strict=True):
        _require_common_items(reviews_of, metadata_of)
    items, sequences, account = partition(*parquet[:2], rules)
    items, store = _described(items, parquet[2:]), picture_store("amazon", release)
    if (store / MANIFEST).is_file():
        items = link_images(items, store, folder)
    account |= {
        "generated": release == "sample",
        "files": files,
        "rules": asdict(rules),
        "items_without_title": int(items["title"].isna().sum()),
        "items_without_picture": int((items["image_urls"].map(len) == 0).sum()),
    }
    return numbered(Scenario(scenario, "amazon", items, sequences, account), numbering)


def converted(scenario: str, release: str, reviews: str) -> tuple[list[Path], dict[str, dict]]:
    """A scenario's raw files as Parquet, in the order of ``raw_files``, and what is known of each, by name.

    Raises:
        InputError: a raw file is not there, is damaged, or has more bad lines than good ones.
    """
    published = raw_files(release, scenario, reviews)
    if release == "sample":
        raw = [data_dir() / "amazon" / release / name for name, *_ in published]
        sample.write(raw, scenario)
    else:
        raw = [_find(name, url, scenario, release, reviews) for name, url, *_ in published]
    parquet, files = [], {}
    for (name, url, _, sha256), path, convert in zip(
        published, raw, [raw_reviews.interactions] * 2 + [raw_reviews.items] * 2, strict=True
    ):
        table, facts = convert(path, data_dir() / "amazon" / release)
        raw_reviews.require_usable(path, facts)
        parquet.append(table)
        files[name] = {**facts, "url": url, "recorded_sha256": sha256}
    return parquet, files


def _find(name: str, url: str, scenario: str, release: str, reviews: str) -> Path:
    """The raw file, in the mirror or in the data folder, compressed or not."""
    folders = [root / "amazon" / release for root in (mirror_folder(), data_dir()) if root]
    for folder in folders:
        for path in (folder / name, folder / name.removesuffix(".gz")):
            if path.is_file():
                return path
    raise InputError(
        f"{folders[-1] / name} is not there: fetch it with 'python -m ifcdsr_core download "
        f"--source amazon --scenario {scenario} --source-option release={release} --source-option reviews={reviews}', "
        f"or from {url}"
    )


def _require_common_items(reviews: Path, metadata: Path) -> None:
    """Raise an InputError if a domain's metadata (a Parquet file) describe no item of its reviews."""
    import polars as pl

    rated, described = pl.scan_parquet(reviews).select(source_id="item"), pl.scan_parquet(metadata).select("source_id")
    if described.join(rated, on="source_id", how="semi").select(pl.len()).collect(engine="streaming").item() == 0:
        examples = " and ".join(table.head(1).collect().item() for table in (rated, described))
        raise InputError(
            f"{metadata.stem} describes no item of {reviews.stem} (they begin with {examples}): put both files of one "
            "category and release into their place"
        )


def _described(items: pd.DataFrame, metadata: list[Path]) -> pd.DataFrame:
    """Add ``title`` (None where unknown), ``image`` (None) and ``image_urls`` (a list, empty where unknown)."""
    import polars as pl

    parts = []
    for domain, path in zip("xy", metadata, strict=True):
        part = pl.DataFrame({"source_id": items.loc[items["domain"] == domain, "source_id"].tolist()})
        known = pl.scan_parquet(path).join(part.lazy(), on="source_id", how="semi").collect(engine="streaming")
        parts.append(part.join(known, on="source_id", how="left", maintain_order="left"))
    known = pl.concat(parts)
    empty = [np.array(urls or [], dtype=object) for urls in known["image_urls"].to_list()]
    return items.assign(
        title=pd.Series(known["title"].to_list(), dtype=object),
        image=pd.Series([None] * len(items), dtype=object),
        image_urls=pd.Series(empty, dtype=object),
    )
