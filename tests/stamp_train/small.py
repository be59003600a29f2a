"""A tiny encoder for tests, and images for it."""

from __future__ import annotations

import numpy as np
import torch

from stamp_train.encoder import Encoder, build_encoder

SIDE_PX = 160


def tiny_encoder(seed: int = 0, **facts) -> Encoder:
    torch.set_num_threads(1)
    return build_encoder("test_vit", "random", seed=seed, **facts)


def noise_images(n: int, seed: int = 0, side_px: int = SIDE_PX) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (n, side_px, side_px, 3), dtype=np.uint8))
