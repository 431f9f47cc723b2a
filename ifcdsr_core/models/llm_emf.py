"""LLM-EMF: IFCDSR with text as a third modality.

Wu et al., Expert Systems with Applications 321 (2026), arXiv 2506.17966. Besides its learned ID vector and its frozen
image vector, each item has a frozen vector of a text that a language model wrote about it (``features/texts.py``). The
text goes the way of the image: attention of its own over S^X, S^Y and S^{X+Y} as in (1), a cosine with every item as in
(2), and a probability that is mixed with the others as in (5):

    P = w_id P_id + w_image P_image + w_text P_text,    w_id + w_image + w_text = 1.

The paper's weights are not known (gap 12). Here the ID keeps IFCDSR's alpha, and what the image had is divided between
image and text; a modality that is left out gives its weight to the other one. All equations are those of ``IFCDSR``.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from torch.nn.utils import parametrize

from ifcdsr_core.errors import require
from ifcdsr_core.models.base import ModelInputs
from ifcdsr_core.models.ifcdsr import IFCDSR
from ifcdsr_core.settings import setting


class LLMEMF(IFCDSR):
    """IFCDSR over any of: ID, ID and image, ID and text, ID and image and text."""

    version = 1
    title = "LLM-EMF"

    @dataclass(frozen=True)
    class Config(IFCDSR.Config):
        """Those of IFCDSR, where alpha is the weight of the ID, and ``image_projection`` projects the text alike.

        Attributes:
            text_fusion: use the text. Off, this is IFCDSR.
            text_share: share of the text in what the ID leaves, 1 - alpha; the image gets the rest (gap 12).
            learn_mixing: learn the weights, one set for all sub-sequences, starting from those above.
        """

        text_fusion: bool = True
        text_share: float = setting(0.5, minimum=0, maximum=1)
        learn_mixing: bool = False

        def __post_init__(self) -> None:
            super().__post_init__()
            require(
                not self.learn_mixing or 0 < self.alpha < 1 and 0 < self.text_share < 1,
                "learn_mixing",
                True,
                f"false where a weight starts at 0 and never grows (alpha {self.alpha}, text_share {self.text_share})",
            )

    def __init__(self, config: Config, inputs: ModelInputs) -> None:
        super().__init__(config, inputs)
        if config.learn_mixing:
            start = self.log_mixing
            del self.log_mixing
            self.log_mixing = nn.Parameter(start)
            parametrize.register_parametrization(self, "log_mixing", nn.LogSoftmax(dim=0))  # weights that add up to 1

    @classmethod
    def mixing(cls, config: Config) -> dict[str, float]:
        rest = 1 - config.alpha
        if config.image_fusion and config.text_fusion:
            return {"id": config.alpha, "image": rest * (1 - config.text_share), "text": rest * config.text_share}
        if config.text_fusion:
            return {"id": config.alpha, "text": rest}
        return super().mixing(config)
