"""The picture that a map of spots lies on: a small JPEG of the section, or an empty field where there is none."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from humanst.store import read_picture

if TYPE_CHECKING:
    from humanst.store import StoredSection

LONGEST_PX = 1100
QUALITY = 82
# Round a field of spots without a picture.
MARGIN = 0.04
LEAST_FIELD_UM = 500.0
# Of the width, at most, that a scale bar takes.
BAR_SHARE = 0.22
# A line of the outline bends no more often than can be seen.
MOST_CORNERS = 6000


@dataclass(frozen=True, slots=True)
class Frame:
    """The field that a map shows, in pixels of its picture.

    Attributes
    ----------
    um_per_pixel, origin_um
        Along x and y; where the top left corner lies.
    picture
        A data URI of a JPEG, or ``None``.
    why
        Why there is no picture; empty where there is one.
    outline
        Tissue as an SVG path in pixels; empty where nothing is known of it.
    """

    width_px: int
    height_px: int
    um_per_pixel: tuple[float, float]
    origin_um: tuple[float, float]
    picture: str | None
    why: str
    outline: str = ""

    def to_px(self, xy_um: NDArray[np.float64]) -> NDArray[np.float64]:
        """``(n, 2)`` places (x, y) in pixels of ``(n, 2)`` in um."""
        places: NDArray[np.float64] = (xy_um - np.array(self.origin_um)) / np.array(self.um_per_pixel)
        return places

    def bar(self) -> tuple[float, float, str]:
        """A scale bar: its length in pixels and in um, and as text."""
        most_um = self.width_px * self.um_per_pixel[0] * BAR_SHARE
        power = 10.0 ** math.floor(math.log10(most_um))
        # The logarithm of what is a hair below a power of ten may be that of the power.
        um = max(step * power for step in (0.5, 1.0, 2.0, 5.0) if step * power <= most_um)
        return um / self.um_per_pixel[0], um, f"{um / 1000:g} mm" if um >= 1000 else f"{um:g} um"


def picture_frame(stored: StoredSection) -> Frame | None:
    """The frame of a store that has a picture: nothing but its pixels goes into the JPEG."""
    found = read_picture(stored.path, stored.attrs, LONGEST_PX)
    if found is None:
        return None
    rgb, um_x = found
    um_y = float(stored.attrs["um_per_pixel"]) * stored.attrs["picture"]["height_px"] / rgb.shape[0]
    small = _shrunk(rgb)
    um_per_pixel = (um_x * rgb.shape[1] / small.shape[1], um_y * rgb.shape[0] / small.shape[0])
    frame = Frame(small.shape[1], small.shape[0], um_per_pixel, (0.0, 0.0), jpeg_uri(small), "")
    return _with_outline(frame, stored)


def empty_frame(xy_um: NDArray[np.float64], why: str, stored: StoredSection | None = None) -> Frame:
    """A frame round spots, without a picture.

    Parameters
    ----------
    xy_um
        ``(n, 2)``.
    why
        Why there is none.
    """
    low, high = (xy_um.min(axis=0), xy_um.max(axis=0)) if len(xy_um) else (np.zeros(2), np.zeros(2))
    side = np.maximum(high - low, LEAST_FIELD_UM) * (1 + 2 * MARGIN)
    scale = float(side.max()) / LONGEST_PX
    width, height = (max(1, math.ceil(value / scale)) for value in side.tolist())
    x, y = ((low + high - side) / 2).tolist()
    return _with_outline(Frame(width, height, (scale, scale), (x, y), None, why), stored)


def jpeg_uri(rgb: NDArray[np.uint8], quality: int = QUALITY) -> str:
    """Pixels ``(h, w, 3)`` as a JPEG in a data URI; the same pixels, the same text."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(rgb)).save(buffer, "JPEG", quality=quality, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _shrunk(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    from PIL import Image

    height, width = rgb.shape[:2]
    share = LONGEST_PX / max(height, width)
    if share >= 1:
        return rgb
    size = (max(1, round(width * share)), max(1, round(height * share)))
    return np.asarray(Image.fromarray(np.ascontiguousarray(rgb)).resize(size, Image.Resampling.LANCZOS))


def _with_outline(frame: Frame, stored: StoredSection | None) -> Frame:
    if stored is None or stored.tissue is None or stored.attrs["tissue"] is None:
        return frame
    return replace(frame, outline=outline_path(frame, stored.tissue, float(stored.attrs["tissue"]["um_per_pixel"])))


def outline_path(frame: Frame, mask: NDArray[np.bool_], um_per_pixel: float) -> str:
    """The edge of a tissue mask as an SVG path in pixels of a frame, holes being rings of their own.

    Parameters
    ----------
    mask
        ``(h, w)``, from the top left of the image.
    """
    from skimage.measure import approximate_polygon, find_contours

    # A border of no tissue closes every ring.
    rings = find_contours(np.pad(mask, 1).astype(np.float32), 0.5)
    # Index i is the middle of mask pixel i, which begins at i; the border shifts it by one.
    places: list[Any] = [frame.to_px((ring[:, ::-1] - 0.5) * um_per_pixel) for ring in rings]
    tolerance = 0.7
    while True:
        simple = [approximate_polygon(ring, tolerance) for ring in places]
        simple = [ring for ring in simple if len(ring) >= 4]
        if sum(map(len, simple)) <= MOST_CORNERS:
            break
        tolerance *= 1.5
    return "".join("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in ring[:-1].tolist()) + "Z" for ring in simple)
