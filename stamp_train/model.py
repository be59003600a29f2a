"""What is trained: the encoder with its adapters, the projections into the shared space, and the heads."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from stamp_train.encoder import Encoder
from stamp_train.lora import lora_off
from stamp_train.losses import Outputs
from stamp_train.pathway_encoders import Pathways

if TYPE_CHECKING:
    from stamp_train.config import AlignConfig

MAX_SCALE = 100.0
START_STD = 0.01


class AlignModel(nn.Module):  # type: ignore[misc]
    """An encoder beside a pathway encoder.

    Parameters
    ----------
    encoder
        With adapters in it.
    pathway_encoder
        A module as :class:`~stamp_train.pathway_encoders.PathwayEncoder` says, to ``config.projection_dim``.
    n_pathways
        P.
    config
        Widths, the temperature to start at, whether there is an anchor, gradient checkpointing.
    """

    def __init__(self, encoder: Encoder, pathway_encoder: nn.Module, n_pathways: int, config: AlignConfig) -> None:
        super().__init__()
        width = encoder.embedding_dim
        self.encoder, self.pathway_encoder = encoder, pathway_encoder
        self.projector = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, config.hidden_dim),
            nn.GELU(),
            nn.Linear(config.hidden_dim, config.projection_dim),
        )
        self.score_head, self.library_head = nn.Linear(width, n_pathways), nn.Linear(width, 1)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / config.temperature)))
        self.with_anchor = config.weight_anchor > 0
        if config.gradient_checkpointing:
            encoder.model.set_grad_checkpointing(True)
        for last in (self.projector[-1], pathway_encoder.out):
            start_alike(last)

    def forward(self, images: Tensor, pathways: Pathways) -> Outputs:
        """See :class:`~stamp_train.losses.Outputs`; ``images`` are (B, H, W, 3) uint8."""
        pixels = self.encoder.prepare(images)
        embedding = self.encoder.embed(pixels)
        frozen = self._frozen(pixels) if self.with_anchor else None
        return Outputs(
            image=functional.normalize(self.projector(embedding).float(), dim=1),
            pathway=functional.normalize(self.pathway_encoder(pathways).float(), dim=1),
            embedding=embedding,
            frozen=frozen,
            scores=self.score_head(embedding),
            library=self.library_head(embedding).squeeze(1),
            scale=self.log_scale.exp().clamp(max=MAX_SCALE),
        )

    def clamp_scale(self) -> None:
        """Keep the scale within 1..100, in place; to be called after each step, for a clamped one gets no gradient."""
        with torch.no_grad():
            self.log_scale.clamp_(0, math.log(MAX_SCALE))

    def parameter_groups(self, config: AlignConfig) -> list[dict[str, object]]:
        """What AdamW takes: adapters, heads, and what is not decayed (adapters, norms, biases, the scale)."""
        adapters, decayed, plain = [], [], []
        for name, parameter in self.named_parameters():
            if not parameter.requires_grad:
                continue
            if name.startswith("encoder."):
                adapters.append(parameter)
            elif parameter.ndim > 1 and "bias" not in name:
                decayed.append(parameter)
            else:
                plain.append(parameter)
        rate = config.learning_rate_heads
        return [
            {"params": adapters, "lr": config.learning_rate_lora, "weight_decay": 0.0},
            {"params": decayed, "lr": rate, "weight_decay": config.weight_decay},
            {"params": plain, "lr": rate, "weight_decay": 0.0},
        ]

    def _frozen(self, pixels: Tensor) -> Tensor:
        was_training = self.encoder.training
        # A base with dropout or stochastic depth of its own would be another one in each step.
        self.encoder.eval()
        try:
            with torch.no_grad(), lora_off(self.encoder):
                return self.encoder.embed(pixels)
        finally:
            self.encoder.train(was_training)


def start_alike(last: nn.Linear) -> None:
    """Make the last layer before the shared sphere mostly its bias, in place.

    Unlike vectors of 256 numbers have cosines of about 1/16; at a temperature of 0.07 they move the loss 0.2 to 0.4
    above ln(B), and more for some bases than others. When all pairs begin alike, it begins at ln(B) for every base.
    """
    nn.init.normal_(last.weight, std=START_STD)
    nn.init.normal_(last.bias, std=1.0)
