"""The world that `benchmarks.build` builds from: Visium sections with slides of full size and counts of real sparsity.

Every section has an outline, a texture and counts of its own, so that neither its image nor its counts are taken for
those of another. Slides are tiled pyramidal JPEG TIFFs (256 px, quality 87, 4:2:0) of 6.7 x 7.0 mm at 0.25 um/px,
tissue on a white ground; their texture repeats, so that a tile has to be encoded once. Counts are those of a real
section where there is one at hand (``HUMANST_TEST_DATA``): spots drawn from it, each transcript kept with a chance of
0.9. Without it they are drawn with about the same sparsity.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.memory import gene_names
from benchmarks.patches import SLIDE_QUALITY, TEXTURE_PX, TILE_PX, texture
from humanst import files
from humanst.catalog import Lattice, Recipe, Section, Source, Study
from humanst.schemas import table_schema
from humanst.shards.grouping import Chosen

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

UM_PER_PIXEL = 0.25
ROWS, COLUMNS, PITCH_UM = 78, 128, 100.0
MARGIN_UM = 180.0
SMALLEST_LEVEL_PX = 512
HIRES_PX = 2000
WHITE = 243
KEPT = 0.9
REAL_COUNTS = "visium_10x_breast_blockA_s1/outs/filtered_feature_bc_matrix.h5"
FILES = {
    "image": "image.tif",
    "counts": "filtered_feature_bc_matrix.h5",
    "positions": "spatial/tissue_positions.csv",
    "scalefactors": "spatial/scalefactors_json.json",
}
SECTIONS_A_STUDY = 4


@dataclass(frozen=True, slots=True)
class Donor:
    """What the counts of all sections are drawn from.

    Attributes
    ----------
    counts
        ``(n_spots, n_genes)`` CSR.
    source
        For the report: the real section, or that they are drawn.
    """

    counts: csr_matrix
    gene_ids: NDArray[np.str_]
    gene_names: NDArray[np.str_]
    source: str


def write_world(folder: Path, n_sections: int) -> list[dict[str, Any]]:
    """Write all sections where a fetch would have put them; returns what a catalog would say of each."""
    listed = folder / "sections.json"
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        rows = list(pool.map(_listed, [folder] * n_sections, range(n_sections)))
    files.write_json(listed, rows)
    return rows


def _listed(folder: Path, number: int) -> dict[str, Any]:
    study_id, section_id = f"study{number // SECTIONS_A_STUDY:02d}", f"S{number:03d}"
    owner = folder / "cache" / "sources" / study_id
    n_spots = write_section(owner / section_id, number, _donor())
    paths = {role: f"{section_id}/{name}" for role, name in FILES.items()}
    sources = [
        {"role": role, "path": path, "bytes": (owner / path).stat().st_size, "sha256": files.sha256_file(owner / path)}
        for role, path in paths.items()
    ]
    return {"study_id": study_id, "section_id": section_id, "sources": sources, "spots": n_spots}


def read_world(folder: Path) -> list[Chosen]:
    """The sections of a world with their studies, as a catalog would give them; two sections a donor."""
    rows = json.loads((folder / "sections.json").read_bytes())
    recipe = Recipe("visium", "ensembl", False, "zero", Lattice("hex", PITCH_UM, 55.0))
    chosen = []
    for study_id in sorted({row["study_id"] for row in rows}):
        sections = []
        for number, row in enumerate(rows):
            if row["study_id"] == study_id:
                name = row["section_id"]
                about = dict.fromkeys(table_schema("samples").columns, "unknown") | {
                    "sample_id": f"{study_id}_{name}",
                    "section_id": name,
                    "donor_id": f"{study_id}_d{number // 2}",
                    "organ": f"organ{number % 5}",
                    "release_added": "0.1.0",
                    **dict.fromkeys(("exclusion_groups", "known_duplicates", "xref_hest", "notes"), ""),
                }
                sources = tuple(Source(**source) for source in row["sources"])
                n = row["spots"]
                found = Section(study_id, name, about["sample_id"], "active", sources, about, spots_under_tissue=n)
                sections.append(found)
        study = Study(
            study_id, "Synthetic", "visium", "CC-BY-4.0", None, "made", None, "None", (), recipe, tuple(sections)
        )
        chosen += [Chosen(study, section) for section in sections]
    return chosen


@lru_cache(maxsize=1)
def _donor() -> Donor:
    return read_donor()


def read_donor() -> Donor:
    """The real section, or counts drawn with its sparsity."""
    path = Path(os.environ.get("HUMANST_TEST_DATA", ".")) / REAL_COUNTS
    return _real_counts(path) if path.is_file() else _drawn_counts()


def _real_counts(path: Path) -> Donor:
    import h5py
    from scipy.sparse import csr_matrix

    with h5py.File(path) as store:
        matrix = store["matrix"]
        n_genes, n_spots = matrix["shape"][...].tolist()
        parts = (matrix["data"][...], matrix["indices"][...], matrix["indptr"][...])
        ids, names = (matrix[f"features/{kind}"][...].astype(str) for kind in ("id", "name"))
    return Donor(csr_matrix(parts, shape=(n_spots, n_genes)), ids, names, path.parts[-3])


def _drawn_counts(n_spots: int = 3800, n_genes: int = 14_664, genes_a_spot: int = 5_000) -> Donor:
    from scipy import sparse

    rng = np.random.default_rng(7)
    level = np.exp(rng.normal(0.0, 1.8, n_genes))
    level *= 17_000 / level.sum()
    names = np.array(gene_names(n_genes))
    size = np.exp(rng.normal(0.0, 0.5, n_spots))
    blocks = []
    for start in range(0, n_spots, 200):
        blocks.append(sparse.csr_matrix(rng.poisson(level * size[start : start + 200, None]).astype(np.int32)))
    return Donor(sparse.vstack(blocks, format="csr"), names[:, 1], names[:, 0], "drawn")


@lru_cache(maxsize=1)
def _ground() -> tuple[NDArray[np.uint8], ...]:
    """The texture and its halvings, down to one tile."""
    import cv2

    levels = [texture(0)]
    while levels[-1].shape[0] > TILE_PX:
        levels.append(np.asarray(cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)))
    return tuple(levels)


def outline(seed: int, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Which 64 um squares of a slide are tissue: an irregular piece that covers 55 to 75 % of it, off its middle."""
    from scipy import ndimage

    rng = np.random.default_rng([seed, 1])
    rows, columns = np.indices(shape)
    centre = np.array(shape) * rng.uniform(0.35, 0.65, 2)
    distance = np.hypot((rows - centre[0]) / shape[0], (columns - centre[1]) / shape[1])
    field = ndimage.gaussian_filter(rng.standard_normal(shape), 12.0)
    height = field / field.std() * 0.12 - distance
    return np.asarray(height > np.quantile(height, 1.0 - rng.uniform(0.55, 0.75)))


def write_section(folder: Path, seed: int, donor: Donor) -> int:
    """Write one section's files; returns its number of spots."""
    from scipy.sparse import csr_matrix

    rng = np.random.default_rng([seed, 2])
    row, column = (axis.ravel() for axis in np.indices((ROWS, COLUMNS)))
    row, column = row[(row + column) % 2 == 0], column[(row + column) % 2 == 0]
    xy_um = np.stack([column * PITCH_UM / 2, row * PITCH_UM * np.sqrt(0.75)], axis=1) + MARGIN_UM
    size_px = np.ceil((xy_um.max(axis=0) + MARGIN_UM) / UM_PER_PIXEL).astype(int)
    across, down = (-(-size_px // TILE_PX)).tolist()
    is_tissue = outline(seed, (down, across))
    xy_px = np.rint(xy_um / UM_PER_PIXEL).astype(int)
    inside = is_tissue[xy_px[:, 1] // TILE_PX, xy_px[:, 0] // TILE_PX]
    inside &= np.cumsum(inside) <= donor.counts.shape[0]
    barcodes = np.array([f"{_word(number)}-1" for number in range(len(row))])
    write_slide(folder / "image.tif", is_tissue, size_px, shift=rng.integers(TEXTURE_PX // TILE_PX, size=2))
    head = "barcode,in_tissue,array_row,array_col,pxl_row_in_fullres,pxl_col_in_fullres"
    table = zip(barcodes, inside.astype(int), row, column, xy_px[:, 1], xy_px[:, 0], strict=True)
    lines = [head, *(",".join(map(str, line)) for line in table)]
    files.write_bytes(folder / "spatial" / "tissue_positions.csv", ("\n".join(lines) + "\n").encode())
    factors = {
        "spot_diameter_fullres": 65.0 / UM_PER_PIXEL,
        "fiducial_diameter_fullres": 105.0 / UM_PER_PIXEL,
        "tissue_hires_scalef": HIRES_PX / float(size_px.max()),
        "tissue_lowres_scalef": HIRES_PX / float(size_px.max()) * 0.3,
    }
    files.write_bytes(folder / "spatial" / "scalefactors_json.json", json.dumps(factors).encode())
    drawn = csr_matrix(donor.counts[rng.permutation(donor.counts.shape[0])[: inside.sum()]])
    drawn.data = rng.binomial(drawn.data.astype(np.int64), KEPT).astype(np.int32)
    drawn.eliminate_zeros()
    _write_counts(folder / "filtered_feature_bc_matrix.h5", drawn, barcodes[inside], donor)
    return int(inside.sum())


def _word(number: int) -> str:
    return "".join("ACGT"[number * 2_654_435_761 >> 2 * k & 3] for k in range(16))


def _write_counts(path: Path, counts: csr_matrix, barcodes: NDArray[np.str_], donor: Donor) -> None:
    import h5py

    arrays: dict[str, NDArray[Any]] = {
        "barcodes": barcodes.astype("S"),
        "data": counts.data,
        "indices": counts.indices.astype(np.int64),
        "indptr": counts.indptr.astype(np.int64),
        "shape": np.array(counts.shape[::-1], np.int32),
        "features/id": donor.gene_ids.astype("S"),
        "features/name": donor.gene_names.astype("S"),
        "features/feature_type": np.full(len(donor.gene_ids), b"Gene Expression"),
        "features/genome": np.full(len(donor.gene_ids), b"GRCh38"),
    }

    def save(partial: Path) -> None:
        with h5py.File(partial, "w") as store:
            for name, values in arrays.items():
                packed = {"compression": "gzip", "compression_opts": 1} if values.size > 1000 else {}
                store.create_dataset(f"matrix/{name}", data=values, **packed)

    files.write_with(path, save)


def write_slide(path: Path, is_tissue: NDArray[np.bool_], size_px: NDArray[np.int64], shift: NDArray[np.int64]) -> None:
    """Write the pyramid: texture where a 256 px square is tissue, white elsewhere."""
    import tifffile

    def save(partial: Path) -> None:
        with tifffile.TiffWriter(partial, bigtiff=False) as out:
            width, height = size_px.tolist()
            level = 0
            while level == 0 or min(width, height) >= SMALLEST_LEVEL_PX // 2:
                per_cm = 1e4 / UM_PER_PIXEL / 2**level
                out.write(
                    _tiles(level, width, height, is_tissue, shift),
                    shape=(height, width, 3),
                    dtype=np.uint8,
                    tile=(TILE_PX, TILE_PX),
                    photometric="ycbcr",
                    subsampling=(2, 2),
                    compression="jpeg",
                    resolution=(per_cm, per_cm),
                    resolutionunit="CENTIMETER",
                    subfiletype=min(level, 1),
                    metadata=None,
                )
                width, height, level = width // 2, height // 2, level + 1

    files.write_with(path, save)


def _tiles(
    level: int, width: int, height: int, is_tissue: NDArray[np.bool_], shift: NDArray[np.int64]
) -> Iterator[bytes]:
    side = min(2**level, TILE_PX)
    down, across = -(-height // TILE_PX), -(-width // TILE_PX)
    padded = np.pad(is_tissue, ((0, down * side), (0, across * side)))
    for row in range(down):
        for column in range(across):
            part = padded[row * side : (row + 1) * side, column * side : (column + 1) * side]
            first = ((row * side + int(shift[0])) % 16, (column * side + int(shift[1])) % 16)
            yield _tile(level, first, part.shape[0], part.tobytes())


@lru_cache(maxsize=20_000)
def _tile(level: int, first: tuple[int, int], side: int, is_tissue: bytes) -> bytes:
    """One JPEG tile, of ``side`` x ``side`` squares of a slide, the first of them at ``first`` in the texture."""
    import simplejpeg

    square = TILE_PX // side
    mask = np.frombuffer(is_tissue, dtype=bool).reshape(side, side).repeat(square, 0).repeat(square, 1)
    ground = _ground()[min(level, len(_ground()) - 1)]
    rows, columns = ((np.arange(TILE_PX) + start * square) % ground.shape[0] for start in first)
    rgb = np.where(mask[..., None], ground[np.ix_(rows, columns)], np.uint8(WHITE))
    data: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(rgb), quality=SLIDE_QUALITY, colorspace="RGB", colorsubsampling="420"
    )
    return data
