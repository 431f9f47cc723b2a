"""Ranking metrics, all of them pure functions of the rank of the one right item (1 is best)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ifcdsr_core.settings import PROTOCOLS

METRICS = ("MRR", "NDCG@5", "NDCG@10", "HR@1", "HR@5", "HR@10")


def reciprocal_rank(rank: np.ndarray) -> np.ndarray:
    """1 / rank, per case. Its mean is MRR.

    >>> reciprocal_rank([1, 2, 4.5]).round(3).tolist()
    [1.0, 0.5, 0.222]
    """
    return 1.0 / np.asarray(rank, dtype=np.float64)


def ndcg(rank: np.ndarray, k: int) -> np.ndarray:
    """NDCG@k per case: with one relevant item the ideal gain is 1, so it is 1 / log2(1 + rank) within the first k.

    >>> ndcg([1, 3, 11], k=10).tolist()
    [1.0, 0.5, 0.0]
    """
    rank = np.asarray(rank, dtype=np.float64)
    return np.where(rank <= k, 1.0 / np.log2(1.0 + rank), 0.0)


def hit(rank: np.ndarray, k: int) -> np.ndarray:
    """1 where the item is among the first k, else 0. Its mean is HR@k.

    >>> hit([1, 5, 6], k=5).tolist()
    [1.0, 1.0, 0.0]
    """
    return (np.asarray(rank, dtype=np.float64) <= k).astype(np.float64)


def per_case(rank: np.ndarray, metric: str) -> np.ndarray:
    """The contribution of each case to ``metric`` (one of METRICS).

    >>> per_case([1, 3, 11], "NDCG@10").tolist()
    [1.0, 0.5, 0.0]
    """
    if metric == "MRR":
        return reciprocal_rank(rank)
    name, k = metric.split("@")
    return {"NDCG": ndcg, "HR": hit}[name](rank, int(k))


def summarise(ranks: pd.DataFrame) -> pd.DataFrame:
    """Mean of every metric, per protocol and target domain.

    Args:
        ranks: one row per case, with ``target_domain`` ('x' or 'y') and one column of ranks for each protocol, or for
            some: older runs lack ``unseen_999``.

    Returns:
        Columns ``protocol``, ``domain``, ``cases`` and METRICS, as fractions (not percent).

    >>> ranks = pd.DataFrame({"target_domain": ["x", "x", "y"], "sampled_999": [1, 2, 5], "full": [1, 4, 10]})
    >>> summarise(ranks)[["protocol", "domain", "cases", "MRR"]]
          protocol domain  cases    MRR
    0  sampled_999      x      2  0.750
    1  sampled_999      y      1  0.200
    2         full      x      2  0.625
    3         full      y      1  0.100
    """
    rows = []
    for protocol in (name for name in PROTOCOLS if name in ranks):
        for domain, group in ranks.groupby("target_domain", sort=True):
            rank = group[protocol].to_numpy()
            rows.append(
                {
                    "protocol": protocol,
                    "domain": domain,
                    "cases": len(rank),
                    **{metric: float(per_case(rank, metric).mean()) for metric in METRICS},
                }
            )
    return pd.DataFrame(rows)
