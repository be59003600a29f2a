"""Tier 1: how well frozen embeddings predict genes and pathways of donors that the probe was not fitted on.

Three columns, since the protocol moves the number as much as the model does. Beside each number stand what the library
size of a spot alone reaches by the same protocol, and what a perfect model could reach given how noisy counts are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from humanst.errors import DataError
from stamp_train.bootstrap import Interval, interval, paired_interval
from stamp_train.protocol import COLUMNS, PATHWAYS, Column, Half, Spots, ceiling_of, targets_of, thinned
from stamp_train.ridge import MIN_SPOTS, Fit, Floats, fit_cv, fit_hest, leave_donor_out, pearson, reduced

if TYPE_CHECKING:
    import pandas as pd

N_THINNINGS = 3
POOLED = ""


def probe_genes(
    features: Floats,
    counts: NDArray[np.integer],
    spots: Spots,
    genes: Sequence[str],
    *,
    gene_set: Iterable[str] = (),
    test_donors: Sequence[str] | None = None,
    columns: Sequence[Column] = COLUMNS,
    seed: int = 0,
) -> pd.DataFrame:
    """Predict genes from features, leaving out one donor after the other.

    Parameters
    ----------
    features
        (n, d) embeddings.
    counts
        (n, g) raw counts of the genes to predict.
    spots
        Totals, donors and sections of the n rows.
    genes
        (g,) their names.
    gene_set
        Names inside the gene sets the model was aligned to (all Hallmarks together), to tell these genes from others.
    test_donors
        Donors to hold out in turn; all by default.
    columns
        Protocols.
    seed
        Of the thinning that gives the noise ceiling.

    Returns
    -------
    pandas.DataFrame
        A row a column, donor, section (empty: all of the fold's spots together) and gene: ``column``, ``donor``,
        ``sample_id``, ``target``, ``in_sets``, ``pcc``, ``pcc_library_size``, ``ceiling``, ``alpha``, ``inner``,
        ``n_components``. NaN where a target is constant.

    Raises
    ------
    DataError
        When lengths differ, and see :func:`stamp_train.ridge.leave_donor_out`.
    """
    import pandas as pd

    if len(features) != len(counts) or len(counts) != len(spots.totals) or counts.shape[1:] != (len(genes),):
        raise DataError("Features, counts and spots differ in length", code="shapes")
    folds = leave_donor_out(spots.donors.tolist(), spots.sections.tolist(), test_donors)
    inside = frozenset(gene_set)
    halves = [thinned(counts, spots.totals, seed + number) for number in range(N_THINNINGS)]
    tables = []
    for donor, train, test in folds:
        inputs = [reduced(x[train], x[test]) for x in (features, spots.library_size)]
        for column in columns:
            targets = targets_of(column, counts, spots.totals)
            fit, baseline = (_fit(column, pair, targets[train], train, spots) for pair in inputs)
            for section, rows in _units(column, spots.sections[test]):
                here = test[rows]
                score = {
                    "pcc": pearson(fit.predicted[rows], targets[here]),
                    "pcc_library_size": pearson(baseline.predicted[rows], targets[here]),
                    "ceiling": ceiling_of(column, [(_at(first, here), _at(second, here)) for first, second in halves]),
                }
                tables.append(_table(column, donor, section, genes, score, fit))
    return pd.concat(tables, ignore_index=True).assign(in_sets=lambda table: table["target"].isin(inside))


def probe_pathways(
    features: Floats,
    scores: Floats,
    spots: Spots,
    pathways: Sequence[str],
    *,
    test_donors: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Predict pathway scores from features: ridge with alpha by inner cross-validation, Pearson's r within sections.

    Parameters
    ----------
    features
        (n, d) embeddings.
    scores
        (n, P) scores, NaN where a section did not measure a pathway, as ``PairDataset.pathways`` gives them.
    spots, test_donors
        As in :func:`probe_genes`.
    pathways
        (P,) names.

    Returns
    -------
    pandas.DataFrame
        As :func:`probe_genes`, without ``ceiling`` and ``in_sets``; NaN where a test section did not measure a pathway
        or no other donor did.

    Raises
    ------
    DataError
        When lengths differ, and see :func:`stamp_train.ridge.leave_donor_out`.
    """
    import pandas as pd

    if len(features) != len(scores) or len(scores) != len(spots.totals) or scores.shape[1:] != (len(pathways),):
        raise DataError("Features, scores and spots differ in length", code="shapes")
    values, names = np.asarray(scores, dtype=np.float64), np.asarray(pathways, dtype=str)
    # Pathways that the same rows measured are fitted together.
    patterns, pattern_of = np.unique(~np.isnan(values), axis=1, return_inverse=True)
    tables = []
    for donor, train, test in leave_donor_out(spots.donors.tolist(), spots.sections.tolist(), test_donors):
        for number, measured in enumerate(patterns.T):
            chosen = np.flatnonzero(pattern_of.reshape(-1) == number)
            rows, targets = train[measured[train]], values[:, chosen]
            if len(rows) < MIN_SPOTS:
                fit = baseline = Fit(np.full((len(test), len(chosen)), np.nan), np.nan, "none", 0)
            else:
                inputs = [reduced(x[rows], x[test]) for x in (features, spots.library_size)]
                fit, baseline = (_fit(PATHWAYS, pair, targets[rows], rows, spots) for pair in inputs)
            for section, part in _units(PATHWAYS, spots.sections[test]):
                seen = part[measured[test[part]]]
                score = {
                    "pcc": pearson(fit.predicted[seen], targets[test[seen]]),
                    "pcc_library_size": pearson(baseline.predicted[seen], targets[test[seen]]),
                }
                tables.append(_table(PATHWAYS, donor, section, names[chosen].tolist(), score, fit))
    return pd.concat(tables, ignore_index=True)


@dataclass(frozen=True, slots=True)
class Summary:
    """One line of the report. Every number is a mean over donors of the mean within each.

    Attributes
    ----------
    column, genes
        Protocol; ``"all"``, ``"in sets"`` or ``"outside"``.
    pcc, library_size, gain
        Features, baseline, and the paired difference of both, with intervals where there are donors enough.
    sd_of_folds
        Standard deviation (ddof 0) of the folds' means, as HEST-Bench reports it; no measure of how sure the mean is.
    ceiling, share_of_ceiling
        What noise lets a perfect model reach, and ``pcc / ceiling``; NaN where none was measured.
    n_targets, n_sections
        How many entered.
    """

    column: str
    genes: str
    pcc: Interval
    library_size: Interval
    gain: Interval
    sd_of_folds: float
    ceiling: float
    share_of_ceiling: float
    n_targets: int
    n_sections: int


def summarise(table: pd.DataFrame, *, seed: int = 0) -> list[Summary]:
    """Sum up what :func:`probe_genes` or :func:`probe_pathways` gave, a line a column and set of genes.

    What is NaN in either of features and baseline is left out of both and counted (``Interval.n_undefined``).
    """
    lines = []
    for column in dict.fromkeys(table["column"]):
        whole = table[table["column"] == column]
        parts = {"all": whole}
        if "in_sets" in whole and whole["in_sets"].any():
            parts |= {"in sets": whole[whole["in_sets"]], "outside": whole[~whole["in_sets"]]}
        lines += [_summary(str(column), name, part, seed) for name, part in parts.items() if len(part)]
    return lines


def _summary(column: str, genes: str, part: pd.DataFrame, seed: int) -> Summary:
    both = part["pcc"].notna() & part["pcc_library_size"].notna()
    donors = part["donor"].tolist()
    pcc, library_size = part["pcc"].where(both), part["pcc_library_size"].where(both)
    found = interval(pcc, donors, seed=seed)
    ceiling = interval(part["ceiling"].where(both), donors).mean if "ceiling" in part else float("nan")
    return Summary(
        column=column,
        genes=genes,
        pcc=found,
        library_size=interval(library_size, donors, seed=seed),
        gain=paired_interval(pcc, library_size, donors, seed=seed),
        sd_of_folds=float(pcc.groupby(part["donor"]).mean().std(ddof=0)),
        ceiling=ceiling,
        share_of_ceiling=found.mean / ceiling if ceiling > 0 else float("nan"),
        n_targets=int(part["target"].nunique()),
        n_sections=int(part["sample_id"].nunique()),
    )


def _fit(column: Column, inputs: tuple[Floats, Floats], targets: Floats, train: NDArray[np.int64], spots: Spots) -> Fit:
    first, second = inputs
    if column.by_formula:
        return fit_hest(first, targets, second)
    return fit_cv(first, targets, second, donors=spots.donors[train], sections=spots.sections[train])


def _at(half: Half, rows: NDArray[np.int64]) -> Half:
    counts, totals = half
    return counts[rows], totals[rows]


def _units(column: Column, sections: NDArray[np.str_]) -> list[tuple[str, NDArray[np.int64]]]:
    """What r is taken over: each section of the fold, or all of its spots."""
    if not column.by_section:
        return [(POOLED, np.arange(len(sections)))]
    return [(str(section), np.flatnonzero(sections == section)) for section in np.unique(sections)]


def _table(
    column: Column, donor: str, section: str, targets: Sequence[str], score: dict[str, Any], fit: Fit
) -> pd.DataFrame:
    import pandas as pd

    where = {"column": column.name, "donor": donor, "sample_id": section, "target": list(targets)}
    return pd.DataFrame({**where, **score, "alpha": fit.alpha, "inner": fit.inner, "n_components": fit.n_components})
