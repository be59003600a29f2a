"""The scorers written out over dense arrays, spot by spot and set by set, or taken from libraries; slow on purpose.

Each takes counts (n_spots, n_genes) with genes in the order of their ids, the columns of each set, the fitting spots
and the weights of each set's genes, and gives (n_spots, P). Nothing of humanst is used.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
from scipy import stats


def logs_of(counts: np.ndarray) -> np.ndarray:
    totals = counts.sum(axis=1, keepdims=True)
    return np.log1p(1e4 * counts / np.where(totals > 0, totals, 1))


def mean(counts, sets, fit, weights):
    logs = logs_of(counts)
    return columns((logs[:, s] * w).sum(axis=1) / np.abs(w).sum() for s, w in zip(sets, weights, strict=True))


def zmean(counts, sets, fit, weights):
    logs = logs_of(counts)
    centre, spread = logs[fit].mean(axis=0), logs[fit].std(axis=0)
    varies = np.ptp(logs[fit], axis=0) > 0
    z = np.where(varies, (logs - centre) / np.where(varies, spread, 1), 0)
    return columns((z[:, s] * w).sum(axis=1) / np.abs(w).sum() for s, w in zip(sets, weights, strict=True))


def bincontrol(counts, sets, fit, weights):
    logs = logs_of(counts)
    n_genes = counts.shape[1]
    n_bins = min(max(n_genes // 100, 3), 25)
    means = logs[fit].T.copy().mean(axis=1).tolist()
    order = sorted(range(n_genes), key=lambda gene: (means[gene], gene))
    bin_of = np.empty(n_genes, dtype=int)
    for position, gene in enumerate(order):
        bin_of[gene] = position * n_bins // n_genes
    level = np.column_stack([logs[:, bin_of == b].mean(axis=1) for b in range(n_bins)])
    control = level[:, bin_of]
    return columns(
        ((logs[:, s] - control[:, s]) * w).sum(axis=1) / np.abs(w).sum() for s, w in zip(sets, weights, strict=True)
    )


def score_genes(counts, sets, fit, weights):
    """Only where every spot fits and genes have no weights."""
    import anndata as ad
    import scanpy as sc

    assert fit.all()
    genes = [f"gene{number:06d}" for number in range(counts.shape[1])]
    found = []
    for s in sets:
        data = ad.AnnData(logs_of(counts))
        data.var_names = genes
        sc.tl.score_genes(data, [genes[gene] for gene in s], ctrl_size=50, n_bins=25, random_state=0)
        found.append(data.obs["score"].to_numpy())
    return columns(found)


def aucell(counts, sets, fit, weights):
    """AUCell whose ties are broken in every way, and the scores averaged: tied genes share what their ranks add."""
    n_genes = counts.shape[1]
    top = max(min(math.ceil(0.05 * n_genes), n_genes), 2)
    found = np.zeros((len(counts), len(sets)))
    for spot, row in enumerate(counts):
        first, last = stats.rankdata(-row, method="min"), stats.rankdata(-row, method="max")
        adds = {
            (a, b): math.fsum(max(top - r, 0) for r in range(a, b + 1)) / (b - a + 1)
            for a, b in set(zip(first.tolist(), last.tolist(), strict=True))
        }
        for place, s in enumerate(sets):
            most = sum(top - r for r in range(1, min(len(s), top - 1) + 1))
            found[spot, place] = math.fsum(adds[int(first[gene]), int(last[gene])] for gene in s) / most
    return found


def aucell_by_order(row: np.ndarray, s: np.ndarray, order: np.ndarray) -> float:
    """The AUCell of one spot with ties broken by an order of genes: steps of the recovery curve, added up."""
    top = max(math.ceil(0.05 * len(row)), 2)
    ranks = np.empty(len(row), dtype=int)
    ranks[sorted(range(len(row)), key=lambda gene: (-row[gene], order[gene]))] = np.arange(1, len(row) + 1)
    recovered = np.array([np.sum(ranks[s] <= r) for r in range(1, top)])
    at_most = np.minimum(np.arange(1, top), len(s))
    return recovered.sum() / at_most.sum()


def ulm(counts, sets, fit, weights):
    logs = logs_of(counts)
    found = np.zeros((len(counts), len(sets)))
    for place, (s, w) in enumerate(zip(sets, weights, strict=True)):
        x = np.zeros(counts.shape[1])
        x[s] = w
        for spot, row in enumerate(logs):
            line = stats.linregress(x, row) if np.ptp(row) > 0 else None
            found[spot, place] = line.slope / line.stderr if line else 0
    return found


def nbres(counts, sets, fit, weights):
    """From scanpy where every spot fits; the same formula written out where some do not."""
    if fit.all():
        import anndata as ad
        import scanpy as sc

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # genes that no spot has
            data = sc.experimental.pp.normalize_pearson_residuals(
                ad.AnnData(counts.astype(np.float64)), theta=100, inplace=False
            )
        residuals = np.nan_to_num(data["X"], nan=0.0)
    else:
        share = counts[fit].sum(axis=0) / counts[fit].sum()
        mu = counts.sum(axis=1, keepdims=True) * share
        spread = np.sqrt(mu + mu**2 / 100)
        residuals = np.where(mu > 0, (counts - mu) / np.where(mu > 0, spread, 1), 0)
        residuals = residuals.clip(-math.sqrt(fit.sum()), math.sqrt(fit.sum()))
    return columns((residuals[:, s] * w).sum(axis=1) / np.abs(w).sum() for s, w in zip(sets, weights, strict=True))


def sum_(counts, sets, fit, weights):
    totals = np.where(counts.sum(axis=1) > 0, counts.sum(axis=1), 1)
    found = []
    for s, w in zip(sets, weights, strict=True):
        scaled = w / np.abs(w).mean()
        up, down = ((counts[:, s] * np.maximum(sign * scaled, 0)).sum(axis=1) for sign in (1, -1))
        found.append(np.log1p(1e4 * up / totals) - np.log1p(1e4 * down / totals))
    return columns(found)


def columns(found) -> np.ndarray:
    return np.column_stack(list(found))


REFERENCES = {
    "bincontrol": bincontrol,
    "mean": mean,
    "zmean": zmean,
    "score_genes": score_genes,
    "aucell": aucell,
    "ulm": ulm,
    "nbres": nbres,
    "sum": sum_,
}
