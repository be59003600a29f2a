"""How transcripts get onto an H&E image: the vendor's alignment matrix, and what the image's header says.

The matrix maps pixels of the H&E image to pixels of the DAPI image (10x Genomics, "How can I convert coordinates
between H&E image and Xenium data", kb.10xgenomics.com 35386990499853); transcripts are in um of the DAPI frame, so
``H&E px = inverse(matrix) (um / pixel_size)``. Pixel (0, 0) begins at coordinate 0 in both.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from humanst.errors import DataError
from humanst.findings import Findings

# The instrument's own pixel size, the same on every bundle seen.
INSTRUMENT_UM_PER_PIXEL = 0.2125
SAME_SCALE_WITHIN = 0.01
MAX_SHEAR = 0.01
# Slide scanners lie between these; a coarser tag is a print resolution (72 dpi is 353 um a pixel).
PLAUSIBLE_UM_PER_PIXEL = (0.05, 5.0)
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_UM_PER_UNIT = {"µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4}


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """Size of an image, and the scale its header claims.

    Attributes
    ----------
    um_per_pixel
        ``None`` where the header claims none, or one that no slide scanner has.
    """

    width_px: int
    height_px: int
    um_per_pixel: float | None


@dataclass(frozen=True, slots=True)
class Alignment:
    """A similarity from H&E pixels to DAPI pixels.

    Attributes
    ----------
    matrix
        ``(2, 3)`` float64, as in the file.
    scale
        DAPI pixels per H&E pixel, ``sqrt(|det|)``.
    mirrored
        Whether it turns the image over.
    """

    matrix: NDArray[np.float64]
    scale: float
    mirrored: bool

    def um_to_image(self, pixel_size_um: float) -> NDArray[np.float64]:
        """The ``(2, 3)`` affine from DAPI um to um of the H&E frame, whose pixel is ``pixel_size_um * scale``.

        Solved by hand: the same file gives the same bits on every machine.
        """
        (a, b, c), (d, e, f) = self.matrix.tolist()
        determinant = a * e - b * d
        inverse = np.array([[e, -b, b * f - e * c], [-d, a, d * c - a * f]]) / determinant
        inverse[:, 2] *= pixel_size_um
        um: NDArray[np.float64] = inverse * self.scale
        return um


def read_alignment(path: Path, *, name: str, findings: Findings) -> Alignment | None:
    """Read a ``*imagealignment.csv``: three rows of three numbers.

    Findings: ``alignment-unreadable`` and ``alignment-not-similar`` refuse, ``alignment-mirrored`` warns. ``None`` is
    returned after a refusal.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
        rows = [[float(part) for part in line.split(",")] for line in text.splitlines() if line.strip()]
        matrix = np.array(rows, dtype=np.float64)
    except ValueError as error:
        _unreadable(name, str(error), findings)
        return None
    fault = _fault(matrix)
    if fault is not None:
        _unreadable(name, fault, findings)
        return None
    matrix = matrix[:2]
    determinant = float(matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0])
    if not _is_similar(matrix, determinant, name, findings):
        return None
    if determinant < 0:
        findings.warn(
            "alignment-mirrored",
            "The alignment turns the H&E image over",
            file=name,
            expected="a turn and a scale, for both images show the section from one side",
            found=f"determinant {determinant:.4g}",
            todo="Check that x and y of the matrix were not exchanged",
        )
    return Alignment(matrix, math.sqrt(abs(determinant)), determinant < 0)


def _fault(matrix: NDArray[np.float64]) -> str | None:
    if matrix.shape not in ((3, 3), (2, 3)) or not np.isfinite(matrix).all():
        return f"{' x '.join(map(str, matrix.shape))} values, or some that are not finite"
    if len(matrix) == 3 and matrix[2].tolist() != [0.0, 0.0, 1.0]:
        return f"the last row {matrix[2].tolist()}"
    return None


def _unreadable(name: str, found: str, findings: Findings) -> None:
    findings.refuse(
        "alignment-unreadable",
        "The alignment is not a matrix",
        file=name,
        expected="3 x 3 numbers from H&E pixels to DAPI pixels, the last row 0,0,1",
        found=found,
        todo="Give the *imagealignment.csv, not the file of key points",
    )


def _is_similar(matrix: NDArray[np.float64], determinant: float, name: str, findings: Findings) -> bool:
    """Whether x and y have one scale and stay at a right angle: cells of a section are not stretched."""
    along, across = math.hypot(matrix[0, 0], matrix[1, 0]), math.hypot(matrix[0, 1], matrix[1, 1])
    shear = math.inf
    if along > 0 and across > 0:
        shear = abs(matrix[0, 0] * matrix[0, 1] + matrix[1, 0] * matrix[1, 1]) / (along * across)
    similar = determinant != 0 and shear <= MAX_SHEAR and abs(along / across - 1) <= SAME_SCALE_WITHIN
    if not similar:
        findings.refuse(
            "alignment-not-similar",
            "The alignment stretches or shears the image",
            file=name,
            expected=f"scales along x and y within {SAME_SCALE_WITHIN:.0%}, shear at most {MAX_SHEAR:g}",
            found=f"scales {along:.4g} and {across:.4g}, shear {shear:.3g}",
            todo="Check that the file is the affine of this image; a non-rigid registration must be applied beforehand",
        )
    return similar


def read_image_header(path: Path, *, name: str) -> ImageHeader:
    """Size and claimed scale of a TIFF (OME, Aperio and other slides among them), JPEG or PNG, from its header.

    Raises
    ------
    DataError
        ``image-unreadable``.
    """
    import pyvips
    import tifffile

    try:
        with path.open("rb") as handle:
            head = handle.read(4)
        if head in _TIFF_MAGIC:
            with tifffile.TiffFile(path) as slide:
                page = slide.pages.first
                scale = _plausible(_ome_scale(slide.ome_metadata) or _tag_scale(page))
                return ImageHeader(int(page.imagewidth), int(page.imagelength), scale)
        load = pyvips.Image.jpegload if head.startswith(b"\xff\xd8\xff") else pyvips.Image.pngload
        image = load(str(path))
    except (OSError, pyvips.Error, tifffile.TiffFileError, IndexError) as error:
        raise DataError(
            "The image cannot be read",
            code="image-unreadable",
            file=name,
            expected="a TIFF, JPEG or PNG image",
            found=str(error),
            todo="Fetch the file again",
        ) from error
    return ImageHeader(int(image.width), int(image.height), None)


def _plausible(um_per_pixel: float | None) -> float | None:
    low, high = PLAUSIBLE_UM_PER_PIXEL
    return um_per_pixel if um_per_pixel is not None and low <= um_per_pixel <= high else None


def _ome_scale(ome: str | None) -> float | None:
    """The first PhysicalSizeX of OME-XML; its unit is um unless given. A regular expression: no XML is parsed."""
    size = re.search(r'\bPhysicalSizeX="([0-9.eE+-]+)"', ome or "")
    unit = re.search(r'\bPhysicalSizeXUnit="([^"]*)"', ome or "")
    factor = _UM_PER_UNIT.get(unit[1]) if unit else 1.0
    try:
        return float(size[1]) * factor if size and factor else None
    except ValueError:
        return None


def _tag_scale(page: object) -> float | None:
    """Scale in um per pixel of the resolution tags; ``None`` without a unit or where x and y differ."""
    tags = getattr(page, "tags", {})
    values = {name: tags[name].value for name in ("XResolution", "YResolution", "ResolutionUnit") if name in tags}
    um_per_unit = {2: 25_400.0, 3: 10_000.0}.get(int(values.get("ResolutionUnit", 0)))
    if um_per_unit is None or len(values) < 3:
        return None
    scales = []
    for name in ("XResolution", "YResolution"):
        numerator, denominator = values[name]
        if not numerator or not denominator:
            return None
        scales.append(um_per_unit * denominator / numerator)
    return scales[0] if abs(scales[0] / scales[1] - 1) <= SAME_SCALE_WITHIN else None
