"""Tiers 1 and 2 as reports: several models and the baselines on the same spots, one table, and what must be said of it.

Every number of a report stands beside what mean colour and library size reach by the same protocol, and beside the
notes that no table of it may lose: of leakage, of donors too few for an interval, of pairs left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from humanst.errors import DataError, UsageError
from humanst.files import sha256_file
from stamp_train import domains, probe
from stamp_train.counts import N_GENES
from stamp_train.features import Embeddings, donors_of, mean_rgb, pairs_of, read_embeddings
from stamp_train.run_facts import release_sha256
from stamp_train.tier_notes import donor_notes, gene_notes, leakage_notes, pair_notes
from stamp_train.tier_tables import DOMAINS_SCHEMA, PROBE_SCHEMA, Report
from stamp_train.tiers import Probed, cluster_release, probe_release

if TYPE_CHECKING:
    import pandas as pd

    from humanst.load.release import Release

MEAN_RGB = "mean RGB"
Given = Mapping[str, Path | Embeddings]


def probe_report(
    release: str | Path | Release,
    embeddings: Given,
    *,
    splits: Sequence[str] = ("test",),
    fit_on: Sequence[str] = (),
    gmt: Path | None = None,
    genes: Sequence[str] | None = None,
    n_genes: int = N_GENES,
    test_donors: Sequence[str] | None = None,
    allow_missing: bool = False,
    with_mean_rgb: bool = True,
    trained_on: str | Path | Release | None = None,
    seed: int = 0,
) -> Report:
    """Tier 1 of several models, on the same pairs and genes.

    Parameters
    ----------
    release
        With the target set ``counts``.
    embeddings
        Name of a model -> its embeddings.
    splits
        Splits whose donors are held out in turn.
    fit_on
        Further splits that the probe is fitted on in every fold.
    gmt, genes, n_genes, allow_missing, seed
        See :func:`stamp_train.tiers.probe_release`.
    test_donors
        Donor groups of ``splits`` to hold out; all by default.
    with_mean_rgb
        Put mean colour beside, as one more model.
    trained_on
        The release that an adapter was trained on, when it is another.

    Raises
    ------
    HumanstError
        See :func:`stamp_train.tiers.probe_release`.
    """
    import pandas as pd

    from humanst.load import open_release

    release, given = open_release(release), _read_all(embeddings, {MEAN_RGB} if with_mean_rgb else set())
    every = tuple(dict.fromkeys((*splits, *fit_on)))
    held_out = test_donors
    if test_donors is None and fit_on:
        held_out = donors_of(release, splits)
    options = {"gmt": gmt, "n_genes": n_genes, "test_donors": held_out, "allow_missing": allow_missing, "seed": seed}
    found = _probed(given, release, every, genes, options, with_mean_rgb=with_mean_rgb)
    tables = [part.assign(features=name) for name, one in found.items() for part in (one.genes, one.pathways)]
    table = _first(pd.concat(tables, ignore_index=True), "features").astype({"in_sets": "boolean"})
    lines = tuple(
        {"features": name, **_line(summary)}
        for name, one in found.items()
        for part in (one.genes, one.pathways)
        for summary in probe.summarise(part, seed=seed)
    )
    tested = _tested(release, splits, held_out)
    notes = [*leakage_notes(release, tested, given, trained_on=trained_on), *donor_notes(lines, "pcc")]
    notes += pair_notes(found) + gene_notes(release, gmt)
    chosen = next(iter(found.values()))
    inside = set(chosen.genes.loc[chosen.genes["in_sets"], "target"])
    about = {
        **_about(release, splits, given),
        "fit_on": list(fit_on),
        "genes": [{"ensembl_id": gene, "symbol": name, "in_sets": gene in inside} for gene, name in chosen.chosen],
    }
    return Report(PROBE_SCHEMA, table, lines, tuple(notes), about)


def domains_report(
    release: str | Path | Release,
    embeddings: Given,
    labels: Path,
    *,
    splits: Sequence[str] = ("test",),
    trained_on: str | Path | Release | None = None,
    seed: int = 0,
    **options: Any,
) -> Report:
    """Tier 2 of several models, beside mean colour and library size.

    Parameters
    ----------
    labels, options
        See :func:`stamp_train.tiers.cluster_release`.
    release, embeddings, splits, trained_on, seed
        As in :func:`probe_report`; ``seed`` is that of the intervals.

    Raises
    ------
    HumanstError
        See :func:`stamp_train.tiers.cluster_release`.
    """
    from humanst.load import open_release

    release, given = open_release(release), _read_all(embeddings, set())
    found = cluster_release(given, labels, release, splits, **options)
    lines = tuple(_line(summary) for summary in domains.summarise(found, seed=seed))
    tested = set(found.table["sample_id"])
    notes = [*leakage_notes(release, sorted(tested), given, trained_on=trained_on), *donor_notes(lines, "over_donors")]
    notes += [f"{section} was left out: {why}." for section, why in found.skipped.items()]
    if found.n_unlabelled:
        notes.append(f"{found.n_unlabelled:,} spots without a label were left out.")
    about = {**_about(release, splits, given), "labels_sha256": sha256_file(labels)}
    return Report(DOMAINS_SCHEMA, found.table, lines, tuple(notes), about)


def _read_all(embeddings: Given, taken: set[str]) -> dict[str, Embeddings]:
    if not embeddings:
        raise UsageError("There is no embedding to test", code="embeddings-missing", expected="a file", found="none")
    if both := taken & set(embeddings):
        raise DataError("A baseline has this name", code="name-taken", found=", ".join(sorted(both)))
    return {name: read_embeddings(one) if isinstance(one, Path) else one for name, one in embeddings.items()}


def _probed(
    given: Mapping[str, Embeddings],
    release: Release,
    splits: Sequence[str],
    genes: Sequence[str] | None,
    options: Mapping[str, Any],
    *,
    with_mean_rgb: bool,
) -> dict[str, Probed]:
    """Probe one model after the other on the genes of the first, and mean colour on the pairs that all have."""
    found: dict[str, Probed] = {}
    for name, one in given.items():
        found[name] = probe_release(one, release, splits, genes=genes, **options)
        genes = [gene for gene, _ in found[name].chosen]
    if with_mean_rgb:
        missing = {key for probed in found.values() for key in probed.missing}
        colours = _mean_rgb(release, splits, missing)
        found[MEAN_RGB] = probe_release(colours, release, splits, genes=genes, **options)
    return found


def _mean_rgb(release: Release, splits: Sequence[str], missing: set[str]) -> Embeddings:
    colours = np.concatenate([mean_rgb(release, split) for split in splits])
    keys = [key for split in splits for key in pairs_of(release, split)["key"]]
    kept = [row for row, key in enumerate(keys) if key not in missing]
    return Embeddings(colours[kept], tuple(keys[row] for row in kept), "key", MEAN_RGB)


def _tested(release: Release, splits: Sequence[str], donors: Sequence[str] | None) -> list[str]:
    """Sections of the donors that are held out."""
    import pandas as pd

    pairs = pd.concat([pairs_of(release, split) for split in splits])
    own = pairs if donors is None else pairs[pairs["donor_group"].isin(list(donors))]
    return sorted(set(own["sample_id"]))


def _line(summary: Any) -> dict[str, Any]:
    found: dict[str, Any] = asdict(summary)
    return found


def _first(table: pd.DataFrame, name: str) -> pd.DataFrame:
    return table[[name, *(column for column in table.columns if column != name)]]


def _about(release: Release, splits: Sequence[str], given: Mapping[str, Embeddings]) -> dict[str, Any]:
    return {
        "release": {"version": release.version, "sha256": release_sha256(release)},
        "splits": list(splits),
        "embeddings": {name: {"file": one.file, "facts": dict(one.facts)} for name, one in given.items()},
    }
