"""How the pathways of a section store are scored, and which pairs swap their targets when they are to be shuffled."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanst.errors import IntegrityError
from humanst.harmonize.gene_table import load_gene_table
from humanst.pathways import PathwayChoice, PathwayScores, ResolvedSets, score_section
from humanst.pathways.audit.inputs import AuditSection
from humanst.pathways.options import Scoring
from humanst.store import StoredSection


def score_store(
    stored: StoredSection, gene_sets: Path, name: str, choice: PathwayChoice, *, sha256: str | None = None
) -> PathwayScores:
    """Score every spot of a store for the sets of a file.

    Raises
    ------
    DataError, IntegrityError
        As :func:`sets_of_file`.
    """
    # What the default does not need is not handed over.
    more: dict[str, Any] = {} if choice.scoring == Scoring() else {"scoring": choice.scoring}
    if choice.scoring.smooth:
        more["lattice"] = lattice_of(stored)
    return score_section(
        stored.counts,
        stored.genes.index.to_numpy(str),
        stored.genes["measured"].to_numpy(bool),
        sets_of_file(gene_sets, name, choice, sha256=sha256),
        in_fit=stored.spots["in_tissue"].to_numpy(bool),
        targeted=bool(stored.attrs["targeted"]),
        **more,
    )


def sets_of_file(path: Path, name: str, choice: PathwayChoice, *, sha256: str | None = None) -> ResolvedSets:
    """The sets of a file that are scored, on Ensembl ids; a worker reads them once for all its sections.

    Parameters
    ----------
    sha256
        What is on record of the file, if anything.

    Raises
    ------
    DataError
        When the file cannot be read, or no set of it is left.
    IntegrityError
        ``gene-sets-changed`` when its bytes are others than those on record.
    """
    facts = path.stat()
    sets = _resolved_sets(path, name, choice, facts.st_size, facts.st_mtime_ns)
    if sha256 is not None and sets.sha256 != sha256:
        raise IntegrityError(
            "The file of gene sets has changed since the work on it began",
            code="gene-sets-changed",
            file=path.name,
            expected=f"sha256 {sha256}",
            found=sets.sha256,
            done="Nothing was scored with it",
            todo="Bring back the file, or begin anew with the one that is there",
        )
    return sets


@lru_cache(maxsize=4)
def _resolved_sets(path: Path, name: str, choice: PathwayChoice, n_bytes: int, mtime_ns: int) -> ResolvedSets:
    return choice.resolved(path, load_gene_table(), name=name)


def lattice_of(stored: StoredSection) -> tuple[NDArray[np.int64], NDArray[np.int64], str]:
    """Lattice indices of the spots, and whether they are ``hex`` or ``square``."""
    row, col = (stored.spots[name].to_numpy(np.int64) for name in ("row", "col"))
    return row, col, str(stored.attrs["provenance"]["lattice"]["kind"])


def audit_section_of(stored: StoredSection, *, donor_group: str, split: str | None) -> AuditSection:
    """A store as an audit takes it: the spots that set z are those that figures are taken over.

    Parameters
    ----------
    donor_group, split
        Of the section in a release; the store knows of none.

    Raises
    ------
    DataError
        When its arrays do not fit together.
    """
    row, col, lattice = lattice_of(stored)
    attrs = stored.attrs
    return AuditSection(
        sample_id=str(attrs["sample_id"]),
        donor_group=donor_group,
        split=split,
        platform=str(attrs["platform"]),
        targeted=bool(attrs["targeted"]),
        counts=stored.counts,
        ensembl_ids=stored.genes.index.to_numpy(str),
        measured=stored.genes["measured"].to_numpy(bool),
        in_fit=stored.spots["in_tissue"].to_numpy(bool),
        row=row,
        col=col,
        lattice="hex" if lattice == "hex" else "square",
        target_shape=str(attrs["target"]["shape"]),
        target_side_um=float(attrs["target"]["side_um"]),
    )


def sets_record(sets: ResolvedSets) -> dict[str, Any]:
    """What a manifest says of sets besides their names: symbols without a gene, sets left out, repeats; if any."""
    unmapped = {name: list(lost) for name, lost in zip(sets.names, sets.unmapped, strict=True) if lost}
    repeated = {name: list(symbols) for name, symbols in sets.repeated}
    found: dict[str, Any] = {"unmapped": unmapped, "left_out": dict(sets.left_out), "repeated": repeated}
    return {key: value for key, value in found.items() if value}


def others_of(uids: Sequence[str], seed: int) -> NDArray[np.int64]:
    """For every pair, another one of the same section whose target it gets: ``(n,)`` rows, each once.

    The pairs stand in a circle, ordered by blake2b(seed | uid), and each takes the target of the next: nobody keeps
    its own, whatever the order of ``uids``, and who gets whose depends on the section's pairs and the seed alone. A
    section of one pair keeps it.
    """
    keys = [hashlib.blake2b(f"shuffle|{seed}|{uid}".encode(), digest_size=16).digest() for uid in uids]
    circle = np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)
    found = np.empty(len(keys), dtype=np.int64)
    found[circle] = np.roll(circle, -1)
    return found


def pathways_record(scores: PathwayScores) -> dict[str, Any]:
    """What a card says of scores besides the scores."""
    return {
        "names": list(scores.names),
        "n_members": [int(n) for n in scores.n_members],
        "n_measured": [int(n) for n in scores.n_measured],
        "raw_mean": [None if np.isnan(value) else float(value) for value in scores.raw_mean],
        "raw_sd": [None if np.isnan(value) else float(value) for value in scores.raw_sd],
        "masked": {name: why for name, why in zip(scores.names, scores.reasons, strict=True) if why},
    }
