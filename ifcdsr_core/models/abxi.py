"""ABXI: invariant interest adaptation for task-guided cross-domain sequential recommendation (Bian et al., WWW 2025).

One encoder reads the histories S^X, S^Y and S^{X+Y}; what is particular to a sequence is a low-rank addition, a *domain
LoRA*. A prediction is for one domain. It takes from S^{X+Y} what holds across domains, through a projector that both
domains share and an *invariant LoRA* of its own, and adds what the history within its domain says. For item s_t of one
of the three sequences, with e an item vector, p a position vector, LN a layer normalisation and
F(h) = W_3 (silu(W_2 h) * W_1 h) a feed-forward part without biases,

    a = LN(z + Attention(z)),  z_t = e_{s_t} + p                 the same weights for all three sequences
    h = LN_s(a + F(a) + A_s B_s a)                               B_s: D to ``domain_rank``, A_s: back to D

and for a prediction in domain d, from h^{X+Y} and the newest h^d (task-guided alignment: the state of the domain of
what is to be predicted, whatever the domain of the newest item; 0 where there is none),

    g = LN_d(h^{X+Y} + F_inv(h^{X+Y}) + A_d B_d h^{X+Y}) + LN'_d(h^d + F_d(h^d))      ``invariant_rank``

Every next item of a user is predicted, by InfoNCE among negatives n of *both* domains, ``num_negatives`` from each:

    -log exp(g e_target / temperature) / (exp(g e_target / temperature) + sum_n exp(g e_n / temperature)),

averaged over the user's items of X and over those of Y; both averages are added, and users averaged. Items are ranked
by g e. It is trained by AdamW with a decoupled decay of 3 at a learning rate of 1e-4, after 10 epochs of warm-up, and
with a lower rate after a plateau: settings of the run (``runs/lists.ABXI_RECIPE``).

The text of the paper was not at hand; what is here is read from the authors' code (github.com/DiMarzioBian/ABXI,
commit 72e52c9), whose README says by how much its numbers differ from the paper's. Hence no equation numbers.

Three of its habits decide numbers and are kept. Positions are counted from the end of the sequence: the newest item
always has the first. In training this tells a position how many items follow it (not which). Sequences are padded on
the left to ``max_seq_len``, S^X and S^Y have a gap wherever the next item is of the other domain, and attention does
not leave padding out: each padded position is one more key b_k with the value b_v, the biases of the projections; here
one column with the logarithm of their number. With ``positions=from_start`` positions are counted from the first item,
as in the book's other encoders, and only gaps are padding: nothing then depends on what follows.

Deviations. The negatives of a step are drawn once for each user, where the authors draw anew for each of her items: the
loss has the same expectation, at a twentieth of the look-ups (``train_negatives`` of a run is for other models). A user
without items of the domain has h^d = 0 in ranking as well as in training (the authors' masks differ between the two;
their users have items of both). The authors train on sequences of 47 items and rank with the newest 47 of each of the
three: ``max_seq_len=47`` cuts S^{X+Y} first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ifcdsr_core.batches import IGNORE, Batch
from ifcdsr_core.models.base import ModelInputs, SequenceModel, as_of, look_up
from ifcdsr_core.models.encoder import Real, require_heads
from ifcdsr_core.models.ranking import inner_products
from ifcdsr_core.scenario import PAD_ID
from ifcdsr_core.settings import check_ranges, setting

X, Y, XY = 0, 1, 2


class ABXI(SequenceModel):
    version = 1

    @dataclass(frozen=True)
    class Config:
        """The defaults are the authors' for Food-Kitchen; their ranks are 64 and 64 for Beauty-Electronics, 4 and 4 for
        Movie-Book.

        Attributes:
            inner_size: width of all feed-forward parts.
            domain_rank, invariant_rank: ranks of the LoRAs.
            temperature: divides the inner products of the loss.
            num_negatives: items of each domain that a user's predictions are told from, drawn anew in each step among
                those that she has not in training; all where there are fewer.
            positions: counted from_end, as the authors do, or from_start.
        """

        hidden_size: int = setting(256, minimum=1, maximum=65_536)
        num_heads: int = setting(2, minimum=1)
        inner_size: int = setting(680, minimum=1, maximum=65_536)
        dropout: float = setting(0.5, minimum=0, below=1)
        domain_rank: int = setting(16, minimum=1, maximum=65_536)
        invariant_rank: int = setting(64, minimum=1, maximum=65_536)
        temperature: float = setting(0.75, above=0)
        num_negatives: int = setting(128, minimum=1, maximum=65_536)
        positions: Literal["from_end", "from_start"] = "from_end"

        def __post_init__(self) -> None:
            check_ranges(self)
            require_heads(self.num_heads, self.hidden_size)

    def __init__(self, config: Config, inputs: ModelInputs) -> None:
        super().__init__(config, inputs)
        size = config.hidden_size
        self.item_embedding = nn.Embedding(inputs.num_items + 1, size, padding_idx=0)
        self.position_embedding = nn.Embedding(inputs.max_seq_len, size)
        self.dropout = nn.Dropout(config.dropout)
        self.attention = _Attention(size, config.num_heads)
        self.attention_norm = nn.LayerNorm(size)
        self.feed_forward = _FeedForward(size, config.inner_size)
        self.domain_loras = nn.ModuleList(_lora(size, config.domain_rank) for _ in (X, Y, XY))
        self.encoder_norms = nn.ModuleList(nn.LayerNorm(size) for _ in (X, Y, XY))
        self.invariant = _FeedForward(size, config.inner_size)
        self.invariant_loras = nn.ModuleList(_lora(size, config.invariant_rank) for _ in (X, Y))
        self.invariant_norms = nn.ModuleList(nn.LayerNorm(size) for _ in (X, Y))
        self.specific = nn.ModuleList(_FeedForward(size, config.inner_size) for _ in (X, Y))
        self.specific_norms = nn.ModuleList(nn.LayerNorm(size) for _ in (X, Y))
        self._initialise()

    def _initialise(self) -> None:
        """Linear layers from Normal(0, 0.02), embeddings from it without its tails, but queries, keys and values
        Xavier-uniform; biases 0, and what a LoRA adds is 0."""
        for part in self.modules():
            if isinstance(part, nn.Embedding):
                nn.init.trunc_normal_(part.weight, std=0.02, a=-0.04, b=0.04)
            if isinstance(part, nn.Linear):
                nn.init.normal_(part.weight, std=0.02)
                if part.bias is not None:
                    nn.init.zeros_(part.bias)
        nn.init.xavier_uniform_(self.attention.query_key_value.weight)
        for reduce, _ in (*self.domain_loras, *self.invariant_loras):
            nn.init.zeros_(reduce.weight)

    def loss(self, batch: Batch) -> Tensor:
        steps = torch.arange(1, batch.item_seq.shape[1] + 1, device=self.device)
        before = self._padded_before(batch.item_seq)  # (B, 1)
        aligned = [self._aligned(batch, domain, before) for domain in (X, Y)]
        sequences = {X: aligned[X], Y: aligned[Y], XY: _Sequence(batch.item_seq, before + steps)}
        rows = self.adapt(dict(zip(sequences, self.attend([*sequences.values()]), strict=True)))  # (T, D) each
        states = {branch: Real(sequences[branch].items).in_place(part) for branch, part in rows.items()}  # (B, L, D)
        predicted = torch.zeros_like(states[XY]).flatten(0, 1)
        for domain in (X, Y):
            at = self.in_domain(batch.labels, domain).flatten().nonzero().squeeze(1)  # (R,)
            newest = as_of(states[domain], self.in_domain(batch.item_seq, domain))  # (B, L, D)
            merged, own = (part.flatten(0, 1).index_select(0, at) for part in (states[XY], newest))
            predicted = predicted.index_copy(0, at, self.project(merged, own, domain))
        return self.info_nce(predicted.view_as(states[XY]), batch)

    def score(self, batch: Batch, domain: int) -> Tensor:
        length = (batch.item_seq != PAD_ID).sum(dim=1, keepdim=True)
        frame = self._padded_before(batch.item_seq) + length  # of the newest item of either sequence, the only one used
        items = {domain: (batch.item_seq_x, batch.item_seq_y)[domain], XY: batch.item_seq}
        rows = self.attend([_Sequence(item_seq, frame) for item_seq in items.values()])
        rows = self.adapt({branch: newest(part, items[branch]) for branch, part in zip(items, rows, strict=True)})
        own = rows[domain] * (items[domain] != PAD_ID).any(dim=1, keepdim=True)
        hidden = self.project(rows[XY], own, domain) * (length > 0)  # (B, D)
        return inner_products(hidden, self.of_domain(self.item_embedding.weight, domain))

    def _padded_before(self, item_seq: Tensor) -> Tensor:
        """Padded positions before the first item of S^{X+Y}, (B, 1)."""
        length = (item_seq != PAD_ID).sum(dim=1, keepdim=True)
        if self.config.positions == "from_start":
            return torch.zeros_like(length)
        return (self.inputs.max_seq_len - length).clamp(min=0)

    def _aligned(self, batch: Batch, domain: int, before: Tensor) -> _Sequence:
        """S^X or S^Y in training: each of its items stands at the position of S^{X+Y} whose next item follows it."""
        items, labels = ((batch.item_seq_x, batch.labels_x), (batch.item_seq_y, batch.labels_y))[domain]
        items = items.where(labels != IGNORE, PAD_ID)  # the last has no position
        seen = self.in_domain(batch.item_seq, domain).cumsum(dim=1)  # (B, L)
        stands = self.in_domain(batch.labels, domain) & (seen > 0)
        steps = torch.arange(1, seen.shape[1] + 1, device=seen.device).expand_as(seen)
        unused = items.shape[1]
        frame = items.new_zeros(len(items), unused + 1).scatter(1, (seen - 1).where(stands, unused), before + steps)
        return _Sequence(items, frame[:, :unused])

    def attend(self, sequences: Sequence[_Sequence]) -> list[Tensor]:
        """a of the real positions of each sequence, (T, D) each."""
        reals = [Real(one.items) for one in sequences]
        orders = [(one.items != PAD_ID).cumsum(dim=1) for one in sequences]  # (B, L), 1 at the first item
        places = orders
        if self.config.positions == "from_end":
            places = [order[:, -1:] - order + 1 for order in orders]
        ids, places = (
            torch.cat([part.flatten()[real.at] for part, real in zip(parts, reals, strict=True)])
            for parts in ([one.items for one in sequences], places)
        )
        rows = self.dropout(self.item_embedding(ids) + self.position_embedding(places - 1))  # (T of all three, D)
        counts = [len(real.at) for real in reals]
        projected = self.attention.query_key_value(rows).split(counts)
        mixed = [
            real.rows(self.attention(real.in_place(part), (one.frame - order).clamp(min=0)))
            for one, real, order, part in zip(sequences, reals, orders, projected, strict=True)
        ]
        return self.attention_norm(rows + self.dropout(self.attention.output(torch.cat(mixed)))).split(counts)

    def adapt(self, rows: dict[int, Tensor]) -> dict[int, Tensor]:
        """h from a of some positions of each sequence, (T, D) each."""
        inner = self.feed_forward(torch.cat([*rows.values()])).split([*map(len, rows.values())])
        return {
            branch: self.encoder_norms[branch](part + self.dropout(fed) + self.dropout(self.domain_loras[branch](part)))
            for (branch, part), fed in zip(rows.items(), inner, strict=True)
        }

    def project(self, merged: Tensor, own: Tensor, domain: int) -> Tensor:
        """g of R predictions in ``domain``, (R, D), from h^{X+Y} and h^d, (R, D) each."""
        invariant = self.dropout(self.invariant(merged)) + self.dropout(self.invariant_loras[domain](merged))
        specific = self.dropout(self.specific[domain](own))
        return self.invariant_norms[domain](merged + invariant) + self.specific_norms[domain](own + specific)

    def info_nce(self, predicted: Tensor, batch: Batch) -> Tensor:
        """The loss from g at each position, (B, L, D)."""
        negatives, drawn = self.negatives(batch)  # (B, N)
        others, target = look_up(self.item_embedding.weight, negatives, batch.labels.clamp(min=0))
        target = (predicted * target).sum(dim=2, keepdim=True) / self.config.temperature  # (B, L, 1)
        logits = (predicted @ others.mT / self.config.temperature).masked_fill(~drawn[:, None], -torch.inf)
        nll = torch.cat([target, logits], dim=2).logsumexp(dim=2) - target.squeeze(2)  # (B, L)
        of_domain = [self.in_domain(batch.labels, domain) for domain in (X, Y)]
        share = sum(part / part.sum(dim=1, keepdim=True).clamp(min=1) for part in of_domain)
        return (nll * share).sum() / len(batch)

    def negatives(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Items of both domains that each user has not in training, distinct: (B, N) ids, and whether they count."""
        own = torch.zeros(len(batch), self.inputs.num_items + 1, dtype=torch.bool, device=self.device)
        own.scatter_(1, torch.cat([batch.item_seq[:, :1], batch.labels.clamp(min=0)], dim=1), True)
        ids, counts = [], []
        for domain in (X, Y):
            first, count = self.inputs.item_range(domain)
            keys = torch.rand(len(batch), count, device=self.device).masked_fill_(own[:, first : first + count], -1.0)
            key, item = keys.topk(min(self.config.num_negatives, count), dim=1, sorted=False)
            ids.append(first + item)
            counts.append(key >= 0)
        return torch.cat(ids, dim=1), torch.cat(counts, dim=1)


class _Sequence(NamedTuple):
    """One of the three sequences of B users.

    Attributes:
        items: (B, L) ids, the oldest first, padded on the right.
        frame: (B, L) or (B, 1): how many positions, padding among them, attention sees at each item.
    """

    items: Tensor
    frame: Tensor


class _Attention(nn.Module):
    """Causal multi-head attention that sees padding."""

    def __init__(self, size: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query_key_value = nn.Linear(size, 3 * size)
        self.output = nn.Linear(size, size)

    def forward(self, projected: Tensor, padded: Tensor) -> Tensor:
        """Mixed values (B, L, D) of projections (B, L, 3 D); ``padded`` (B, L): positions of padding seen at each."""
        cases, length, _ = projected.shape
        query, key, value = projected.view(cases, length, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        _, *biases = self.query_key_value.bias.view(3, self.num_heads, 1, -1)  # of key and value, (heads, 1, D / heads)
        key, value = (
            torch.cat([part, bias.expand(cases, -1, -1, -1)], dim=2)  # (B, heads, L + 1, D / heads)
            for part, bias in zip((key, value), biases, strict=True)
        )
        future = torch.full((length, length), -torch.inf, device=query.device).triu(diagonal=1)
        visible = torch.cat([future.expand(cases, -1, -1), padded.float().log()[..., None]], dim=2)[:, None]
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=visible.to(query.dtype))
        return mixed.transpose(1, 2).flatten(start_dim=2)


class _FeedForward(nn.Module):
    """F of the equations, SwiGLU."""

    def __init__(self, size: int, inner_size: int) -> None:
        super().__init__()
        self.enter, self.gate = (nn.Linear(size, inner_size, bias=False) for _ in range(2))
        self.leave = nn.Linear(inner_size, size, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.leave(F.silu(self.gate(hidden)) * self.enter(hidden))


def _lora(size: int, rank: int) -> nn.Sequential:
    """B, then A: a linear map of low rank."""
    return nn.Sequential(nn.Linear(size, rank, bias=False), nn.Linear(rank, size, bias=False))


def newest(rows: Tensor, item_seq: Tensor) -> Tensor:
    """Of the real positions (T, D) of sequences (B, L) the newest of each, (B, D); 0 where there is none."""
    length = (item_seq != PAD_ID).sum(dim=1)
    at = (length.cumsum(dim=0) - 1).where(length > 0, len(rows))
    return F.pad(rows, (0, 0, 0, 1)).index_select(0, at)
