"""Attention(.) of equation (1): a small causal self-attention encoder, shared by all attention models.

The paper gives no details (gap 7). The choice here is the block of SASRec (Kang & McAuley, ICDM 2018) with the
normalisation before each part: learned positions, causal multi-head attention, a feed-forward part, residuals.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from ifcdsr_core.models.base import ModelConfig, initialise, require


@dataclass(frozen=True)
class AttentionConfig(ModelConfig):
    """Shape of the attention encoders (gap 7); ``inner_size`` is the width of the feed-forward part."""

    num_heads: int = 2
    inner_size: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.inner_size >= 1, "inner_size", self.inner_size, "at least 1")
        require(self.num_heads >= 1 and self.hidden_size % self.num_heads == 0, "num_heads", self.num_heads,
                f"a divisor of hidden_size ({self.hidden_size})")


class CausalEncoder(nn.Module):
    """(B, L, D) item vectors in time order to (B, L, D) hidden states; row t has seen rows up to t only.

    Sequences are padded on the right, so a real position never sees padding: the causal mask is all it takes.
    """

    def __init__(self, width: int, max_seq_len: int, config: AttentionConfig) -> None:
        super().__init__()
        self.position_embedding = nn.Embedding(max_seq_len, width)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(_Block(width, config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(width)
        initialise(self)

    def forward(self, vectors: Tensor) -> Tensor:
        hidden = self.dropout(vectors + self.position_embedding.weight[:vectors.shape[1]])  # (B, L, D)
        for block in self.blocks:
            hidden = block(hidden)
        return self.norm(hidden)


class _Block(nn.Module):
    def __init__(self, width: int, config: AttentionConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.inner_norm = nn.LayerNorm(width)
        self.inner = nn.Sequential(nn.Linear(width, config.inner_size), nn.GELU(), nn.Dropout(config.dropout),
                                   nn.Linear(config.inner_size, width))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        batch, length, width = hidden.shape
        split = self.query_key_value(self.attention_norm(hidden)).view(batch, length, 3, self.num_heads, -1)
        query, key, value = split.permute(2, 0, 3, 1, 4)  # each (B, heads, L, D / heads)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        mixed = self.output(mixed.transpose(1, 2).reshape(batch, length, width))
        hidden = hidden + self.dropout(mixed)
        return hidden + self.dropout(self.inner(self.inner_norm(hidden)))
