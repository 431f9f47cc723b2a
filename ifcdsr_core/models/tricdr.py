"""Tri-CDR: triple sequence learning for cross-domain recommendation (Ma et al., ACM TOIS 2024).

A prediction is for one domain, the target; the other is the source. Three self-attention encoders read the history
within the target domain, that within the source domain, and both mixed in order of time. Triple cross-domain attention
(TCA) then summarises each of the three: it weighs the states f of a sequence by a small network that sees f, the
newest target state q, their product, and the mean g of the mixed states, which stands for the user's interest at
large. With j running over the states of one sequence, and the same network for all three sequences,

    a_j = MLP([f_j; q; f_j * q; q - f_j; g]),      summary = sum_j softmax(a)_j f_j,

and a second network turns the three summaries into the vector that meets the target items by cosine. Triple
contrastive learning (TCL) works on projections m, s and t of the three summaries (mixed, source, target). The coarse
part says that the three of a user are alike: NT-Xent between each two of them, with the other users of the batch as
negatives. The fine part keeps them distinct: the source must be nearer to the mixed sequence, which contains it, than
to the target, by a margin.

    L_coarse = mean of NT-Xent(m, s), NT-Xent(m, t), NT-Xent(s, t),      L_fine = max(0, |s - m| - |s - t| + margin)
    loss = L_prediction + ``contrastive_weight`` L_coarse + ``triplet_weight`` L_fine

The formulas are read from the authors' code (github.com/hulkima/Tri-CDR), since the text of the paper was not at hand;
hence no equation numbers.

Deviations. The authors train one model per target domain. Here one model serves both: the encoders of S^X, S^Y and
S^{X+Y} are shared, and are target or source as the prediction demands; everything above them (TCA, the network behind
it, the projections) exists once per target domain; TCL is the mean over both roles. In the first layer of the attention
network, q - f is left out: what it adds is a sum of what f and q add, so that the same functions remain. The encoder
block is the book's (theirs: SASRec's, two of them with one head and ReLU; see ``sasrec``).

The authors begin with three trained SASRecs, each with an item embedding of its own, and score with the target's; here
one embedding serves all, and training starts from random weights, or with ``pretrain_epochs`` in which each encoder
learns to predict the next item of its own sequence. They learn from one negative item per positive by binary
cross-entropy of 5 times the cosine (``temperature=0.2``); here by a softmax over the domain's items, which 5 leaves
flat, so that the default is IFCDSR's 0.07. They tune the terms of TCL per data set, (``contrastive_weight``,
``triplet_weight``, ``triplet_margin``) being (0.1, 10, 4) from games to toys and (4, 5, 20) back, there with a
thousandfold weight for the pair m, s; here the defaults are their code's own.

Their users have items of both domains, and the first target item is not predicted; here it is, with q = 0 and a summary
of zero for a sequence without items, and TCL takes the newest prediction of each user for a domain that has items of
both before it. Their code takes the mean over all states of the padded sequence where it has no items yet. When ranking
all of these are padding, which has one and the same state: with ``empty_state=padding`` cosines agree to 2e-6 on equal
weights, whatever the history (without it to 3e-7 where there are items of both domains). In training, source items that
come later are among the 200 states; this is not copied, for it looks ahead. Nor is a slip of their ranking, which
scales the items' vectors to length 1 across the candidates (``dim=1``), not, as their training does, each by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ifcdsr_core.batches import IGNORE, XY, Batch, X, Y
from ifcdsr_core.models.base import ModelInputs, SequenceModel, as_of, by_length, initialise, look_up, unit
from ifcdsr_core.models.encoder import AttentionConfig, CausalEncoder
from ifcdsr_core.models.ranking import inner_products
from ifcdsr_core.settings import setting

INNER_SIZES = 80, 40  # of the attention network


class TriCDR(SequenceModel):
    version = 1
    title = "Tri-CDR"

    @dataclass(frozen=True)
    class Config(AttentionConfig):
        """Sizes as for IFCDSR.

        Attributes:
            temperature: divides the cosines of prediction.
            pretrain_epochs: of the epochs, those at the start in which each encoder learns to predict the next item of
                its own sequence, and nothing else is trained.
            empty_state: state and summary of a sequence without items so far. ``zero``; ``padding``: what the authors'
                encoders give for padding, the bias of their last normalisation.
            contrastive_weight: weight of the coarse part of TCL; 0 switches it off.
            contrastive_temperature: divides the cosines of NT-Xent.
            triplet_weight: weight of the fine part of TCL; 0 switches it off.
            triplet_margin: by how much the source must be nearer to the mixed sequence than to the target.
        """

        temperature: float = setting(0.07, above=0)
        pretrain_epochs: int = setting(0, minimum=0)
        empty_state: Literal["zero", "padding"] = "zero"
        contrastive_weight: float = setting(1.0, minimum=0)
        contrastive_temperature: float = setting(0.1, above=0)
        triplet_weight: float = setting(1.0, minimum=0)
        triplet_margin: float = setting(1.0, minimum=0)

    def __init__(self, config: Config, inputs: ModelInputs) -> None:
        super().__init__(config, inputs)
        self.item_embedding = nn.Embedding(inputs.num_items + 1, config.hidden_size, padding_idx=0)
        self.encoders = nn.ModuleDict(
            {branch: CausalEncoder(config.hidden_size, inputs.max_seq_len, config) for branch in (X, Y, XY)}
        )
        self.targets = nn.ModuleList(_Target(config.hidden_size) for _ in (X, Y))
        initialise(self)

    @property
    def pretrain_epochs(self) -> int:
        return self.config.pretrain_epochs

    def loss(self, batch: Batch) -> Tensor:
        if self.pretraining:
            return self.encoders_loss(batch)
        config, states = self.config, self.encode(batch)
        predictions, coarse, fine, users = [], 0.0, 0.0, 0
        for domain, target in enumerate(self.targets):
            case, position = self.in_domain(batch.labels, domain).nonzero(as_tuple=True)  # (R,), by case, then by time
            if not len(case):
                continue
            summaries, has_both = self.attend(batch, states, case, position, domain)  # (R, 3, D)
            query = self.query(summaries, domain)
            predictions.append(self.predictions([query], batch.labels[case, position], domain))
            newest = F.pad(case[1:] != case[:-1], (0, 1), value=True)  # each case's newest prediction in this domain
            mixed, source, own = target.project(summaries[newest & has_both])  # (N, D) each
            users += len(mixed)
            if config.contrastive_weight > 0 and len(mixed):
                pairs = (mixed, source), (mixed, own), (source, own)
                coarse = coarse + sum(nt_xent(*pair, config.contrastive_temperature) for pair in pairs) / len(pairs)
            if config.triplet_weight > 0 and len(mixed):
                fine = fine + F.triplet_margin_loss(source, mixed, own, config.triplet_margin, reduction="sum")
        contrast = config.contrastive_weight * coarse + config.triplet_weight * fine
        total = self.nll(predictions, [self.item_embedding.weight], cosine=True)
        return total / (batch.labels != IGNORE).sum() + contrast / max(1, users)

    def encoders_loss(self, batch: Batch) -> Tensor:
        """Pre-training: each encoder predicts its own sequence's next item among those of its domain, by the cosine."""
        states, predictions = self.encode(batch), []
        for branch, domain in ((X, 0), (Y, 1), (XY, 0), (XY, 1)):
            labels = batch.next_items[branch]
            predicted = self.in_domain(labels, domain)
            if predicted.any():
                query = F.normalize(states[branch][predicted], dim=1) / self.config.temperature
                predictions.append(self.predictions([query], labels[predicted], domain))
        return self.nll(predictions, [self.item_embedding.weight], cosine=True) / (batch.labels != IGNORE).sum()

    def score(self, batch: Batch, domain: int) -> Tensor:
        length = (batch.item_seq != 0).sum(dim=1)
        case = torch.arange(len(batch), device=length.device)
        summaries, _ = self.attend(batch, self.encode(batch), case, (length - 1).clamp(min=0), domain)
        query = self.query(summaries, domain) * (length > 0)[:, None]  # (B, D)
        return inner_products(query, unit(self.of_domain(self.item_embedding.weight, domain)))

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """States of the three sequences, (B, L, D) each; the L of each may differ."""
        vectors = look_up(self.item_embedding.weight, *batch.sequences.values())
        return {
            branch: self.encoders[branch](part, item_seq)
            for (branch, item_seq), part in zip(batch.sequences.items(), vectors, strict=True)
        }

    def attend(
        self, batch: Batch, states: dict[str, Tensor], case: Tensor, position: Tensor, domain: int
    ) -> tuple[Tensor, Tensor]:
        """TCA for R predictions, each of what ``case`` does in ``domain`` after ``position`` of the mixed sequence.

        Returns:
            Summaries of the mixed, source and target sequence up to there, (R, 3, D); which have items of both, (R,).
        """
        target, source = ((X, Y), (Y, X))[domain]
        member = {branch: self.in_domain(batch.item_seq, number) for number, branch in enumerate((X, Y))}
        seen = {branch: is_in.cumsum(dim=1)[case, position] for branch, is_in in member.items()}  # (R,) items so far
        seen[XY] = position + 1
        newest = as_of(states[target], member[target])[case, position]
        newest = self.unless_empty(newest, seen[target], target)  # q, (R, D)
        count = torch.arange(1, states[XY].shape[1] + 1, device=position.device)
        interest = (states[XY].cumsum(dim=1) / count[:, None])[case, position]  # g, (R, D)
        summarise = self.targets[domain].summarise
        summaries = [
            self.unless_empty(summarise(states[branch], case, seen[branch], newest, interest), seen[branch], branch)
            for branch in (XY, source, target)
        ]
        return torch.stack(summaries, dim=1), (seen[X] > 0) & (seen[Y] > 0)

    def unless_empty(self, vectors: Tensor, seen: Tensor, branch: str) -> Tensor:
        """Vectors of a branch (R, D), 0 where it has no items so far (``seen``, (R,)), with ``empty_state`` there."""
        if self.config.empty_state == "zero":
            return vectors
        return vectors.where(seen[:, None] > 0, self.encoders[branch].norm.bias.to(vectors.dtype))

    def query(self, summaries: Tensor, domain: int) -> Tensor:
        """What meets the unit item vectors of ``domain``: a unit vector divided by the temperature, (R, D)."""
        return F.normalize(self.targets[domain].combine(summaries.flatten(1)), dim=1) / self.config.temperature


class _Target(nn.Module):
    """What is there once per target domain: the attention, the network behind it, the projections of TCL."""

    def __init__(self, size: int) -> None:
        super().__init__()
        wide, narrow = INNER_SIZES
        # the first layer in four parts: only the product has to be computed for each pair of prediction and state
        self.of_state, self.of_product = nn.Linear(size, wide), nn.Linear(size, wide, bias=False)
        self.of_newest, self.of_interest = nn.Linear(size, wide, bias=False), nn.Linear(size, wide, bias=False)
        self.weigh = nn.Sequential(nn.PReLU(), nn.Linear(wide, narrow), nn.PReLU(), nn.Linear(narrow, 1))
        self.combine = nn.Sequential(nn.Linear(3 * size, size), nn.LeakyReLU(), nn.Linear(size, size))
        self.projections = nn.ModuleList(
            nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, size)) for _ in (XY, "source", "target")
        )

    def summarise(self, states: Tensor, case: Tensor, seen: Tensor, newest: Tensor, interest: Tensor) -> Tensor:
        """Weighted mean of the first ``seen`` of each case's (B, L, D) states, (R, D); 0 where there are none."""
        known = self.of_state(states)  # (B, L, 80)
        asked = self.of_newest(newest) + self.of_interest(interest)  # (R, 80)

        def some(of: Tensor, width: int) -> Tensor:
            visible = torch.arange(width, device=seen.device) < seen[of, None]  # (R', L')
            # index_select where [case] would do: its gradient is the same to the bit whatever the threads
            facts = states[:, :width].index_select(0, case[of])  # (R', L', D)
            inner = self.of_product(facts * newest.index_select(0, of)[:, None])  # (R', L', 80)
            inner = inner + known[:, :width].index_select(0, case[of]) + asked.index_select(0, of)[:, None]
            scores = self.weigh(inner).squeeze(2)
            weights = scores.masked_fill(~visible, torch.finfo(scores.dtype).min).softmax(dim=1) * visible
            return (weights[:, None] @ facts).squeeze(1)

        return by_length(seen, some)

    def project(self, summaries: Tensor) -> list[Tensor]:
        return [projection(part) for projection, part in zip(self.projections, summaries.unbind(dim=1), strict=True)]


def nt_xent(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    """Sum over N users of NT-Xent between their two views, (N, D) each; the mean over both directions.

    Among the 2N - 1 other vectors of the batch, the nearest to each must be the same user's other view.
    """
    views = F.normalize(torch.cat([one, other]), dim=1)  # (2N, D)
    cosines = views @ views.T / temperature
    cosines = cosines.masked_fill(torch.eye(len(views), dtype=torch.bool, device=views.device), -torch.inf)
    partner = torch.arange(len(views), device=views.device).roll(len(one))
    return F.cross_entropy(cosines, partner, reduction="sum") / 2
