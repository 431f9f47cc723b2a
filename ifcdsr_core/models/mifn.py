"""MIFN: mixed information flow network (Ma, Ren, Chen, Ren, Zhao, Liu, Ma & de Rijke, ACM TKDD 2022).

Its knowledge graph is not here. The authors' graph joins items by Amazon's relations (also bought, also viewed, bought
together, ...) and categories; the book's data have none of these. In its place stands a graph counted in the training
sequences: two items are neighbours as often as one came right after the other, of whichever domain; each item keeps its
``num_neighbours`` strongest. What the model gains from this graph says little about a real knowledge graph.

Two flows of information between the domains are mixed. The behaviour transfer unit (BTU) is that of PSJNet without
roles: along each domain, a gate lets in of the two encoders' states h what the other domain should know, and a GRU
makes a flow t of it. The knowledge transfer unit (KTU) works on a small subgraph of N nodes e_n around the history,
with edges A (1 for neighbours and for n = m). With h and t at the newest item, the nodes of its domain ("in") and those
of the other ("cross") are weighed apart, and what passes between them is gated:

    a_n  = softmax over the in nodes of v_in . tanh(W_in h + U_in e_n); for cross nodes likewise with their own, and t
    f_n  = sigmoid(W_f [h; t; e_n] + b_f),      in_n = f_n * a_n e_n,      cross_n = (1 - f_n) * a_n e_n + x_n
    x_n  = sum over the in nodes m of (w . (e_n * e_m)) e_m
    m_n  = [relu(B_in sum_m A_nm in_m + b_in); relu(B_cross sum_m A_nm cross_m + b_cross)],      e'_n = GRU(m_n, e_n)

The next item of a domain is drawn from a mixture, with s = [its encoder's state h_d; the flow into the domain]:

    P(i) = (1 - p) softmax_i(W_s s . item_i) + p softmax_n(v . tanh(W_h h_d + U_h e'_n))[n = i],
    p = sigmoid(w_p . [s; sum_n e'_n] + b_p), with n over the subgraph's nodes of that domain.

To -log P(target), the switch loss adds -log(1 - p) where the target is no node. The formulas are read from the authors'
code (github.com/mamuyang/MIFN), since the text of the paper was not at hand; hence no equation numbers.

Deviations. The graph, as said. The target of a training step came right after the newest item, so the graph would show
it: this one occurrence is taken out of the counts of the step. The authors' subgraph has 200 nodes (the history's
items, their neighbours, random ones to fill up); here its nodes are the ``num_neighbours`` items that the newest
``WINDOW`` items of the history have the most edges to, those items themselves left out. The mixture is formed at every
next item, the authors' only at the last of each domain. One relation instead of five takes one matrix B per flow; the
two linear maps that the code puts before it (no function between them) are left out, and b is added once a node, not
once an edge. Only nodes of the predicted domain get e'. Where there are none, p = 0. The items' scores are tied to the
embedding through W_s, the authors have a matrix (2 D, items) per domain. Dropout falls on the GRUs' inputs and outputs
and on s, not on recurrent states.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ifcdsr_core.batches import IGNORE, Batch
from ifcdsr_core.loss import Predictions
from ifcdsr_core.models.base import ModelConfig, ModelInputs, SequenceModel, initialise
from ifcdsr_core.models.psjnet import BOTH, BehaviourFlow
from ifcdsr_core.models.ranking import inner_products
from ifcdsr_core.settings import setting

WINDOW = 8  # newest items of the history whose neighbours make the subgraph


class MIFN(SequenceModel):
    version = 1

    @dataclass(frozen=True)
    class Config(ModelConfig):
        """Sizes as for GRU4Rec.

        Attributes:
            num_neighbours: neighbours that the graph keeps of each item, and nodes of a subgraph.
            switch_weight: weight of the switch loss; 0 switches it off.
        """

        num_neighbours: int = setting(12, minimum=1)
        switch_weight: float = setting(1.0, minimum=0)

    def __init__(self, config: Config, inputs: ModelInputs) -> None:
        super().__init__(config, inputs)
        self.item_embedding = nn.Embedding(inputs.num_items + 1, config.hidden_size, padding_idx=0)
        self.graph = NeighbourGraph(inputs, config.num_neighbours)
        # BTU: one role is no role; the authors' gate has the opposite sense and begins with letting in
        self.behaviour = BehaviourFlow(config, num_roles=1, keep=-1.0)
        self.knowledge = KnowledgeTransfer(config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)
        self.decoders = nn.ModuleList(_Decoder(config.hidden_size) for _ in BOTH)
        initialise(self)

    def loss(self, batch: Batch) -> Tensor:
        at = [self.in_domain(batch.labels, domain).nonzero(as_tuple=True) for domain in BOTH]  # case and position
        targets = [batch.labels[where] for where in at]  # (R,) each
        nodes = [self.nodes(batch, *where, target) for where, target in zip(at, targets, strict=True)]  # (R, N) each
        candidates = [self.candidates(target, domain) for domain, target in enumerate(targets)]
        lookup = Lookup(self.item_embedding, batch.item_seq, *nodes)
        encoded = self.encode(batch, lookup)
        predictions, switch = [], 0.0
        for domain in BOTH:
            if not len(targets[domain]):
                continue
            mixture = self.mixture(encoded, at[domain], nodes[domain], domain, lookup)
            hit = nodes[domain] == targets[domain][:, None]  # (R, N), at most one of a row: is the target a node?
            log_node = (mixture.log_p[:, None] + mixture.log_graph).masked_fill(~hit, -torch.inf).amax(dim=1)
            log_open = mixture.log_not_p
            switch = switch - log_open[~hit.any(dim=1)].sum()
            predictions.append(Predictions([mixture.query], *candidates[domain], 1.0, log_open, log_node))
        total = self.nll(predictions, [self.item_embedding.weight]) + self.config.switch_weight * switch
        return total / (batch.labels != IGNORE).sum()

    @torch.no_grad()
    def score(self, batch: Batch, domain: int) -> Tensor:
        """log P of all items of the domain, (B, its items)."""
        encoded = self.encode(batch, self.item_embedding)
        length = (batch.item_seq != 0).sum(dim=1)
        at = torch.arange(len(batch), device=length.device), (length - 1).clamp(min=0)
        nodes = self.nodes(batch, *at)
        mixture = self.mixture(encoded, at, nodes, domain, self.item_embedding)
        scores = inner_products(mixture.query, self.of_domain(self.item_embedding.weight, domain))
        scores += (mixture.log_not_p - scores.logsumexp(dim=1))[:, None]
        row, node = self.in_domain(nodes, domain).nonzero(as_tuple=True)
        place = row, nodes[row, node] - self.inputs.item_range(domain)[0]
        scores[place] = torch.logaddexp(scores[place], mixture.log_p[row] + mixture.log_graph[row, node])
        return scores

    def encode(self, batch: Batch, lookup: Callable[[Tensor], Tensor]) -> Encoded:
        """What is known of each domain at each merged position."""
        member = [self.in_domain(batch.item_seq, domain) for domain in BOTH]
        vectors = [lookup(item_seq) for item_seq in (batch.item_seq_x, batch.item_seq_y)]
        return Encoded(batch.item_seq, *self.behaviour(vectors, member))

    def nodes(self, batch: Batch, case: Tensor, position: Tensor, target: Tensor | None = None) -> Tensor:
        """Nodes of the subgraph of each ``case`` after ``position``, (R, N), 0 for none."""
        back = position[:, None] - torch.arange(WINDOW, device=position.device)  # (R, WINDOW)
        return self.graph.strongest(batch.item_seq[case[:, None], back.clamp(min=0)] * (back >= 0), target)

    def mixture(
        self,
        encoded: Encoded,
        at: tuple[Tensor, Tensor],
        nodes: Tensor,
        domain: int,
        lookup: Callable[[Tensor], Tensor],
    ) -> Mixture:
        """The next item in ``domain`` after the cases and positions ``at``, (R,) each."""
        item_seq, states, flows = encoded
        wanted = self.in_domain(nodes, domain)  # (R, N)
        newest_is_y = self.in_domain(item_seq[at], 1)[:, None]
        newest = tuple(torch.where(newest_is_y, y[at], x[at]) for x, y in (states, flows))  # h and t there, (R, D) each
        inside = torch.where(newest_is_y, self.in_domain(nodes, 1), self.in_domain(nodes, 0))
        updated = self.knowledge(lookup, nodes, inside, self.graph.edges(nodes), wanted, newest)  # e', (P, D)

        decoder, own = self.decoders[domain], states[domain][at]
        sequence = self.dropout(torch.cat([own, flows[1 - domain][at]], dim=1))  # s, (R, 2 D)
        row = wanted.nonzero()[:, 0]  # (P,), whose node it is
        # index_select where [row] would do: its gradient is the same to the bit whatever the threads
        energy = torch.tanh(decoder.of_state(own).index_select(0, row) + decoder.of_node(updated))
        energy = decoder.weigh(energy).squeeze(1)  # (P,)
        lowest = torch.finfo(energy.dtype).min
        energy = energy.new_full(wanted.shape, lowest).masked_scatter(wanted, energy)  # (R, N)
        in_sum = updated.new_zeros(len(nodes), updated.shape[1]).index_add(0, row, updated)  # (R, D)
        logit = decoder.switch(torch.cat([sequence, in_sum], dim=1)).squeeze(1)
        some = wanted.any(dim=1)
        return Mixture(
            decoder.of_sequence(sequence),
            energy.log_softmax(dim=1).masked_fill(~wanted, lowest / 2),
            F.logsigmoid(logit).masked_fill(~some, lowest / 2),
            F.logsigmoid(-logit).masked_fill(~some, 0),
        )


class Encoded(NamedTuple):
    """Merged item ids, (B, L); for each domain, at each position, its state and the flow from it, (B, L, D)."""

    item_seq: Tensor
    states: list[Tensor]
    flows: list[Tensor]


class Mixture(NamedTuple):
    """The parts of P for R predictions.

    Attributes:
        query: W_s s, (R, D).
        log_graph: log-probabilities of the nodes in the graph's part, (R, N), very low for those of the other domain.
        log_p, log_not_p: log p and log(1 - p), (R,).
    """

    query: Tensor
    log_graph: Tensor
    log_p: Tensor
    log_not_p: Tensor


class _Decoder(nn.Module):
    """What is there once per predicted domain."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.of_sequence = nn.Linear(2 * size, size)  # W_s
        self.of_state, self.of_node = nn.Linear(size, size, bias=False), nn.Linear(size, size, bias=False)  # W_h, U_h
        self.weigh = nn.Linear(size, 1, bias=False)  # v
        self.switch = nn.Linear(3 * size, 1)  # w_p


class KnowledgeTransfer(nn.Module):
    """KTU: the nodes of the docstring above, e to e'."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.attend_node = nn.ModuleList(nn.Linear(size, size, bias=False) for _ in ("in", "cross"))  # U
        self.attend_state = nn.ModuleList(nn.Linear(size, size, bias=False) for _ in ("in", "cross"))  # W
        self.weigh = nn.Linear(size, 2, bias=False)  # v_in and v_cross
        self.gate_node, self.gate_state = nn.Linear(size, size), nn.Linear(2 * size, size, bias=False)  # W_f, in parts
        self.match = nn.Parameter(nn.init.xavier_normal_(torch.empty(1, size)))  # w
        self.spread = nn.ModuleList(nn.Linear(size, size) for _ in ("in", "cross"))  # B
        self.update = nn.GRUCell(2 * size, size)

    def forward(
        self,
        lookup: Callable[[Tensor], Tensor],
        nodes: Tensor,
        inside: Tensor,
        edges: Tensor,
        wanted: Tensor,
        newest: tuple[Tensor, Tensor],
    ) -> Tensor:
        """The P nodes marked by ``wanted`` after the transfer, row by row, (P, D).

        Args:
            nodes: (R, N) item ids; inside: which of them are of the newest item's domain; edges: A, (R, N, N).
            newest: h and t at the newest item, (R, D) each.
        """
        state, flow = newest
        cross = (nodes > 0) & ~inside
        # what depends on the item alone is computed once per item of the batch, not once per node
        items, which = nodes.unique(return_inverse=True)
        vectors = lookup(items)  # (I, D)
        by_role = torch.cat([part(vectors) for part in self.attend_node])  # (2 I, D)
        gate = F.embedding(which, self.gate_node(vectors)) + self.gate_state(torch.cat([state, flow], dim=1))[:, None]
        node = F.embedding(which, vectors)  # e, (R, N, D)

        asked = torch.where(
            inside[..., None], self.attend_state[0](state)[:, None], self.attend_state[1](flow)[:, None]
        )
        scores = self.weigh(torch.tanh(F.embedding(which + len(items) * ~inside, by_role) + asked))  # (R, N, 2)
        weights = masked_softmax(scores[..., 0], inside) + masked_softmax(scores[..., 1], cross)  # a, (R, N)
        # 1 - sigmoid(x) = sigmoid(-x): f for in nodes, 1 - f for cross nodes
        sign = torch.where(inside, 1.0, -1.0)[..., None]
        passed = torch.sigmoid(gate * sign) * (weights[..., None] * node)
        match = (node * self.match) @ node.transpose(1, 2) * (cross[:, :, None] & inside[:, None])  # (R, N, N)
        passed = passed + match @ node  # + x
        messages = [(edges * role[:, None]) @ passed for role in (inside, cross)]  # (R, N, D) each
        pairs = zip(self.spread, messages, strict=True)
        messages = [spread(message[wanted]).relu() for spread, message in pairs]  # (P, D) each
        return self.update(torch.cat(messages, dim=1), node[wanted])


class NeighbourGraph(nn.Module):
    """The strongest neighbours of each item: those it stood next to most often in the training sequences."""

    def __init__(self, inputs: ModelInputs, num_neighbours: int) -> None:
        super().__init__()
        size, follows = inputs.num_items + 1, inputs.train.labels != IGNORE
        one, other = inputs.train.item_seq[follows], inputs.train.labels[follows]
        pairs = torch.cat([one * size + other, other * size + one])
        pairs, counts = pairs[pairs // size != pairs % size].unique(return_counts=True)
        # among equals the more frequent item, then by lot: by number, all items of X would go before those of Y
        frequency = torch.bincount(one, minlength=size) + torch.bincount(other, minlength=size)
        lot = torch.randperm(size, generator=torch.Generator().manual_seed(0))
        favour = (frequency * size + lot).argsort().argsort() / size  # (V + 1,), below 1
        order = (counts + favour.double()[pairs % size]).argsort(descending=True)
        order = order[(pairs[order] // size).argsort(stable=True)]
        item, neighbour, counts = pairs[order] // size, pairs[order] % size, counts[order]
        degree = torch.bincount(item, minlength=size)
        rank = torch.arange(len(item)) - (degree.cumsum(dim=0) - degree)[item]
        kept = rank < num_neighbours
        self.register_buffer("favour", favour, persistent=False)
        self.register_buffer("neighbours", torch.zeros(size, num_neighbours, dtype=torch.long), persistent=False)
        self.register_buffer("counts", torch.zeros(size, num_neighbours), persistent=False)
        self.neighbours[item[kept], rank[kept]] = neighbour[kept]  # (V + 1, K), 0 for none
        self.counts[item[kept], rank[kept]] = counts[kept].float()

    def strongest(self, history: Tensor, target: Tensor | None) -> Tensor:
        """The K items with the most edges to those of the history, (R, W) to (R, K), 0 where there are fewer.

        Args:
            history: the newest item first, 0 where there is none.
            target: (R,) what came next in training: one of its edges to the newest item is this very case, and counts
                as often as that item stands in the history.
        """
        ids, weights = [self.neighbours[history].flatten(1), history], [self.counts[history].flatten(1)]
        weights.append(torch.full(history.shape, -torch.inf, device=history.device))  # no node itself
        if target is not None:
            ids.append(target[:, None])
            newest, known = history[:, :1], (self.neighbours[history[:, 0]] == target[:, None]).any(dim=1, keepdim=True)
            weights.append(-(known * (history == newest).sum(dim=1, keepdim=True)).float())
        ids, order = torch.cat(ids, dim=1).sort(dim=1)  # (R, M)
        weights = torch.cat(weights, dim=1).gather(1, order)
        new = F.pad(ids[:, 1:] != ids[:, :-1], (1, 0), value=True)
        group = new.cumsum(dim=1) - 1  # equal ids are one group
        weights = torch.zeros_like(weights).scatter_add(1, group, weights)
        ids = torch.zeros_like(ids).scatter(1, group, ids)
        weights = torch.where(weights > 0, weights + self.favour[ids], 0)
        weights, order = weights.sort(dim=1, descending=True, stable=True)
        count = self.neighbours.shape[1]
        return (ids.gather(1, order) * (weights > 0))[:, :count]

    def edges(self, nodes: Tensor) -> Tensor:
        """1 between nodes of which one is a neighbour of the other, and from each to itself, (R, N) to (R, N, N)."""
        near = self.neighbours[nodes]  # (R, N, K)
        joined = torch.stack(
            [(near == nodes[:, other, None, None]).any(dim=2) for other in range(nodes.shape[1])], dim=2
        )
        joined = (joined | joined.transpose(1, 2)) & (nodes > 0)[:, :, None] & (nodes > 0)[:, None]
        return (joined | torch.eye(nodes.shape[1], dtype=torch.bool, device=nodes.device)).float()


class Lookup:
    """Vectors of the items that a step needs, taken from the embedding at once.

    Each time that the embedding is used costs a gradient as large as all its items.
    """

    def __init__(self, item_embedding: nn.Embedding, *ids: Tensor) -> None:
        self.ids = torch.cat([ids[0].new_zeros(1), *(i.flatten() for i in ids)]).unique()  # with padding
        self.vectors = item_embedding(self.ids)

    def __call__(self, ids: Tensor) -> Tensor:
        return F.embedding(torch.searchsorted(self.ids, ids), self.vectors)


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax of each row over where ``mask`` holds, 0 elsewhere."""
    return scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(dim=1) * mask
