"""Target sets of a release, checked against its shards and indexes with numpy and pyarrow alone."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanst.findings import Findings


def check_targets(release: Path, manifest: Mapping[str, Any], findings: Findings) -> None:
    """Refuse what does not fit together.

    Every shard has its file in every set, with a row a pair; columns and their table agree; counts are well-formed,
    add up to the totals of the index, and none stands where its section measured nothing.
    """
    import pyarrow.parquet as pq

    sets = manifest.get("targets", {})
    shards = [(Path(s["path"]).stem, s["n_pairs"]) for e in manifest["splits"].values() for s in e["shards"]]
    rows: dict[str, Any] = {}
    if any(entry["kind"] == "counts" for entry in sets.values()):
        for entry in manifest["splits"].values():
            table = pq.read_table(release / entry["index"], columns=["shard", "sample_id", "n_counts"])
            rows |= dict(iter(table.to_pandas().groupby("shard", sort=False)))
    for name, entry in sorted(sets.items()):
        fault = next(_faults(release, name, entry, sorted(shards), rows), None)
        if fault is not None:
            findings.refuse(
                "targets",
                "A target set does not fit the release",
                file=f"targets/{name}",
                expected="for every shard a file with a row a pair, in its order",
                found=fault,
            )


def check_reliability(release: Path, manifest: Mapping[str, Any], findings: Findings) -> None:
    """Refuse weights that are not those of the table, or that sections to validate or test on had a say in."""
    entry = manifest.get("reliability")
    fault = None if entry is None else _reliability_fault(release, manifest, entry)
    if entry is not None and fault is not None:
        findings.refuse(
            "targets",
            "The reliability weights do not fit the release",
            file=entry["path"],
            expected="a weight a pathway, measured on the training sections",
            found=fault,
        )


def _reliability_fault(release: Path, manifest: Mapping[str, Any], entry: Mapping[str, Any]) -> str | None:
    names, fitted_on = manifest["pathways"]["names"], set(entry["fitted_on"])
    split_of = {row["sample_id"]: row["split"] for row in manifest["sections"]}
    if len(entry["weights"]) != len(names):
        return f"{len(entry['weights'])} weights of {len(names)} pathways"
    if leaked := sorted(name for name in fitted_on if split_of.get(name, "train") != "train"):
        return f"measured on {leaked[0]}, which is not to train on"
    # A part of a release holds some of its sections, and the weights of all.
    if "selection" not in manifest:
        train = {name for name, split in split_of.items() if split == "train"}
        if other := sorted(fitted_on ^ train):
            return f"{other[0]} is {'not among the' if other[0] in fitted_on else 'left out of the'} training sections"
    path = release / entry["path"]
    if not path.is_file():
        return None if "selection" in manifest else f"no {entry['path']}"
    return _reliability_table_fault(path, names, entry)


def _reliability_table_fault(path: Path, names: Sequence[str], entry: Mapping[str, Any]) -> str | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path).to_pandas()
        pathways = table["pathway"].tolist()
        weight, reliability, n_sections = (
            table[column].to_numpy(np.float64) for column in ("weight", "reliability", "n_sections")
        )
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
        return f"{entry['path']} cannot be read: {error}"
    on_record = np.array([np.nan if value is None else value for value in entry["weights"]], dtype=np.float64)
    if pathways != list(names) or not np.array_equal(weight, on_record, equal_nan=True):
        return f"{entry['path']} holds other pathways or weights than the manifest"
    follows = np.array_equal(weight, np.clip(reliability, entry["floor"], 1.0), equal_nan=True)
    if not follows or not np.array_equal(np.isnan(weight), n_sections == 0):
        return f"{entry['path']} holds weights that do not follow from its reliabilities"
    most = len(entry["fitted_on"]) + int(entry.get("fitted_on_gone", 0))
    return f"measured on {int(n_sections.max())} of {most} sections" if n_sections.max(initial=0) > most else None


def _faults(
    release: Path, name: str, entry: Mapping[str, Any], shards: list[tuple[str, int]], rows: Mapping[str, Any]
) -> Iterator[str]:
    import pyarrow.parquet as pq

    folder = release / "targets" / name
    suffix = "npz" if entry["kind"] == "counts" else "npy"
    promised = sorted((file["path"], file["n_rows"]) for file in entry["files"])
    if promised != [(f"targets/{name}/{shard}.{suffix}", n_rows) for shard, n_rows in shards]:
        yield f"{len(promised)} files on record for {len(shards)} shards, or other rows"
    beside = [Path(path) for path in (entry["columns"], *entry["beside"])]
    known = {Path(path).name for path, _ in promised} | {path.name for path in beside}
    here = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if here != known:
        yield f"other files than on record: {', '.join(sorted(here ^ known)[:3])}"
        return
    if pq.read_metadata(release / entry["columns"]).num_rows != entry["n_columns"]:
        yield f"{entry['columns']} does not name {entry['n_columns']} columns"
    sections = {str(sample_id) for group in rows.values() for sample_id in group["sample_id"].unique()}
    measured = _measured(folder, entry, sections)
    if isinstance(measured, str):
        yield measured
        return
    for shard, n_rows in shards:
        path = folder / f"{shard}.{suffix}"
        if entry["kind"] == "counts":
            fault = _counts_fault(path, n_rows, entry["n_columns"], rows[f"{shard}.tar"], measured)
        else:
            fault = _values_fault(path, n_rows, entry["n_columns"])
        if fault:
            yield f"{path.name}: {fault}"


def _measured(folder: Path, entry: Mapping[str, Any], sections: set[str]) -> dict[str, NDArray[np.bool_]] | str:
    """Section -> which columns it measured, or what is wrong with the table."""
    import pyarrow.parquet as pq

    if entry["kind"] != "counts":
        return {}
    table = pq.read_table(folder / "measured.parquet")
    found = {
        sample_id: np.array(flags)
        for sample_id, flags in zip(table["sample_id"].to_pylist(), table["measured"].to_pylist(), strict=True)
    }
    if found.keys() != sections or any(len(flags) != entry["n_columns"] for flags in found.values()):
        return "measured.parquet does not hold a row a section and a flag a gene"
    return found


def _values_fault(path: Path, n_rows: int, n_columns: int) -> str | None:
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        return str(error)
    if values.dtype != np.float32 or values.shape != (n_rows, n_columns):
        return f"{values.dtype} of shape {values.shape}, expected float32 ({n_rows}, {n_columns})"
    return "values that are infinite" if np.isinf(values).any() else None


def _counts_fault(
    path: Path, n_rows: int, n_columns: int, pairs: Any, measured: Mapping[str, NDArray[np.bool_]]
) -> str | None:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        data, indices, indptr, shape = (arrays[key] for key in ("data", "indices", "indptr", "shape"))
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        return str(error)
    if tuple(shape) != (n_rows, n_columns) or (data.dtype, indices.dtype) != (np.int32, np.int32):
        return f"{data.dtype} of shape {tuple(shape)}, expected int32 ({n_rows}, {n_columns})"
    starts = len(indptr) == n_rows + 1 and indptr[0] == 0 and (np.diff(indptr) >= 0).all()
    if not starts or not len(data) == len(indices) == indptr[-1]:
        return "row starts that do not fit the counts"
    row = np.repeat(np.arange(n_rows), np.diff(indptr))
    # Of one row, every column lies beyond the one before; a new row begins anywhere.
    ascends = (np.diff(row * np.int64(n_columns) + indices) > 0).all()
    if not ascends or (len(indices) and (indices.min() < 0 or indices.max() >= n_columns)) or (data <= 0).any():
        return "columns that do not ascend within the axis, or counts that are not above zero"
    totals = np.bincount(row, weights=data, minlength=n_rows).astype(np.int64)
    if (wrong := np.flatnonzero(totals != pairs["n_counts"].to_numpy())).size:
        return f"{wrong.size} rows do not add up to n_counts of the index, the first is row {wrong[0]}"
    for sample_id in pairs["sample_id"].unique():
        mine = (pairs["sample_id"] == sample_id).to_numpy()[row]
        if not measured[sample_id][indices[mine]].all():
            return f"{sample_id} has counts of genes that it did not measure"
    return None
