"""A small ViT trained on a label-free pretext over patches of training donors, as a stand-in for a foundation model.

A frozen encoder with random weights proves nothing. This one has seen images, and nothing else: it learns which two
parts are of the same patch, among patches of one section (as in SimCLR, Chen et al. 2020, arXiv 2002.05709). It is
written as a plain folder that timm and ``stamp-train`` load.

    python -m benchmarks.pretext RELEASE -o base            # the split train, within three minutes on 2 cores
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from humanst.load import PairDataset, open_release
from stamp_train.encoder import Encoder, create_model
from stamp_train.model_folder import write_folder
from stamp_train.presets import Preset
from stamp_train.schedule import rate_factor

SIDE_PX, TOKEN_PX = 80, 16
RATE, TEMPERATURE, JITTER = 1e-3, 0.2, 0.3
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


def train_base(images: Tensor, sections: Sequence[str], steps: int, *, batch: int = 64, seed: int = 0) -> Encoder:
    """Train on patches; the same images, steps and seed give the same weights on one machine.

    Parameters
    ----------
    images, sections
        (n, S, S, 3) uint8, and the section of each: a batch is of one section, so that no stain gives a patch away.
    """
    torch.manual_seed(seed)
    encoder = Encoder(create_model(BASE).requires_grad_(True), BASE)
    head = nn.Sequential(nn.Linear(encoder.embedding_dim, 128), nn.GELU(), nn.Linear(128, 64))
    optimiser = torch.optim.AdamW([*encoder.model.parameters(), *head.parameters()], weight_decay=0.05)
    order = torch.Generator().manual_seed(seed)
    _, section_of = np.unique(np.asarray(sections, dtype=str), return_inverse=True)
    pools = [torch.from_numpy(np.flatnonzero(section_of == number)) for number in range(section_of.max() + 1)]
    encoder.train()
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = RATE * rate_factor(step, steps, 0.1, 0.0)
        pool = pools[int(torch.randint(len(pools), (), generator=order))]
        pixels = encoder.prepare(images[pool[torch.randperm(len(pool), generator=order)[:batch]]])
        both = torch.cat([view(pixels, order), view(pixels, order)])
        loss = same_patch_loss(head(encoder.embed(both)))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    return Encoder(encoder.model.requires_grad_(False), BASE)


def view(pixels: Tensor, order: torch.Generator) -> Tensor:
    """Part of each patch, half to nine tenths as wide, turned and mirrored by chance, its colours shifted a little."""
    n = len(pixels)

    def drawn(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=order)

    size, angle = 0.5 + 0.4 * drawn(n), 2 * math.pi * drawn(n)
    across, down = ((2 * drawn(n) - 1) * (1 - size) for _ in range(2))
    mirror = torch.where(drawn(n) < 0.5, -1.0, 1.0)
    cos, sin = size * angle.cos(), size * angle.sin()
    rows = [torch.stack([cos * mirror, -sin, across], 1), torch.stack([sin * mirror, cos, down], 1)]
    grid = nn.functional.affine_grid(torch.stack(rows, 1), list(pixels.shape), align_corners=False)
    part = nn.functional.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)
    gain, shift = (JITTER * (2 * drawn(n, 3, 1, 1) - 1) for _ in range(2))
    return part * (1 + gain) + shift


def same_patch_loss(projected: Tensor) -> Tensor:
    """Cross-entropy of finding the other view of a patch among all of the batch (NT-Xent); views are in two halves."""
    n = len(projected) // 2
    unit = nn.functional.normalize(projected, dim=1)
    alike = unit @ unit.T / TEMPERATURE
    alike = alike.masked_fill(torch.eye(2 * n, dtype=torch.bool), -torch.inf)
    return nn.functional.cross_entropy(alike, torch.arange(2 * n).roll(n))


def write_base(folder: Path, release: Path, *, steps: int, seed: int = 0) -> float:
    """Train on the split train of a release and write the folder; returns seconds of training."""
    images, sections = small_images(release), open_release(release).index("train")["sample_id"].to_pylist()
    began, cpu = time.perf_counter(), time.process_time()
    encoder = train_base(images, sections, steps, seed=seed)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
    notes = {"pretext": "parts of the same patch", "steps": steps, "seed": seed}
    notes |= {"seconds": round(seconds, 1), "cpu_seconds": round(cpu_seconds, 1)}
    write_folder(folder, encoder.model, BASE, notes)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of the base")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    seconds = write_base(options.out, options.release, steps=options.steps, seed=options.seed)
    print(json.dumps({"schema": "humanst.benchmark.pretext/1", "steps": options.steps, "seconds": round(seconds, 1)}))


if __name__ == "__main__":
    main()
