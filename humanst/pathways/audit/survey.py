"""The first pass of a release audit: which genes its sections share, how these vary, and some spots for their axes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from humanst.pathways.audit.genes import GeneFigures, figures_of, most_variable
from humanst.pathways.audit.inputs import AuditOptions, AuditSection
from humanst.pathways.audit.pca import SpotProducts
from humanst.pathways.audit.thinning import thin
from humanst.pathways.bincontrol import log_cp10k
from humanst.pathways.expression import columns_of, totals_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

TARGET_GENES = 50
HVG_GENES = 1_000
# Spots the axes are of, over all sections: their products are n x n.
AXES_SPOTS = 3_000
# A section with fewer spots tells nothing.
MIN_SPOTS = 20

SectionSource = Callable[[], AuditSection]


@dataclass(frozen=True, slots=True)
class Survey:
    """What the first pass learned.

    Attributes
    ----------
    places, donor_groups
        Of the sections that have enough spots: their number among all, and their donor group.
    figures
        Of the genes that every section measured.
    targets, hvg
        Indices into ``figures.ids``: the genes to be predicted, and more of them for principal components.
    everything, variable
        Products of spots of the first half over all these genes, and over ``hvg``.
    """

    places: list[int]
    donor_groups: list[str]
    figures: GeneFigures
    targets: NDArray[np.int64]
    hvg: NDArray[np.int64]
    everything: SpotProducts
    variable: SpotProducts


def sources_of(sections: Iterable[SectionSource | AuditSection]) -> list[SectionSource]:
    """Give every section as a callable, so that one is in memory at a time where callables were given."""

    def source(section: SectionSource | AuditSection) -> SectionSource:
        if isinstance(section, AuditSection):
            held = section
            return lambda: held
        return section

    return [source(section) for section in sections]


@dataclass(frozen=True, slots=True)
class Halves:
    """A section's measured genes in id order, whole and in two halves, and the spots that figures are taken over."""

    section: AuditSection
    ids: NDArray[np.str_]
    whole: csr_matrix
    parts: tuple[csr_matrix, csr_matrix]
    spots: NDArray[np.int64]

    @classmethod
    def of(cls, section: AuditSection, seed: int) -> Halves:
        """Thin a section; spots are those in the fit with counts in both halves."""
        columns = columns_of(section.ensembl_ids, section.measured)
        in_order = len(columns) == section.counts.shape[1] and bool(np.all(columns[:-1] < columns[1:]))
        whole = section.counts if in_order else section.counts[:, columns]
        parts = thin(whole, seed)
        has_both = (totals_of(parts[0]) > 0) & (totals_of(parts[1]) > 0)
        spots = np.flatnonzero(np.asarray(section.in_fit, dtype=np.bool_) & has_both)
        return cls(section, np.asarray(section.ensembl_ids, dtype=np.str_)[columns], whole, parts, spots)

    def some(self, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw at most ``n`` of the spots, ascending; the same rows go to every figure."""
        if len(self.spots) <= n:
            return self.spots
        return np.sort(rng.choice(self.spots, n, replace=False))


def survey(sources: list[SectionSource], options: AuditOptions) -> Survey:
    """Go through the sections once, and learn of those that have enough spots."""
    from scipy.sparse import csr_matrix, vstack

    share = -(-AXES_SPOTS // max(len(sources), 1))
    places: list[int] = []
    donor_groups: list[str] = []
    parts: list[tuple[csr_matrix, NDArray[np.str_]]] = []
    figures = figures_of(csr_matrix((1, 0), dtype=np.int64), np.array([], dtype=np.str_), np.array([True]))
    ids = figures.ids
    for place, source in enumerate(sources):
        one = _of_section(source, place, share, options.seed)
        if one is None:
            continue
        # Figures of genes are put together as they come: those of a thousand sections would be gigabytes.
        figures = figures.and_of(one.figures) if places else one.figures
        ids = ids if np.array_equal(ids, figures.ids) else figures.ids
        places.append(place)
        donor_groups.append(one.donor_group)
        parts.append((one.logs[:, np.searchsorted(one.figures.ids, ids)], ids))
    logs = [part if mine is ids else part[:, np.searchsorted(mine, ids)] for part, mine in parts]
    section = np.repeat(np.arange(len(logs)), [log.shape[0] for log in logs])
    together = csr_matrix(vstack(logs or [csr_matrix((0, 0))], format="csr"))
    hvg = most_variable(figures, HVG_GENES)
    return Survey(
        places=places,
        donor_groups=donor_groups,
        figures=figures,
        targets=most_variable(figures, TARGET_GENES),
        hvg=hvg,
        everything=SpotProducts.of(together, section),
        variable=SpotProducts.of(together[:, hvg], section),
    )


@dataclass(frozen=True, slots=True)
class _Learned:
    """Of one section: its donor, the figures of its genes, and log expression of some spots of the first half."""

    donor_group: str
    figures: GeneFigures
    logs: csr_matrix


def _of_section(source: SectionSource, place: int, share: int, seed: int) -> _Learned | None:
    """What one section gives; None where fewer than ``MIN_SPOTS`` spots can be used."""
    halves = Halves.of(source(), seed)
    if len(halves.spots) < MIN_SPOTS:
        return None
    fit = np.isin(np.arange(halves.whole.shape[0]), halves.spots)
    chosen = halves.some(share, np.random.default_rng([seed, 1, place]))
    return _Learned(
        donor_group=halves.section.donor_group,
        figures=figures_of(halves.whole, halves.ids, fit),
        logs=log_cp10k(halves.parts[0][chosen]).astype(np.float32),
    )
