"""Whether the copies of a section's image have the sizes that their scale factors give them."""

from __future__ import annotations

import math
from collections.abc import Mapping

from humanst.findings import Findings

# Two sizes that were each rounded to whole pixels differ by at most one.
SIZE_ROUNDING_PX = 1.0


def check_image_sizes(
    sizes_px: Mapping[str, tuple[int, int]], scales: Mapping[str, float], findings: Findings, *, file: str | None = None
) -> None:
    """Check that the copies of one image have the sizes their scale factors give them.

    A copy is the full-resolution image times its factor, rounded: within one pixel. This is what sees swapped factors
    and an image of another resolution, for lattice and fiducials are in full-resolution pixels both and agree anyway.

    Parameters
    ----------
    sizes_px
        Role -> (width, height) of the images at hand.
    scales
        Role -> pixels per full-resolution pixel (``image`` is 1); roles without an image take part in the order check.
    file
        How messages call the file of the factors.
    """
    if not scales.get("hires", math.inf) >= scales.get("lowres", 0.0):
        findings.refuse(
            "scalefactors-swapped",
            "The factor of the smaller image is the larger one",
            file=file,
            field="tissue_hires_scalef",
            expected=f"at least the lowres factor {scales['lowres']:.6g}",
            found=f"{scales['hires']:.6g}",
            todo="Check that the scale factors were not exchanged",
        )
    known = sorted((role for role in sizes_px if scales.get(role, 0.0) > 0), key=lambda role: (-scales[role], role))
    for smaller in known[1:]:
        larger = known[0]
        ratio = scales[smaller] / scales[larger]
        # The full-resolution size is exact; that of a copy was rounded itself.
        slack = SIZE_ROUNDING_PX * (1.0 if larger == "image" else 1.0 + ratio)
        wanted = tuple(length * ratio for length in sizes_px[larger])
        if any(abs(length - want) > slack for length, want in zip(sizes_px[smaller], wanted, strict=True)):
            findings.refuse(
                "image-size",
                f"The {smaller} image does not have the size its scale factor gives it",
                file=file,
                field=f"tissue_{smaller}_scalef",
                expected=f"{wanted[0]:.1f} x {wanted[1]:.1f} px within {slack:.2g}, from the {larger} image",
                found=f"{sizes_px[smaller][0]} x {sizes_px[smaller][1]} px",
                todo="Check the scale factors and that the images are of one section",
            )
