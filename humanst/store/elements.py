"""A harmonized section as a SpatialData object with one coordinate system, ``um``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from humanst.harmonize.section import Section

if TYPE_CHECKING:
    import dask.array as da
    from anndata import AnnData
    from spatialdata import SpatialData

STORE_SCHEMA = "humanst.section/1"
COORDINATES = "um"
SMALLEST_LEVEL_PX = 512


@dataclass(frozen=True, slots=True)
class StorePicture:
    """The picture a store carries: a lazy (3, y, x) uint8 array, its exact um per pixel along x and y, its levels."""

    array: da.Array
    um_per_pixel: tuple[float, float]
    halvings: int


def halvings_for(smallest_side_px: float) -> int:
    """How often to halve a picture until its smaller side is below 512 px."""
    return max(0, int(np.floor(np.log2(max(smallest_side_px, 1.0) / SMALLEST_LEVEL_PX))) + 1)


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

    Images and labels carry exact scale transformations to it; spots are circles or squares in um.
    """
    from spatialdata import SpatialData

    parts: dict[str, Any] = {"shapes": {"spots": _shapes(section)}, "tables": {"table": _table(section)}}
    if picture is not None:
        parts["images"] = {"he": _image(picture)}
    if section.tissue is not None:
        parts["labels"] = {"tissue": _labels(section)}
    return SpatialData(**parts, attrs={"humanst": section_attrs(section)})


def _shapes(section: Section) -> Any:
    """Circles, or squares whose sides run along the fitted rows and columns of the lattice."""
    import pandas as pd
    from spatialdata.models import ShapesModel
    from spatialdata.transformations import Identity

    centres, half = section.spots[["x_um", "y_um"]].to_numpy(np.float64), section.target.side_um / 2
    number = pd.Index(np.arange(len(centres)), name="instance_id")
    to_um = {COORDINATES: Identity()}
    if section.target.shape == "circle":
        return ShapesModel.parse(centres, geometry=0, radius=half, index=number, transformations=to_um)
    import geopandas as gpd
    import shapely

    turn = np.deg2rad(section.lattice_fit.rotation_degrees)
    along = half * np.array([np.cos(turn), np.sin(turn)])
    across = half * np.array([-np.sin(turn), np.cos(turn)])
    corners = np.stack([-along - across, along - across, along + across, -along + across, -along - across])
    squares = shapely.polygons(centres[:, None, :] + corners)
    return ShapesModel.parse(gpd.GeoDataFrame(geometry=squares, index=number), transformations=to_um)


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
    return Image2DModel.parse(
        picture.array,
        dims=("c", "y", "x"),
        c_coords=["r", "g", "b"],
        scale_factors=[2] * picture.halvings or None,
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
