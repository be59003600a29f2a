"""Changes of a patch that leave the spot where it is: flips, quarter turns, a little more or less stain and light.

What happens to a pair is a function of seed, step and its place in the batch over all ranks: a run that is resumed, or
has another number of ranks or workers, sees the same pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanst.load.order import keyed_uniform

# Optical densities of hematoxylin, eosin and DAB in R, G and B.
# Ruifrok and Johnston 2001, Anal Quant Cytol Histol 23:291.
STAINS = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
N_NUMBERS = 7


@dataclass(frozen=True, slots=True)
class Augment:
    """Draws and applies the changes.

    Attributes
    ----------
    turns
        Whether patches are flipped and turned.
    jitter
        Each stain's density is multiplied by 1 - jitter to 1 + jitter, then the light likewise.
    seed
        Of the draws.
    """

    turns: bool
    jitter: float
    seed: int

    def draws(self, step: int, n: int) -> NDArray[np.float64]:
        """(n, 7) numbers in [0, 1) for the pairs of a batch over all ranks."""
        return keyed_uniform(n * N_NUMBERS, "augment", self.seed, step).reshape(n, N_NUMBERS)

    def __call__(self, images: Tensor, draws: NDArray[np.float64]) -> Tensor:
        """Change patches.

        Parameters
        ----------
        images
            (B, S, S, 3) uint8, RGB.
        draws
            (B, 7), the rows of :meth:`draws` that belong to these pairs.

        Returns
        -------
        Tensor
            (B, S, S, 3) uint8; without turns and jitter the very same.
        """
        if self.turns:
            images = turned(images, draws[:, :3])
        return jittered(images, draws[:, 3:], self.jitter) if self.jitter else images


def turned(images: Tensor, draws: NDArray[np.float64]) -> Tensor:
    """Each patch in one of its eight positions: mirrored left-right, up-down, at the diagonal, each or not.

    Parameters
    ----------
    images
        (B, S, S, 3).
    draws
        (B, 3) in [0, 1): from a half on it is mirrored so.
    """
    for column, change in enumerate((_left_right, _up_down, _diagonal)):
        chosen = torch.from_numpy(draws[:, column] >= 0.5).to(images.device)
        images = torch.where(chosen.view(-1, 1, 1, 1), change(images), images)
    return images


def jittered(images: Tensor, draws: NDArray[np.float64], jitter: float) -> Tensor:
    """More or less of each stain, and of light; white without stain stays white but for the light.

    Parameters
    ----------
    images
        (B, S, S, 3) uint8.
    draws
        (B, 4) in [0, 1): of the three stains and of the light.
    """
    factors = torch.from_numpy(1 + jitter * (2 * draws - 1)).to(images.device, torch.float32)
    stains = torch.tensor(STAINS, device=images.device)
    density = -torch.log((images.float() / 255).clamp(min=1 / 255))
    # Density -> stains -> density, with each stain's factor between: one 3 x 3 matrix for each patch.
    mixing = torch.linalg.inv(stains) @ torch.diag_embed(factors[:, :3]) @ stains
    light = torch.exp(-torch.einsum("bhwc,bcd->bhwd", density, mixing)) * factors[:, 3].view(-1, 1, 1, 1)
    return (light * 255).round().clamp(0, 255).to(torch.uint8)


def _left_right(images: Tensor) -> Tensor:
    return images.flip(2)


def _up_down(images: Tensor) -> Tensor:
    return images.flip(1)


def _diagonal(images: Tensor) -> Tensor:
    return images.transpose(1, 2)
