"""Co-occurrence: items that stand in the same training sequences as those of the history (item-to-item neighbours).

The similarity of two items is the cosine of the sets of training sequences they occur in (Sarwar et al., WWW 2001),
summed over the history. It crosses domains by itself: a history in Food has neighbours in Kitchen. Items that are no
neighbour of anything in the history follow in the order of their popularity, which is worth at most half of the
smallest cosine and decides between sums that differ by less.
"""

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor

from ifcdsr_core.batches import Batch
from ifcdsr_core.models.base import ModelInputs, SequenceModel
from ifcdsr_core.models.popularity import NoOptions, item_counts
from ifcdsr_core.scenario import PAD_ID


class CoOccurrence(SequenceModel):
    version = 1
    Config = NoOptions
    title = "Co-occurrence"

    def __init__(self, config: NoOptions, inputs: ModelInputs) -> None:
        super().__init__(config, inputs)
        pairs, cosines = _neighbours(inputs)
        self.register_buffer("pairs", pairs)  # (2, E): items that occur together, both directions
        self.register_buffer("cosines", cosines)  # (E,)
        count = torch.bincount(pairs[0], minlength=inputs.num_items + 1)
        self.register_buffer("count", count, persistent=False)  # (V + 1,) neighbours of each item
        self.register_buffer("begin", count.cumsum(dim=0) - count, persistent=False)
        counts = item_counts(inputs)
        smallest = cosines.min() if len(cosines) else torch.ones(())
        self.register_buffer("tie_break", 0.5 * smallest * counts / counts.max().clamp(min=1))  # below any neighbour

    def score(self, batch: Batch, domain: int) -> Tensor:
        first, _ = self.inputs.item_range(domain)
        ids = batch.item_seq.sort(dim=1).values
        once = F.pad(ids[:, 1:] != ids[:, :-1], (1, 0), value=True) & (ids != PAD_ID)  # an item counts once
        case, item = once.nonzero()[:, 0], ids[once]
        count = self.count[item]  # of neighbours: those of an item stand in one piece, and are all looked up at once
        shift = self.begin[item] - (count.cumsum(dim=0) - count)
        at = shift.repeat_interleave(count) + torch.arange(int(count.sum()), device=self.device)
        case, neighbour = case.repeat_interleave(count), self.pairs[1, at]
        inside = self.in_domain(neighbour, domain)
        scores = self.of_domain(self.tie_break, domain).repeat(len(batch), 1)
        where = case[inside], neighbour[inside] - first
        return scores.index_put_(where, self.cosines[at[inside]], accumulate=True)


def _neighbours(inputs: ModelInputs) -> tuple[Tensor, Tensor]:
    """Pairs of items of the same training sequence, (2, E), and the cosines of the sets they occur in, (E,)."""
    items = torch.cat([inputs.train.item_seq, inputs.train.target_item[:, None]], dim=1)  # (N, L + 1)
    length, size = items.shape[1], inputs.num_items + 1
    row = torch.arange(len(items)).repeat_interleave(length)
    occurs = torch.unique(row * size + items.flatten())[None]  # an item counts once a sequence
    row, item = occurs[0] // size, occurs[0] % size
    occurs = torch.stack([row, item])[:, item > 0]
    member = torch.sparse_coo_tensor(occurs, torch.ones(occurs.shape[1]), (len(items), size), check_invariants=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")  # a step on torch's way
        together = torch.sparse.mm(member.T, member).coalesce()
    pairs, counts = together.indices(), together.values()
    frequency = torch.bincount(occurs[1], minlength=size).float()
    different = pairs[0] != pairs[1]
    pairs, counts = pairs[:, different], counts[different]
    return pairs, counts / (frequency[pairs[0]] * frequency[pairs[1]]).sqrt()
