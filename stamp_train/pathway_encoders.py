"""Pathways of a spot to one vector of the shared space: from scores, or from the genes of each pathway.

Both take :class:`Pathways` and give (B, dim). A pathway that is masked adds nothing and gets no gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from humanst.errors import UsageError

DROPOUT = 0.1
WIDTH = 256


class Pathways(NamedTuple):
    """What is known of the pathways of B spots.

    Attributes
    ----------
    scores, valid
        (B, P) float, z per section; and (B, P) bool, true where measured.
    library
        (B,) float, log10 of the total counts, z per section.
    genes, measured
        (B, G) float, log1p of counts per 10,000; and (B, G) bool. Only the ``token`` encoder reads them.
    """

    scores: Tensor
    valid: Tensor
    library: Tensor
    genes: Tensor | None = None
    measured: Tensor | None = None


class PathwayEncoder(Protocol):
    """What the encoders have in common."""

    def __call__(self, pathways: Pathways) -> Tensor:
        """(B, dim) float."""
        ...


class ScoreEncoder(nn.Module):  # type: ignore[misc]
    """Scores, their mask and the library size through a self-normalising network.

    (2 P + 1) -> 256 -> 256 -> ``dim``, SELU with AlphaDropout (Klambauer et al. 2017), weights LeCun-normal.

    Parameters
    ----------
    n_pathways, dim
        P, and the width of the result.
    dropout
        After each layer.
    """

    def __init__(self, n_pathways: int, dim: int = 256, dropout: float = DROPOUT) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_snn(2 * n_pathways + 1, dropout), *_snn(WIDTH, dropout))
        self.out = nn.Linear(WIDTH, dim)

    def forward(self, pathways: Pathways) -> Tensor:
        """(B, dim) float; see :class:`Pathways`."""
        scores = pathways.scores.masked_fill(~pathways.valid, 0)
        found: Tensor = self.out(
            self.layers(torch.cat([scores, pathways.valid.to(scores.dtype), pathways.library.unsqueeze(1)], dim=1))
        )
        return found


class TokenEncoder(nn.Module):  # type: ignore[misc]
    """Each pathway's genes through a network of its own, then a Transformer over the pathways that were measured.

    The per-pathway networks (n_p -> 256 -> 256, SELU, AlphaDropout) are two batched products. A class token goes
    through two pre-norm layers with the pathways (d = 256, 8 heads, 512 hidden) and gives the result. It sees neither
    the library size nor the scores.

    Parameters
    ----------
    members
        For each of the P pathways the columns of its genes, in 0..G-1.
    dim
        Width of the result.
    dropout
        In the networks and the Transformer.

    Raises
    ------
    UsageError
        When a pathway has no gene.
    """

    index: Tensor
    is_gene: Tensor

    def __init__(self, members: Sequence[Sequence[int]], dim: int = 256, dropout: float = DROPOUT) -> None:
        super().__init__()
        if not members or not all(members):
            raise UsageError(
                "A pathway without genes has no token",
                code="empty-pathway",
                expected="at least one gene in every pathway",
                found=f"none in {sum(not genes for genes in members)} of {len(members)}",
            )
        n, longest = len(members), max(len(genes) for genes in members)
        index, is_gene = torch.zeros(n, longest, dtype=torch.int64), torch.zeros(n, longest, dtype=torch.bool)
        for row, genes in enumerate(members):
            index[row, : len(genes)] = torch.tensor(list(genes))
            is_gene[row, : len(genes)] = True
        self.register_buffer("index", index, persistent=False)
        self.register_buffer("is_gene", is_gene, persistent=False)
        fan_in = is_gene.sum(dim=1).view(-1, 1, 1)
        self.weight_genes = nn.Parameter(torch.randn(n, longest, WIDTH) / fan_in.sqrt() * is_gene.unsqueeze(2))
        self.weight_hidden = nn.Parameter(torch.randn(n, WIDTH, WIDTH) / math.sqrt(WIDTH))
        self.bias_genes, self.bias_hidden = (nn.Parameter(torch.zeros(n, WIDTH)) for _ in range(2))
        self.pathway = nn.Parameter(torch.randn(n, WIDTH) * 0.02)
        self.cls = nn.Parameter(torch.randn(1, 1, WIDTH) * 0.02)
        self.drop = nn.AlphaDropout(dropout)
        layer = nn.TransformerEncoderLayer(WIDTH, 8, 512, dropout, batch_first=True, norm_first=True)
        self.transformer = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Linear(WIDTH, dim)

    def tokens(self, genes: Tensor, measured: Tensor) -> Tensor:
        """(B, G) log-expression and mask to (B, P, 256), before the Transformer."""
        values = genes.masked_fill(~measured, 0)[:, self.index] * self.is_gene
        hidden = torch.einsum("bpn,pnh->bph", values, self.weight_genes) + self.bias_genes
        hidden = self.drop(nn.functional.selu(hidden))
        hidden = torch.einsum("bph,phk->bpk", hidden, self.weight_hidden) + self.bias_hidden
        return self.drop(nn.functional.selu(hidden)) + self.pathway

    def forward(self, pathways: Pathways) -> Tensor:
        """(B, dim) float; see :class:`Pathways`."""
        if pathways.genes is None or pathways.measured is None:
            raise UsageError(
                "The token encoder reads genes, and there are none",
                code="no-genes",
                field="target_set",
                expected="a target set of counts",
                found="none",
            )
        tokens = self.tokens(pathways.genes, pathways.measured)
        whole = torch.cat([self.cls.expand(len(tokens), -1, -1), tokens], dim=1)
        padding = nn.functional.pad(~pathways.valid, (1, 0), value=False)
        found: Tensor = self.out(self.transformer(whole, src_key_padding_mask=padding)[:, 0])
        return found


def log_cp10k(counts: Tensor) -> Tensor:
    """(B, G) counts to log1p of counts per 10,000 of the spot's total over G; a spot without counts stays 0."""
    values = counts.to(torch.float32)
    return torch.log1p(values / values.sum(dim=1, keepdim=True).clamp(min=1) * 1e4)


def _snn(width: int, dropout: float) -> tuple[nn.Module, nn.Module, nn.Module]:
    linear = nn.Linear(width, WIDTH)
    nn.init.normal_(linear.weight, std=1 / math.sqrt(width))
    nn.init.zeros_(linear.bias)
    return linear, nn.SELU(), nn.AlphaDropout(dropout)
