"""What the first pass learns: scanpy's choice of genes, scikit-learn's components, a naive count of everything."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.decomposition import PCA

from humanst.pathways.audit.genes import figures_of, most_variable
from humanst.pathways.audit.pca import SpotProducts, within_sections
from tests.pathways.audit.release_world import gene_names


def tables(n_genes: int = 700, seed: int = 0) -> list[np.ndarray]:
    """Counts of three sections whose genes differ in level and in dispersion."""
    rng = np.random.default_rng(seed)
    rates, spread = np.exp(rng.normal(0.0, 1.5, n_genes)), rng.uniform(0.0, 1.5, n_genes)
    return [rng.poisson(rates * np.exp(spread * rng.normal(size=(n, n_genes)))) for n in (60, 90, 75)]


def figures(counts: list[np.ndarray], ids: np.ndarray):
    parts = [figures_of(csr_matrix(part), ids, np.ones(len(part), dtype=bool)) for part in counts]
    return parts[0].and_of(parts[1]).and_of(parts[2])


def test_the_genes_are_those_scanpy_ranks_first_among_those_every_section_shows() -> None:
    import anndata
    import scanpy as sc

    counts, ids = tables(), gene_names(700)
    shown = np.all([(part > 0).mean(axis=0) >= 0.10 for part in counts], axis=0)
    table = anndata.AnnData(np.log1p(np.vstack(counts)[:, shown].astype(np.float64)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sc.pp.highly_variable_genes(table, n_top_genes=50, flavor="seurat")
    found = figures(counts, ids)
    assert found.ids[most_variable(found, 50)].tolist() == ids[shown][table.var["highly_variable"]].tolist()
    assert 100 < shown.sum() < 690


def test_figures_of_all_sections_are_of_the_genes_all_measured() -> None:
    counts, ids = tables(), gene_names(700)
    parts = [figures_of(csr_matrix(part), ids, np.arange(len(part)) % 3 > 0) for part in counts]
    some = parts[1].of(np.arange(100, 600))
    found = parts[0].and_of(some).and_of(parts[2])
    assert found.ids.tolist() == ids[100:600].tolist()
    fit = [part[np.arange(len(part)) % 3 > 0][:, 100:600] for part in counts]
    whole = [part[np.arange(len(part)) % 3 > 0] for part in counts]
    logs = [np.log1p(1e4 * part / part.sum(axis=1, keepdims=True))[:, 100:600] for part in whole]
    assert found.sums == pytest.approx(sum(part.sum(axis=0) for part in fit))
    assert found.squares == pytest.approx(sum((part.astype(float) ** 2).sum(axis=0) for part in fit))
    assert found.mean_log == pytest.approx(np.mean([log.mean(axis=0) for log in logs], axis=0))
    assert found.detected == pytest.approx(np.min([(part > 0).mean(axis=0) for part in fit], axis=0))
    assert found.detected_mean == pytest.approx(np.mean([(part > 0).mean(axis=0) for part in fit], axis=0))
    assert found.n_spots == sum(len(part) for part in fit)


def test_where_few_genes_show_everywhere_those_of_the_mean_section_are_taken() -> None:
    counts, ids = tables(), gene_names(700)
    counts[0][:, 40:] = 0
    found = figures(counts, ids)
    chosen = most_variable(found, 50)
    assert len(chosen) == 50
    assert (found.detected_mean[chosen] >= 0.10).all()
    assert (found.detected[chosen] == 0).any()
    assert len(most_variable(replace(found, detected_mean=found.detected), 50)) < 50


def test_axes_are_the_principal_components_of_the_chosen_sections_alone() -> None:
    section = np.repeat([0, 1, 2], [60, 90, 75])
    logs = np.log1p(np.vstack(tables())) + 5.0 * section[:, np.newaxis]
    products = SpotProducts.of(csr_matrix(logs), section)
    for sections in ([0, 2], [0, 1, 2]):
        rows = np.isin(section, sections)
        centred = np.vstack([logs[section == one] - logs[section == one].mean(axis=0) for one in sections])
        reference = PCA(8, svd_solver="full").fit(centred)
        axes = products.axes(np.array(sections), 8)
        assert np.abs(np.einsum("kg,gk->k", reference.components_, axes)) == pytest.approx(np.ones(8), abs=1e-6)
        assert (within_sections(logs[rows], section[rows]) @ axes).var(axis=0, ddof=1) * (
            rows.sum() - 1
        ) == pytest.approx(reference.explained_variance_ * (rows.sum() - 1))


def test_many_spots_and_few_axes_take_another_way_to_the_same() -> None:
    rng = np.random.default_rng(2)
    section = np.repeat([0, 1], 60)
    logs = rng.normal(size=(120, 40)) * np.linspace(3.0, 0.5, 40)
    products = SpotProducts.of(csr_matrix(logs), section)
    wide, narrow = products.axes(np.array([0, 1]), 30), products.axes(np.array([0, 1]), 4)
    assert np.abs((wide[:, :4] * narrow).sum(axis=0)) == pytest.approx(np.ones(4), abs=1e-6)


def test_axes_are_no_more_than_the_spots_span() -> None:
    section = np.repeat([0, 1], [4, 5])
    logs = np.random.default_rng(3).normal(size=(9, 30))
    axes = SpotProducts.of(csr_matrix(logs), section).axes(np.array([0, 1]), 20)
    # Two means are taken off.
    assert axes.shape == (30, 7)
    assert axes.T @ axes == pytest.approx(np.eye(7), abs=1e-9)
    few = np.repeat(np.arange(2), 200)  # more spots than are decomposed whole
    nothing, alike = csr_matrix((400, 0)), csr_matrix(np.full((400, 3), 2.5))
    assert SpotProducts.of(nothing, few).axes(np.array([0, 1]), 5).shape == (0, 0)
    assert SpotProducts.of(alike, few).axes(np.array([0, 1]), 5).shape == (3, 0)
    assert SpotProducts.of(csr_matrix((0, 30)), section[:0]).axes(np.array([0]), 5).shape == (30, 0)


def test_z_within_sections_is_zero_where_nothing_varies_or_all_is_masked() -> None:
    section = np.repeat([0, 1], [5, 7])
    values = np.random.default_rng(4).normal(size=(12, 3)) + 10.0 * section[:, np.newaxis]
    values[:5, 1] = 0.1
    values[5:, 2] = np.nan
    z = within_sections(values, section, scale=True)
    assert z[:5, 0].mean() == pytest.approx(0.0, abs=1e-12)
    assert z[5:, 0].std() == pytest.approx(1.0)
    assert (z[:5, 1] == 0).all()
    assert (z[5:, 2] == 0).all()
