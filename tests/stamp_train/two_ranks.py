"""One step of a small alignment, by one process or as one rank of two; ``python -m`` of it is the second rank."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed

from stamp_train.config import AlignConfig
from stamp_train.encoder import Encoder
from stamp_train.losses import Truth, align_loss
from stamp_train.model import AlignModel
from stamp_train.pathway_encoders import Pathways, ScoreEncoder
from stamp_train.presets import Preset

PAIRS, P = 8, 6


class Tokens(torch.nn.Module):
    """What :class:`Encoder` wants of a model, without the seconds that timm takes to load in each process."""

    num_features, num_prefix_tokens, has_class_token = 16, 1, True

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Linear(48, 16), torch.nn.Linear(16, 16)

    def forward_features(self, pixels: torch.Tensor) -> torch.Tensor:
        hidden = torch.tanh(self.first(pixels.flatten(1))).unsqueeze(1)
        return torch.cat([self.second(hidden), hidden], dim=1)


class Shaken(AlignModel):
    """Its anchor is to another place, so that the term is not zero."""

    def _frozen(self, pixels: torch.Tensor) -> torch.Tensor:
        return super()._frozen(pixels).roll(1, 1)


def model() -> AlignModel:
    torch.manual_seed(0)
    facts = Preset("tokens", "none", "cls+mean", image_px=4, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    encoder = Encoder(Tokens(), facts)
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
    images = torch.randint(0, 256, (PAIRS, 4, 4, 3), generator=draw, dtype=torch.uint8)
    outputs = net(images[rows], Pathways(truth.scores, truth.valid, truth.library))
    loss = align_loss(outputs, truth, AlignConfig(), torch.linspace(0, 1, P))["total"]
    loss.backward()
    found = {name: p.grad for name, p in net.named_parameters() if p.requires_grad}
    return loss.item(), found


def as_rank(rank: int, store: Path) -> tuple[float, dict[str, torch.Tensor]]:
    distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=2, timeout=timedelta(seconds=50)
    )
    try:
        half = PAIRS // 2
        loss, gradients = step(model(), slice(rank * half, (rank + 1) * half))
        for gradient in gradients.values():  # what DistributedDataParallel does, which takes seconds to load
            distributed.all_reduce(gradient)
            gradient /= 2
        return loss, gradients
    finally:
        distributed.destroy_process_group()


if __name__ == "__main__":
    as_rank(1, Path(sys.argv[1]))
