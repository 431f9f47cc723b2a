"""Page 04d, complete data: what the data of other authors add to the comparison."""

from __future__ import annotations

import pandas as pd

from ifcdsr_core.analysis import paired
from ifcdsr_core.analysis.paired import Runs, beside_paper
from ifcdsr_core.runs import lists, store
from ifcdsr_core.scenario import DOMAIN_NAMES, DOMAINS


def of_more_users() -> pd.DataFrame:
    """Test MRR in percent of models that LLMCDSR's data have trained on the users of both domains, and on all.

    One row per domain and model that has both among the shipped runs, over the seeds that both have.
    """
    protocol, rows = "sampled_999", []
    few, more = (
        store.shipped(lists.comparison("food_kitchen", range(10), "llmcdsr", source_options={"train_users": users}))
        for users in ("both", "all")
    )
    for label in (label for label in more if label in few):
        both = paired.of_both_seeds(few[label], more[label])
        if not both[0]:
            continue
        for name, code in zip(DOMAIN_NAMES["food_kitchen"], DOMAINS, strict=True):
            means = [paired.case_means(runs, protocol, "MRR", code) for runs in both]
            gained = paired.Difference.over_seeds(paired.paired_values(*reversed(both), protocol, "MRR", code))
            rows.append((name, label, *(mean.mean() for mean in means), gained, len(both[0])))
    columns = ["Target", "Model", "Users of both domains", "All users", "Difference", "Seeds"]
    return pd.DataFrame(rows, columns=columns).sort_values("Target", kind="stable", ignore_index=True)


def beside_authors(experiment: Runs, published: pd.DataFrame) -> pd.DataFrame:
    """ABXI's published MRR beside ours by its authors' choice of negatives, their ratio, and ours by the book's.

    Args:
        published: one of ``paper.PUBLISHED_ABXI``.
    """
    table = beside_paper(experiment, published, "unseen_999")
    pairs = zip(table["MRR here"], table["MRR printed"], strict=True)
    by_the_book = beside_paper(experiment, published)["MRR here"]
    return table.assign(Ratio=[here.mean / printed for here, printed in pairs], **{"999 of all kinds": by_the_book})
