"""Numbering: a control that knows nothing of items but their numbers.

It offers the items whose number follows that of the user's newest item of the target domain, nearest first, and after
them those before it, nearest first. No paper proposes it. Where it beats chance, the numbers tell of the answers: those
of C2DSR's files seem to follow the order in which items first appear in its sequences, and ABXI's files list the items
of one day in the order of their numbers. The book's other models do not compute with numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ifcdsr_core.batches import Batch
from ifcdsr_core.models.base import ModelInputs, SequenceModel, last
from ifcdsr_core.models.popularity import NoOptions


class Numbering(SequenceModel):
    version = 1
    Config = NoOptions

    def __init__(self, config: NoOptions, inputs: ModelInputs) -> None:
        super().__init__(config, inputs)
        self.register_buffer("number", torch.arange(inputs.num_items + 1))

    def score(self, batch: Batch, domain: int) -> Tensor:
        first, count = self.inputs.item_range(domain)
        history = batch.item_seq_x if domain == 0 else batch.item_seq_y
        newest = last(history.unsqueeze(-1), history)  # (B, 1), 0 without an item of the domain
        ahead = self.number[first : first + count] - newest  # (B, number of items)
        rank = torch.where(ahead > 0, ahead, count - ahead)
        return torch.where(newest > 0, -rank, 0).float()
