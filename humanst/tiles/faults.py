"""The errors of this room, each written once."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from humanst.errors import DataError, HostileError, HumanstError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_IMAGE_PX = 2**34
"""Largest image taken, in pixels, read from the header: 131,072 x 131,072."""

FREE_BYTES = 256 << 20
MAX_GROWTH = 500
"""An image that grows to more than :data:`FREE_BYTES`, and more than so many times its file, holds no slide.

Blank JPEG grows 260 times at the most, real slides 10 to 60 times; blank PNG and deflated TIFF 1,000 times.
"""

MAX_WHOLE_PX = 2**29
"""Largest image taken that can only be decoded as a whole: progressive JPEG needs 6 bytes a pixel for that."""


@contextmanager
def named(name: str | None) -> Iterator[None]:
    """Let the errors of the block name the file as the catalog does; None leaves the file's own name."""
    try:
        yield
    except HumanstError as error:
        if name is not None:
            error.facts = replace(error.facts, file=name)
        raise


def unreadable(path: Path, expected: str, found: object) -> DataError:
    """Say that an image is not an image, or not all of one: ``image-unreadable``."""
    text = " ".join(str(found).split())
    return DataError(
        "The image cannot be read",
        code="image-unreadable",
        file=path.name,
        expected=expected,
        found=text or type(found).__name__,
        done="Nothing was made from it",
        todo="Fetch the file again, or correct its entry in the recipe",
    )


def not_rgb(path: Path, found: str) -> DataError:
    """Say that an image is not 8-bit RGB: ``image-not-rgb``."""
    return DataError(
        "The image is not an 8-bit RGB image",
        code="image-not-rgb",
        file=path.name,
        expected="exactly 3 colour channels of 8 bits (an opaque alpha channel is dropped)",
        found=found,
        done="Nothing was made from it",
        todo="Name the H&E image of this section in the recipe",
    )


def turned(path: Path, orientation: int) -> DataError:
    """Say that an image is stored turned or mirrored: ``image-orientation``. Turning it could move it off its spots."""
    return DataError(
        "The image is stored turned or mirrored",
        code="image-orientation",
        file=path.name,
        field="Orientation",
        expected="orientation 1 (upper left) or none",
        found=f"orientation {orientation}",
        done="It was not turned, because its spots may refer to either way round",
        todo="Save the image upright with its spots in the same frame",
    )


def require_size(path: Path, width_px: int, height_px: int) -> None:
    """Refuse an image larger than :data:`MAX_IMAGE_PX` before any pixel is decoded.

    Raises
    ------
    HostileError
        ``image-too-large``.
    """
    if width_px * height_px > MAX_IMAGE_PX:
        raise HostileError(
            "The image is larger than any slide",
            code="image-too-large",
            file=path.name,
            expected=f"at most {MAX_IMAGE_PX:,} pixels",
            found=f"{width_px:,} x {height_px:,} pixels",
            done="No pixel was decoded",
            todo="Check where the file comes from",
        )


def require_growth(path: Path, width_px: int, height_px: int) -> None:
    """Refuse an image that becomes far more than its file holds, before any pixel is decoded.

    Raises
    ------
    HostileError
        ``image-bomb``.
    """
    n_bytes, n_file = 3 * width_px * height_px, path.stat().st_size
    if n_bytes > max(FREE_BYTES, MAX_GROWTH * n_file):
        raise HostileError(
            "The image grows too much when it is decoded",
            code="image-bomb",
            file=path.name,
            expected=f"at most {FREE_BYTES:,} bytes, or {MAX_GROWTH} times the file",
            found=f"{width_px:,} x {height_px:,} pixels in {n_file:,} bytes",
            done="No pixel was decoded",
            todo="Check where the file comes from",
        )


def require_streamed(path: Path, width_px: int, height_px: int) -> None:
    """Refuse a large image that is stored in several passes over all of its pixels.

    Raises
    ------
    HostileError
        ``image-bomb``.
    """
    if width_px * height_px > MAX_WHOLE_PX:
        raise HostileError(
            "The image is stored in several passes, and too large to be decoded as a whole",
            code="image-bomb",
            file=path.name,
            expected=f"at most {MAX_WHOLE_PX:,} pixels of progressive JPEG or interlaced PNG",
            found=f"{width_px:,} x {height_px:,} pixels",
            done="No pixel was decoded",
            todo="Save it as a tiled TIFF, or as baseline JPEG",
        )
