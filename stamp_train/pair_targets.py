"""The targets of a split in memory, by row, and who gets whose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stamp_train.pathway_encoders import Pathways


@dataclass(frozen=True, slots=True)
class Genes:
    """Expression that the ``token`` encoder reads.

    Attributes
    ----------
    logs
        (n, G) float32 CSR, log1p of counts per 10,000 of all counts of the pair.
    measured, section
        (S, G) bool, and (n,) which of these rows a pair has.
    """

    logs: Any
    measured: NDArray[np.bool_]
    section: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Targets:
    """What is known of the pairs of a split, by row.

    Attributes
    ----------
    values
        (n, P) float32, z within sections, NaN = unmeasured.
    library
        (n,) float32, log10 of the total counts, z within sections.
    section, xy_um
        (n,) int64 and (n, 2) float64: where the image is.
    sections, donors
        (S,) names of the sections, and the split group of each.
    partner
        (n,) int64: the row whose targets a pair gets; ``None`` = its own.
    n_alone
        Pairs that are alone in their section and keep their own in spite of a partner.
    genes
        For the ``token`` encoder.
    """

    values: NDArray[np.float32]
    library: NDArray[np.float32]
    section: NDArray[np.int64]
    xy_um: NDArray[np.float64]
    sections: tuple[str, ...]
    donors: tuple[str, ...]
    partner: NDArray[np.int64] | None = None
    n_alone: int = 0
    genes: Genes | None = None

    def __len__(self) -> int:
        return len(self.values)

    def pathways(self, rows: NDArray[np.int64], device: torch.device) -> Pathways:
        """What the images of some rows are paired with: always a whole row of targets."""
        if self.partner is not None:
            rows = self.partner[rows]
        values = torch.from_numpy(self.values[rows])
        valid = ~values.isnan()
        genes = measured = None
        if self.genes is not None:
            genes = torch.from_numpy(self.genes.logs[rows].toarray()).to(device)
            measured = torch.from_numpy(self.genes.measured[self.genes.section[rows]]).to(device)
        library = torch.from_numpy(self.library[rows])
        return Pathways(values.nan_to_num(0).to(device), valid.to(device), library.to(device), genes, measured)


def z_within(values: NDArray[np.float32], section: NDArray[np.int64]) -> NDArray[np.float32]:
    """Each column minus its mean over the pairs of the section that have it, over their sd; NaN where that is 0."""
    found = np.full(values.shape, np.nan, dtype=np.float32)
    for number in np.unique(section):
        rows = np.flatnonzero(section == number)
        part = values[rows].astype(np.float64)
        known = ~np.isnan(part).all(axis=0)
        mean, sd = np.nanmean(part[:, known], axis=0), np.nanstd(part[:, known], axis=0)
        # What is constant up to rounding has no z either.
        sd[sd <= 1e-6 * np.maximum(np.abs(mean), 1)] = np.nan
        found[np.ix_(rows, known)] = (part[:, known] - mean) / sd
    return found


def others_of(sections: NDArray[np.str_], seed: int) -> NDArray[np.int64]:
    """(n,) rows: for each pair another one of its section, each once; a pair that is alone has itself."""
    from humanst.load.order import keyed_permutation

    found = np.arange(len(sections), dtype=np.int64)
    for name in np.unique(sections):
        rows = np.flatnonzero(sections == name)
        circle = rows[keyed_permutation(len(rows), "shuffled-pairs", seed, str(name))]
        found[circle] = np.roll(circle, 1)
    return found
