"""``scalefactors_json.json`` of Space Ranger: sizes in full-resolution pixels, and the factors of smaller images."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from humanst.fetch import LocalFiles
from humanst.files import read_json
from humanst.findings import Findings

# From the finest; the scale of the full-resolution image itself is 1.
IMAGE_ROLES = {"image": None, "hires": "tissue_hires_scalef", "lowres": "tissue_lowres_scalef"}
FILE_NAME = "scalefactors_json.json"


def read_scalefactors(files: LocalFiles, findings: Findings) -> dict[str, float]:
    """The numbers of the file of role ``scalefactors``; empty without one, or with a refusal."""
    if "scalefactors" not in files.paths:
        return {}
    name = files.names["scalefactors"]
    try:
        content = read_json(files.paths["scalefactors"], parse_int=float)
    except (ValueError, OSError) as error:
        _unreadable(findings, name, str(error))
        return {}
    if not isinstance(content, dict):
        _unreadable(findings, name, f"a {type(content).__name__}")
        return {}
    return {str(key): value for key, value in content.items() if isinstance(value, float)}


def _unreadable(findings: Findings, name: str, found: str) -> None:
    findings.refuse(
        "scalefactors-unreadable",
        "Scale factors are not a JSON object",
        file=name,
        expected="one JSON object of numbers, as Space Ranger writes it",
        found=found,
        todo="Get the file again",
    )


def finest_image(files: LocalFiles, factors: Mapping[str, float], findings: Findings) -> tuple[str | None, float]:
    """The role of the finest image at hand and its pixels per full-resolution pixel; ``(None, 1.0)`` without one."""
    role = next((role for role in IMAGE_ROLES if role in files.paths), None)
    key = IMAGE_ROLES[role] if role else None
    scale = 1.0 if key is None else factors.get(key, float("nan"))
    if np.isfinite(scale) and scale > 0:
        return role, scale
    findings.refuse(
        "scalefactor-missing",
        f"No scale factor for the {role} image",
        file=files.names.get("scalefactors", FILE_NAME),
        field=key,
        expected="a positive number",
        found=f"keys {', '.join(sorted(factors)) or 'none'}",
    )
    return role, 1.0


def image_scales(factors: Mapping[str, float]) -> dict[str, float]:
    """Pixels per full-resolution pixel of every image the factors speak of, by role."""
    known = {role: 1.0 if key is None else factors.get(key, 0.0) for role, key in IMAGE_ROLES.items()}
    return {role: scale for role, scale in known.items() if scale > 0}
