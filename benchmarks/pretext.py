"""A small ViT trained on a label-free pretext over the patches of training donors, as a stand-in for a foundation model.

A frozen encoder with random weights proves nothing. This one has seen images, and nothing else: parts of each patch
are hidden, and it draws them from what is left (as in masked image modelling, Xie et al. 2022, "SimMIM"). It is
written as a plain folder that timm and ``stamp-train`` load.

    python -m benchmarks.pretext RELEASE -o base            # the split train, within three minutes on 2 cores
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from humanst.load import PairDataset
from stamp_train.encoder import Encoder, create_model
from stamp_train.model_folder import write_folder
from stamp_train.presets import Preset
from stamp_train.schedule import rate_factor

SIDE_PX, TOKEN_PX = 80, 16
HIDDEN = 0.5
BASE = Preset(
    "pretext",
    "vit_tiny_patch16_224",
    "cls+mean",
    {"img_size": SIDE_PX, "patch_size": TOKEN_PX, "embed_dim": 96, "depth": 4, "num_heads": 4},
    image_px=SIDE_PX,
    mean=(0.78, 0.62, 0.71),
    std=(0.13, 0.16, 0.12),
    licence="CC0-1.0",
)


def small_images(release: Path, split: str = "train") -> Tensor:
    """(n, S, S, 3) uint8: the patches of a split at the side that the model sees."""
    import cv2

    dataset = PairDataset(release, split, max_corrupt=0)
    found = np.empty((len(dataset), SIDE_PX, SIDE_PX, 3), np.uint8)
    for start in range(0, len(dataset), 256):
        rows = range(start, min(start + 256, len(dataset)))
        for row, image in zip(rows, np.asarray(dataset.__getitems__(rows).images), strict=True):
            found[row] = cv2.resize(image, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(found)


def train_base(images: Tensor, steps: int, *, batch: int = 128, rate: float = 1e-3, seed: int = 0) -> Encoder:
    """Train on (n, S, S, 3) uint8 patches; the same images, steps and seed give the same weights on one machine."""
    torch.manual_seed(seed)
    encoder = Encoder(create_model(BASE).requires_grad_(True), BASE)
    head = nn.Linear(BASE.timm_kwargs["embed_dim"], 3 * TOKEN_PX**2)
    parameters = [*encoder.model.parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.05)
    order = torch.Generator().manual_seed(seed)
    encoder.train()
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * rate_factor(step, steps, 0.1, 0.0)
        rows = torch.randint(len(images), (batch,), generator=order)
        loss = hidden_loss(encoder, head, turned(encoder.prepare(images[rows]), order), order)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    return Encoder(encoder.model.requires_grad_(False), BASE)


def turned(pixels: Tensor, order: torch.Generator) -> Tensor:
    """The batch turned by a quarter as often as drawn, and mirrored or not."""
    turns, mirror = torch.randint(4, (), generator=order).item(), torch.randint(2, (), generator=order).item()
    pixels = torch.rot90(pixels, int(turns), (2, 3))
    return pixels.flip(3) if mirror else pixels


def hidden_loss(encoder: Encoder, head: nn.Module, pixels: Tensor, order: torch.Generator) -> Tensor:
    """Mean absolute error of the hidden squares' pixels, each square in units of its own spread."""
    grid = SIDE_PX // TOKEN_PX
    hidden = torch.rand(len(pixels), grid, grid, generator=order) < HIDDEN
    cover = hidden.repeat_interleave(TOKEN_PX, 1).repeat_interleave(TOKEN_PX, 2).unsqueeze(1)
    tokens = encoder.model.forward_features(pixels.masked_fill(cover, 0.0))
    drawn = head(tokens[:, encoder.model.num_prefix_tokens :])
    squares = nn.functional.unfold(pixels, TOKEN_PX, stride=TOKEN_PX).transpose(1, 2)
    return (drawn - squares)[hidden.flatten(1)].abs().mean()


def write_base(folder: Path, release: Path, *, steps: int, seed: int = 0) -> float:
    """Train on the split train of a release and write the folder; returns seconds of training."""
    images = small_images(release)
    began = time.perf_counter()
    encoder = train_base(images, steps, seed=seed)
    seconds = time.perf_counter() - began
    notes = {"pretext": "hidden squares of training patches", "steps": steps, "seed": seed}
    write_folder(folder, encoder.model, BASE, notes)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of the base")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    seconds = write_base(options.out, options.release, steps=options.steps, seed=options.seed)
    print(json.dumps({"schema": "humanst.benchmark.pretext/1", "steps": options.steps, "seconds": round(seconds, 1)}))


if __name__ == "__main__":
    main()
