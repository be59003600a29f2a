"""What is embedded: the pairs of a release, or the patches of a whole slide, as images by number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from humanst.errors import DataError, UsageError
from humanst.tiles import (
    ImageOfRecord,
    PatchSpec,
    claimed_um_per_pixel,
    cut_patches,
    image_of_record,
    image_tissue,
    inside,
    require_fine_enough,
)
from stamp_train.embedded_file import COORDS
from stamp_train.run_facts import release_sha256

if TYPE_CHECKING:
    from humanst.load.release import Release

# Patches come in squares of so many, so that a batch decodes few tiles of the image twice.
SQUARE = 8


class Source(Protocol):
    """Images that can be read in any order, from any process.

    Attributes
    ----------
    facts
        What they are, as plain data without paths of this machine: equal facts mean equal images.
    columns
        What is kept beside each: n values each, and ``coords`` (n, 2), the upper left corner (x, y) in level-0 px.
    about_coords
        Attributes of ``coords``, as others' readers look for them.
    """

    facts: Mapping[str, Any]
    columns: Mapping[str, NDArray[Any]]
    about_coords: Mapping[str, Any]

    def __len__(self) -> int:
        """How many there are."""

    def images(self, rows: range) -> NDArray[np.uint8]:
        """(len(rows), side, side, 3) uint8, RGB."""


class PairImages:
    """The pairs of some splits of a release, split after split in the order of the index.

    Parameters
    ----------
    release
        A release, its folder, or its address.
    splits
        Their names; all that have pairs by default.

    Raises
    ------
    UsageError
        For an unknown split.
    DataError
        ``no-pairs`` when none of them has a pair.
    """

    def __init__(self, release: str | Path | Release, splits: Sequence[str] | None = None) -> None:
        from humanst.load import PairDataset, open_release

        release = open_release(release)
        names = list(dict.fromkeys(release.splits if splits is None else splits))
        # A pair that cannot be decoded stops here: a row left out would move all after it.
        self._datasets = [PairDataset(release, name, max_corrupt=0) for name in names]
        self._ends = np.cumsum([len(dataset) for dataset in self._datasets])
        if not names or self._ends[-1] == 0:
            raise DataError("There is no pair to embed", code="no-pairs", expected="a pair", found=", ".join(names))
        tables = [dataset.table for dataset in self._datasets]
        side_um = release.side_px * float(release.manifest["patch"]["um_per_pixel"])
        text = {
            name: np.concatenate([np.asarray(table[name].to_pylist(), dtype=object) for table in tables])
            for name in ("uid", "key", "sample_id")
        }
        x, y, scale = (
            np.concatenate([table[name].to_numpy() for table in tables]).astype(np.float64)
            for name in ("x_px", "y_px", "native_um_per_pixel")
        )
        corners = np.stack([x, y], axis=1) - (side_um / scale / 2)[:, None]
        self.columns: Mapping[str, NDArray[Any]] = {**text, COORDS: corners}
        self.about_coords: Mapping[str, Any] = {"patch_size": release.side_px}
        self.facts: Mapping[str, Any] = {
            "kind": "release",
            "version": release.version,
            "release_sha256": release_sha256(release),
            "splits": {name: len(dataset) for name, dataset in zip(names, self._datasets, strict=True)},
        }

    def __len__(self) -> int:
        return int(self._ends[-1])

    def images(self, rows: range) -> NDArray[np.uint8]:
        """(len(rows), side, side, 3) uint8, RGB.

        Raises
        ------
        IntegrityError, DataError, HostileError
            Naming the pair that cannot be read.
        """
        found, begin = [], 0
        for dataset, end in zip(self._datasets, self._ends.tolist(), strict=True):
            own = range(max(rows.start, begin) - begin, min(rows.stop, end) - begin)
            if own:
                found.append(np.asarray(dataset.__getitems__(own).images))
            begin = end
        return np.concatenate(found)


@dataclass(frozen=True, slots=True)
class Grid:
    """Where patches lie on a whole slide.

    Attributes
    ----------
    side_px, um_per_pixel
        Of a patch: 224 px at 0.5 um/px, as the pairs of a release are.
    overlap_px
        That neighbours share, in patch px.
    min_tissue
        Least share of tissue in a patch.
    """

    side_px: int = 224
    um_per_pixel: float = 0.5
    overlap_px: int = 0
    min_tissue: float = 0.15

    def __post_init__(self) -> None:
        for name, good in (
            ("side_px", self.side_px > 0),
            ("um_per_pixel", self.um_per_pixel > 0),
            ("overlap_px", 0 <= self.overlap_px < self.side_px),
            ("min_tissue", 0 <= self.min_tissue <= 1),
        ):
            if not good:
                raise UsageError("The grid cannot be this", code="grid", field=name, found=getattr(self, name))


class SlideImages:
    """The patches of a whole slide that lie on tissue.

    Parameters
    ----------
    slide
        Any image that :func:`humanst.tiles.image_of_record` takes.
    made
        Where its tiled pyramid goes if it has none that can be read in windows (``.tif``).
    grid
        See :class:`Grid`. Corners are whole level-0 px; patches lie wholly inside the image.
    um_per_pixel
        Scale of the slide; what its header claims by default.

    Raises
    ------
    DataError
        ``image-unreadable`` and others of the image; ``no-scale`` when nobody says the scale; ``image-too-coarse``;
        ``no-tissue`` when no patch has enough.
    HostileError
        ``image-too-large``.
    """

    def __init__(self, slide: Path, made: Path, grid: Grid, *, um_per_pixel: float | None = None) -> None:
        scale = um_per_pixel or claimed_um_per_pixel(slide)
        if scale is None:
            raise DataError(
                "It is not known how large a pixel of this slide is",
                code="no-scale",
                file=slide.name,
                expected="um per pixel in its header",
                found="none",
                todo="Give --um-per-pixel",
            )
        self._image = image_of_record(slide, made, um_per_pixel=scale, name=slide.name)
        usual = PatchSpec()
        # As much coarser as patches of a release may be made from.
        coarsest = usual.max_native_um_per_pixel / usual.um_per_pixel * grid.um_per_pixel
        self._spec = replace(
            usual, side_px=grid.side_px, um_per_pixel=grid.um_per_pixel, max_native_um_per_pixel=coarsest
        )
        require_fine_enough(slide.name, scale, self._spec)
        corners, n_inside = _corners(self._image, self._spec, grid)
        if not len(corners):
            raise DataError(
                "There is no patch to embed",
                code="no-tissue",
                file=slide.name,
                expected=f"a patch with {grid.min_tissue:.0%} tissue",
                found=f"none of {n_inside:,} inside the image",
                todo="Check the scale, or lower --min-tissue",
            )
        self._centres = corners + self._spec.side_um / scale / 2
        self.columns: Mapping[str, NDArray[Any]] = {COORDS: corners}
        self.about_coords: Mapping[str, Any] = _about(slide, grid, self._image)
        self.facts: Mapping[str, Any] = {
            "kind": "slide",
            "name": slide.name,
            "sha256": self._image.source_sha256,
            "um_per_pixel": scale,
            "width_px": self._image.width_px,
            "height_px": self._image.height_px,
            "grid": asdict(grid),
            "patches": {"inside": n_inside, "tissue": len(corners)},
        }

    def __len__(self) -> int:
        return len(self._centres)

    def images(self, rows: range) -> NDArray[np.uint8]:
        """(len(rows), side, side, 3) uint8, RGB: through the same JPEG as the pairs of a release.

        Raises
        ------
        DataError
            When the image does not decode there.
        """
        from humanst.load.decode import decode_jpg

        found = np.empty((len(rows), self._spec.side_px, self._spec.side_px, 3), dtype=np.uint8)
        for patch in cut_patches(self._image, self._centres[rows.start : rows.stop], spec=self._spec):
            decode_jpg(patch.jpg, side_px=self._spec.side_px, out=found[patch.index])
        return found


def _corners(image: ImageOfRecord, spec: PatchSpec, grid: Grid) -> tuple[NDArray[np.int64], int]:
    """(n, 2) upper left corners of the patches with tissue, and how many lie inside the image."""
    scale = image.um_per_pixel
    step_px, side_px = (grid.side_px - grid.overlap_px) * grid.um_per_pixel / scale, spec.side_um / scale
    across, down = (max(int((size - side_px) / step_px + 1e-9) + 1, 0) for size in (image.width_px, image.height_px))
    column, row = (axis.reshape(-1) for axis in np.meshgrid(np.arange(across), np.arange(down)))
    order = np.lexsort((column, row, column // SQUARE, row // SQUARE))
    corners = np.rint(np.stack([column, row], axis=1)[order] * step_px).astype(np.int64)
    centres = corners + side_px / 2
    corners = corners[inside(centres, image.width_px, image.height_px, scale, spec)]
    if not len(corners):
        return corners, 0
    tissue = image_tissue(image.path, scale).fraction((corners + side_px / 2) * scale, spec.side_um)
    return corners[tissue >= grid.min_tissue], len(corners)


def _about(slide: Path, grid: Grid, image: ImageOfRecord) -> dict[str, Any]:
    """The attributes that TRIDENT gives its coordinates and its readers ask for, and the scales they stand for."""
    nominal = 10.0  # a magnification of one, in um per pixel
    return {
        "patch_size": grid.side_px,
        "patch_size_level0": round(grid.side_px * grid.um_per_pixel / image.um_per_pixel),
        "level0_magnification": _whole(nominal / image.um_per_pixel),
        "target_magnification": _whole(nominal / grid.um_per_pixel),
        "overlap": grid.overlap_px,
        "name": slide.stem,
        "level0_width": image.width_px,
        "level0_height": image.height_px,
        "level0_um_per_pixel": image.um_per_pixel,
        "target_um_per_pixel": grid.um_per_pixel,
    }


def _whole(value: float) -> float | int:
    return round(value) if abs(value - round(value)) < 1e-6 else value
