"""One step of a small alignment, by one process or as one rank of two; ``python -m`` of it is the second rank."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from stamp_train.config import AlignConfig
from stamp_train.losses import Truth, align_loss
from stamp_train.model import AlignModel
from stamp_train.pathway_encoders import Pathways, ScoreEncoder
from tests.stamp_train.small import noise_images, tiny_encoder

PAIRS, P = 8, 6


class Shaken(AlignModel):
    """Its anchor is to another place, so that the term is not zero."""

    def _frozen(self, pixels: torch.Tensor) -> torch.Tensor:
        return super()._frozen(pixels).roll(1, 1)


def model() -> AlignModel:
    torch.manual_seed(0)
    encoder = tiny_encoder()
    encoder.model.requires_grad_(True)
    return Shaken(encoder, ScoreEncoder(P), P, AlignConfig()).eval()


def step(net: torch.nn.Module, rows: slice) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of the rows of the batch that this process has."""
    draw = torch.Generator().manual_seed(1)
    scores, library = torch.randn(PAIRS, P, generator=draw), torch.randn(PAIRS, generator=draw)
    valid = torch.rand(PAIRS, P, generator=draw) > 0.2
    valid[:5, 2] = False  # three spots have it, on one rank only
    section = torch.tensor([0, 0, 0, 1, 0, 1, 2, 2])  # neighbours across the ranks
    xy_um = torch.rand(PAIRS, 2, generator=draw, dtype=torch.float64) * 300
    truth = Truth(*(part[rows] for part in (scores, valid, library, section, xy_um)))
    outputs = net(noise_images(PAIRS)[rows], Pathways(truth.scores, truth.valid, truth.library))
    loss = align_loss(outputs, truth, AlignConfig(), torch.linspace(0, 1, P))["total"]
    loss.backward()
    found = {name.removeprefix("module."): p.grad for name, p in net.named_parameters() if p.requires_grad}
    return loss.item(), found


def as_rank(rank: int, store: Path) -> tuple[float, dict[str, torch.Tensor]]:
    distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=2, timeout=timedelta(seconds=50)
    )
    try:
        half = PAIRS // 2
        return step(DistributedDataParallel(model()), slice(rank * half, (rank + 1) * half))
    finally:
        distributed.destroy_process_group()


if __name__ == "__main__":
    as_rank(1, Path(sys.argv[1]))
