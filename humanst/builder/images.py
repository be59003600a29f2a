"""A section's images: the record that patches are cut from, its tissue mask, the picture its store carries."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from humanst.harmonize import section as harmonizing
from humanst.harmonize.outline import read_outline
from humanst.harmonize.space import LatticeFit
from humanst.harmonize.tissue import MASK_UM_PER_PIXEL, TissueMask
from humanst.platforms import RawSection
from humanst.store import StorePicture, halvings_for
from humanst.tiles import ImageOfRecord, image_of_record, image_size, image_tissue, scaled_image

STORE_UM_PER_PIXEL = 2.0
EMBED_UM_PER_PIXEL = 0.5


def record_image(raw: RawSection, target: Path, fit: LatticeFit) -> ImageOfRecord | None:
    """The image of record of a section, made at ``target`` where needed; ``None`` (and a warning) without an image."""
    path = _image_path(raw)
    return None if path is None else image_of_record(path, target, um_per_pixel=fit.um_per_pixel, name=raw.image_name)


def glance_image(raw: RawSection, fit: LatticeFit) -> ImageOfRecord | None:
    """The source image as if it were the record, for checks that write nothing: size and scale, no levels, no copy."""
    path = _image_path(raw)
    if path is None:
        return None
    width_px, height_px = image_size(path, name=raw.image_name)
    digest = next((raw.files.sha256[role] for role in raw.files.paths if raw.files.paths[role] == path), "")
    return ImageOfRecord(
        path=path,
        name=raw.image_name,
        sha256=digest,
        width_px=width_px,
        height_px=height_px,
        um_per_pixel=fit.um_per_pixel,
        levels=(),
        derived=False,
        source_sha256=digest,
    )


def _image_path(raw: RawSection) -> Path | None:
    if raw.image_path is None:
        unplaced = "image" in raw.files.paths
        raw.findings.warn(
            "no-image",
            "The section has no image that its spots lie on: it builds without patches",
            field="image",
            expected="an H&E image, and what puts the spots on it",
            found=f"{raw.files.names['image']}, and nothing that puts the spots on it"
            if unplaced
            else "no file of the roles image, hires and lowres",
        )
    return raw.image_path


def picture_of(record: ImageOfRecord, raw: RawSection) -> harmonizing.Picture:
    """What the section records of its image, without machine paths."""
    return harmonizing.Picture(
        name=f"images/{record.path.name}" if record.derived else raw.image_name,
        sha256=record.sha256,
        source_name=raw.image_name,
        source_sha256=record.source_sha256,
        width_px=record.width_px,
        height_px=record.height_px,
        levels=tuple(asdict(level) for level in record.levels),
        derived=record.derived,
    )


def tissue_of(record: ImageOfRecord, fit: LatticeFit, outline: Path | None) -> TissueMask:
    """The tissue mask of the whole image: from an outline, else by optical density."""
    if outline is not None:
        size_px = (record.width_px, record.height_px)
        return read_outline(
            outline, size_px=size_px, um_per_pixel=fit.um_per_pixel, mask_um_per_pixel=MASK_UM_PER_PIXEL
        )
    return image_tissue(record.path, fit.um_per_pixel)


def store_picture(record: ImageOfRecord, fit: LatticeFit, *, embed: bool) -> StorePicture:
    """The picture a store carries: 2 um per pixel and coarser, or from max(native, 0.5) down with ``embed``."""
    wanted = EMBED_UM_PER_PIXEL if embed else STORE_UM_PER_PIXEL
    shrink = max(1.0, wanted / fit.um_per_pixel)
    halvings = halvings_for(min(record.width_px, record.height_px) / shrink)
    scaled = scaled_image(record.path, shrink, halvings=halvings)
    x, y = scaled.px_per_source_px
    return StorePicture(scaled.array, (fit.um_per_pixel / x, fit.um_per_pixel / y), halvings)
