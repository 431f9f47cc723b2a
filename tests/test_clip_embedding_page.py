"""Page 02: neighbours of pictures."""

from __future__ import annotations

import numpy as np

from ifcdsr_core.book.pages import clip_embedding


def test_nearest_neighbours():
    matrix = np.array([[1, 0], [0.8, 0.6], [0, 1], [0.6, 0.8]])
    everything = np.ones(4, dtype=bool)
    assert clip_embedding.nearest_neighbours(matrix, np.array([0, 2]), everything, 2).tolist() == [[1, 3], [3, 1]]
    assert clip_embedding.nearest_neighbours(
        matrix, np.array([0]), np.array([True, False, True, True]), 1
    ).tolist() == [[3]]
