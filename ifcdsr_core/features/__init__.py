"""Frozen vectors of pictures and texts."""

from pathlib import Path

SMALL_CLIP_WEIGHTS = Path(__file__).with_name("weights") / "small_clip.safetensors"
SMALL_CLIP_RECORD = SMALL_CLIP_WEIGHTS.with_suffix(".json")  # vocabulary, recipe, versions, accuracies
