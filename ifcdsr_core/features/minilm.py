"""The forward pass of all-MiniLM-L6-v2, a BERT of six layers and 384 dimensions, on torch alone.

MiniLM: Wang et al., NeurIPS 2020, https://arxiv.org/abs/2002.10957. BERT: Devlin et al., NAACL 2019,
https://arxiv.org/abs/1810.04805. Trained to tell which sentences belong together, as in Reimers & Gurevych, EMNLP 2019,
https://arxiv.org/abs/1908.10084. Its layers are torch's own, normed after each part; only names differ.
"""

from __future__ import annotations

import json

import torch
import torch.nn.functional as F
from safetensors.torch import load as load_tensors
from torch import Tensor, nn

PAD_ID = 0
_ROWS = 32  # computed at a time

# names of a layer's parts: published, and torch's
_PARTS = {
    "attention.output.dense": "self_attn.out_proj",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "linear1",
    "output.dense": "linear2",
    "output.LayerNorm": "norm2",
}


class Bert(nn.Module):
    """Token ids (B, L), zeros after their end, to one vector for each text, (B, D), of length one.

    Args:
        config: ``hidden_size``, ``num_attention_heads`` and so on, as in the config.json of the weights.
    """

    def __init__(self, config: dict) -> None:
        super().__init__()
        size, epsilon = config["hidden_size"], config["layer_norm_eps"]
        self.words = nn.Embedding(config["vocab_size"], size)
        self.positions = nn.Embedding(config["max_position_embeddings"], size)
        self.kinds = nn.Embedding(config["type_vocab_size"], size)  # first and second sentence; here all are first
        self.norm = nn.LayerNorm(size, epsilon)
        layer = nn.TransformerEncoderLayer(
            size,
            config["num_attention_heads"],
            config["intermediate_size"],
            dropout=0.0,
            activation=config["hidden_act"],
            layer_norm_eps=epsilon,
            batch_first=True,
        )
        self.encoder = nn.TransformerEncoder(layer, config["num_hidden_layers"], enable_nested_tensor=False)

    def forward(self, ids: Tensor) -> Tensor:
        lengths = (ids != PAD_ID).sum(dim=1)  # (B,)
        vectors = ids.new_empty((len(ids), self.norm.normalized_shape[0]), dtype=self.norm.weight.dtype)
        for rows in lengths.argsort(stable=True).split(_ROWS):  # of about one length: little is computed in vain
            vectors[rows] = self.mean(ids[rows, : int(lengths[rows].max())])
        return F.normalize(vectors)  # (B, D)

    def mean(self, ids: Tensor) -> Tensor:
        """Mean of the last layer's vectors of all tokens, (B, D)."""
        padding_mask = ids == PAD_ID  # (B, L)
        embedded = self.words(ids) + self.positions.weight[: ids.shape[1]] + self.kinds.weight[0]  # (B, L, D)
        hidden = self.encoder(self.norm(embedded), src_key_padding_mask=padding_mask)  # (B, L, D)
        total = hidden.masked_fill(padding_mask[..., None], 0).sum(dim=1)
        return total / (~padding_mask).sum(dim=1, keepdim=True)


def load(config: bytes, weights: bytes) -> Bert:
    """The model in eval mode, of the contents of a published config.json and model.safetensors.

    Raises:
        Exception: of json, safetensors or torch, where these are not of a BERT.
    """
    config, published = json.loads(config), load_tensors(weights)
    model = Bert(config)
    model.load_state_dict(_named(published, config["num_hidden_layers"]))
    return model.eval()


def _named(published: dict[str, Tensor], num_layers: int) -> dict[str, Tensor]:
    """Published weights under the names that they have here; those of the pooler are not needed."""
    named = {
        "words.weight": published["embeddings.word_embeddings.weight"],
        "positions.weight": published["embeddings.position_embeddings.weight"],
        "kinds.weight": published["embeddings.token_type_embeddings.weight"],
    }
    for kind in ("weight", "bias"):
        named[f"norm.{kind}"] = published[f"embeddings.LayerNorm.{kind}"]
        for number in range(num_layers):
            theirs, ours = f"encoder.layer.{number}", f"encoder.layers.{number}"
            projections = [published[f"{theirs}.attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
            named[f"{ours}.self_attn.in_proj_{kind}"] = torch.cat(projections)
            for there, here in _PARTS.items():
                named[f"{ours}.{here}.{kind}"] = published[f"{theirs}.{there}.{kind}"]
    return named
