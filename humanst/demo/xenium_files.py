"""The files of a Xenium bundle, in the columns and names that the instrument's software 3 writes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from humanst import files
from humanst.demo.seeding import named_rng

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from humanst.demo.layout import SectionPlan
    from humanst.demo.tissue import Tissue
    from humanst.demo.xenium import Painted, Panel

ROW_GROUP = 20_000
CELLS = 400
CELL_RADIUS_UM = 8.0
UNASSIGNED = "UNASSIGNED"
CODEWORD_OFFSET = 17
_FEATURE_TYPES = {
    "predesigned_gene": "Gene Expression",
    "custom_gene": "Gene Expression",
    "negative_control_probe": "Negative Control Probe",
    "negative_control_codeword": "Negative Control Codeword",
    "unassigned_codeword": "Unassigned Codeword",
    "deprecated_codeword": "Deprecated Codeword",
}


@dataclass(frozen=True, slots=True)
class Cells:
    """A few segmented cells.

    Attributes
    ----------
    ids
        (m,) str.
    centre_um
        (m, 2) float64 in the DAPI frame.
    of_transcript
        (n,) index of the cell each transcript lies in, -1 for none.
    distance_um
        (n,) distance to the nearest cell centre.
    """

    ids: NDArray[np.str_]
    centre_um: NDArray[np.float64]
    of_transcript: NDArray[np.int64]
    distance_um: NDArray[np.float64]


def segment(tissue: Tissue, plan: SectionPlan, xy_um: NDArray[np.float64], *, seed: int) -> Cells:
    """Scatter cells over the tissue and give each the transcripts at ``xy_um`` (n, 2), H&E um, that lie in it.

    ``centre_um`` is in H&E um here; the caller moves it into the DAPI frame.
    """
    from scipy.spatial import cKDTree

    rng = named_rng(seed, plan.sample_id, "cells")
    centres = rng.uniform((0.0, 0.0), (plan.width_um, plan.height_um), (CELLS * 4, 2))
    centres = centres[tissue.class_at(centres) > 0][:CELLS]
    distance, nearest = cKDTree(centres).query(xy_um)
    letters = np.array(list("abcdefghijklmnop"))[rng.integers(16, size=(len(centres), 8))]
    ids = np.char.add(letters.view("<U8").ravel(), "-1")
    return Cells(ids, centres, np.where(distance <= CELL_RADIUS_UM, nearest, -1).astype(np.int64), distance)


def write_experiment(path: Path, plan: SectionPlan, *, n_transcripts: int, n_genes: int, n_custom: int) -> None:
    """Write ``experiment.xenium``."""
    facts = {
        "major_version": 5,
        "minor_version": 0,
        "patch_version": 0,
        "run_name": "Synthetic demo run",
        "region_name": plan.section_id,
        "preservation_method": "ffpe",
        "num_transcripts": n_transcripts,
        "panel_type": "add_on",
        "panel_name": f"Synthetic human {n_genes}-gene panel",
        "panel_organism": "Human",
        "panel_tissue_type": "Breast",
        "panel_num_targets_predesigned": n_genes - n_custom,
        "panel_num_targets_custom": n_custom + 1,
        "chemistry_version": "v1",
        "pixel_size": 0.2125,
        "analysis_sw_version": "xenium-3.0.0.15",
        "z_step_size": 3.0,
        "images": {"morphology_filepath": "morphology.ome.tif"},
    }
    files.write_bytes(path, (json.dumps(facts, indent=4) + "\n").encode())


def write_transcripts(
    path: Path,
    painted: Painted,
    dapi_um: NDArray[np.float64],
    panel: Panel,
    cells: Cells,
    *,
    plan: SectionPlan,
    seed: int,
) -> None:
    """Write ``transcripts.parquet`` in row groups, as the instrument does."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    n = len(painted.feature)
    rng = named_rng(seed, plan.sample_id, "depth")
    category = panel.category[painted.feature]
    owner = np.append(cells.ids, UNASSIGNED)[cells.of_transcript]
    columns: dict[str, Any] = {
        "transcript_id": np.arange(n, dtype=np.uint64) + np.uint64(281_500_000_000_000),
        "cell_id": owner,
        "overlaps_nucleus": (cells.distance_um < 3.0).astype(np.uint8),
        "feature_name": panel.names[painted.feature],
        "x_location": dapi_um[:, 0].astype(np.float32),
        "y_location": dapi_um[:, 1].astype(np.float32),
        "z_location": rng.uniform(10.0, 25.0, n).astype(np.float32),
        "qv": painted.qv,
        "fov_name": np.full(n, "A1"),
        "nucleus_distance": np.maximum(cells.distance_um - 3.0, 0.0).astype(np.float32),
        "codeword_index": (painted.feature + CODEWORD_OFFSET).astype(np.int32),
        "codeword_category": category,
        "is_gene": np.char.endswith(category, "_gene"),
    }
    table = pa.table(columns)
    files.write_with(path, lambda partial: pq.write_table(table, partial, row_group_size=ROW_GROUP))


def write_cells(path: Path, cells: Cells) -> None:
    """Write ``cells.parquet``: id, centre in the DAPI frame, number of transcripts."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    held = cells.of_transcript[cells.of_transcript >= 0]
    table = pa.table(
        {
            "cell_id": cells.ids,
            "x_centroid": cells.centre_um[:, 0],
            "y_centroid": cells.centre_um[:, 1],
            "transcript_counts": np.bincount(held, minlength=len(cells.ids)).astype(np.uint64),
        }
    )
    files.write_with(path, lambda partial: pq.write_table(table, partial))


def write_matrix(path: Path, painted: Painted, panel: Panel, cells: Cells) -> None:
    """Write ``cell_feature_matrix.h5``: all features by cells, transcripts of quality 20 or more."""
    import h5py
    from scipy.sparse import csr_matrix

    counted = (cells.of_transcript >= 0) & (painted.qv >= 20.0)
    where = (cells.of_transcript[counted], painted.feature[counted])
    shape = (len(cells.ids), len(panel.names))
    matrix = csr_matrix((np.ones(int(counted.sum()), dtype=np.int32), where), shape=shape)
    matrix.sum_duplicates()
    types = [_FEATURE_TYPES[kind] for kind in panel.category.tolist()]
    arrays: dict[str, NDArray[Any]] = {
        "matrix/barcodes": cells.ids.astype("S"),
        "matrix/data": matrix.data.astype(np.int32),
        "matrix/indices": matrix.indices.astype(np.int64),
        "matrix/indptr": matrix.indptr.astype(np.int64),
        "matrix/shape": np.array(shape[::-1], np.int32),
        "matrix/features/id": panel.ids.astype("S"),
        "matrix/features/name": panel.names.astype("S"),
        "matrix/features/feature_type": np.array(types, "S"),
        "matrix/features/genome": np.full(len(types), b"GRCh38"),
        "matrix/features/_all_tag_keys": np.array([b"genome"]),
    }

    def save(partial: Path) -> None:
        with h5py.File(partial, "w", track_order=False) as store:
            store.attrs["filetype"] = "matrix"
            store.attrs["software_version"] = "xenium-3.0.0.15"
            store.attrs["version"] = np.int64(2)
            for name, values in arrays.items():
                packed = "gzip" if values.size > 1000 else None
                store.create_dataset(name, data=values, compression=packed, track_times=False)

    files.write_with(path, save)
