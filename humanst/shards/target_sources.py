"""What target sets are made of: the counts and the scores of one section's pairs, taken from its store.

A task a section. Each leaves a content-named folder in the work folder, its rows in the order in which the release
holds the section's pairs: a shard's rows of a section are then one run. A store serves only if the release was built
from it, to the byte: the manifest holds the hash of what every section was extracted from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from humanst import files
from humanst.builder import store_path
from humanst.errors import DataError
from humanst.pathways import PathwayChoice
from humanst.pathways.bincontrol import log_cp10k
from humanst.shards.extract import inputs_of
from humanst.shards.scoring import pathways_record, score_store
from humanst.shards.target_layout import SectionRows
from humanst.shards.target_sets import TARGETS_VERSION
from humanst.store import StoredSection, open_section, read_card

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

CARD = "card.json"
GENES = "genes.parquet"
MOMENTS = "moments.npy"
SCORES = "scores.npy"
COUNTS = ("data.npy", "indices.npy", "indptr.npy")


@dataclass(frozen=True, slots=True)
class SourceTask:
    """One section whose counts or scores are wanted; picklable.

    Attributes
    ----------
    folder
        Where ``<sample_id>-<hash>/`` is made.
    gene_sets
        File of gene sets to score; ``None`` for counts.
    choice
        How they are scored.
    """

    section: SectionRows
    store: Path
    folder: Path
    gene_sets: Path | None = None
    choice: PathwayChoice = field(default_factory=PathwayChoice)


def check_stores(sections: Sequence[SectionRows], manifest: Mapping[str, Any], work: Path) -> None:
    """Ask that the work folder holds the very stores that a release was built from.

    Raises
    ------
    DataError
        ``no-store`` or ``other-store``, naming the first section and how many there are.
    """
    pathways, codecs = manifest["pathways"], manifest.get("codecs", {})
    gene_sets, options = str(pathways["sha256"]), pathways.get("options", {})
    bad: list[tuple[str, str]] = []
    for section in sections:
        store = store_path(work, section.sample_id)
        if read_card(store) is None:
            bad.append((section.sample_id, "no-store"))
        elif inputs_of(store, manifest["patch"], gene_sets, codecs, options) != section.extract_inputs:
            bad.append((section.sample_id, "other-store"))
    if not bad:
        return
    sample_id, code = bad[0]
    missing = code == "no-store"
    raise DataError(
        "The store of a section is not there" if missing else "The release was not built from this section store",
        code=code,
        section=sample_id,
        file=store_path(work, sample_id).name,
        field="--work",
        expected="the section stores, gene table and version of humanst that the release was built with",
        found=f"{len(bad)} of {len(sections)} sections without the right store",
        done="The release is as it was",
        todo="Name the work folder of its build, or build the release again with build-shards --targets",
    )


def extract_source(task: SourceTask) -> Path:
    """Take a section's counts or scores from its store, or find that it is done; returns the folder.

    Raises
    ------
    DataError
        ``store-differs`` when the store does not hold the spots and totals that the index tells of.
    """
    card = read_card(task.store)
    inputs = _inputs(task, None if card is None else str(card["tree_sha256"]))
    kind = "counts" if task.gene_sets is None else "scores"
    path = task.folder / f"{task.section.sample_id}-{kind}-{inputs[:16]}"
    if is_committed(path, inputs):
        return path
    stored = open_section(task.store)
    rows = _rows_of(stored, task.section)
    with files.folder_aside(path) as partial:
        about = _write_counts(stored, rows, partial, task.section) if kind == "counts" else {}
        if task.gene_sets is not None:
            about = _write_scores(stored, rows, partial, task.gene_sets, task.choice)
        sizes = {entry.name: entry.stat().st_size for entry in sorted(partial.iterdir())}
        files.write_json(partial / CARD, {"inputs": inputs, "bytes": sizes, **about})
    return path


def read_source_card(path: Path) -> dict[str, Any]:
    """The card of what :func:`extract_source` made."""
    card: dict[str, Any] = json.loads((path / CARD).read_bytes())
    return card


def _inputs(task: SourceTask, store: str | None) -> str:
    facts = {
        "version": TARGETS_VERSION,
        "store": store,
        "extract": task.section.extract_inputs,
        "spots": hashlib.sha256("\0".join(task.section.spot_ids.tolist()).encode()).hexdigest(),
        "gene_sets": None if task.gene_sets is None else files.sha256_file(task.gene_sets),
        **({"pathways": record} if (record := task.choice.record()) else {}),
    }
    return hashlib.sha256(files.canonical_json(facts)).hexdigest()


def is_committed(path: Path, inputs: str) -> bool:
    """Whether a folder of these inputs is whole."""
    try:
        card = read_source_card(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    whole = all((path / name).is_file() and (path / name).stat().st_size == n for name, n in card["bytes"].items())
    return bool(card["inputs"] == inputs and whole)


def _rows_of(stored: StoredSection, section: SectionRows) -> NDArray[np.int64]:
    """The rows of the store that are the section's pairs, in the release's order."""
    import pandas as pd

    rows = stored.spots.index.get_indexer(pd.Index(section.spot_ids))
    totals = np.asarray(stored.counts.sum(axis=1, dtype=np.int64)).ravel()
    if (rows < 0).any() or not np.array_equal(totals[rows], section.n_counts):
        missing, other = int((rows < 0).sum()), int((totals[rows] != section.n_counts).sum())
        raise DataError(
            "The section store does not hold what the index tells of",
            code="store-differs",
            section=section.sample_id,
            expected=f"{len(rows)} spots and their totals",
            found=f"{missing} spots missing, {other} of other totals",
            done="The release is as it was",
        )
    return np.asarray(rows, dtype=np.int64)


def _write_counts(stored: StoredSection, rows: NDArray[np.int64], folder: Path, section: SectionRows) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    ids = stored.genes.index.to_numpy(str)
    order = np.argsort(ids, kind="stable")
    measured = stored.genes["measured"].to_numpy(bool)[order]
    counts = _integer_rows(stored, rows, order, section.sample_id)
    mean, squares = _moments(counts, measured)
    symbols = stored.genes["symbol"].astype(str).to_numpy(str)[order]
    genes = pa.table({"ensembl_id": ids[order].tolist(), "symbol": symbols.tolist(), "measured": measured})
    files.write_with(folder / GENES, lambda path: pq.write_table(genes, path, compression="zstd"))
    arrays = (counts.data.astype(np.int32), counts.indices.astype(np.int32), counts.indptr.astype(np.int64))
    for name, array in zip(COUNTS, arrays, strict=True):
        save_array(folder / name, array)
    save_array(folder / MOMENTS, np.stack([mean, squares]))
    axis = hashlib.sha256("\0".join(ids[order].tolist()).encode() + measured.tobytes()).hexdigest()
    return {"axis_sha256": axis, "n_rows": len(rows), "n_genes": len(ids)}


def _integer_rows(
    stored: StoredSection, rows: NDArray[np.int64], order: NDArray[np.int64], sample_id: str
) -> csr_matrix:
    """The pairs' counts, columns by Ensembl id: sorted, without zeros."""
    counts = stored.counts[rows][:, order]
    counts.sum_duplicates()
    counts.eliminate_zeros()
    whole = counts.data.astype(np.int32)
    if not np.array_equal(whole, counts.data) or (whole < 0).any():
        raise DataError(
            "Counts are not integers that 32 bits hold",
            code="counts-not-integer",
            section=sample_id,
            found=f"{counts.data.min()} to {counts.data.max()}, {counts.data.dtype}",
        )
    return counts


def _moments(counts: csr_matrix, measured: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean of log1p(CP10k) of every gene over the pairs, and the sum of squares around it."""
    n_rows, n_genes = counts.shape
    columns = np.flatnonzero(measured)
    logs = log_cp10k(counts[:, columns])
    # bincount adds entry by entry, in order: the same sums on any machine.
    mean = np.bincount(logs.indices, weights=logs.data, minlength=len(columns)) / max(n_rows, 1)
    n_zero = n_rows - np.bincount(logs.indices, minlength=len(columns))
    around = (logs.data - mean[logs.indices]) ** 2
    squares = np.bincount(logs.indices, weights=around, minlength=len(columns)) + n_zero * mean**2
    full = np.full((2, n_genes), np.nan)
    full[:, columns] = mean, squares
    return full[0], full[1]


def _write_scores(
    stored: StoredSection, rows: NDArray[np.int64], folder: Path, gene_sets: Path, choice: PathwayChoice
) -> dict[str, Any]:
    scores = score_store(stored, gene_sets, gene_sets.name, choice)
    save_array(folder / SCORES, scores.scores[rows])
    return {"pathways": pathways_record(scores)}


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array as ``.npy``."""
    files.write_with(path, lambda target: np.save(target, array, allow_pickle=False))
