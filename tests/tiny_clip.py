"""A CLIP of open_clip's kind that is small enough for tests: random weights, 32 x 32 pixels, 16 tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import save_file

_CONFIG = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


@contextmanager
def tiny_clip(folder: Path) -> Iterator[tuple]:
    """Its name as an encoder, with weights in ``folder``, and the model; open_clip knows it while the block lasts."""
    import open_clip
    from open_clip import factory

    (folder / "Tiny-16.json").write_text(json.dumps(_CONFIG))
    known, paths = dict(factory._MODEL_CONFIGS), list(factory._MODEL_CONFIG_PATHS)
    open_clip.add_model_config(folder / "Tiny-16.json")
    torch.manual_seed(3)
    model = open_clip.create_model("Tiny-16").eval()
    torch.nn.init.normal_(model.token_embedding.weight)  # as created, all texts would lie close together
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / "w.safetensors")
    try:
        yield f"Tiny-16/{folder}/w.safetensors", model
    finally:
        factory._MODEL_CONFIGS, factory._MODEL_CONFIG_PATHS[:] = known, paths
