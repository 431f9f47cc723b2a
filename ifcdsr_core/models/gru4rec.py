"""GRU4Rec: recurrent next-item recommendation (Hidasi et al., ICLR 2016), on the merged sequence.

Deviation: the exact softmax over all items in place of BPR or TOP1 on sampled negatives, as for all models here.
"""

from __future__ import annotations

from torch import Tensor, nn

from ifcdsr_core.models.base import ModelConfig, ModelInputs, packed, unpacked
from ifcdsr_core.models.sasrec import MergedSequenceModel
from ifcdsr_core.scenario import PAD_ID


class GRU4Rec(MergedSequenceModel):
    version = 1
    Config = ModelConfig

    def __init__(self, config: ModelConfig, inputs: ModelInputs) -> None:
        super().__init__(config, inputs, _GRU(config.hidden_size, config.num_layers, config.dropout))


class _GRU(nn.Module):
    def __init__(self, hidden_size: int, num_layers: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.gru = nn.GRU(hidden_size, hidden_size, num_layers, batch_first=True)

    def forward(self, vectors: Tensor, item_seq: Tensor) -> Tensor:  # (B, L, D) and (B, L) -> (B, L, D)
        states, _ = self.gru(packed(self.dropout(vectors), (item_seq != PAD_ID).sum(dim=1)))
        return self.dropout(unpacked(states, vectors.shape[1]))
