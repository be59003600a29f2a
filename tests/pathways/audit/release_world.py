"""Small sections with a known share of biology, for tests of the release audit."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from humanst.pathways import ResolvedSets
from humanst.pathways.audit.inputs import AuditSection

N_GENES = 500
N_SETS = 6
SET_SIZE = 20


def gene_names(n: int = N_GENES) -> np.ndarray:
    return np.array([f"ENSG{index:011d}" for index in range(n)])


def sets_of(seed: int = 0) -> ResolvedSets:
    """Disjoint sets of genes drawn over the whole range of expression."""
    order = np.random.default_rng([seed, 9]).permutation(N_GENES)
    ids = gene_names()
    members = [order[SET_SIZE * p : SET_SIZE * (p + 1)] for p in range(N_SETS)]
    return ResolvedSets(
        name="test",
        names=tuple(f"S{p}" for p in range(N_SETS)),
        ensembl_ids=tuple(tuple(sorted(ids[genes].tolist())) for genes in members),
        unmapped=((),) * N_SETS,
        n_members=(SET_SIZE,) * N_SETS,
        sha256="0" * 64,
    )


def section_of(
    number: int,
    donor: str,
    *,
    strength: float = 0.0,
    depth_sd: float = 0.6,
    n_side: int = 15,
    shift: float = 0.0,
    mean_log_rate: float = 0.0,
    painted: int = N_SETS,
    measured: np.ndarray | None = None,
    seed: int = 0,
) -> AuditSection:
    """Poisson counts of genes of one rate everywhere, but for the first ``painted`` sets.

    Each of these is on with a spot's own strength, ``exp(strength * N(0, 1))``; ``shift`` is added to that of the whole
    section. Depth is log-normal, so library size varies, and alike for all genes.
    """
    rng = np.random.default_rng([seed, number])
    rates = np.exp(np.random.default_rng([seed, 8]).normal(mean_log_rate, 1.0, N_GENES))
    n_spots, ids, sets = n_side * n_side, gene_names(), sets_of(seed)
    depth = np.exp(rng.normal(0.0, depth_sd, n_spots)) if depth_sd else np.ones(n_spots)
    logs = np.zeros((n_spots, N_GENES))
    for members in sets.ensembl_ids[:painted]:
        logs[:, np.isin(ids, members)] = (strength * rng.normal(size=n_spots) + shift)[:, np.newaxis]
    counts = rng.poisson(depth[:, np.newaxis] * rates * np.exp(logs))
    kept = np.ones(N_GENES, dtype=bool) if measured is None else measured
    row, col = np.divmod(np.arange(n_spots), n_side)
    return AuditSection(
        sample_id=f"{donor}_{number}",
        donor_group=donor,
        split=None,
        platform="st",
        targeted=False,
        counts=csr_matrix(counts * kept),
        ensembl_ids=ids,
        measured=kept,
        in_fit=np.ones(n_spots, dtype=bool),
        row=row,
        col=col,
        lattice="square",
        target_shape="circle",
        target_side_um=100.0,
    )
