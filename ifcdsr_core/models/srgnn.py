"""SR-GNN: session-based recommendation with graph neural networks (Wu, Tang, Zhu, Wang, Xie & Tan, AAAI 2019).

A history is a small directed graph: its nodes are the different items, and an edge leads from each item to the one
that came next. A gated graph network passes messages along the edges and against them, (1) to (5). The history as a
whole is the newest item's node together with an attention over all items that asks how much each matters given the
newest, (6) and (7); its inner products with the item embedding are the scores, (8), and a softmax makes the loss, (9)
and (10). The model knows no domains: here it reads the merged sequence, as GRU4Rec and SASRec do.

Every prediction has a graph of its own, of the history up to there. All are computed at once: one row per predicted
position, and as nodes of a row those positions at which an item occurs for the first time.

Deviations. The authors cut each training session into all of its prefixes and draw batches of these; here the
prefixes of a sequence stay in one batch, as for all models of the book, which changes the order of training but not
what is learned from. As in the authors' code the cell of (2) to (5) is torch's GRU cell, which resets the product
with U_o where (4) resets its input, and (7) has a bias. In the code an edge weighs the same however often it was
walked; here it weighs its number of occurrences divided by those of all edges of the same start (or end), which is
what the paper's text says. The authors have a penalty on the weights and no dropout; here dropout regularises the
item vectors and the result, as in the book's GRU4Rec. All weights of the authors start uniform within 1/sqrt(D), here
the embedding and linear layers start as in the book's other models.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ifcdsr_core.batches import IGNORE, Batch
from ifcdsr_core.models.base import ModelConfig, ModelInputs, SequenceModel, by_length, initialise
from ifcdsr_core.models.ranking import inner_products


class SRGNN(SequenceModel):
    """``num_layers`` is the number of times that messages are passed."""

    version = 1
    Config = ModelConfig
    title = "SR-GNN"

    def __init__(self, config: ModelConfig, inputs: ModelInputs) -> None:
        super().__init__(config, inputs)
        size = config.hidden_size
        self.item_embedding = nn.Embedding(inputs.num_items + 1, size, padding_idx=0)
        self.from_before, self.from_after = nn.Linear(size, size), nn.Linear(size, size)  # H and b of (1)
        self.cell = nn.GRUCell(2 * size, size)
        self.attend_newest, self.attend_each = nn.Linear(size, size, bias=False), nn.Linear(size, size)  # W_1; W_2, c
        self.attention = nn.Linear(size, 1, bias=False)  # q
        self.combine = nn.Linear(2 * size, size)  # W_3
        self.dropout = nn.Dropout(config.dropout)
        initialise(self)

    def loss(self, batch: Batch) -> Tensor:
        row, position = (batch.labels != IGNORE).nonzero(as_tuple=True)
        sessions = self.sessions(batch.item_seq, row, position)
        predictions = self.predictions([sessions], batch.labels[row, position])
        return self.nll([predictions], [self.item_embedding.weight]) / len(row)

    def score(self, batch: Batch, domain: int) -> Tensor:
        length = (batch.item_seq != 0).sum(dim=1)
        row = torch.arange(len(batch), device=length.device)
        sessions = self.sessions(batch.item_seq, row, (length - 1).clamp(min=0)) * (length > 0)[:, None]  # (B, D)
        return inner_products(sessions, self.of_domain(self.item_embedding.weight, domain))

    def sessions(self, item_seq: Tensor, row: Tensor, position: Tensor) -> Tensor:
        """s_h of (7) for R prefixes of the sequences: sequence ``row`` up to and with ``position``, (R, D)."""
        node = first_occurrence(item_seq)
        vectors = self.dropout(self.item_embedding(item_seq))  # (B, L, D)

        def some(of: Tensor, width: int) -> Tensor:
            return self.read(vectors[:, :width], node[:, :width], row[of], position[of])

        return self.dropout(by_length(position + 1, some))

    def read(self, vectors: Tensor, node: Tensor, row: Tensor, position: Tensor) -> Tensor:
        """As ``sessions``, of item vectors (B, L, D) and of nodes (B, L), without the dropout that follows, (R, D)."""
        visits, edges = graphs(node, row, position)
        # index_select where [row] would do: its gradient is the same to the bit whatever the threads
        hidden = vectors.index_select(0, row)  # (R, L, D)
        for _ in range(self.config.num_layers):
            hidden = self.propagate(hidden, edges, visits > 0)
        newest = hidden[torch.arange(len(row), device=row.device), node[row, position]]  # s_l = v_n, (R, D)
        gate = torch.sigmoid(self.attend_newest(newest)[:, None] + self.attend_each(hidden))
        weight = self.attention(gate).squeeze(2) * visits  # (R, L), (6) summed over items: a node counts once a visit
        overall = (weight[:, None] @ hidden).squeeze(1)  # s_g
        return self.combine(torch.cat([newest, overall], dim=1))

    def propagate(self, hidden: Tensor, edges: Tensor, is_node: Tensor) -> Tensor:
        """(1) to (5), one step of the gated graph network; positions that are no nodes are 0 afterwards, (R, L, D)."""
        before = (_normalised(edges.mT) @ hidden)[is_node]  # mean over the nodes that lead here, (nodes, D)
        after = (_normalised(edges) @ hidden)[is_node]  # mean over the nodes that this one leads to
        messages = torch.cat([self.from_before(before), self.from_after(after)], dim=1)
        nodes = self.cell(messages, hidden[is_node]).type_as(hidden)  # a GPU's autocast gives the cell's own type
        return torch.zeros_like(hidden).masked_scatter(is_node[..., None], nodes)


def first_occurrence(item_seq: Tensor) -> Tensor:
    """The node of each position, (B, L): the position at which its item occurs first."""
    return (item_seq[:, :, None] == item_seq[:, None, :]).int().argmax(dim=2)  # argmax is the first of equals


def graphs(node: Tensor, row: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
    """The graph of each prefix: sequence ``row`` up to and with ``position``, (R,) each.

    Returns:
        visits: (R, L) how often each node's item occurs in the prefix; 0 where there is no node.
        edges: (R, L, L) how often the prefix goes from one node directly to another.
    """
    width = node.shape[1]
    walk = F.one_hot(node[row], width).to(torch.get_default_dtype())  # (R, L, L), position by node
    walk = walk * (torch.arange(width, device=row.device) <= position[:, None])[..., None]
    return walk.sum(dim=1), walk[:, :-1].mT @ walk[:, 1:]


def _normalised(edges: Tensor) -> Tensor:
    """Rows that sum to 1, or to 0 where a node has no such edge."""
    return edges / edges.sum(dim=2, keepdim=True).clamp(min=1)
