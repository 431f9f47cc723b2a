"""Attention(.) of equation (1): a small causal self-attention encoder, shared by all attention models.

The paper gives no details (gap 7). The choice here is the block of SASRec (Kang & McAuley, ICDM 2018) with the
normalisation before each part: learned positions, causal multi-head attention, a feed-forward part, residuals. It has
to be causal: (6) predicts every item of a sequence from those before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ifcdsr_core.errors import require
from ifcdsr_core.models.base import ModelConfig, initialise
from ifcdsr_core.scenario import PAD_ID
from ifcdsr_core.settings import setting

ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU}


@dataclass(frozen=True)
class AttentionConfig(ModelConfig):
    """Shape of the attention encoders (gap 7).

    Attributes:
        inner_size: width of the feed-forward part; 0 for none, where a model is allowed to be without.
        positions: add a learned vector for each position.
        activation: between the two layers of the feed-forward part. SASRec's is ReLU.
    """

    num_heads: int = setting(2, minimum=1)
    inner_size: int = setting(256, minimum=0, maximum=65_536)
    positions: bool = True
    activation: Literal["gelu", "relu"] = "gelu"
    least_inner_size: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_heads(self.num_heads, self.hidden_size)
        least = self.least_inner_size
        require(self.inner_size >= least, "inner_size", self.inner_size, f"at least {least}")


def require_heads(num_heads: int, hidden_size: int) -> None:
    """Raise an InputError unless the width can be shared out to the heads."""
    require(hidden_size % num_heads == 0, "num_heads", num_heads, f"a divisor of hidden_size ({hidden_size})")


class CausalEncoder(nn.Module):
    """(B, L, D) item vectors in time order to (B, L, D) hidden states; row t has seen rows up to t only.

    Sequences are padded on the right, so a real position never sees padding: the causal mask is all it takes. What
    works position by position leaves padding out; its states are 0.
    """

    def __init__(self, width: int, max_seq_len: int, config: AttentionConfig) -> None:
        super().__init__()
        self.position_embedding = nn.Embedding(max_seq_len, width) if config.positions else None
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(_Block(width, config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(width)
        initialise(self)

    def forward(self, vectors: Tensor, item_seq: Tensor) -> Tensor:
        """States of item vectors (B, L, D); ``item_seq`` (B, L) tells padding from items."""
        real = Real(item_seq)
        hidden = real.rows(self.placed(vectors))  # (T, D)
        for block in self.blocks:
            hidden = block(hidden, real)
        return real.in_place(self.norm(hidden))

    def last(self, vectors: Tensor, item_seq: Tensor) -> Tensor:
        """``base.last`` of the hidden states, (B, D), where the last block computes no others: for ranking."""
        length = (item_seq != PAD_ID).sum(dim=1)  # (B,)
        real = Real(item_seq)
        hidden = real.rows(self.placed(vectors))
        for block in self.blocks[:-1]:
            hidden = block(hidden, real)
        newest = self.blocks[-1].at(hidden, real, (length - 1).clamp(min=0))
        return self.norm(newest) * (length > 0)[:, None]

    def placed(self, vectors: Tensor) -> Tensor:
        """Item vectors with their positions, (B, L, D)."""
        if self.position_embedding is not None:
            vectors = vectors + self.position_embedding.weight[: vectors.shape[1]]
        return self.dropout(vectors)

    @torch.no_grad()
    def attention(self, vectors: Tensor, item_seq: Tensor) -> Tensor:
        """Weights of the last layer: of the earlier positions (columns) for each position (rows), (B, heads, L, L)."""
        real = Real(item_seq)
        hidden = real.rows(self.placed(vectors))
        for block in self.blocks[:-1]:
            hidden = block(hidden, real)
        query, key, _ = self.blocks[-1].heads(hidden, real)
        return _weights(query, key)


class Real:
    """The T positions of (B, L) that are no padding."""

    def __init__(self, item_seq: Tensor) -> None:
        self.shape, self.at = item_seq.shape, (item_seq != PAD_ID).flatten().nonzero().squeeze(1)

    def rows(self, hidden: Tensor) -> Tensor:
        """(B, L, D) to (T, D)."""
        return hidden.flatten(0, 1).index_select(0, self.at)

    def in_place(self, rows: Tensor) -> Tensor:
        """(T, D) to (B, L, D), 0 at padding."""
        padded = rows.new_zeros(self.shape.numel(), rows.shape[1])
        return padded.index_copy(0, self.at, rows).view(*self.shape, -1)

    def dropout(self, rows: Tensor, part: nn.Dropout) -> Tensor:
        """Dropout of (T, D), with the random numbers of the whole (B, L, D): what is dropped depends on no padding."""
        if not part.training or part.p == 0:
            return rows
        kept = rows.new_empty(*self.shape, rows.shape[1]).bernoulli_(1 - part.p)
        return rows * self.rows(kept).div_(1 - part.p)


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Causal attention of all heads, (B, heads, L, D / heads) each."""
    if query.is_cpu and query.dtype == torch.bfloat16:  # fused, it takes 3 to 5 times as long there
        return _weights(query, key) @ value
    return F.scaled_dot_product_attention(query, key, value, is_causal=True)


def _weights(query: Tensor, key: Tensor) -> Tensor:
    """Weights of the earlier positions (columns) for each position (rows), (B, heads, L, L)."""
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
                ACTIVATIONS[config.activation](),
                nn.Dropout(config.dropout),
                nn.Linear(config.inner_size, width),
            )

    def forward(self, hidden: Tensor, real: Real) -> Tensor:
        mixed = _attend(*self.heads(hidden, real))  # (B, heads, L, D / heads)
        mixed = real.rows(mixed.transpose(1, 2).flatten(start_dim=2))  # (T, D)
        hidden = hidden + real.dropout(self.output(mixed), self.dropout)
        if hasattr(self, "inner"):
            enter, function, dropout, leave = self.inner
            inner = real.dropout(function(enter(self.inner_norm(hidden))), dropout)
            hidden = hidden + real.dropout(leave(inner), self.dropout)
        return hidden

    def at(self, hidden: Tensor, real: Real, position: Tensor) -> Tensor:
        """Outside training, the state at one position of each sequence, (T, D) and (B,) to (B, D)."""
        case = torch.arange(len(position), device=position.device)
        query, key, value = self.heads(hidden, real)
        visible = torch.arange(real.shape[1], device=position.device) <= position[:, None]
        query = query[case, :, position][:, :, None]
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=visible[:, None, None]).flatten(start_dim=1)
        newest = real.in_place(hidden)[case, position] + self.output(mixed)
        return newest + self.inner(self.inner_norm(newest)) if hasattr(self, "inner") else newest

    def heads(self, hidden: Tensor, real: Real) -> Tensor:
        """Queries, keys and values of all heads, (3, B, heads, L, D / heads)."""
        split = real.in_place(self.query_key_value(self.attention_norm(hidden)))
        return split.view(*real.shape, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
