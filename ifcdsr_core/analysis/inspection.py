"""What a trained IFCDSR looks at: the attention of its encoders, what each recommends, and who carries the result.

Words used here: an *encoder* is one of the six attentions (S^X, S^Y, S^{X+Y} by ID and by image). For a target domain
the three branches have *roles*: ``own`` (the target's domain), ``source`` (the other one) and ``merged``. A *part* is a
role with a modality, such as ``("own", "image")``; a *scorer* is a set of parts, mixed with the model's own weights.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ifcdsr_core.analysis.paired import Difference
from ifcdsr_core.analysis.significance import bootstrap_interval, holm, permutation_p, ratio_interval
from ifcdsr_core.batches import XY, Batch, X, Y
from ifcdsr_core.errors import InputError, choose, require
from ifcdsr_core.metrics import reciprocal_rank
from ifcdsr_core.models.base import SequenceModel
from ifcdsr_core.models.ifcdsr import IFCDSR
from ifcdsr_core.protocol import rank_cases
from ifcdsr_core.scenario import PAD_ID

PLACES = ("ranked first", "in the middle", "far down")
SHOWN, HIDDEN = ("colour", "pattern", "kind"), ("theme", "stage")  # what pictures of the demo show, and what not
ROLES = ("own", "source", "merged")
ALL = "all mixed (8)"  # the scorer that is the whole model, (8)
BY = {"id": "by ID", "image": "by image"}

Parts = frozenset[tuple[str, str]]


def pictured(source: str) -> str:
    """``source`` if it is the one with pictures and known attributes.

    Raises:
        InputError: it is another.
    """
    if source != "demo":
        raise InputError(f"source is {source!r}: only the demo has pictures to look at, use source='demo'")
    return source


# --- whom to look at --------------------------------------------------------------------------------------------------


def examples(ranks: pd.DataFrame, users: int = 1, seed: int = 0) -> pd.DataFrame:
    """Test cases to look at, drawn by a rule and not chosen: ``users`` of each domain at each of three places.

    The cases of a domain are ordered by the target's rank among all items. ``ranked first`` draws from those of rank 1
    (from the best, where these are too few), ``in the middle`` from the middle fifth, ``far down`` from the last fifth.

    Args:
        ranks: of a run: ``target_domain`` ('x', 'y') and ``full``, one row per test case.
        users: cases per domain and place.

    Returns:
        ``place``, ``target_domain``, ``case`` (row number in ``ranks``) and ``rank``, by place, domain and case.

    Raises:
        InputError: ``users`` is below 1.
    """
    require(users >= 1, "users", users, "at least 1")
    rank, rows = ranks["full"].to_numpy(), []
    for number, place in enumerate(PLACES):
        for domain, code in enumerate("xy"):
            members = np.flatnonzero(ranks["target_domain"].to_numpy() == code)
            ordered = members[rank[members].argsort(kind="stable")]
            count = len(ordered)
            start, stop = (
                (0, int((rank[members] == 1).sum())),
                (int(0.4 * count), int(0.6 * count)),
                (int(0.8 * count), count),
            )[number]
            band = ordered[start : max(stop, start + users)]
            drawn = np.random.default_rng([seed, number, domain]).permutation(len(band))[:users]
            rows += [(place, code, int(case), float(rank[case])) for case in np.sort(band[drawn])]
    return pd.DataFrame(rows, columns=["place", "target_domain", "case", "rank"])


@torch.no_grad()
def attention(model: IFCDSR, cases: Batch, batch_size: int = 256) -> pd.DataFrame:
    """Where every encoder looks when it makes h: weights of its last layer at the newest item, mean over heads.

    Returns:
        One row for each case, encoder and item of the encoder's sub-sequence: ``case`` (row of ``cases``), ``encoder``
        (``x_id`` ...), ``position`` (in the merged history), ``item``, ``lag`` (0 for the sub-sequence's newest item),
        ``length`` (of the sub-sequence) and ``weight`` (they add up to 1).
    """
    was_training, matrices, parts = model.training, model.item_matrices(), []
    model.eval()
    for index in torch.arange(len(cases)).split(batch_size):
        batch = cases[index.to(cases.item_seq.device)].to(model.device)
        sequences, vectors = model.sequences(batch), model.look_up(batch, matrices)
        members = {
            X: model.in_domain(batch.item_seq, 0),
            Y: model.in_domain(batch.item_seq, 1),
            XY: batch.item_seq != PAD_ID,
        }
        for branch in model.branches:
            item_seq = sequences[branch]
            length = (item_seq != PAD_ID).sum(dim=1)  # (B,)
            row, place = torch.nonzero(item_seq != PAD_ID, as_tuple=True)
            _, position = torch.nonzero(members[branch], as_tuple=True)  # the same items in the same order
            for modality, part in zip(model.modalities, vectors[branch], strict=True):
                weights = model.encoders[f"{branch}_{modality}"].attention(part, item_seq).mean(dim=1)
                newest = weights[torch.arange(len(batch), device=length.device), (length - 1).clamp(min=0)]  # (B, L)
                columns = {
                    "case": index.to(row.device)[row],
                    "position": position,
                    "item": item_seq[row, place],
                    "lag": length[row] - 1 - place,
                    "length": length[row],
                    "weight": newest[row, place],
                }
                frame = pd.DataFrame({name: values.cpu().numpy() for name, values in columns.items()})
                parts.append(frame.assign(encoder=f"{branch}_{modality}", weight=frame["weight"].astype(float)))
    model.train(was_training)
    return pd.concat(parts, ignore_index=True)


def by_lag(table: pd.DataFrame, min_cases: int = 30) -> pd.DataFrame:
    """Mean weight by distance from the newest item, beside the even share 1 / length of the same cases.

    Args:
        table: of ``attention``.
        min_cases: distances that fewer cases reach are left out.

    Returns:
        ``encoder``, ``lag``, ``weight``, ``even`` and ``cases``.
    """
    groups = table.assign(even=1 / table["length"]).groupby(["encoder", "lag"], sort=False)
    means = groups.agg(weight=("weight", "mean"), even=("even", "mean"), cases=("case", "size")).reset_index()
    order = list(dict.fromkeys(table["encoder"]))
    means = means[means["cases"] >= min_cases]
    return means.sort_values(
        ["encoder", "lag"], key=lambda c: c.map(order.index) if c.name == "encoder" else c, ignore_index=True
    )


# --- attention and what items have in common --------------------------------------------------------------------------


def sharing(table: pd.DataFrame, items: pd.DataFrame, target: np.ndarray, reference: str) -> pd.DataFrame:
    """Do items that share an attribute with the target, or with the newest item, get more attention than others?

    The attention they get is compared twice: with their share of the history, as if every item got the same (``even``),
    and with what the same positions of equally long histories usually get from that encoder (``usual``), which takes
    out that newer items get more or less than older ones. A ratio of 1 means that the attribute plays no part.

    Args:
        table: of ``attention``.
        items: of a scenario of the demo, with the columns SHOWN and HIDDEN.
        target: (cases,) item ids.
        reference: ``target``, which the model does not know; or ``newest``, the item that asks: each encoder's newest
            one, which is then left out itself.

    Returns:
        One row per encoder and attribute: ``reference``, ``encoder``, ``attribute``, ``shown`` (by pictures), ``share``
        (of the items read that share it), the ratios ``even`` and ``usual`` with 95 % bootstrap intervals over cases
        ``even_low``, ``even_high``, ``usual_low``, ``usual_high``, and ``p`` of a paired permutation test of ``usual``.
        NaN where no item shares the attribute.

    Raises:
        InputError: another reference, or items without the demo's attributes.
    """
    missing = [name for name in (*SHOWN, *HIDDEN) if name not in items]
    if missing:
        raise InputError(f"items have no column {missing[0]!r}: only those of the demo have planted attributes")
    choose("reference", reference, ("target", "newest"))
    table = table.assign(usual=table.groupby(["encoder", "length", "lag"])["weight"].transform("mean"))
    if reference == "target":
        other = np.asarray(target)[table["case"].to_numpy()]
    else:
        newest = table[table["lag"] == 0].set_index(["case", "encoder"])["item"]
        other = newest.loc[pd.MultiIndex.from_frame(table[["case", "encoder"]])].to_numpy()
        table, other = table[table["lag"] > 0], other[(table["lag"] > 0).to_numpy()]
    table = table.assign(even=table.groupby(["encoder", "case"])["weight"].transform("mean"))
    rows = []
    for encoder, part in table.groupby("encoder", sort=False):
        mine = other[(table["encoder"] == encoder).to_numpy()]
        for attribute in (*SHOWN, *HIDDEN):
            values = items[attribute].to_numpy()
            same = values[part["item"].to_numpy() - 1] == values[mine - 1]
            sums = part[["weight", "even", "usual"]].mul(same, axis=0).groupby(part["case"]).sum()  # on sharing items
            row = {
                "reference": reference,
                "encoder": encoder,
                "attribute": attribute,
                "shown": attribute in SHOWN,
                "share": float(same.mean()),
            }
            for name in ("even", "usual"):
                low, high = ratio_interval(sums["weight"], sums[name])
                row |= {
                    name: sums["weight"].sum() / sums[name].sum() if same.any() else np.nan,
                    f"{name}_low": low,
                    f"{name}_high": high,
                }
            row["p"] = permutation_p(sums["weight"] - sums["usual"], samples=4999) if same.any() else np.nan
            rows.append(row)
    return pd.DataFrame(rows)


# --- scorers ----------------------------------------------------------------------------------------------------------


class Part(SequenceModel):
    """Some parts of a trained IFCDSR as a model of its own: (8) with the other parts left out, nothing retrained."""

    def __init__(self, model: IFCDSR, parts: Iterable[tuple[str, str]]) -> None:
        super().__init__(model.config, model.inputs)
        self.model, self.parts = model, frozenset(parts)
        self.train(model.training)  # else rank_cases, which restores a mode, would switch on the model's dropout
        known = _all_parts(model)
        if unknown := self.parts - known:
            raise InputError(f"the model has no part {min(unknown)}: it has {', '.join(map(str, sorted(known)))}")

    def score(self, batch: Batch, domain: int) -> Tensor:
        """log P(x_i|S) up to a constant, for all items of the target domain, (B, N)."""
        branches = {_role(branch, domain): branch for branch in self.model.branches}
        return self.model.score(batch, domain, {(branches[role], modality) for role, modality in self.parts})


def _role(branch: str, domain: int) -> str:
    return "merged" if branch == XY else "own" if branch == (X, Y)[domain] else "source"


def _all_parts(model: IFCDSR) -> Parts:
    return frozenset((_role(branch, 0), modality) for branch in model.score_weights(0) for modality in model.modalities)


def scorers(model: IFCDSR) -> dict[str, dict[str, Parts]]:
    """The scorers that are compared, by group: parts alone, branches (5), modalities, all but a branch, and all (8)."""
    every = _all_parts(model)
    roles = [role for role in ROLES if any(part[0] == role for part in every)]
    return {
        "one encoder": {
            f"{role} {BY.get(modality, modality)}": frozenset({(role, modality)})
            for role in roles
            for modality in model.modalities
        },
        "one branch": {f"{role} mixed (5)": frozenset(p for p in every if p[0] == role) for role in roles},
        "one modality": {
            f"all three {BY.get(modality, modality)}": frozenset(p for p in every if p[1] == modality)
            for modality in model.modalities
        },
        "all but one branch": {
            f"without {role}": frozenset(p for p in every if p[0] != role) for role in roles if len(roles) > 1
        },
        "everything": {ALL: every},
    }


def scorer_ranks(model: IFCDSR, cases: Batch, seed: int, protocol: str = "sampled_999") -> pd.DataFrame:
    """Rank of the target of every case by every scorer of ``scorers``.

    Args:
        seed: of the sampled negatives, the run's ``candidate_seed``.

    Returns:
        ``target_domain`` and a column of ranks for each scorer, with the levels (group, scorer), one row per case.
    """
    columns = {
        (group, label): rank_cases(Part(model, parts), cases, seed)[protocol].to_numpy()
        for group, members in scorers(model).items()
        for label, parts in members.items()
    }
    domain = np.where(cases.target_domain.cpu().numpy() == 0, "x", "y")
    return pd.DataFrame({("", "target_domain"): domain, **columns})


def scorer_table(ranks: pd.DataFrame, names: tuple[str, str]) -> pd.DataFrame:
    """MRR of every scorer in percent, and its difference from the whole model in points.

    Args:
        ranks: of ``scorer_ranks``.

    Returns:
        One row per domain and scorer: ``domain`` (its name), ``group``, ``scorer``, ``MRR``, ``low`` and ``high`` (95 %
        bootstrap interval over cases), ``difference`` (scorer minus all, a ``Difference``; None for all) and ``holm``
        (p of its paired permutation test, with Holm's correction for all rows; NaN for all).
    """
    rows = []
    for name, code in zip(names, "xy", strict=True):
        cases = ranks[ranks["", "target_domain"] == code].drop(columns=[("", "target_domain")])
        values = {column: 100 * reciprocal_rank(cases[column].to_numpy(dtype=float)) for column in cases}
        whole = next(value for (_, label), value in values.items() if label == ALL)
        for (group, label), value in values.items():
            change = value - whole
            against = (None, np.nan) if label == ALL else (Difference.of(change), permutation_p(change))
            rows.append((name, group, label, float(value.mean()), *bootstrap_interval(value), *against))
    table = pd.DataFrame(rows, columns=["domain", "group", "scorer", "MRR", "low", "high", "difference", "holm"])
    return table.assign(holm=holm(table["holm"]))


@torch.no_grad()
def top_items(model: IFCDSR, cases: Batch, parts: Parts, k: int) -> tuple[np.ndarray, np.ndarray]:
    """A scorer's k best items of the target's domain, (cases, k) ids, and the target's rank among all, (cases,)."""
    was_training = model.training
    scorer = Part(model.eval(), parts)
    ranks = rank_cases(scorer, cases, seed=0)["full"].to_numpy()
    best = np.zeros((len(cases), k), dtype=np.int64)
    for domain in (0, 1):
        rows = torch.nonzero(cases.target_domain == domain).squeeze(1)
        if len(rows):
            scores = scorer.score(cases[rows].to(model.device), domain)
            order = scores.argsort(dim=1, descending=True, stable=True)[:, :k].cpu().numpy()
            best[rows.cpu().numpy(), : order.shape[1]] = order + model.inputs.item_range(domain)[0]
    model.train(was_training)
    return best, ranks
