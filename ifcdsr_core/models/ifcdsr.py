"""IFCDSR: image fusion for cross-domain sequential recommendation.

Wu et al., Companion Proceedings of the ACM Web Conference 2025, doi 10.1145/3701716.3717566. Equation numbers are the
paper's. Where the paper leaves a choice open ("gap"), it is a field of ``IFCDSR.Config`` and explained there.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ifcdsr_core.batches import IGNORE, XY, Batch, X, Y
from ifcdsr_core.models.base import ModelInputs, SequenceModel, initialise, look_up, unit
from ifcdsr_core.models.encoder import AttentionConfig, CausalEncoder
from ifcdsr_core.models.ranking import Softmax, mixture_log_p
from ifcdsr_core.settings import setting

DOMAIN = {X: 0, Y: 1, XY: None}  # whose items a branch's softmax is over


class IFCDSR(SequenceModel):
    """Six sequence representations (three sub-sequences, two modalities), each scored by cosine, mixed as in (5), (8).

    Nothing below ``mixing`` counts the modalities: a subclass that names another one has another representation of each
    sub-sequence.
    """

    version = 1

    @dataclass(frozen=True)
    class Config(AttentionConfig):
        """Hyperparameters; hidden_size, dropout, alpha, lambda_1 and lambda_2 default to the paper's values.

        Attributes:
            hidden_size: q, width of the ID embedding. The image branch is as wide as its features (e).
            alpha: weight of the ID distribution in (5); the image gets 1 - alpha.
            lambda_1: weight of the source domain in (7) and (8).
            lambda_2: weight of the merged sequence in (7) and (8).
            image_fusion: use the image modality. Off: "original framework" of Table 4.
            multiple_attention: separate attention for S^X, S^Y, S^{X+Y}. Off: the merged sequence alone.
            temperature: divides the cosines before the softmax (gap 1). At 1, the formula as printed, the
                distribution over tens of thousands of items is almost uniform and hardly anything is learned.
            learn_temperature: learn it, one per modality, starting from ``temperature``.
            source_branch: P^Y(x_i) for an X item (gap 2). ``score``: softmax over the X items of h^Y against E^X;
                ``zero``: P^Y gives an X item nothing, lambda_1 then acts in training only.
            target: gap 10. ``both``: one model, trained on the mean of (7) and of (7) with the roles swapped;
                ``x`` or ``y``: (7) for that target domain alone.
            image_projection: gap 9. ``none``: h_img lives in CLIP's space, as the shapes of the paper say;
                ``linear``: a learned projection of the frozen features to width q, on both sides of the cosine.
        """

        alpha: float = setting(0.7, minimum=0, maximum=1)
        lambda_1: float = setting(0.1, minimum=0)
        lambda_2: float = setting(0.4, minimum=0)
        image_fusion: bool = True
        multiple_attention: bool = True
        temperature: float = setting(0.07, minimum=0.01)  # ``queries`` lets a learned one become no smaller
        learn_temperature: bool = False
        source_branch: Literal["score", "zero"] = "score"
        target: Literal["both", "x", "y"] = "both"
        image_projection: Literal["none", "linear"] = "none"
        least_inner_size: ClassVar[int] = 0  # attention alone, as equation (1) is printed [gap 7]

    def __init__(self, config: Config, inputs: ModelInputs) -> None:
        super().__init__(config, replace(inputs, features={}))  # kept below, padded: not twice
        mixing = self.mixing(config)
        self.modalities = tuple(mixing)
        self.register_buffer("log_mixing", torch.tensor(list(mixing.values())).log(), persistent=False)  # (M,)
        self.item_embedding = nn.Embedding(inputs.num_items + 1, config.hidden_size, padding_idx=0)  # E_id
        initialise(self)
        width, self.projections = {"id": config.hidden_size}, nn.ModuleDict()
        for modality in self.modalities[1:]:
            features = inputs.features[modality]  # E_img, frozen
            self.register_buffer(
                f"{modality}_features", F.pad(features, (0, 0, 1, 0)), persistent=False
            )  # row 0: padding
            width[modality] = features.shape[1]
            if config.image_projection == "linear":
                self.projections[modality] = nn.Linear(features.shape[1], config.hidden_size, bias=False)
                width[modality] = config.hidden_size
        self.log_scale = nn.Parameter(
            torch.full((len(mixing),), -math.log(config.temperature)), requires_grad=config.learn_temperature
        )
        self.encoders = nn.ModuleDict(
            {
                f"{branch}_{modality}": CausalEncoder(width[modality], inputs.max_seq_len, config)
                for branch in self.branches
                for modality in self.modalities
            }
        )

    @classmethod
    def mixing(cls, config: Config) -> dict[str, float]:
        """The modalities and their weights in (5), the ID first."""
        return {"id": config.alpha, "image": 1 - config.alpha} if config.image_fusion else {"id": 1.0}

    @classmethod
    def required_features(cls, config: Config) -> tuple[str, ...]:
        return tuple(cls.mixing(config))[1:]

    @property
    def branches(self) -> tuple[str, ...]:
        return (X, Y, XY) if self.config.multiple_attention else (XY,)

    def sequences(self, batch: Batch) -> dict[str, Tensor]:
        """Item ids of S^X, S^Y and S^{X+Y}, (B, L) each, by branch."""
        return {branch: batch.sequences[branch] for branch in self.branches}

    def look_up(self, batch: Batch, matrices: list[Tensor]) -> dict[str, list[Tensor]]:
        """F_m of each sub-sequence: its items' vectors, (B, L, D_m) for each modality, by branch."""
        sequences = self.sequences(batch)
        by_modality = [look_up(matrix, *sequences.values()) for matrix in matrices]
        return dict(zip(sequences, map(list, zip(*by_modality, strict=True)), strict=True))

    def item_matrices(self) -> list[Tensor]:
        """E_id and E_img with row 0 for padding, (V+1, D_m) each."""
        frozen = {modality: getattr(self, f"{modality}_features") for modality in self.modalities[1:]}
        return [
            self.item_embedding.weight,
            *(
                self.projections[modality](matrix) if modality in self.projections else matrix
                for modality, matrix in frozen.items()
            ),
        ]

    def encode(self, vectors: list[Tensor], item_seq: Tensor, branch: str) -> list[Tensor]:
        """(1): H_m = Attention(F_m) for the item vectors F_m of one sub-sequence, (B, L, D_m) for each modality."""
        return [
            self.encoders[f"{branch}_{modality}"](part, item_seq)
            for modality, part in zip(self.modalities, vectors, strict=True)
        ]

    def queries(self, hidden: list[Tensor]) -> list[Tensor]:
        """Unit vectors divided by the temperature, so that a product with unit item vectors is (2) / temperature."""
        scales = self.log_scale.exp().clamp(max=100.0)
        return [F.normalize(h, dim=-1) * scale for h, scale in zip(hidden, scales, strict=True)]

    def loss(self, batch: Batch) -> Tensor:
        """(6) and (7), per predicted position of the merged sequence so that it does not depend on the batch size."""
        matrices = self.item_matrices()
        vectors, predictions = self.look_up(batch, matrices), []
        for branch, weight in self.loss_weights().items():
            labels = batch.next_items[branch]
            predicted = labels != IGNORE  # (B, L)
            if weight == 0 or not predicted.any():
                continue
            hidden = [h[predicted] for h in self.encode(vectors[branch], batch.sequences[branch], branch)]  # (R, D_m)
            queries, domain = self.queries(hidden), DOMAIN[branch]
            predictions.append(self.predictions(queries, labels[predicted], domain, weight))
        return self.nll(predictions, matrices, self.log_mixing, cosine=True) / (batch.labels != IGNORE).sum()

    def loss_weights(self) -> dict[str, float]:
        """Weights of L^X, L^Y and L^{X+Y} in (7), for one target domain or for the mean of both."""
        if not self.config.multiple_attention:
            return {XY: 1.0}
        own, source, merged = 1.0, self.config.lambda_1, self.config.lambda_2
        mean = (own + source) / 2
        return {
            "x": {X: own, Y: source, XY: merged},
            "y": {X: source, Y: own, XY: merged},
            "both": {X: mean, Y: mean, XY: merged},
        }[self.config.target]

    def score(self, batch: Batch, domain: int, parts: Collection[tuple[str, str]] | None = None) -> Tensor:
        """(8): log P(x_i|S) up to a constant, for all items of the target domain, (B, N).

        A user without history in a domain has h = 0 there: that branch then scores all items alike.

        Args:
            parts: pairs of a branch and a modality; all others are left out of (5) and (8).
        """
        matrices = self.item_matrices()
        items = [unit(matrix) for matrix in matrices]
        vectors, sequences = self.look_up(batch, matrices), self.sequences(batch)
        target, count = self.inputs.item_range(domain)
        softmaxes = []
        for branch, weight in self.score_weights(domain).items():
            hidden = [
                self.encoders[f"{branch}_{modality}"].last(part, sequences[branch])
                for modality, part in zip(self.modalities, vectors[branch], strict=True)
            ]  # (B, D_m)
            first, size = self.inputs.item_range(None if branch == XY else domain)  # the support of P^Y(x_i), too: X
            for m, query in enumerate(self.queries(hidden)):
                if parts is None or (branch, self.modalities[m]) in parts:
                    log_weight = self.log_mixing[m] + math.log(weight)
                    softmaxes.append(Softmax(query, items[m][first : first + size], log_weight, target - first))
        return mixture_log_p(softmaxes, count)

    def score_weights(self, domain: int) -> dict[str, float]:
        """Weights of the branches in (8) for a target domain (0 for X, 1 for Y), without those of weight 0."""
        if not self.config.multiple_attention:
            return {XY: 1.0}
        target, source = ((X, Y), (Y, X))[domain]
        source_weight = self.config.lambda_1 if self.config.source_branch == "score" else 0.0
        weights = {target: 1.0, source: source_weight, XY: self.config.lambda_2}
        return {branch: weight for branch, weight in weights.items() if weight > 0}
