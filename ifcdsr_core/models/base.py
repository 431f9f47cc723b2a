"""The contract every model keeps: a loss for training, a score for every item of a domain for ranking.

Trainer and evaluator know nothing else of a model. A new model is one file with one subclass of SequenceModel, and
one line in ``ifcdsr_core/models/__init__.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, chain
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from ifcdsr_core.batches import Batch
from ifcdsr_core.blocks import blocks
from ifcdsr_core.loss import Predictions, mixture_nll, sample
from ifcdsr_core.settings import check_ranges, setting

LENGTHS_AT_A_TIME = 128  # rows of ``by_length``


@dataclass(frozen=True)
class ModelInputs:
    """All that a model may be built from.

    Attributes:
        num_items_x, num_items_y: items of each domain.
        max_seq_len: longest history.
        features: frozen item features by modality, (V, e) each, row i - 1 for item i; only those the model asked for.
        train: the encoded training cases (for models that count them or build a graph of them).
        num_negatives: items that the training loss draws a step; 0 for all, the exact loss.
    """

    num_items_x: int
    num_items_y: int
    max_seq_len: int
    features: Mapping[str, Tensor] = field(default_factory=dict)
    train: Batch | None = None
    num_negatives: int = 0

    @property
    def num_items(self) -> int:
        return self.num_items_x + self.num_items_y

    def item_range(self, domain: int | None) -> tuple[int, int]:
        """First item id and number of items of a domain (0 for X, 1 for Y), or of both together (None)."""
        if domain is None:
            return 1, self.num_items
        return (1, self.num_items_x) if domain == 0 else (1 + self.num_items_x, self.num_items_y)


@dataclass(frozen=True)
class ModelConfig:
    """Hyperparameters that every neural model has.

    Raises:
        InputError: a value out of range.
    """

    hidden_size: int = setting(256, minimum=1, maximum=65_536)
    num_layers: int = setting(1, minimum=1, maximum=1_000)
    dropout: float = setting(0.3, minimum=0, below=1)

    def __post_init__(self) -> None:
        check_ranges(self)


class SequenceModel(nn.Module):
    """Base of all models. ``Config`` is a frozen dataclass of the model's own hyperparameters.

    ``title`` is what pages and the papers' tables call it, the name of the class unless said otherwise. ``version`` is
    raised by one when the model's numbers change; a model that has none yet is identified by the text of its file
    (``runs/versions.py``).

    Training may begin with ``pretrain_epochs`` of another loss: the trainer sets ``pretraining`` during these, and does
    not rank after them.
    """

    Config: ClassVar[type]
    title: ClassVar[str]
    version: ClassVar[int]
    pretrain_epochs = 0
    pretraining = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "title" not in cls.__dict__:
            cls.title = cls.__name__

    def __init__(self, config: Any, inputs: ModelInputs) -> None:
        super().__init__()
        self.config, self.inputs = config, inputs

    @classmethod
    def required_features(cls, config: Any) -> tuple[str, ...]:
        """Modalities of frozen features this configuration needs (``image``); none by default."""
        return ()

    def loss(self, batch: Batch) -> Tensor:
        """Training loss of a batch, a scalar."""
        raise NotImplementedError

    def score(self, batch: Batch, domain: int) -> Tensor:
        """Scores of all items of ``domain`` as next item, (B, number of its items); higher is better."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        return next(chain(self.parameters(), self.buffers())).device

    def predictions(
        self, queries: Sequence[Tensor], labels: Tensor, domain: int | None = None, weight: float = 1.0
    ) -> Predictions:
        """R next items to be predicted among those of a domain, or among all; what ``nll`` takes.

        Where the run's loss is sampled, the negatives are drawn here.

        Args:
            queries: (R, D) for each item matrix that ``nll`` is given.
            labels: (R,) ids of the items that came next.
            weight: of these predictions in the loss.
        """
        return Predictions(queries, *self.candidates(labels, domain), weight)

    def candidates(self, labels: Tensor, domain: int | None) -> tuple[Tensor, slice | Tensor, Tensor | None]:
        """``targets``, ``items`` and ``log_weights`` of Predictions: a domain's items, all or the configured sample."""
        first, count = self.inputs.item_range(domain)
        if not self.inputs.num_negatives:
            return labels - first, slice(first, first + count), None
        rows, position, log_weights = sample(labels - first, count, self.inputs.num_negatives)
        return position, first + rows, log_weights

    def nll(
        self,
        predictions: Sequence[Predictions],
        items: Sequence[Tensor],
        log_mixing: Tensor | None = None,
        cosine: bool = False,
    ) -> Tensor:
        """Sum over all predictions of -log P(target), P being a softmax of inner products, or a mixture of them.

        All predictions of a step go into one call: each item matrix then gets one gradient.

        Args:
            items: (V + 1, D) matrices by item id, one per modality.
            log_mixing: (M,) logarithms of the modalities' weights; None for a single one.
            cosine: scale the item vectors to length 1.
        """
        if self.inputs.num_negatives:
            rows = [one.items for one in predictions]
            items = [F.embedding(torch.cat(rows), matrix) for matrix in items]
            ends = accumulate(map(len, rows))
            predictions = [
                replace(one, items=slice(end - len(one.items), end)) for one, end in zip(predictions, ends, strict=True)
            ]
        if cosine:
            items = [unit(matrix) for matrix in items]
        return mixture_nll(predictions, items, torch.zeros(1, device=self.device) if log_mixing is None else log_mixing)

    def of_domain(self, items: Tensor, domain: int) -> Tensor:
        """Those rows of a matrix by item id that are of a domain, (N, D)."""
        first, count = self.inputs.item_range(domain)
        return items[first : first + count]

    def in_domain(self, ids: Tensor, domain: int) -> Tensor:
        """Which item ids (or labels) are of a domain, as booleans of the same shape; padding and IGNORE are of none."""
        first, count = self.inputs.item_range(domain)
        return (ids >= first) & (ids < first + count)


def look_up(matrix: Tensor, *ids: Tensor) -> list[Tensor]:
    """Rows of an item matrix for each tensor of ids, with one more dimension, gathered at once.

    Each look-up costs a gradient as large as the matrix: one that serves several sequences saves the others'.
    """
    found = F.embedding(torch.cat([one.flatten() for one in ids]), matrix)
    return [part.view(*one.shape, -1) for part, one in zip(found.split([one.numel() for one in ids]), ids, strict=True)]


def unit(matrix: Tensor) -> Tensor:
    """The rows of a matrix scaled to length 1, as ``F.normalize`` does, with fewer passes over it on the way back."""
    return _Unit.apply(matrix)


class _Unit(torch.autograd.Function):
    @staticmethod
    def forward(ctx, matrix: Tensor) -> Tensor:
        length = matrix.norm(dim=1, keepdim=True).clamp_(min=1e-12)
        scaled = matrix / length
        ctx.save_for_backward(scaled, length)
        return scaled

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> Tensor:
        found = torch.empty_like(grad)
        for rows in blocks(len(grad), grad.device):
            part, upstream, scaled, length = (t[rows] for t in (found, grad, *ctx.saved_tensors))
            along = (upstream * scaled).sum(dim=1, keepdim=True)
            torch.addcmul(upstream, scaled, along, value=-1, out=part).div_(length)
        return found


def packed(vectors: Tensor, length: Tensor) -> PackedSequence:
    """The first ``length`` (B,) of each row's (B, L, D) vectors, at least one, position by position without padding."""
    return pack_padded_sequence(vectors, length.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False)


def unpacked(sequence: PackedSequence, width: int) -> Tensor:
    """(B, width, D) again, 0 where there is padding; in memory time goes first, as in what a GRU returns.

    Dropout draws its numbers in the order of memory.
    """
    return pad_packed_sequence(sequence, total_length=width)[0].transpose(0, 1)


def last(hidden: Tensor, item_seq: Tensor) -> Tensor:
    """Hidden state at the newest item, (B, D); zeros where the history is empty, which scores all items alike."""
    length = (item_seq != 0).sum(dim=1)  # (B,)
    at = (length - 1).clamp(min=0)[:, None, None].expand(-1, 1, hidden.shape[-1])
    return hidden.gather(1, at).squeeze(1) * (length > 0)[:, None]


def as_of(hidden: Tensor, member: Tensor) -> Tensor:
    """The newest state of a sub-sequence's encoder at each position of the merged sequence.

    Args:
        hidden: (B, L', D) states along the sub-sequence.
        member: (B, L) which positions of the merged sequence belong to it.

    Returns:
        (B, L, D): at position t the state after the sub-sequence's items among the first t; zeros before its first.
    """
    seen = member.cumsum(dim=1)[..., None]  # (B, L, 1)
    at = (seen - 1).clamp(min=0, max=hidden.shape[1] - 1).expand(-1, -1, hidden.shape[-1])
    return hidden.gather(1, at) * (seen > 0)


def by_length(length: Tensor, function: Callable[[Tensor, int], Tensor], size: int = LENGTHS_AT_A_TIME) -> Tensor:
    """What ``function`` makes of R rows, given rows of similar length at a time: less is computed for padding.

    Args:
        length: (R,) how much of its history each row sees.
        function: from (R',) numbers of rows and their greatest length, at least 1, to (R', ...).

    Returns:
        (R, ...) in the order of ``length``.

    >>> by_length(torch.tensor([3, 1, 2]), lambda rows, width: torch.full((len(rows),), width), size=2)
    tensor([3, 2, 2])
    """
    order = length.argsort(stable=True)
    parts = [function(rows, max(1, int(length[rows[-1]]))) for rows in order.split(size)]
    return torch.cat(parts).index_select(0, order.argsort())


def initialise(module: nn.Module) -> None:
    """Embeddings from Normal(0, 0.02), linear layers Xavier-normal with zero biases."""
    for part in module.modules():
        if isinstance(part, nn.Embedding):
            nn.init.normal_(part.weight, std=0.02)
        if isinstance(part, nn.Linear):
            nn.init.xavier_normal_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
