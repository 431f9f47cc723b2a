"""SASRec: self-attentive sequential recommendation (Kang & McAuley, ICDM 2018), on the merged sequence.

Deviations. The paper trains with one sampled negative per position and a binary loss; here, as for all models of the
book, the loss is the exact softmax over all items, which is known to be the stronger choice (Klenitskiy & Vasilev,
RecSys 2023). At ranking time only the items of the target domain compete. The paper has two blocks with one head and a
feed-forward part of ReLU, as wide as the items' vectors: ``num_layers=2 num_heads=1 activation=relu`` and
``inner_size`` equal to ``hidden_size``; the book's defaults, those of all its attention models, are one block, two
heads, GELU and 256.

With these options the scores are those of a published forward pass of the paper's formulas
(github.com/pmixer/SASRec.pytorch, ``norm_first``) to 4e-7, where GELU is off by 0.1 in scores of up to 1.5. For that,
the weights have to be translated: it multiplies the items' vectors by sqrt(D) where they enter, which the positions and
what the blocks add can make up for. And the histories have to fill its window: it pads them on the left, counts
positions from the window's start and lets items attend to padding; here the first item has the first position, and
nothing sees padding. The authors' own code (github.com/kang205/SASRec) differs from the paper's formulas: there a block
adds to the normalised vectors, not to the vectors.
"""

from __future__ import annotations

from torch import Tensor, nn

from ifcdsr_core.batches import IGNORE, Batch
from ifcdsr_core.models.base import ModelConfig, ModelInputs, SequenceModel, initialise, last
from ifcdsr_core.models.encoder import AttentionConfig, CausalEncoder
from ifcdsr_core.models.ranking import inner_products


class MergedSequenceModel(SequenceModel):
    """A next-item model of S^{X+Y} alone: item embedding, an encoder, inner products with the same embedding."""

    version = 1

    def __init__(self, config: ModelConfig, inputs: ModelInputs, encoder: nn.Module) -> None:
        super().__init__(config, inputs)
        self.item_embedding = nn.Embedding(inputs.num_items + 1, config.hidden_size, padding_idx=0)
        initialise(self.item_embedding)
        self.encoder_xy = encoder

    def loss(self, batch: Batch) -> Tensor:
        hidden = self.encoder_xy(self.item_embedding(batch.item_seq), batch.item_seq)  # (B, L, D)
        predicted = batch.labels != IGNORE
        predictions = self.predictions([hidden[predicted]], batch.labels[predicted])
        return self.nll([predictions], [self.item_embedding.weight]) / predicted.sum()

    def score(self, batch: Batch, domain: int) -> Tensor:
        hidden = self.last(self.item_embedding(batch.item_seq), batch.item_seq)  # (B, D)
        return inner_products(hidden, self.of_domain(self.item_embedding.weight, domain))

    def last(self, vectors: Tensor, item_seq: Tensor) -> Tensor:
        """The encoder's state at the newest item, (B, D)."""
        return last(self.encoder_xy(vectors, item_seq), item_seq)


class SASRec(MergedSequenceModel):
    version = 1
    Config = AttentionConfig  # sizes as for IFCDSR, so that the two differ only in what the paper says they differ in

    def __init__(self, config: AttentionConfig, inputs: ModelInputs) -> None:
        super().__init__(config, inputs, CausalEncoder(config.hidden_size, inputs.max_seq_len, config))

    def last(self, vectors: Tensor, item_seq: Tensor) -> Tensor:
        return self.encoder_xy.last(vectors, item_seq)
