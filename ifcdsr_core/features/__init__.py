"""Frozen vectors of pictures and texts."""

from pathlib import Path

SMALL_CLIP_WEIGHTS = Path(__file__).with_name("weights") / "small_clip.safetensors"
