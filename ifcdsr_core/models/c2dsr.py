"""C2DSR: contrastive cross-domain sequential recommendation (Cao, Cong, Sheng, Liu & Wang, CIKM 2022).

An item graph, made of all training sequences, gives each item the mean of those that came next after it; one graph
leads from item to item of the merged sequences, one within each domain. On the item vectors with this neighbourhood
added work three attention encoders, of S^X, S^Y and S^{X+Y}. Two objectives predict next items: the cross-domain one,
the item after each position of the merged sequence from its state h^{X+Y} alone; the single-domain one, the next item
of the same domain from h^X + h^{X+Y} (or h^Y + h^{X+Y}), which is also what ranks. Each is a softmax over the items
of the domain of the predicted item. A third, the infomax objective, ties the representations: a bilinear
discriminator gets the mean of the states of S^X and the mean of the merged states at the items of Y, and must tell
whether the latter have seen the user's items of X or random ones in their place; and the same with the domains
swapped.

    loss = lambda (L_single + L_cross) + (1 - lambda) (L_disc^X + L_disc^Y),      1 - lambda = ``infomax_weight``

What the text above leaves open follows the authors' code (github.com/cjx96/C2DSR): its graph weighs each edge by how
often it occurs, its layers are averaged (the item's own vector among them), the item's vector is added once more, and
the sum is multiplied by sqrt(D).

Deviations. The authors hold three tables of all items for the input (for the merged graph and for each domain) and a
fourth for the output, with biases; here one embedding serves all four purposes, which is a quarter of the weights.
The code adds a learned vector to the result of each graph layer, the same for all items; it is left out, for the
learned positions do the same. The encoder block is that of the book's other attention models (the authors: SASRec's,
two of them with one head). In the code the softmax has one more class, padding, and reaches back over the newest ten
positions; here it is over items alone and reaches over all. The authors drop training sequences that cannot be
predicted in both domains; here all are kept, the infomax objective takes those with items of both and all of their
items, and a history that lacks a domain has a state of zero there. In the code's infomax objective an item counts only
if another of its domain follows, which is little: on equal weights 2.80946 and 2.80954 in one comparison, 3.05 (all
items) and 3.07 on 128 of the paper's sequences. The authors corrupt each sequence once, here anew at each step.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ifcdsr_core.batches import IGNORE, XY, Batch, X, Y
from ifcdsr_core.models.base import ModelInputs, SequenceModel, initialise
from ifcdsr_core.models.encoder import AttentionConfig, CausalEncoder
from ifcdsr_core.models.ranking import inner_products
from ifcdsr_core.settings import setting


class C2DSR(SequenceModel):
    version = 1

    @dataclass(frozen=True)
    class Config(AttentionConfig):
        """Sizes as for IFCDSR.

        Attributes:
            graph_layers: how many steps along the item graph an item's neighbourhood reaches.
            infomax_weight: share of the infomax objective in the loss, 1 - lambda of the paper.
        """

        graph_layers: int = setting(1, minimum=1)
        infomax_weight: float = setting(0.3, minimum=0, below=1)

    def __init__(self, config: Config, inputs: ModelInputs) -> None:
        super().__init__(config, inputs)
        size, train = config.hidden_size, inputs.train
        self.item_embedding = nn.Embedding(inputs.num_items + 1, size, padding_idx=0)
        initialise(self)
        self.dropout = nn.Dropout(config.dropout)
        self.graphs = nn.ModuleDict(
            {
                branch: SuccessorGraph(train.sequences[branch], train.next_items[branch], inputs.num_items)
                for branch in (X, Y, XY)
            }
        )
        self.encoders = nn.ModuleDict(
            {branch: CausalEncoder(size, inputs.max_seq_len, config) for branch in (X, Y, XY)}
        )
        self.discriminators = nn.ModuleDict({domain: nn.Bilinear(size, size, 1) for domain in (X, Y)})
        for discriminator in self.discriminators.values():
            nn.init.xavier_uniform_(discriminator.weight)
            nn.init.zeros_(discriminator.bias)

    def propagate(self, items: Tensor, branch: str, steps: int) -> Tensor:
        """Item vectors ``steps`` along the graph: the mean over an item's successors, over theirs, and so on.

        Only the (I,) items asked for are computed, not all there are; (I, D).
        """
        if steps == 0:
            return self.item_embedding(items)
        successors, offsets = self.graphs[branch](items)
        wanted, which = successors.unique(return_inverse=True)
        vectors = self.dropout(self.propagate(wanted, branch, steps - 1))
        return F.embedding_bag(which, vectors, offsets, mode="mean")  # 0 for an item without successors

    def vectors(self, item_seq: Tensor, branch: str) -> Tensor:
        """Item vectors with their neighbourhood, (B, L, D): what the attention encoder works on."""
        items, which = item_seq.unique(return_inverse=True)
        layers = [self.propagate(items, branch, steps) for steps in range(self.config.graph_layers + 1)]
        vectors = layers[0] + torch.stack(layers).mean(dim=0)  # (I, D)
        # F.embedding where [which] would do: its gradient is the same to the bit whatever the threads
        return F.embedding(which, vectors * self.config.hidden_size**0.5)

    def encode(self, item_seq: Tensor, branch: str) -> Tensor:
        """States of the attention encoder, (B, L, D)."""
        return self.encoders[branch](self.vectors(item_seq, branch), item_seq)

    def loss(self, batch: Batch) -> Tensor:
        weight, sequences = self.config.infomax_weight, [batch.item_seq]
        if weight > 0:
            sequences += [self.corrupt(batch.item_seq, domain) for domain in (0, 1)]
        merged, *corrupted = self.encode(torch.cat(sequences), XY).split(len(batch))  # (B, L, D) each
        predictions, infomax = [], 0.0
        for domain, branch in enumerate((X, Y)):
            item_seq, labels = batch.sequences[branch], batch.next_items[branch]
            hidden = self.encode(item_seq, branch)
            member, other = self.in_domain(batch.item_seq, domain), self.in_domain(batch.item_seq, 1 - domain)
            # row by row, the items of the sub-sequence are those of its domain in the merged sequence
            single, following = hidden[item_seq != 0] + merged[member], labels[item_seq != 0]
            predicted, cross = following != IGNORE, self.in_domain(batch.labels, domain)
            query = torch.cat([single[predicted], merged[cross]])  # L_single and L_cross weigh the same
            targets = torch.cat([following[predicted], batch.labels[cross]])
            if len(targets):
                predictions.append(self.predictions([query], targets, domain))
            both = member.any(dim=1) & other.any(dim=1)
            if weight > 0 and both.any():
                user = _mean(hidden[both], item_seq[both] != 0)  # (B', D)
                true, false = (_mean(states[both], other[both]) for states in (merged, corrupted[domain]))
                infomax = infomax + infomax_loss(self.discriminators[branch], user, true, false)
        total = self.nll(predictions, [self.item_embedding.weight])
        return (1 - weight) * total / (batch.labels != IGNORE).sum() + weight * infomax

    def corrupt(self, item_seq: Tensor, domain: int) -> Tensor:
        """The sequences with random items of the domain in place of its items."""
        member = self.in_domain(item_seq, domain)
        first, count = self.inputs.item_range(domain)
        drawn = torch.randint(first, first + count, (int(member.sum()),), device=item_seq.device)
        return item_seq.masked_scatter(member, drawn)

    def score(self, batch: Batch, domain: int) -> Tensor:
        branch = (X, Y)[domain]
        item_seq = batch.sequences[branch]
        single = self.encoders[branch].last(self.vectors(item_seq, branch), item_seq)
        hidden = single + self.encoders[XY].last(self.vectors(batch.item_seq, XY), batch.item_seq)  # (B, D)
        return inner_products(hidden, self.of_domain(self.item_embedding.weight, domain))


class SuccessorGraph(nn.Module):
    """Which items came next after each item, as often as they did: all successors in one list, sorted by the item."""

    def __init__(self, item_seq: Tensor, labels: Tensor, num_items: int) -> None:
        super().__init__()
        follows = labels != IGNORE
        start, order = item_seq[follows].sort(stable=True)
        count = torch.bincount(start, minlength=num_items + 1)
        self.register_buffer("successors", labels[follows][order], persistent=False)  # (E,)
        self.register_buffer("count", count, persistent=False)  # (V + 1,), by item
        self.register_buffer("begin", count.cumsum(dim=0) - count, persistent=False)

    def forward(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """The successors of (I,) items, one item's after another's, and the (I,) places where each item's begin."""
        count = self.count[items]
        offsets = count.cumsum(dim=0) - count
        shift = (self.begin[items] - offsets).repeat_interleave(count)
        return self.successors[shift + torch.arange(len(shift), device=shift.device)], offsets


def infomax_loss(discriminator: nn.Module, user: Tensor, true: Tensor, false: Tensor) -> Tensor:
    """L_disc: binary cross-entropy of telling the pair (user, true) from (user, false), (B', D) each."""
    return (F.softplus(-discriminator(user, true)) + F.softplus(discriminator(user, false))).mean()


def _mean(hidden: Tensor, member: Tensor) -> Tensor:
    """Mean over the positions of (B, L, D) states that ``member`` (B, L) marks, at least one in each row."""
    return (hidden * member[..., None]).sum(dim=1) / member.sum(dim=1, keepdim=True)
