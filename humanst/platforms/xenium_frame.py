"""The frame in which a Xenium section's squares are laid: that of the H&E image, or the assay's own without one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from humanst.catalog import Recipe
from humanst.errors import DataError
from humanst.fetch import LocalFiles
from humanst.findings import Findings
from humanst.platforms.image_header import read_image_header
from humanst.platforms.pooling import SquareGrid
from humanst.platforms.registration import Alignment, read_alignment
from humanst.platforms.xenium_bundle import Experiment

_IDENTITY = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


@dataclass(frozen=True, slots=True)
class Frame:
    """The frame the grid is laid in.

    Attributes
    ----------
    um_per_pixel
        Of the image; of the DAPI image in the assay's frame.
    size_px
        (width, height) of the image; ``None`` for the assay's frame, where no image can be used.
    to_frame
        ``(2, 3)`` affine from assay um to um of the frame.
    witnesses
        Other readings of ``um_per_pixel``.
    """

    um_per_pixel: float
    size_px: tuple[int, int] | None
    to_frame: NDArray[np.float64]
    witnesses: Mapping[str, float]
    alignment: Alignment | None = None

    def grid(self, side_um: float) -> SquareGrid:
        """The grid anchored at the frame's origin."""
        if self.size_px is None:
            return SquareGrid(side_um, self.to_frame, None, None, "negative-position")
        width_um, height_um = (length * self.um_per_pixel for length in self.size_px)
        return SquareGrid(side_um, self.to_frame, width_um, height_um, "off-image")


def choose_frame(files: LocalFiles, recipe: Recipe, experiment: Experiment, findings: Findings) -> Frame:
    """The image's frame where transcripts can be put on it, else the assay's.

    Findings: ``no-alignment`` and ``scale-one-witness`` warn, ``registered-without-scale`` refuses, and those of
    :func:`~humanst.platforms.registration.read_alignment`.
    """
    alignment = None
    if "alignment" in files.paths:
        alignment = read_alignment(files.paths["alignment"], name=files.names["alignment"], findings=findings)
    registered = bool(recipe.options.get("registered", False))
    # Without an image a pixel is only a unit, and the recipe's agrees with itself.
    in_assay = Frame(recipe.um_per_pixel or experiment.pixel_size_um, None, _IDENTITY, {})
    if findings.refused:
        return in_assay
    if "image" not in files.paths or (alignment is None and not registered):
        findings.warn(
            "no-alignment",
            "Transcripts cannot be put on an H&E image: the section builds without patches",
            field="alignment",
            expected="an H&E image and its *imagealignment.csv, or the recipe option `registered`",
            found="an image alone" if "image" in files.paths else "no image",
            done="The grid was laid in the assay's own frame",
        )
        return in_assay
    if alignment is None and recipe.um_per_pixel is None:
        findings.refuse(
            "registered-without-scale",
            "The scale of an image in register is not known",
            file="recipe.yaml",
            field="um_per_pixel",
            expected="um_per_pixel and its source beside `registered: true`",
            found="nothing; the header of an image is never trusted alone",
        )
        return in_assay
    return _image_frame(files, recipe, experiment, alignment, findings)


def _image_frame(
    files: LocalFiles, recipe: Recipe, experiment: Experiment, alignment: Alignment | None, findings: Findings
) -> Frame:
    try:
        header = read_image_header(files.paths["image"], name=files.names["image"])
    except DataError as error:
        findings.absorb(error)
        return Frame(experiment.pixel_size_um, None, _IDENTITY, {})
    size_px = (header.width_px, header.height_px)
    witnesses = {} if header.um_per_pixel is None else {"image_header": header.um_per_pixel}
    if alignment is None:
        um_per_pixel = recipe.um_per_pixel or experiment.pixel_size_um
        if not witnesses:
            findings.warn(
                "scale-one-witness",
                "The scale rests on the recipe alone",
                file="recipe.yaml",
                field="um_per_pixel",
                expected="two independent witnesses",
                found=f"{um_per_pixel:.4f} um per pixel, and none in the image's header",
            )
        return Frame(um_per_pixel, size_px, _IDENTITY, witnesses)
    um_per_pixel = experiment.pixel_size_um * alignment.scale
    return Frame(um_per_pixel, size_px, alignment.um_to_image(experiment.pixel_size_um), witnesses, alignment)
