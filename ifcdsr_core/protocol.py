"""How a model is ranked: the target among the items of its own domain, all of them or 999 seeded negatives.

The paper does not say which it uses (gap 3). Its baseline rows are those of C2DSR (Cao et al., CIKM 2022), which
ranks the target among 999 random items of its domain (``sampled_999``). ABXI (Bian et al., WWW 2025) draws them from
those that the user never interacted with (``unseen_999``). Every run here is ranked in all three ways from the same
scores.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ifcdsr_core.batches import Batch
from ifcdsr_core.errors import InputError
from ifcdsr_core.settings import NUM_NEGATIVES, PROTOCOLS

_STREAM = 999  # first word of the seed, so that no other generator of the project draws the same numbers


def negatives(target: np.ndarray, num_items: int, seed: int, known: np.ndarray | None = None) -> np.ndarray:
    """Distinct negatives for each case, uniformly from the domain without the target.

    Args:
        target: (B,) position of the target within its domain, 0 ... num_items - 1.
        num_items: items of the domain. With fewer than 1,000 all others are taken.
        seed: the named seed; the same seed, cases and domain give the same negatives for every model.
        known: (B, K) positions that are taken only where too few others are left; what is none is passed over.

    Returns:
        (B, min(999, num_items - 1)) positions within the domain, ascending, int64.

    >>> drawn = negatives(np.array([3, 0]), num_items=2000, seed=0)
    >>> drawn.shape, 3 in drawn[0], 0 in drawn[1]
    ((2, 999), False, False)
    >>> sorted(negatives(np.array([3]), num_items=5, seed=0)[0].tolist())  # a small domain gives all it has
    [0, 1, 2, 4]
    >>> 7 in negatives(np.array([3]), num_items=2000, seed=0, known=np.array([[7, -1]]))
    False
    """
    count = min(NUM_NEGATIVES, num_items - 1)
    random = np.random.default_rng([_STREAM, seed, num_items])
    drawn = np.empty((len(target), count), dtype=np.int64)
    for start in range(0, len(target), 256):  # keys for all items of all cases would be gigabytes
        keys = random.random((len(target[start : start + 256]), num_items - 1), dtype=np.float32)
        if known is not None:
            _put_last(keys, target[start : start + 256, None], known[start : start + 256])
        drawn[start : start + 256] = _smallest(keys, count)
    return drawn + (drawn >= target[:, None])  # skip the target


def _smallest(keys: np.ndarray, count: int) -> np.ndarray:
    """Columns of the ``count`` smallest keys in each row, ascending; of equal keys the first ones.

    Which of equal keys ``np.argpartition`` takes depends on the processor, and so would the negatives of one case in a
    thousand among 35,000 items.
    """
    largest = np.partition(keys, count - 1, axis=1)[:, count - 1, None]
    chosen = keys <= largest
    for row in np.flatnonzero(chosen.sum(axis=1) > count):
        equal = np.flatnonzero(keys[row] == largest[row])
        chosen[row, equal[count - chosen[row].sum() :]] = False
    return np.nonzero(chosen)[1].reshape(len(keys), count)


def _put_last(keys: np.ndarray, target: np.ndarray, known: np.ndarray) -> None:
    """Add 1 to the keys (B, V - 1) of the known (B, K): the target's column is missing among them."""
    row, place = np.nonzero((known >= 0) & (known <= keys.shape[1]) & (known != target))
    keys[row, known[row, place] - (known > target)[row, place]] += 1


@lru_cache(maxsize=8)  # validation and test, two domains each, two ways: drawing takes as long as scoring
def _drawn(target: bytes, num_items: int, seed: int, known: bytes = b"") -> Tensor:
    """``negatives`` of the same cases, drawn once, (B, 999) int32."""
    positions = np.frombuffer(target, dtype=np.int64)
    of_user = np.frombuffer(known, dtype=np.int32).reshape(len(positions), -1) if known else None
    return torch.from_numpy(negatives(positions, num_items, seed, of_user).astype(np.int32))


def rank_among(target_score: Tensor, other_scores: Tensor) -> tuple[Tensor, Tensor]:
    """Rank of the target among others, (B,) float64: 1 + those above + half of those equal; and how many are equal.

    Ties are averaged, so that a model that scores all items alike is ranked as chance would have it. Any other rule
    follows from the two: ``rank - equal / 2`` puts the target before its equals, ``rank + equal / 2`` behind them.

    >>> rank, equal = rank_among(torch.tensor([0.5]), torch.tensor([[0.1, 0.5, 0.5, 0.9]]))
    >>> rank.item(), equal.item()
    (3.0, 2)
    """
    wanted, counted = target_score[:, None], torch.empty_like(other_scores)  # ones are added faster than truths
    above, equal = (compare(other_scores, wanted, out=counted).sum(dim=1) for compare in (torch.gt, torch.eq))
    return 1.0 + above.double() + equal.double() / 2, equal.long()


@torch.no_grad()
def rank_cases(model, cases: Batch, seed: int, batch_size: int = 512) -> pd.DataFrame:
    """Rank the target of every case under all protocols.

    Args:
        model: a SequenceModel; it is put into evaluation mode and back.
        cases: all cases of a split, on any device.
        seed: seed of the sampled negatives.

    Returns:
        One row per case, in order: ``target_item``, ``target_domain`` ('x', 'y'), the rank under each protocol, and
        ``<protocol>_ties``, how many others score as the target does.

    Raises:
        InputError: the model's scores have another shape than ``score`` must return, or some are NaN.
    """
    was_training, device = model.training, model.device
    model.eval()
    ranks = {protocol: np.empty(len(cases)) for protocol in PROTOCOLS}
    ties = {f"{protocol}_ties": np.empty(len(cases), dtype=np.int32) for protocol in PROTOCOLS}
    for domain in (0, 1):
        rows = torch.nonzero(cases.target_domain.cpu() == domain).squeeze(1)
        if not len(rows):
            continue
        offset, num_items = model.inputs.item_range(domain)
        target = cases.target_item[rows.to(cases.target_item.device)].cpu() - offset
        others = target.numpy().tobytes(), num_items, seed
        known = cases.known[rows.to(cases.known.device)].cpu().numpy() - offset
        drawn = {"sampled_999": _drawn(*others), "unseen_999": _drawn(*others, known.astype(np.int32).tobytes())}
        for part in torch.arange(len(rows)).split(batch_size):
            batch = cases[rows[part].to(cases.target_item.device)].to(device)
            scores = _checked(model.score(batch, domain), (len(part), num_items), model)
            wanted = scores.gather(1, target[part, None].to(device)).squeeze(1)
            where = rows[part].numpy()
            for protocol in PROTOCOLS:
                itself = int(protocol == "full")  # there the target is one of those it is compared with
                among = scores if itself else scores.gather(1, drawn[protocol][part].to(device).long())
                rank, equal = rank_among(wanted, among)
                ranks[protocol][where] = (rank - itself / 2).cpu().numpy()
                ties[f"{protocol}_ties"][where] = (equal - itself).cpu().numpy()
    model.train(was_training)
    domain_name = np.where(cases.target_domain.cpu().numpy() == 0, "x", "y")
    return pd.DataFrame({"target_item": cases.target_item.cpu().numpy(), "target_domain": domain_name, **ranks, **ties})


def _checked(scores: Tensor, shape: tuple[int, int], model) -> Tensor:
    """The scores, if they are of the right shape and all numbers: one that is NaN would count as below the target."""
    what = f"score() of {model.title}"
    if not isinstance(scores, Tensor) or tuple(scores.shape) != shape or not scores.is_floating_point():
        given = f"{scores.dtype} {tuple(scores.shape)}" if isinstance(scores, Tensor) else type(scores).__name__
        raise InputError(f"{what} gave {given}: it must give floats {shape}, a column for each item of the domain")
    if scores.amax().isnan():  # the largest is NaN where any is
        trained = any(parameter.requires_grad for parameter in model.parameters())
        remedy = "it diverged; lower learning_rate" if trained else "each item needs a number"
        raise InputError(f"{what} gave NaN for {int(scores.isnan().sum()):,} of {scores.numel():,} scores: {remedy}")
    return scores
