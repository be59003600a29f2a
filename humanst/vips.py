"""The one way to libvips: its readers of formats that were never meant for strangers' files are closed first."""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def vips() -> Any:
    """Give the module ``pyvips``, in which libvips refuses every loader that it calls untrusted.

    That holds for the whole process: JPEG, PNG and TIFF open as before; ``.v``, MATLAB, PDF, SVG, slides and what else
    libvips would choose by the bytes of a file do not. libvips is loaded by the first call, for it starts threads.
    """
    import pyvips

    # libvips before 8.13 knows no trust; the floor of pyvips-binary is above that.
    pyvips.block_untrusted_set(True)
    return pyvips
