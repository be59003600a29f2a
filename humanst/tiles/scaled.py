"""A whole image at a coarser scale, read lazily block by block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from humanst.vips import vips

if TYPE_CHECKING:
    from pathlib import Path

    import dask.array as da
    from numpy.typing import NDArray

BLOCK_PX = 1024


@dataclass(frozen=True, slots=True)
class ScaledImage:
    """An image shrunk to at least ``um_per_pixel``, as a lazy (3, y, x) uint8 dask array.

    Attributes
    ----------
    array
        ``(3, height, width)`` uint8.
    px_per_source_px
        ``(x, y)`` exact pixels of the array per pixel of the source.
    """

    array: da.Array
    px_per_source_px: tuple[float, float]


def scaled_image(path: Path, shrink: float, *, halvings: int = 0) -> ScaledImage:
    """Open ``path`` shrunk by ``shrink`` (>= 1, never upsampled); each block is computed when it is asked for.

    Parameters
    ----------
    path
        The image of record.
    shrink
        Source pixels per pixel of the result, at least.
    halvings
        Make both sides multiples of ``2 ** halvings`` (a little smaller than asked), so that coarser levels made by
        halving cover exactly the same field.
    """
    import dask.array as da

    pyvips = vips()

    factor = max(1.0, shrink)
    source = pyvips.Image.new_from_file(str(path), access="random", fail_on="error", revalidate=True)
    step = 2**halvings
    width = max(1, int(source.width / factor) // step * step)
    height = max(1, int(source.height / factor) // step * step)
    exact = (width, height) == (source.width, source.height)
    image = source if exact else source.resize(width / source.width, vscale=height / source.height, kernel="linear")
    chunks = ((3,), _blocks(height), _blocks(width))

    def fetch(block_info: dict[Any, Any] | None = None) -> NDArray[np.uint8]:
        if block_info is None:
            return np.zeros((0, 0, 0), dtype=np.uint8)
        (_, _), (y0, y1), (x0, x1) = block_info[None]["array-location"]
        raw = pyvips.Region.new(image).fetch(x0, y0, x1 - x0, y1 - y0)
        block = np.frombuffer(raw, dtype=np.uint8).reshape(y1 - y0, x1 - x0, image.bands)
        return np.ascontiguousarray(block[:, :, :3].transpose(2, 0, 1))

    array = da.map_blocks(fetch, chunks=chunks, dtype=np.uint8, meta=np.zeros((0, 0, 0), dtype=np.uint8))
    return ScaledImage(array=array, px_per_source_px=(width / source.width, height / source.height))


def _blocks(length: int) -> tuple[int, ...]:
    whole, rest = divmod(length, BLOCK_PX)
    return (BLOCK_PX,) * whole + ((rest,) if rest else ())
