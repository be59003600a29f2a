"""The audit of a release: what its pathway targets are worth over all its sections, in four tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from humanst.errors import UsageError
from humanst.pathways.audit import features as kept
from humanst.pathways.audit.information import folds_of, information
from humanst.pathways.audit.inputs import AuditOptions, AuditSection
from humanst.pathways.audit.mutual import mutual
from humanst.pathways.audit.retrieval import retrieval
from humanst.pathways.audit.survey import sources_of, survey
from humanst.pathways.audit.variance import variance

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from humanst.pathways.audit.features import Moments, SpotFeatures, Wanted
    from humanst.pathways.audit.survey import SectionSource
    from humanst.pathways.gene_sets import ResolvedSets

N_AXES = 50


def audit_release(
    sections: Iterable[SectionSource] | Sequence[AuditSection],
    sets: ResolvedSets,
    options: AuditOptions | None = None,
    *,
    k: int = N_AXES,
) -> dict[str, pd.DataFrame]:
    """Measure what the pathway targets of a release keep, share, find and owe to sections and donors.

    Sections are gone through twice, and one is in memory at a time where callables are given; what is kept of all of
    them together is bounded. The same sections in the same order and seed give the same tables.

    Of more than some hundred sections there is room for spots of a part, taken evenly over their order: ``variance`` is
    of all, the other tables are of these, and their ``n_sections`` says of how many.

    Random sets are drawn from the genes that every section measured, so that they are the same genes everywhere; a
    pathway has what its section measured. Where a small panel is among the sections, random sets are small or masked,
    and what they keep is no fair match for pathways of whole transcriptomes: audit those by themselves.

    Parameters
    ----------
    sections
        Functions that each give a section, the same each time, or the sections themselves.
    sets
        Gene sets on Ensembl ids.
    options
        Scoring, draws of matched-random sets and seed. One thinning is made; several seeds are for the figures of
        single sections. Draws beyond 1,000 random sets in all are not made.
    k
        Principal components beside the pathways.

    Returns
    -------
    ``information`` (:func:`humanst.pathways.audit.information.information`), ``mutual``
    (:func:`humanst.pathways.audit.mutual.mutual`), ``retrieval``
    (:func:`humanst.pathways.audit.retrieval.retrieval`) and ``variance``
    (:func:`humanst.pathways.audit.variance.variance`). A section with fewer than 20 spots with counts in both halves is
    left out. Where sections or donors are too few for a figure it is NaN and its row says why.

    Raises
    ------
    UsageError
        ``audit-options`` when ``k`` is less than 1; from the scores, when an option does not go with the gene sets.
    DataError
        From the scores, when a section's arrays do not fit together.
    """
    from sklearn import config_context
    from threadpoolctl import threadpool_limits

    if k < 1:
        raise UsageError(
            "an option of the audit is too small", code="audit-options", field="k", expected=">= 1", found=k
        )
    options = options or AuditOptions()
    sources = sources_of(sections)
    # Sums of products are the same on any number of cores; hundreds of small fits are not checked each anew.
    with threadpool_limits(limits=1), config_context(assume_finite=True, skip_parameter_validation=True):
        return _tables(sources, sets, options, k)


def _tables(sources: list[SectionSource], sets: ResolvedSets, options: AuditOptions, k: int) -> dict[str, pd.DataFrame]:
    learned = survey(sources, options)
    places, donors = learned.places, learned.donor_groups
    folds = folds_of(donors)
    wanted = kept.Wanted(
        sets=sets,
        random=kept.random_collection(sets, learned.figures, options),
        learned=learned,
        fold_axes=[learned.everything.axes(np.flatnonzero(folds.fold != fold), k) for fold in range(folds.n)],
        hvg_axes=learned.variable.axes(np.arange(len(places)), k),
        k=k,
        options=options,
    )
    spots, section, moments = _second_pass(sources, places, wanted)
    return {
        "information": information(spots, section, folds),
        "mutual": mutual(spots.pathways, section, sets.names, seed=options.seed),
        "retrieval": retrieval(spots, section, k=k, seed=options.seed),
        "variance": variance(moments, donors, sets.names),
    }


def _second_pass(
    sources: list[SectionSource], places: list[int], wanted: Wanted
) -> tuple[SpotFeatures, NDArray[np.int64], list[Moments]]:
    parts, moments, section = [kept.no_spots(wanted)], [], [np.zeros(0, dtype=np.int64)]
    n_kept, chosen = wanted.room(len(places))
    for number, place in enumerate(places):
        part, of_section = kept.features_of(sources[place](), place, n_kept if number in chosen else 0, wanted)
        moments.append(of_section)
        if part is not None:
            parts.append(part)
            section.append(np.full(part.library.shape[1], number))
    return kept.concatenated(parts), np.concatenate(section), moments
