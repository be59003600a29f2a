"""Sections and gene sets for tests of the section audit."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from humanst.pathways import ResolvedSets
from humanst.pathways.audit.inputs import AuditSection


def gene_ids(n):
    return np.array([f"ENSG{index:011d}" for index in range(n)])


def sets_of(members, names=None, n_members=None):
    return ResolvedSets(
        name="test",
        names=tuple(names or (f"S{index}" for index in range(len(members)))),
        ensembl_ids=tuple(tuple(sorted(genes)) for genes in members),
        unmapped=((),) * len(members),
        n_members=tuple(n_members or (len(genes) for genes in members)),
        sha256="0" * 64,
    )


def random_members(ids, sizes, seed=0):
    rng = np.random.default_rng(seed)
    return [sorted(rng.choice(ids, size, replace=False).tolist()) for size in sizes]


def square_section(counts, shape, **changes):
    """A section of touching squares, row by row."""
    row, col = (index.ravel() for index in np.indices(shape))
    n_spots, n_genes = counts.shape
    given = {
        "sample_id": "s1",
        "donor_group": "d1",
        "split": None,
        "platform": "visium_hd",
        "targeted": False,
        "counts": csr_matrix(counts),
        "ensembl_ids": gene_ids(n_genes),
        "measured": np.ones(n_genes, bool),
        "in_fit": np.ones(n_spots, bool),
        "row": row,
        "col": col,
        "lattice": "square",
        "target_shape": "square",
        "target_side_um": 112.0,
    }
    return AuditSection(**{**given, **changes})


def patterned(shape=(14, 15), n_genes=400, own=60, depth=1200.0, seed=0, noise=0.3):
    """Counts where the first ``own`` genes rise together over the columns, on depths that rise over the rows."""
    rng = np.random.default_rng(seed)
    row, col = (index.ravel() for index in np.indices(shape))
    rate = np.tile(np.exp(rng.normal(0.0, 1.0, n_genes)), (row.size, 1))
    rate[:, :own] *= np.exp(1.2 * (col / shape[1])[:, None])
    rate *= np.exp(rng.normal(0.0, noise, rate.shape))
    library = depth * np.exp(0.5 * row / shape[0] + rng.normal(0.0, 0.2, row.size))
    return rng.poisson(rate / rate.sum(axis=1, keepdims=True) * library[:, None])
