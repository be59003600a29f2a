"""Random streams by name, so that what is drawn for one purpose never depends on what was drawn for another.

A stream is named by words (seed, section, purpose). Adding a section or a purpose therefore moves no other bytes.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]


def named_rng(seed: int, *names: str) -> np.random.Generator:
    """Open the random stream of ``seed`` and ``names``; the same words give the same stream on any machine."""
    digest = hashlib.sha256("\x1f".join((str(seed), *names)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], length: float) -> Field:
    """Draw a smooth Gaussian field with mean 0 and standard deviation 1.

    Parameters
    ----------
    shape
        (rows, columns) of the field.
    length
        Standard deviation of the smoothing kernel, in cells.

    Returns
    -------
    ndarray of float32, ``shape``
    """
    from scipy.ndimage import gaussian_filter

    pad = int(2 * length) + 1
    white = rng.standard_normal((shape[0] + 2 * pad, shape[1] + 2 * pad))
    field = gaussian_filter(white, length, mode="wrap", truncate=3.0)[pad:-pad, pad:-pad]
    scaled: Field = ((field - field.mean()) / field.std()).astype(np.float32)
    return scaled
