"""What reads and writes pictures: each codec is tried on a picture of a few pixels, not asked for its name."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from humanst.doctor.checks import Check, Status
from humanst.errors import DataError, UsageError

_SIDE_PX = 64
_CODECS = {
    "JPEG": ".jpg[Q=90]",
    "PNG": ".png",
    "TIFF of JPEG tiles": ".tif[compression=jpeg,tile=true,pyramid=true,tile_width=32,tile_height=32]",
    "TIFF of deflated tiles": ".tif[compression=deflate,tile=true]",
    "TIFF of WebP tiles": ".tif[compression=webp,tile=true]",
}
_NEEDED = frozenset({"JPEG", "PNG", "TIFF of JPEG tiles"})


def image_checks() -> list[Check]:
    """What libvips and its codecs do, the JPEG library of patches, and what the extra ``slides`` brings."""
    try:
        import pyvips
    except (ImportError, OSError) as error:
        todo = "pip install --upgrade --force-reinstall pyvips pyvips-binary"
        return [Check("images", "libvips", "fail", f"cannot be loaded: {error}", todo, UsageError)]
    version = ".".join(str(pyvips.version(part)) for part in range(3))
    checks = [Check("images", "libvips", "ok", version)]
    for name, suffix in _CODECS.items():
        fault = _vips_fault(pyvips, suffix)
        status: Status = "ok" if fault is None else "fail" if name in _NEEDED else "warn"
        mend = None if fault is None else "pip install --upgrade pyvips-binary, or a libvips with this codec"
        checks.append(Check("images", name, status, fault or "written and read back", mend, UsageError))
    jpeg2000 = _jpeg2000_fault()
    openslide = _library_fault("openslide")
    return [
        *checks,
        _patches(),
        _extra("TIFF of JPEG 2000 tiles", jpeg2000, "decoded by imagecodecs"),
        _extra("openslide", openslide, "svs, ndpi, mrxs and others"),
    ]


def _vips_fault(pyvips: Any, suffix: str) -> str | None:
    try:
        picture = pyvips.Image.xyz(_SIDE_PX, _SIDE_PX).bandjoin(128).cast("uchar").copy(interpretation="srgb")
        back = pyvips.Image.new_from_buffer(picture.write_to_buffer(suffix), "", fail_on="error")
        wrong = (picture - back).abs().max() > _SIDE_PX or (back.width, back.bands) != (_SIDE_PX, 3)
    except pyvips.Error as error:
        return str(error).strip().splitlines()[-1]
    return "what is read back is another picture" if wrong else None


def _patches() -> Check:
    try:
        import numpy as np
        import simplejpeg

        pixels = np.full((16, 16, 3), 200, np.uint8)
        back = simplejpeg.decode_jpeg(simplejpeg.encode_jpeg(pixels, quality=90, colorsubsampling="444"))
    except (ImportError, OSError, ValueError) as error:
        todo = "pip install --upgrade --force-reinstall simplejpeg numpy"
        return Check("images", "JPEG of patches", "fail", str(error), todo, UsageError)
    good = back.shape == pixels.shape and int(abs(back.astype(int) - pixels).max()) <= 2
    found = f"simplejpeg {simplejpeg.__version__}" if good else "what is read back is another picture"
    return Check("images", "JPEG of patches", "ok" if good else "fail", found, None, UsageError)


def _jpeg2000_fault() -> str | None:
    fault = _library_fault("imagecodecs")
    if fault is not None:
        return fault
    import imagecodecs
    import numpy as np

    pixels = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)
    try:
        back = imagecodecs.jpeg2k_decode(imagecodecs.jpeg2k_encode(pixels, level=0))
    except (imagecodecs.DelayedImportError, RuntimeError, ValueError) as error:
        return str(error)
    return None if np.array_equal(back, pixels) else "what is read back is another picture"


def _library_fault(module: str) -> str | None:
    try:
        import_module(module)
    except (ImportError, OSError) as error:
        return str(error)
    return None


def _extra(item: str, fault: str | None, found: str) -> Check:
    """A slide that needs what is not there is refused where it is read, with the same words."""
    if fault is None:
        return Check("images", item, "ok", found)
    todo = "Only for slides that need it: pip install 'humanst[slides]'"
    return Check("images", item, "warn", f"not there: {fault}", todo, DataError)
