"""What a timm data config makes of a patch, against timm's own transform."""

from __future__ import annotations

import pickle
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from humanst.load import TimmTransform, dataloader

CONFIG = {"input_size": (3, 224, 224), "interpolation": "bicubic", "mean": (0.707, 0.578, 0.703)}
CONFIG |= {"std": (0.211, 0.230, 0.177), "crop_pct": 1.0, "crop_mode": "center"}


@pytest.mark.parametrize(
    "changes", [{}, {"input_size": (3, 256, 256)}, {"crop_pct": 0.9}, {"interpolation": "bilinear"}]
)
def test_it_is_timms_own_evaluation_transform(torch: ModuleType, changes: dict[str, Any]) -> None:
    from timm.data import create_transform

    config = {**CONFIG, **changes}
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3)).astype(np.uint8)
    transform = pickle.loads(pickle.dumps(TimmTransform(config, 224)))  # noqa: S301
    made = transform(image)
    expected = create_transform(**config, is_training=False)(Image.fromarray(image))
    assert made.dtype == torch.float32
    assert tuple(made.shape) == config["input_size"]
    assert torch.allclose(made, expected, atol=2e-6)


def test_a_loader_takes_the_config_itself(torch: ModuleType, release: Any) -> None:
    (batch,) = dataloader(release.path, 5, split="val", workers=0, transform=CONFIG)
    (plain,) = dataloader(release.path, 5, split="val", workers=0)
    mean, std = (torch.tensor(CONFIG[name])[:, None, None] for name in ("mean", "std"))
    assert torch.allclose(batch["image"], (plain["image"] / 255 - mean) / std, atol=2e-6)
