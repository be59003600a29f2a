"""Attention-based multiple-instance learning: one score from the many patches of a slide.

Ilse et al., ICML 2018, in the sizes of PathBench-MIL: Linear d -> 512, ReLU, dropout 0.25; attention 512 -> 128 ->
tanh -> 1, softmax over the patches; a linear head on the attention-weighted mean.
"""

from __future__ import annotations

import torch
from torch import nn

HIDDEN = 512
ATTENTION = 128


class ABMIL(nn.Module):  # type: ignore[misc, unused-ignore]
    """Attention-based MIL on one bag at a time.

    Parameters
    ----------
    n_features
        Width d of a patch's features.
    n_outputs
        Outputs C of the head: classes, or hazards of the time bins.
    gated
        Multiply the tanh branch of the attention with a sigmoid one (the paper's second form).
    dropout
        Share of hidden values dropped in training.

    Notes
    -----
    Plain: ``d*512 + 512 + 512*128 + 128 + 128 + 1 + 512*C + C`` parameters; gated has ``512*128 + 128`` more.
    Weights start as Glorot normal and biases as 0, as in the implementations this form of ABMIL goes back to.
    """

    def __init__(self, n_features: int, n_outputs: int, *, gated: bool = False, dropout: float = 0.25) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(n_features, HIDDEN), nn.ReLU(), nn.Dropout(dropout))
        self.attend = nn.Sequential(nn.Linear(HIDDEN, ATTENTION), nn.Tanh())
        self.gate = nn.Sequential(nn.Linear(HIDDEN, ATTENTION), nn.Sigmoid()) if gated else None
        self.weigh = nn.Linear(ATTENTION, 1)
        self.head = nn.Linear(HIDDEN, n_outputs)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight)
                nn.init.zeros_(module.bias)

    def attention(self, hidden: torch.Tensor) -> torch.Tensor:
        """Weights of the patches, (n, 1), that sum to 1."""
        branch = self.attend(hidden)
        if self.gate is not None:
            branch = branch * self.gate(hidden)
        return torch.softmax(self.weigh(branch), dim=0)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Outputs (C,) of one bag of features (n, d), float32."""
        hidden = self.embed(features)
        pooled = (self.attention(hidden) * hidden).sum(dim=0)
        return self.head(pooled)  # type: ignore[no-any-return, unused-ignore]


def n_parameters(model: nn.Module) -> int:
    """How many numbers of ``model`` are trained."""
    return sum(values.numel() for values in model.parameters() if values.requires_grad)
