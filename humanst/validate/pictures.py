"""Checks of images and places in a SpatialData store of any origin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from humanst.catalog import Lattice
from humanst.findings import Findings
from humanst.harmonize.orientation import Positions, check_placement
from humanst.harmonize.space import LatticeFit, check_residual, fit_lattice
from humanst.harmonize.tissue import check_stain, tissue_mask
from humanst.validate.report import not_checkable
from humanst.validate.section import tell_outside

if TYPE_CHECKING:
    from anndata import AnnData
    from geopandas import GeoDataFrame
    from numpy.typing import NDArray
    from spatialdata import SpatialData

STAIN_SIDE_PX = 256
MAX_DECODED_PX = 1 << 27
VISIUM_LATTICE = Lattice("hex", 100.0, 55.0)
BIN_LATTICE = Lattice("square", 1.0, 1.0)


def levels(image: Any) -> list[Any]:
    """The arrays (c, y, x) of an image element, finest first."""
    if hasattr(image, "children"):
        return [
            image[name]["image"] for name in sorted(image.children, key=lambda name: int(name.removeprefix("scale")))
        ]
    return [image]


def is_rgb(image: Any) -> bool:
    """Whether an image element has three channels of uint8."""
    finest = levels(image)[0]
    return bool(finest.dtype == np.uint8 and finest.sizes.get("c") == 3)


def check_image(image: Any, name: str, findings: Findings) -> None:
    """An image is 8-bit RGB, has a transformation, and shows H&E."""
    from spatialdata.transformations import get_transformation

    finest = levels(image)[0]
    _decode(image, name, findings)
    if not get_transformation(image, get_all=True):
        findings.refuse("no-transformation", "The image lies in no coordinate system", file=f"images/{name}")
    if not is_rgb(image):
        findings.warn(
            "not-rgb",
            "The image is not 8-bit RGB, so it is no H&E picture",
            file=f"images/{name}",
            expected="3 channels of uint8",
            found=f"{finest.sizes.get('c')} channels of {finest.dtype}",
        )
        return
    check_stain(_pixels(_coarse(image)), findings, file=f"images/{name}")


def _decode(image: Any, name: str, findings: Findings) -> None:
    """Read every pixel of an image, block by block: a chunk that does not decode raises."""
    for level in levels(image):
        if level.sizes["y"] * level.sizes["x"] > MAX_DECODED_PX:
            size = f"{level.sizes['x']:,} x {level.sizes['y']:,} px"
            not_checkable(findings, f"pixels of images/{name}", f"a level of {size} is not read in full")
        else:
            level.max().compute()


def _coarse(image: Any) -> Any:
    """The coarsest level that still has ``STAIN_SIDE_PX`` pixels a side, else the finest."""
    fit = [level for level in levels(image) if min(level.sizes["y"], level.sizes["x"]) >= STAIN_SIDE_PX]
    return fit[-1] if fit else levels(image)[0]


def _pixels(level: Any) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = level.transpose("y", "x", "c").to_numpy()
    return pixels


def check_places(sdata: SpatialData, table: AnnData, findings: Findings) -> None:
    """Spots of a store of other origin: inside the image, on their lattice, and the right way round where told."""
    picture, xy_px, why = _places(sdata, table)
    if picture is None or xy_px is None:
        for field in ("scale", "orientation", "spots inside the image"):
            not_checkable(findings, field, why)
        return
    finest = levels(sdata.images[picture])[0]
    size_px = (int(finest.sizes["x"]), int(finest.sizes["y"]))
    tell_outside(xy_px, size_px, findings, file=f"images/{picture}")
    fit = _check_lattice(table, xy_px, findings)
    if fit is None:
        not_checkable(findings, "scale", "no array_row and array_col, and nothing else says um per pixel")
        not_checkable(findings, "orientation", "no lattice to tell the scale of the image")
        return
    not_checkable(findings, "second witness of the scale", "the store keeps no scale factors")
    _check_turn(sdata.images[picture], table, xy_px, fit, size_px, findings)


def _places(sdata: SpatialData, table: AnnData) -> tuple[str | None, NDArray[np.float64] | None, str]:
    """An RGB image, the centre of each row's shape in its pixels, and why there is none of these."""
    pictures = [name for name in sorted(sdata.images) if is_rgb(sdata.images[name])]
    if not pictures:
        return None, None, "no 8-bit RGB image"
    shapes, why = shapes_of(sdata, table)
    if shapes is None:
        return None, None, why
    for picture in pictures:
        xy_px = places_in(shapes, sdata.images[picture])
        if xy_px is not None:
            return picture, xy_px, ""
    return None, None, "image and shapes share no coordinate system"


def shapes_of(sdata: SpatialData, table: AnnData) -> tuple[GeoDataFrame | None, str]:
    """The shape of each row of a table, in its order, by the element it annotates; else ``None`` and why."""
    about = table.uns.get("spatialdata_attrs")
    if not isinstance(about, Mapping) or not {"region", "instance_key"} <= set(about):
        return None, "the table annotates no shapes"
    regions = [about["region"]] if isinstance(about["region"], str) else [str(name) for name in about["region"]]
    if len(regions) != 1 or regions[0] not in sdata.shapes:
        return None, f"the table annotates {', '.join(regions[:3])}, not one element of shapes"
    shapes, instances = sdata.shapes[regions[0]], table.obs[about["instance_key"]].to_numpy()
    if not shapes.index.is_unique or not np.isin(instances, shapes.index.to_numpy()).all():
        return None, "rows of the table have no shape of their own"
    return shapes.loc[instances], ""


def places_in(shapes: GeoDataFrame, image: Any) -> NDArray[np.float64] | None:
    """Centres ``(n, 2)`` of shapes in pixels of an image, through a coordinate system that both have."""
    from spatialdata.transformations import get_transformation

    shared = sorted(set(get_transformation(shapes, get_all=True)) & set(get_transformation(image, get_all=True)))
    if not shared:
        return None
    centre = shapes.geometry.centroid
    points = np.stack([centre.x.to_numpy(), centre.y.to_numpy(), np.ones(len(shapes))])
    to_common = get_transformation(shapes, shared[0]).to_affine_matrix(("x", "y"), ("x", "y"))
    to_pixels = np.linalg.inv(get_transformation(image, shared[0]).to_affine_matrix(("x", "y"), ("x", "y")))
    found: NDArray[np.float64] = (to_pixels @ (to_common @ points))[:2].T
    return found


def _check_lattice(table: AnnData, xy_px: NDArray[np.float64], findings: Findings) -> LatticeFit | None:
    """Residual of the lattice where the table keeps its indices; the fit where they are Visium's, of known pitch."""
    if not {"array_row", "array_col"} <= set(table.obs.columns):
        return None
    row_col = table.obs[["array_row", "array_col"]].to_numpy(np.float64)
    if not np.isfinite(row_col).all():
        return None
    indices = row_col.astype(np.int64)
    hexagonal = len(np.unique(indices.sum(axis=1) % 2)) == 1
    lattice, platform = (VISIUM_LATTICE, "visium") if hexagonal else (BIN_LATTICE, "visium_hd")
    fit = fit_lattice(indices, xy_px, lattice, findings)
    if fit is not None:
        # Pixels of a reduced copy are fractions of the full-resolution ones that were rounded.
        check_residual(fit, lattice, findings, platform=platform)
    return fit if hexagonal else None


def _check_turn(
    image: Any,
    table: AnnData,
    xy_px: NDArray[np.float64],
    fit: LatticeFit,
    size_px: tuple[int, int],
    findings: Findings,
) -> None:
    flags = (
        table.obs["in_tissue"].to_numpy().astype(float) == 1 if "in_tissue" in table.obs else np.ones(table.n_obs, bool)
    )
    if flags.all() or not flags.any():
        not_checkable(findings, "orientation", "the table holds spots in tissue only")
        return
    level = _coarse(image)
    tissue = tissue_mask(_pixels(level), fit.um_per_pixel * size_px[0] / level.sizes["x"])
    row_col = table.obs[["array_row", "array_col"]].to_numpy(np.int64)
    check_placement(
        Positions(row_col, xy_px, flags),
        fit,
        tissue,
        findings,
        platform="visium",
        size_px=size_px,
        side_um=VISIUM_LATTICE.spot_diameter_um,
    )
