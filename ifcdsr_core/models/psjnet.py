"""PSJNet: parallel split-join network (Sun, Ma, Ren, Lin, Chen, Ren, Ma & de Rijke, IEEE TKDE 2023), its variant I.

Made for accounts that several people share: each domain's history is a mixture of K latent roles. A GRU per domain
encodes S^X and S^Y. What S^X has to tell Y is then made along S^X: at each of its items the state is split into the
roles by a gate that sees the GRU's state h there, the newest state o of the other domain's GRU and the vector r_k of
the role, and joined again by the mean over the roles. A second GRU over the joined states completes the flow from X
to Y; the flow from Y to X is made likewise along S^Y. The next item of Y is predicted from the newest state of Y's
encoder and the newest state of the flow from X, next to each other, by a softmax over the items of Y.

With s_0 = 0 and t running over the items of one domain, the split-by-join unit is

    g_tk = sigmoid(W_g [h_t; o_t] + U_g s_{t-1} + V_g r_k + b_g)          how much of s_{t-1} role k keeps
    c_tk = tanh(W_c h_t + U_c s_{t-1} + V_c r_k + b_c)
    s_t  = mean_k (g_tk * s_{t-1} + (1 - g_tk) * c_tk)

Which variant. PSJNet-I, "split-by-join", is pi-Net (Ma et al., SIGIR 2019), as the paper itself says, and its authors'
code (github.com/mamuyang/PINet) is public: the formulas above are read from it, hence no equation numbers. PSJNet-II,
"split-and-join", first splits all timestamps and then joins all timestamps and roles at once. No code of it was found
and its equations were not at hand, so it is not offered here; tables of other papers that say PSJNet may mean it.

Deviations. A user here is no shared account; ``num_roles`` keeps the 4 of the authors' code, where roles then stand for
interests. In that code V_c is computed and V_g r_k is added in its place, which leaves V_c untrained; here c_tk has its
own. The authors' prediction layer is a matrix (2 D, items) per domain; here a linear map to D per domain, then the item
embedding. They predict only the last item of each domain; here all next items, each in its own domain, as for all
models of the book. Their dropout also falls on the recurrent states; here on the GRUs' inputs and outputs and on the
two states that predict. ``num_layers`` counts layers of the GRUs, the split-by-join unit has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ifcdsr_core.batches import IGNORE, Batch
from ifcdsr_core.models.base import (
    ModelConfig,
    ModelInputs,
    SequenceModel,
    as_of,
    initialise,
    last,
    look_up,
    packed,
    unpacked,
)
from ifcdsr_core.models.ranking import inner_products
from ifcdsr_core.settings import setting

BOTH = 0, 1


class PSJNet(SequenceModel):
    version = 1

    @dataclass(frozen=True)
    class Config(ModelConfig):
        """Sizes as for GRU4Rec.

        Attributes:
            num_roles: K, latent roles of a history.
        """

        num_roles: int = setting(4, minimum=1)

    def __init__(self, config: Config, inputs: ModelInputs) -> None:
        super().__init__(config, inputs)
        self.item_embedding = nn.Embedding(inputs.num_items + 1, config.hidden_size, padding_idx=0)
        self.flow = BehaviourFlow(config, config.num_roles, keep=1.0)
        self.dropout = nn.Dropout(config.dropout)
        self.outputs = nn.ModuleList(nn.Linear(2 * config.hidden_size, config.hidden_size) for _ in BOTH)
        initialise(self)

    def loss(self, batch: Batch) -> Tensor:
        states, flows = self.encode(batch)
        predictions = []
        for domain in BOTH:
            predicted = self.in_domain(batch.labels, domain)  # (B, L)
            if predicted.any():
                query = self.query(states[domain][predicted], flows[domain][predicted], domain)  # (R, D)
                predictions.append(self.predictions([query], batch.labels[predicted], domain))
        return self.nll(predictions, [self.item_embedding.weight]) / (batch.labels != IGNORE).sum()

    def score(self, batch: Batch, domain: int) -> Tensor:
        states, flows = self.encode(batch)
        query = self.query(last(states[domain], batch.item_seq), last(flows[domain], batch.item_seq), domain)  # (B, D)
        return inner_products(query, self.of_domain(self.item_embedding.weight, domain))

    def encode(self, batch: Batch) -> tuple[list[Tensor], list[Tensor]]:
        """For each domain, at each merged position: its encoder's state and the flow into it, (B, L, D) each."""
        member = [self.in_domain(batch.item_seq, domain) for domain in BOTH]
        sequences = batch.item_seq_x, batch.item_seq_y
        states, flows = self.flow(look_up(self.item_embedding.weight, *sequences), member)
        return states, flows[::-1]

    def query(self, state: Tensor, flow: Tensor, domain: int) -> Tensor:
        """What meets the items of ``domain``: (R, D) of its own encoder and (R, D) of the flow into it to (R, D)."""
        return self.outputs[domain](self.dropout(torch.cat([state, flow], dim=-1)))


class BehaviourFlow(nn.Module):
    """Both domains' encoders, and along each domain what it has to tell the other."""

    def __init__(self, config: ModelConfig, num_roles: int, keep: float) -> None:
        super().__init__()
        size = config.hidden_size
        self.dropout = nn.Dropout(config.dropout)
        self.encoders, self.transfers = (
            nn.ModuleList(nn.GRU(size, size, config.num_layers, batch_first=True) for _ in BOTH) for _ in range(2)
        )
        self.units = nn.ModuleList(SplitByJoin(size, num_roles, keep) for _ in BOTH)

    def forward(self, vectors: Sequence[Tensor], member: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Of each domain the encoder's state and the flow to the other domain, (B, L, D) at each merged position.

        Args:
            vectors: item vectors of S^X and S^Y, (B, L', D).
            member: which positions of the merged sequence belong to each, (B, L).
        """
        length = [is_in.sum(dim=1) for is_in in member]  # (B,) each
        own = [self.along(self.encoders[domain], vectors[domain], length[domain]) for domain in BOTH]  # (B, L', D)
        states = [as_of(own[domain], member[domain]) for domain in BOTH]
        flows = []
        for domain in BOTH:
            # the merged positions of this domain's items; past its last item come others, which no real item sees
            place = (~member[domain]).byte().argsort(dim=1, stable=True)[:, : own[domain].shape[1]]  # (B, L')
            other = states[1 - domain].gather(1, place[..., None].expand(-1, -1, own[domain].shape[2]))
            joined = self.units[domain](own[domain], other, length[domain])
            flows.append(as_of(self.along(self.transfers[domain], joined, length[domain]), member[domain]))
        return states, flows

    def along(self, gru: nn.GRU, vectors: Tensor, length: Tensor) -> Tensor:
        """States of a GRU along the first ``length`` of each row's vectors, (B, L', D), with dropout on both."""
        return self.dropout(unpacked(gru(packed(self.dropout(vectors), length))[0], vectors.shape[1]))


class SplitByJoin(nn.Module):
    """The recurrent unit of the docstring above: split into roles by gates, joined by the mean, item by item."""

    def __init__(self, size: int, num_roles: int, keep: float) -> None:
        super().__init__()
        self.gate = nn.Linear(2 * size, size, bias=False)  # W_g
        self.keep = nn.Parameter(torch.full((size,), keep))  # b_g: what the gate prefers before it has learned
        self.candidate = nn.Linear(size, size)  # W_c and b_c
        self.of_state = nn.Linear(size, 2 * size, bias=False)  # U_g and U_c
        self.of_role = nn.Linear(size, 2 * size, bias=False)  # V_g and V_c
        self.roles = nn.Parameter(nn.init.xavier_normal_(torch.empty(num_roles, size)))  # r_k

    def forward(self, own: Tensor, other: Tensor, length: Tensor) -> Tensor:
        """States of this domain and, as of each of its items, of the other, (B, L', D) each, to (B, L', D).

        Args:
            length: (B,) items of this domain.
        """
        order = packed(own, length)
        sizes = order.batch_sizes.tolist()  # rows that have a first item, a second, ...
        gate = self.gate(torch.cat([order.data, packed(other, length).data], dim=-1)) + self.keep  # (T, D)
        candidate = self.candidate(order.data)
        role_gate, role_candidate = self.of_role(self.roles).chunk(2, dim=1)  # (K, D) each
        state, joined = torch.zeros_like(own[:, 0]), []
        for now_gate, now_candidate in zip(gate.split(sizes), candidate.split(sizes), strict=True):
            state = state[: len(now_gate)]
            state_gate, state_candidate = self.of_state(state).chunk(2, dim=1)  # (rows, D) each
            g = (now_gate + state_gate)[:, None].add(role_gate).sigmoid()  # (rows, K, D)
            c = (now_candidate + state_candidate)[:, None].add(role_candidate).tanh()
            state = (g * state[:, None] + (1 - g) * c).mean(dim=1)
            joined.append(state)
        return unpacked(order._replace(data=torch.cat(joined)), own.shape[1]).contiguous()
