"""Attention(.) of equation (1): a small causal self-attention encoder, shared by all attention models.

The paper gives no details (gap 7). The choice here is the block of SASRec (Kang & McAuley, ICDM 2018) with the
normalisation before each part: learned positions, causal multi-head attention, a feed-forward part, residuals. It has
to be causal: (6) predicts every item of a sequence from those before it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ifcdsr_core.errors import require
from ifcdsr_core.models.base import ModelConfig, initialise
from ifcdsr_core.scenario import PAD_ID


@dataclass(frozen=True)
class AttentionConfig(ModelConfig):
    """Shape of the attention encoders (gap 7).

    Attributes:
        inner_size: width of the feed-forward part; 0 for none.
        positions: add a learned vector for each position.
    """

    num_heads: int = 2
    inner_size: int = 256
    positions: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.inner_size >= 0, "inner_size", self.inner_size, "0 or more")
        require(
            self.num_heads >= 1 and self.hidden_size % self.num_heads == 0,
            "num_heads",
            self.num_heads,
            f"a divisor of hidden_size ({self.hidden_size})",
        )


class CausalEncoder(nn.Module):
    """(B, L, D) item vectors in time order to (B, L, D) hidden states; row t has seen rows up to t only.

    Sequences are padded on the right, so a real position never sees padding: the causal mask is all it takes.
    """

    def __init__(self, width: int, max_seq_len: int, config: AttentionConfig) -> None:
        super().__init__()
        self.position_embedding = nn.Embedding(max_seq_len, width) if config.positions else None
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(_Block(width, config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(width)
        initialise(self)

    def forward(self, vectors: Tensor) -> Tensor:
        hidden = self.placed(vectors)  # (B, L, D)
        for block in self.blocks:
            hidden = block(hidden)
        return self.norm(hidden)

    def last(self, vectors: Tensor, item_seq: Tensor) -> Tensor:
        """``base.last`` of the hidden states, (B, D), where the last block computes no others: for ranking."""
        length = (item_seq != PAD_ID).sum(dim=1)  # (B,)
        hidden = self.placed(vectors)
        for block in self.blocks[:-1]:
            hidden = block(hidden)
        newest = self.blocks[-1].at(hidden, (length - 1).clamp(min=0))
        return self.norm(newest) * (length > 0)[:, None]

    def placed(self, vectors: Tensor) -> Tensor:
        """Item vectors with their positions, (B, L, D)."""
        if self.position_embedding is not None:
            vectors = vectors + self.position_embedding.weight[: vectors.shape[1]]
        return self.dropout(vectors)

    @torch.no_grad()
    def attention(self, vectors: Tensor) -> Tensor:
        """Weights of the last layer: of the earlier positions (columns) for each position (rows), (B, heads, L, L)."""
        hidden = self.placed(vectors)
        for block in self.blocks[:-1]:
            hidden = block(hidden)
        query, key, _ = self.blocks[-1].heads(hidden)
        future = torch.ones(query.shape[2], query.shape[2], dtype=torch.bool, device=query.device).triu(diagonal=1)
        return (query @ key.mT / query.shape[-1] ** 0.5).masked_fill(future, -torch.inf).softmax(dim=-1)


class _Block(nn.Module):
    def __init__(self, width: int, config: AttentionConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.dropout = nn.Dropout(config.dropout)
        if config.inner_size:
            self.inner_norm = nn.LayerNorm(width)
            self.inner = nn.Sequential(
                nn.Linear(width, config.inner_size),
                nn.GELU(),
                nn.Dropout(config.dropout),
                nn.Linear(config.inner_size, width),
            )

    def forward(self, hidden: Tensor) -> Tensor:
        mixed = F.scaled_dot_product_attention(*self.heads(hidden), is_causal=True)  # (B, heads, L, D / heads)
        return self.beyond_attention(hidden, mixed.transpose(1, 2).flatten(start_dim=2))

    def at(self, hidden: Tensor, position: Tensor) -> Tensor:
        """The row of ``forward`` at one position of each sequence, (B, L, D) and (B,) to (B, D)."""
        case, (size, width) = torch.arange(len(position), device=position.device), (self.num_heads, hidden.shape[2])
        normed, layer = self.attention_norm(hidden), self.query_key_value
        query = F.linear(normed[case, position], layer.weight[:width], layer.bias[:width])
        both = F.linear(normed, layer.weight[width:], layer.bias[width:]).view(*hidden.shape[:2], 2, size, -1)
        key, value = both.permute(2, 0, 3, 1, 4)  # (B, heads, L, D / heads) each
        visible = torch.arange(hidden.shape[1], device=position.device) <= position[:, None]
        query = query.view(len(query), size, 1, -1)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=visible[:, None, None])
        return self.beyond_attention(hidden[case, position], mixed.flatten(start_dim=1))

    def beyond_attention(self, hidden: Tensor, mixed: Tensor) -> Tensor:
        """What follows attention, position by position: (..., D) states and what attention mixed to (..., D)."""
        hidden = hidden + self.dropout(self.output(mixed))
        if hasattr(self, "inner"):
            hidden = hidden + self.dropout(self.inner(self.inner_norm(hidden)))
        return hidden

    def heads(self, hidden: Tensor) -> Tensor:
        """Queries, keys and values of all heads, (3, B, heads, L, D / heads)."""
        batch, length, _ = hidden.shape
        split = self.query_key_value(self.attention_norm(hidden)).view(batch, length, 3, self.num_heads, -1)
        return split.permute(2, 0, 3, 1, 4)
