"""Popularity: every user is offered what is most often interacted with in the training sequences.

Nothing is learned and nothing of the history is read: whoever does not beat this has learned nothing about users.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ifcdsr_core.batches import Batch
from ifcdsr_core.models.base import ModelInputs, SequenceModel


@dataclass(frozen=True)
class NoOptions:
    """The configuration of a model that has none."""


class Popularity(SequenceModel):
    version = 1
    Config = NoOptions

    def __init__(self, config: NoOptions, inputs: ModelInputs) -> None:
        super().__init__(config, inputs)
        self.register_buffer("count", item_counts(inputs))  # (V + 1,)

    def score(self, batch: Batch, domain: int) -> Tensor:
        first, count = self.inputs.item_range(domain)
        return self.count[first : first + count].expand(len(batch), -1)


def item_counts(inputs: ModelInputs) -> Tensor:
    """How often each item occurs in the training sequences, targets included, (V + 1,); 0 for padding."""
    items = torch.cat([inputs.train.item_seq.flatten(), inputs.train.target_item])
    counts = torch.bincount(items, minlength=inputs.num_items + 1).float()
    counts[0] = 0
    return counts
