"""Co-occurrence: items that stand in the same training sequences as those of the history (item-to-item neighbours).

The similarity of two items is the cosine of the sets of training sequences they occur in (Sarwar et al., WWW 2001),
summed over the history. It crosses domains by itself: a history in Food has neighbours in Kitchen. Items that are no
neighbour of anything in the history follow in the order of their popularity.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from ifcdsr_core.batches import Batch
from ifcdsr_core.models.base import ModelInputs, SequenceModel
from ifcdsr_core.models.popularity import NoOptions, item_counts


class CoOccurrence(SequenceModel):
    version = 1
    Config = NoOptions
    title = "Co-occurrence"

    def __init__(self, config: NoOptions, inputs: ModelInputs) -> None:
        super().__init__(config, inputs)
        pairs, cosines = _neighbours(inputs)
        self.register_buffer("pairs", pairs)  # (2, E): items that occur together, both directions
        self.register_buffer("cosines", cosines)  # (E,)
        counts = item_counts(inputs)
        smallest = cosines.min() if len(cosines) else torch.ones(())
        self.register_buffer("tie_break", 0.5 * smallest * counts / counts.max().clamp(min=1))  # below any neighbour

    def score(self, batch: Batch, domain: int) -> Tensor:
        size = self.inputs.num_items + 1
        first, count = self.inputs.item_range(domain)
        similar = torch.sparse_coo_tensor(self.pairs, self.cosines, (size, size), check_invariants=False)
        history = torch.zeros(size, len(batch), device=self.device)
        history[batch.item_seq.T, torch.arange(len(batch), device=self.device)] = 1.0
        history[0] = 0.0
        return (
            torch.sparse.mm(similar, history)[first : first + count] + self.tie_break[first : first + count, None]
        ).T


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
