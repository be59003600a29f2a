"""The section store: one SpatialData zarr a section, written aside, committed with a card, read back verified."""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from humanst import files
from humanst.errors import DataError, IntegrityError
from humanst.harmonize.section import Section

if TYPE_CHECKING:
    import dask.array as da
    import pandas as pd
    from anndata import AnnData
    from scipy.sparse import csr_matrix
    from spatialdata import SpatialData

logger = logging.getLogger(__name__)

STORE_SCHEMA = "humanst.section/1"
CARD_SCHEMA = "humanst.section-card/1"
COORDINATES = "um"
SMALLEST_LEVEL_PX = 512
CHUNK_PX = 256
SHARD_PX = 2048


@dataclass(frozen=True, slots=True)
class StorePicture:
    """The picture a store carries: a lazy (3, y, x) uint8 array and its exact um per pixel along x and y."""

    array: da.Array
    um_per_pixel: tuple[float, float]


@dataclass(frozen=True, slots=True)
class StoredSection:
    """A section read back from its store.

    Attributes
    ----------
    attrs
        The ``humanst`` attributes: provenance, findings, drops, target geometry, picture.
    counts
        ``(n_spots, n_genes)`` CSR integer counts.
    genes, spots
        Tables indexed by Ensembl id and by spot id.
    tissue
        ``(h, w)`` bool mask, or ``None``; its scale is in ``attrs["tissue"]``.
    """

    path: Path
    attrs: Mapping[str, Any]
    counts: csr_matrix
    genes: pd.DataFrame
    spots: pd.DataFrame
    tissue: NDArray[np.bool_] | None


def section_attrs(section: Section) -> dict[str, Any]:
    """Everything about a section that is not an array, as JSON-able data."""
    picture = section.picture
    return {
        "schema": STORE_SCHEMA,
        "sample_id": section.sample_id,
        "study_id": section.study_id,
        "section_id": section.section_id,
        "platform": section.platform,
        "um_per_pixel": section.um_per_pixel,
        "targeted": section.targeted,
        "target": {"shape": section.target.shape, "side_um": section.target.side_um},
        "counts_in": section.counts_in,
        "counts_out": int(section.counts.sum()),
        "spots_in": section.spots_in,
        "spots_out": int(section.counts.shape[0]),
        "drops": [drop.to_dict() for drop in section.drops],
        "findings": section.findings.to_list(),
        "picture": None
        if picture is None
        else {
            "name": picture.name,
            "sha256": picture.sha256,
            "source_name": picture.source_name,
            "source_sha256": picture.source_sha256,
            "width_px": picture.width_px,
            "height_px": picture.height_px,
            "um_per_pixel": section.um_per_pixel,
            "levels": [dict(level) for level in picture.levels],
            "derived": picture.derived,
        },
        "tissue": None
        if section.tissue is None
        else {
            "um_per_pixel": section.tissue.um_per_pixel,
            "source": section.tissue.source,
            "area_mm2": round(section.tissue.area_mm2, 6),
        },
        "provenance": dict(section.provenance),
    }


def to_spatialdata(section: Section, picture: StorePicture | None) -> SpatialData:
    """The section as a SpatialData object with one coordinate system, ``um``.

    Images and labels carry exact scale transformations to it; spots are circles in um.
    """
    import pandas as pd
    from spatialdata import SpatialData
    from spatialdata.models import ShapesModel
    from spatialdata.transformations import Identity

    number = pd.Index(np.arange(len(section.spots)), name="instance_id")
    shapes = ShapesModel.parse(
        section.spots[["x_um", "y_um"]].to_numpy(np.float64),
        geometry=0,
        radius=section.target.side_um / 2,
        index=number,
        transformations={COORDINATES: Identity()},
    )
    parts: dict[str, Any] = {"shapes": {"spots": shapes}, "tables": {"table": _table(section)}}
    if picture is not None:
        parts["images"] = {"he": _image(picture)}
    if section.tissue is not None:
        parts["labels"] = {"tissue": _labels(section)}
    return SpatialData(**parts, attrs={"humanst": section_attrs(section)})


def _table(section: Section) -> AnnData:
    import pandas as pd
    from anndata import AnnData
    from spatialdata.models import TableModel

    spots = section.spots.copy()
    spots["region"] = pd.Categorical(["spots"] * len(spots))
    spots["instance_id"] = np.arange(len(spots))
    # anndata 0.12 reads a missing string back as the text "None": every text column becomes a category first.
    for name in spots.columns:
        if spots[name].dtype == object:
            spots[name] = pd.Categorical(spots[name].astype(str))
    genes = section.genes.copy()
    genes["biotype"] = pd.Categorical(genes["biotype"])
    table = AnnData(X=section.counts.copy(), obs=spots, var=genes)
    table.obsm["spatial"] = section.spots[["x_um", "y_um"]].to_numpy(np.float64)
    table.obsm["spatial_px"] = section.spots[["x_px", "y_px"]].to_numpy(np.float64)
    return TableModel.parse(table, region="spots", region_key="region", instance_key="instance_id")


def _image(picture: StorePicture) -> Any:
    from spatialdata.models import Image2DModel
    from spatialdata.transformations import Scale

    scale = Scale(list(picture.um_per_pixel), axes=("x", "y"))
    smallest = min(picture.array.shape[1:])
    levels = max(0, int(np.floor(np.log2(max(smallest, 1) / SMALLEST_LEVEL_PX))) + 1)
    return Image2DModel.parse(
        picture.array,
        dims=("c", "y", "x"),
        c_coords=["r", "g", "b"],
        scale_factors=[2] * levels or None,
        transformations={COORDINATES: scale},
    )


def _labels(section: Section) -> Any:
    from spatialdata.models import Labels2DModel
    from spatialdata.transformations import Scale

    tissue = section.tissue
    if tissue is None:  # pragma: no cover - the caller asks only with a mask
        return None
    scale = Scale([tissue.um_per_pixel, tissue.um_per_pixel], axes=("x", "y"))
    return Labels2DModel.parse(tissue.mask.astype(np.uint8), dims=("y", "x"), transformations={COORDINATES: scale})


def write_section(section: Section, path: Path, *, picture: StorePicture | None, inputs: str) -> str:
    """Write the section store at ``path`` and, last, its card ``<name>.card.json``.

    Parameters
    ----------
    inputs
        Hash of everything the store was made from; :func:`is_current` compares it.

    Returns
    -------
    str
        Digest over the store's files (paths and sha256).
    """
    import dask

    files.remove(card_path(path))
    with files.folder_aside(path) as partial:
        inner = partial / "store.zarr"
        with quiet_libraries(), dask.config.set(scheduler="synchronous"):
            to_spatialdata(section, picture).write(inner)
            _shard_rasters(inner)
        files.hoist(inner)
    tree = tree_digest(path)
    card = {"schema": CARD_SCHEMA, "inputs": inputs, "sample_id": section.sample_id, **tree}
    files.write_json(card_path(path), card)
    return str(tree["tree_sha256"])


def _shard_rasters(store: Path) -> None:
    """Rewrite every raster array with 256 px chunks inside shards, so that a store has few files."""
    import dask.array as da
    import zarr

    for folder in sorted(path.parent for path in store.glob("*/*/*/zarr.json")):
        array = zarr.open(folder, mode="r")
        if not isinstance(array, zarr.Array) or array.ndim < 2 or folder.parent.parent.name not in ("images", "labels"):
            continue
        lead = array.shape[:-2]
        sharded = folder.with_name(f"{folder.name}.sharded")
        side = [min(SHARD_PX, -(-size // CHUNK_PX) * CHUNK_PX) for size in array.shape[-2:]]
        new = zarr.create_array(
            sharded,
            shape=array.shape,
            dtype=array.dtype,
            chunks=(*lead, CHUNK_PX, CHUNK_PX),
            shards=(*lead, *side),
            dimension_names=array.metadata.dimension_names,
            fill_value=0,
        )
        new.attrs.update(dict(array.attrs))
        da.from_zarr(folder, chunks=(*lead, *side)).store(new, lock=False)
        files.replace_folder(sharded, folder)
    zarr.consolidate_metadata(store)


def tree_digest(store: Path) -> dict[str, Any]:
    """Number of files, bytes and one digest over (relative path, sha256) of a folder."""
    digest, n_files, n_bytes = hashlib.sha256(), 0, 0
    for path in sorted((p for p in store.rglob("*") if p.is_file()), key=lambda p: p.relative_to(store).as_posix()):
        digest.update(f"{path.relative_to(store).as_posix()}\0{files.sha256_file(path)}\n".encode())
        n_files += 1
        n_bytes += path.stat().st_size
    return {"n_files": n_files, "n_bytes": n_bytes, "tree_sha256": digest.hexdigest()}


def card_path(store: Path) -> Path:
    """The card that commits a store."""
    return store.with_name(f"{store.name}.card.json")


def read_card(store: Path) -> dict[str, Any] | None:
    """The store's card, or ``None`` when the store was never committed."""
    path = card_path(store)
    if not path.is_file() or not store.is_dir():
        return None
    try:
        card = json.loads(path.read_bytes())
    except ValueError:
        return None
    return card if isinstance(card, dict) and card.get("schema") == CARD_SCHEMA else None


def is_current(store: Path, inputs: str) -> bool:
    """Whether a committed store was made from exactly these inputs."""
    card = read_card(store)
    return card is not None and card.get("inputs") == inputs


def read_attrs(store: Path) -> dict[str, Any]:
    """The ``humanst`` attributes of a store, without opening anything else of it."""
    content = json.loads((store / "zarr.json").read_bytes())
    attrs: dict[str, Any] = content["attributes"]["humanst"]
    return attrs


def open_section(store: Path) -> StoredSection:
    """Read a committed store, after checking that no file of it is missing.

    Raises
    ------
    DataError
        ``not-a-section`` for a folder without a card.
    IntegrityError
        When the number of files or bytes differs from the card: zarr would read a lost chunk as zeros.
    """
    import anndata
    import zarr

    card = read_card(store)
    if card is None:
        raise DataError(
            "This is not a finished section store",
            code="not-a-section",
            file=store.name,
            expected=f"a folder with a card {card_path(store).name}",
            found="no card",
            todo="Build it again with `humanst build`",
        )
    found = [path.stat().st_size for path in store.rglob("*") if path.is_file()]
    if (len(found), sum(found)) != (card["n_files"], card["n_bytes"]):
        raise IntegrityError(
            "The section store is not as it was written",
            code="store-changed",
            section=str(card.get("sample_id")),
            file=store.name,
            expected=f"{card['n_files']} files, {card['n_bytes']:,} bytes",
            found=f"{len(found)} files, {sum(found):,} bytes",
            todo="Build it again with `humanst build`",
        )
    with quiet_libraries():
        root = zarr.open_group(store, mode="r")
        table = anndata.io.read_zarr(store / "tables" / "table")
        attrs = dict(root.attrs)["humanst"]
        tissue = np.asarray(root["labels/tissue/s0"] if "labels/tissue/s0" in root else root["labels/tissue/0"][...])
    return StoredSection(store, attrs, table.X.tocsr(), table.var, table.obs, tissue.astype(bool))


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence warnings that the libraries print about their own future, within the block."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=FutureWarning)
        warnings.simplefilter("ignore", category=DeprecationWarning)
        warnings.simplefilter("ignore", category=UserWarning)
        yield
