"""Extract: one section store to patches, targets and rows, in a content-named folder committed with its card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from humanst import files
from humanst.errors import DataError
from humanst.findings import Drop
from humanst.harmonize.gene_table import load_gene_table
from humanst.pathways import PathwayScores, library_size
from humanst.shards.extract_rows import ROWS, write_rows
from humanst.shards.identity import identity_of
from humanst.shards.scoring import others_of, pathways_record, score_store
from humanst.shards.spec import EXTRACT_SCHEMA, EXTRACT_VERSION, ReleaseSpec, encode_spot, uid_of
from humanst.store import StoredSection, open_section, read_card
from humanst.tiles import codec_versions, cut_patches, inside

if TYPE_CHECKING:
    import pyarrow as pa

PATCHES = "patches.bin"
CARD = "card.json"


@dataclass(frozen=True, slots=True)
class ExtractTask:
    """One section to extract; picklable.

    Attributes
    ----------
    store
        The section store.
    image_path
        The image of record on this machine.
    folder
        Where ``<sample_id>-<hash>/`` is made.
    """

    sample_id: str
    store: Path
    image_path: Path | None
    folder: Path
    spec: ReleaseSpec


@dataclass(frozen=True, slots=True)
class Extracted:
    """A committed extract: its folder and its card."""

    sample_id: str
    path: Path
    card: Mapping[str, Any]
    reused: bool


def extract_section(task: ExtractTask) -> Extracted:
    """Cut and score one section, or find that it is done.

    Raises
    ------
    DataError
        ``no-image`` or ``image-too-coarse`` for a section without patches; ``no-pairs-left`` when every spot dropped.
    """
    inputs = _inputs_hash(task)
    path = task.folder / f"{task.sample_id}-{inputs[:16]}"
    if (card := committed_extract(path, inputs)) is not None:
        return Extracted(task.sample_id, path, card, True)
    stored = open_section(task.store)
    try:
        card = _extract(task, stored, path, inputs)
    except DataError as error:
        raise error.located(study=stored.attrs["study_id"], section=stored.attrs["section_id"]) from None
    return Extracted(task.sample_id, path, card, False)


def _inputs_hash(task: ExtractTask) -> str:
    spec = task.spec
    return inputs_of(task.store, asdict(spec.patch), spec.gene_sets_sha256, codec_versions(), spec.choice.record())


def inputs_of(
    store: Path,
    patch: Mapping[str, Any],
    gene_sets_sha256: str,
    codecs: Mapping[str, str],
    options: Mapping[str, Any],
) -> str:
    """Hash of all that the extract of a store is made from; the manifest of a release holds it for every section."""
    store_card = read_card(store)
    facts = {
        "extract_version": EXTRACT_VERSION,
        "store": None if store_card is None else store_card["tree_sha256"],
        "patch": dict(patch),
        "gene_sets": gene_sets_sha256,
        "gene_table": load_gene_table().sha256,
        "codecs": dict(codecs),
        **({"pathways": dict(options)} if options else {}),
    }
    return hashlib.sha256(files.canonical_json(facts)).hexdigest()


def committed_extract(path: Path, inputs: str) -> dict[str, Any] | None:
    """The card of an extract made from these inputs, when all of its files are there; else ``None``."""
    try:
        card: dict[str, Any] = json.loads((path / CARD).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    sizes = {name: (path / name).stat().st_size for name in (PATCHES, ROWS) if (path / name).is_file()}
    return card if card["inputs"] == inputs and card["bytes"] == sizes else None


def _extract(task: ExtractTask, stored: StoredSection, path: Path, inputs: str) -> dict[str, Any]:
    if task.image_path is None or stored.attrs["picture"] is None:
        raise DataError(
            "The section has no image, so there are no patches",
            code="no-image",
            field="image",
            expected="an image of record",
            found="none",
            done="The section store was built",
            todo="Leave the section out of build-shards, or add its image to the catalog",
        )
    spec = task.spec
    sha256 = spec.gene_sets_sha256
    scores = score_store(stored, spec.gene_sets_path, spec.gene_sets_name, spec.choice, sha256=sha256)
    keep, drops = _choose(stored, spec)
    rows = np.flatnonzero(keep)
    with files.folder_aside(path) as partial:
        offsets = _write_patches(task, stored, rows, partial / PATCHES)
        table = _rows_table(task, stored, rows, offsets)
        targets = scores.scores[rows]
        if spec.choice.shuffle_seed is not None:
            targets = targets[others_of(table["uid"].to_pylist(), spec.choice.shuffle_seed)]
        write_rows(partial / ROWS, table, targets)
        card = _card(task, stored, scores, rows, drops, inputs)
        card["store"] = read_card(task.store)
        card["identity"] = identity_of(stored, task.image_path)
        card["bytes"] = {name: (partial / name).stat().st_size for name in (PATCHES, ROWS)}
        files.write_json(partial / CARD, card)
    return card


def _choose(stored: StoredSection, spec: ReleaseSpec) -> tuple[NDArray[np.bool_], list[Drop]]:
    """Which spots become pairs; the first reason that applies names the drop."""
    spots, picture = stored.spots, stored.attrs["picture"]
    xy_px = spots[["x_px", "y_px"]].to_numpy(np.float64)
    size = (picture["width_px"], picture["height_px"])
    reasons = {
        "off-image": ~inside(xy_px, *size, um_per_pixel=picture["um_per_pixel"], spec=spec.patch),
        "low-tissue": ~(spots["tissue_fraction"].to_numpy() >= spec.patch.min_tissue_fraction),
    }
    keep = np.ones(len(spots), dtype=bool)
    drops = []
    counts = spots["n_counts"].to_numpy()
    for reason, fails in reasons.items():
        gone = np.flatnonzero(keep & fails)
        if len(gone):
            drops.append(Drop("pairs", reason, len(gone), int(counts[gone].sum()), tuple(spots.index[gone][:5])))
            keep[gone] = False
    if not keep.any():
        raise DataError(
            "No spot gives a patch",
            code="no-pairs-left",
            expected="patches wholly inside the image and on tissue",
            found="; ".join(f"{drop.n} {drop.reason}" for drop in drops) or "no spots",
        )
    return keep, drops


def _write_patches(
    task: ExtractTask, stored: StoredSection, rows: NDArray[np.int64], target: Path
) -> dict[str, NDArray[Any]]:
    """Append the patches to one file in the order they are cut; returns where each row's patch lies."""
    picture = stored.attrs["picture"]
    xy_px = stored.spots[["x_px", "y_px"]].to_numpy(np.float64)[rows]
    offset, length = np.zeros(len(rows), dtype=np.int64), np.zeros(len(rows), dtype=np.int32)
    blur, digest = np.zeros(len(rows), dtype=np.float32), np.empty(len(rows), dtype="U16")
    position = 0
    if task.image_path is None:  # pragma: no cover - checked by the caller
        return {}
    with files.write_inside(target, hashed=False) as aside:
        patches = cut_patches(task.image_path, xy_px, um_per_pixel=picture["um_per_pixel"], spec=task.spec.patch)
        for patch in patches:
            aside.write(patch.jpg)
            offset[patch.index], length[patch.index] = position, len(patch.jpg)
            blur[patch.index] = patch.blur
            digest[patch.index] = hashlib.blake2b(patch.jpg, digest_size=8).hexdigest()
            position += len(patch.jpg)
    return {"bin_offset": offset, "jpg_length": length, "jpg_hash": digest, "blur": blur}


def _rows_table(
    task: ExtractTask, stored: StoredSection, rows: NDArray[np.int64], patches: Mapping[str, NDArray[Any]]
) -> pa.Table:
    """The rows of the pairs: what the index says of them, and where their patches lie."""
    import pyarrow as pa

    attrs, spots = stored.attrs, stored.spots.iloc[rows]
    spot_ids = spots.index.to_numpy(str)
    patch_hash = task.spec.patch_hash()
    fit = stored.spots["in_tissue"].to_numpy(bool)
    size = library_size(stored.counts, in_fit=fit)
    columns: dict[str, Any] = {
        "uid": [uid_of(task.sample_id, spot, patch_hash) for spot in spot_ids],
        "key": _keys(task.sample_id, spot_ids),
        "sample_id": [task.sample_id] * len(rows),
        "spot_id": spot_ids,
        "platform": [attrs["platform"]] * len(rows),
        **{name: spots[name].to_numpy(np.float64) for name in ("x_px", "y_px", "x_um", "y_um")},
        "row": spots["row"].to_numpy(np.int32),
        "col": spots["col"].to_numpy(np.int32),
        "native_um_per_pixel": np.full(len(rows), attrs["um_per_pixel"]),
        "target_shape": [attrs["target"]["shape"]] * len(rows),
        "target_side_um": np.full(len(rows), attrs["target"]["side_um"]),
        "tissue_fraction": spots["tissue_fraction"].to_numpy(np.float32),
        "n_counts": spots["n_counts"].to_numpy(np.int64),
        "n_genes": spots["n_genes"].to_numpy(np.int32),
        "mt_fraction": spots["mt_fraction"].to_numpy(np.float32),
        "log10_counts": size.log10_counts[rows].astype(np.float32),
        "log10_counts_z": np.nan_to_num(size.z[rows]).astype(np.float32),
        "qc_flags": spots["qc_flags"].astype(str).to_numpy(str),
        **patches,
    }
    return pa.table({name: pa.array(values) for name, values in columns.items()})


def _keys(sample_id: str, spot_ids: NDArray[np.str_]) -> list[str]:
    keys = [f"{sample_id}_{encode_spot(spot)}" for spot in spot_ids]
    if len(set(keys)) != len(keys):
        raise DataError("Two spots encode to one key", code="key-collision", found=f"{len(keys)} spots")
    return keys


def _card(
    task: ExtractTask,
    stored: StoredSection,
    scores: PathwayScores,
    rows: NDArray[np.int64],
    drops: list[Drop],
    inputs: str,
) -> dict[str, Any]:
    attrs = stored.attrs
    return {
        "schema": EXTRACT_SCHEMA,
        "inputs": inputs,
        "sample_id": task.sample_id,
        "pairs": len(rows),
        "pair_drops": [drop.to_dict() for drop in drops],
        "pathways": pathways_record(scores),
        "section": {
            key: attrs[key]
            for key in ("study_id", "section_id", "platform", "um_per_pixel", "targeted", "target", "counts_in")
        }
        | {key: attrs[key] for key in ("counts_out", "spots_in", "spots_out", "drops", "findings", "picture")},
        "codecs": codec_versions(),
    }
