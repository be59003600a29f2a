"""What images are aligned to: the pathways of a release, another target set of it, or targets made of its counts.

The setting ``target_set`` names it; docs/align.md has the table. Everything is z within sections, unmeasured values are
masked, and all of a split is held in memory: four bytes a pair and column.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from humanst.errors import UsageError
from stamp_train.pair_targets import Genes, Targets, others_of, z_within

if TYPE_CHECKING:
    from humanst.load.dataset import PairDataset
    from humanst.load.release import Release
    from stamp_train.config import AlignConfig
    from stamp_train.count_targets import Fitted

LIBRARY, COUNTS = "library", "counts"
MADE_HERE = ("hvg", "pca")
CONTROLS = ("random", "shuffle")
# Sets of a release that are not z within sections.
RAW_KINDS = ("hvg", "pca")
_BLOCK = 4096


@dataclass(frozen=True, slots=True)
class Source:
    """Makes the targets of any split of a release; what has to be fitted was fitted on its training split.

    Attributes
    ----------
    name
        As the setting has it, ``pathways`` for null.
    columns
        (P,) names of the targets.
    reliability
        (P,) float32 weights of the regression.
    members
        For ``token``: of each pathway the columns of its genes in :attr:`gene_ids`.
    gene_ids
        Ensembl ids of the genes that ``token`` reads.
    kind
        ``pathways``, ``set``, ``counts`` or ``library``.
    fitted
        Of ``counts``.
    standardise
        Whether values still have to be made z within sections.
    measured
        Whether :attr:`reliability` was measured of these very targets.
    """

    name: str
    columns: tuple[str, ...]
    reliability: NDArray[np.float32]
    kind: str
    set_name: str | None = None
    fitted: Fitted | None = None
    standardise: bool = False
    measured: bool = False
    members: tuple[tuple[int, ...], ...] = ()
    gene_ids: tuple[str, ...] = field(default=(), repr=False)

    def facts(self, release: Release) -> dict[str, Any] | None:
        """What a run tells of targets that are not the release's own; ``None`` for those."""
        if self.kind == "pathways":
            return None
        known: Mapping[str, Any] = release.manifest.get("targets", {})
        scored = known.get(self.set_name or "", {}).get("parameters", {})
        columns = hashlib.sha256("\n".join(self.columns).encode()).hexdigest()
        return {
            "set": self.set_name or self.name,
            "gene_sets_sha256": scored.get("gene_sets_sha256", columns),
            "scorer": scored.get("scorer"),
            "normalisation": scored.get("normalisation") or "z within sections",
            "options": scored.get("options"),
        }

    def read(self, dataset: PairDataset, *, shuffle_seed: int | None = None) -> Targets:
        """The targets of a split.

        Parameters
        ----------
        dataset
            Its pairs.
        shuffle_seed
            Give every pair the targets of another one of its section.
        """
        table = dataset.table
        sections, section = np.unique(np.array(table["sample_id"].to_pylist(), dtype=np.str_), return_inverse=True)
        library = table["log10_counts_z"].to_numpy().astype(np.float32)
        values = self._values(dataset, sections[section], library)
        if self.standardise:
            values = z_within(values, section)
        donor_of = dict(zip(table["sample_id"].to_pylist(), table["donor_group"].to_pylist(), strict=True))
        partner = None if shuffle_seed is None else others_of(sections[section], shuffle_seed)
        return Targets(
            values=values,
            library=library,
            section=section.astype(np.int64),
            xy_um=np.column_stack([table[name].to_numpy().astype(np.float64) for name in ("x_um", "y_um")]),
            sections=tuple(sections.tolist()),
            donors=tuple(str(donor_of[name]) for name in sections.tolist()),
            partner=partner,
            n_alone=0 if partner is None else int((partner == np.arange(len(partner))).sum()),
            genes=self._genes(dataset, sections, section) if self.members else None,
        )

    def _values(
        self, dataset: PairDataset, sections: NDArray[np.str_], library: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        if self.kind == "pathways":
            return dataset.pathways()
        if self.kind == LIBRARY:
            return library[:, np.newaxis]
        if self.fitted is not None:
            from stamp_train.counts import read_counts

            return self.fitted(read_counts(dataset.release, (dataset.split,)), sections)
        return _read_set(dataset, str(self.set_name))

    def _genes(self, dataset: PairDataset, sections: NDArray[np.str_], section: NDArray[np.int64]) -> Genes:
        from stamp_train.count_targets import log_cp10k
        from stamp_train.counts import read_counts

        counts = read_counts(dataset.release, (dataset.split,))
        place = {gene: number for number, gene in enumerate(counts.ensembl_ids)}
        columns = np.array([place[gene] for gene in self.gene_ids], dtype=np.int64)
        logs = log_cp10k(counts.matrix)[:, columns].astype(np.float32)
        measured = np.array([counts.measured[str(name)][columns] for name in sections], dtype=np.bool_)
        return Genes(logs, measured.reshape(len(sections), len(columns)), section)


def open_targets(release: Release, config: AlignConfig, train: PairDataset) -> Source:
    """Find what the setting ``target_set`` names, and fit what has to be fitted on the training pairs.

    Raises
    ------
    UsageError
        For a target set that the release does not have, with what it has; for ``token`` without gene sets.
    DataError
        ``gene-sets-mismatch`` when the file of gene sets is another one than the targets were scored with.
    """
    source = _source(release, config.target_set, train)
    if config.pathway_encoder != "token":
        return source
    from dataclasses import replace

    from stamp_train.set_members import members_of

    members, gene_ids = members_of(release, source, config.gene_sets)
    return replace(source, members=members, gene_ids=gene_ids)


def _source(release: Release, wanted: str | None, train: PairDataset) -> Source:
    if wanted is None:
        columns = release.pathway_names
        measured = release.reliability() is not None
        return Source("pathways", columns, reliability_of(release, columns), "pathways", measured=measured)
    if wanted == LIBRARY:
        return Source(wanted, (LIBRARY,), reliability_of(release, (LIBRARY,)), LIBRARY)
    kind, colon, number = wanted.partition(":")
    if colon and kind in MADE_HERE and number.isdecimal() and int(number) > 0:
        fitted = _fit(release, kind, int(number), train)
        reliability = reliability_of(release, fitted.names)
        return Source(wanted, fitted.names, reliability, COUNTS, fitted=fitted, standardise=True)
    name = f"{kind}-{number}" if colon and kind in CONTROLS and number.isdecimal() else wanted
    known: Mapping[str, Any] = release.manifest.get("targets", {})
    if name not in known or known[name]["kind"] == COUNTS:
        raise _unknown(wanted, known)
    columns = _columns(train, name)
    standardise = known[name]["kind"] in RAW_KINDS
    return Source(wanted, columns, reliability_of(release, columns), "set", set_name=name, standardise=standardise)


def reliability_of(release: Release, columns: Sequence[str]) -> NDArray[np.float32]:
    """Weights of the columns of a target set.

    The release measured those of its own pathways. Columns that are others get the mean of these each, so that the
    regression weighs as much in a control as in what it is the control of; 1 in a release without weights.
    """
    weights = release.reliability()
    if weights is None or not np.isfinite(weights).any():
        return np.ones(len(columns), dtype=np.float32)
    if tuple(columns) == release.pathway_names:
        return weights.astype(np.float32)
    return np.full(len(columns), np.nanmean(weights), dtype=np.float32)


def _fit(release: Release, kind: str, n: int, train: PairDataset) -> Fitted:
    from stamp_train.count_targets import components, most_variable
    from stamp_train.counts import read_counts

    sections = np.array(train.table["sample_id"].to_pylist(), dtype=np.str_)
    rows = release.manifest.get("sections", [])
    targeted = frozenset(str(row["sample_id"]) for row in rows if row.get("targeted", False))
    fit = most_variable if kind == "hvg" else components
    return fit(read_counts(release, (train.split,)), sections, n, targeted=targeted)


def _read_set(dataset: PairDataset, name: str) -> NDArray[np.float32]:
    sets = _sets(dataset, name)
    found = np.empty((len(dataset), len(sets.columns(name))), dtype=np.float32)
    for start in range(0, len(dataset), _BLOCK):
        rows = range(start, min(start + _BLOCK, len(dataset)))
        values, mask = sets.take(rows)[name]
        found[start : rows.stop] = np.where(mask, values, np.nan)
    return found


def _columns(train: PairDataset, name: str) -> tuple[str, ...]:
    return tuple(_sets(train, name).columns(name))


def _sets(dataset: PairDataset, name: str) -> Any:
    from humanst.load.index import Rows
    from humanst.load.target_sets import TargetSets

    return TargetSets(dataset.release, (name,), Rows(dataset.release, dataset.split))


def _unknown(wanted: str, known: Mapping[str, Any]) -> UsageError:
    there = [name for name, entry in sorted(known.items()) if entry["kind"] != COUNTS]
    made = "library" + (", hvg:N, pca:K" if COUNTS in known else "")
    return UsageError(
        "There is no such target set",
        code="unknown-targets",
        field="target_set",
        expected=f"null for the pathways of the release, {made}" + "".join(f", {name}" for name in there),
        found=wanted,
        todo="`humanst add-targets` adds one to a release of one's own",
    )
