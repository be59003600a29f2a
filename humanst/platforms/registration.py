"""How transcripts get onto an H&E image: the vendor's alignment matrix.

The matrix maps pixels of the H&E image to pixels of the DAPI image (10x Genomics, "How can I convert coordinates
between H&E image and Xenium data", kb.10xgenomics.com 35386990499853); transcripts are in um of the DAPI frame, so
``H&E px = inverse(matrix) (um / pixel_size)``. Pixel (0, 0) begins at coordinate 0 in both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from humanst.findings import Findings

# The instrument's own pixel size, the same on every bundle seen.
INSTRUMENT_UM_PER_PIXEL = 0.2125
SAME_SCALE_WITHIN = 0.01
MAX_SHEAR = 0.01


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
