"""What speaks for the scale and for the orientation of a section, as its provenance has it, and whether it agrees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from humanst.harmonize.orientation import USUAL_HANDEDNESS
from humanst.harmonize.space import AGREE_WITHIN, REFUSE_BEYOND

NAMES = {
    "fiducial_diameter_fullres": "fiducial ring of the slide",
    "microns_per_pixel": "header of the vendor's scale factors",
    "image_header": "header of the image, through the alignment",
    "recipe": "recipe of the study",
}
_ORIENTATION = ("orientation-agrees", "orientation", "orientation-weak", "placement-size", "orientation-unseen")
_SEVERITY = {"note": "agrees", "warn": "warned", "refuse": "refused"}


@dataclass(frozen=True, slots=True)
class Witness:
    """One witness.

    Attributes
    ----------
    verdict
        ``agrees``, ``warned``, ``refused`` or ``not known``.
    """

    name: str
    value: str
    said: str
    verdict: str


def scale_witnesses(attrs: Mapping[str, Any]) -> tuple[Witness, ...]:
    """The lattice, then every other witness beside it; without the attributes of a store, the scale on record alone."""
    about = attrs.get("provenance") or {}
    fit = about.get("lattice_fit")
    if fit is None:
        value = attrs.get("um_per_pixel")
        given = "-" if value is None else f"{float(value):.4f} um per pixel"
        return (
            Witness("on record", given, "its witnesses are in the section store, which is not at hand", "not known"),
        )
    others = about.get("um_per_pixel_witnesses") or {}
    residual = (
        f"{about['um_per_pixel_source']}; spots lie {fit['rms_residual_px']:.2g} px (rms), "
        f"{fit['residual_of_pitch']:.2%} of the pitch, from it; stretch {fit['stretch']:.2%}"
    )
    lattice = float(fit["um_per_pixel"])
    found = [Witness("spot lattice", f"{lattice:.4f} um per pixel", residual, "agrees" if others else "warned")]
    if not others:
        return (
            *found,
            Witness("second witness", "-", "none on record: the scale rests on the lattice alone", "warned"),
        )
    for name, value in sorted(others.items()):
        off = abs(float(value) / lattice - 1)
        said = f"{off:.2%} off the lattice; agreement is within {AGREE_WITHIN:.0%}"
        verdict = "agrees" if off <= AGREE_WITHIN else "warned" if off <= REFUSE_BEYOND else "refused"
        found.append(Witness(NAMES.get(name, name), f"{float(value):.4f} um per pixel", said, verdict))
    return tuple(found)


def orientation_witnesses(attrs: Mapping[str, Any], findings: Sequence[Mapping[str, Any]]) -> tuple[Witness, ...]:
    """The tissue of the image under the spots, and the turning sense of the lattice."""
    seen = [finding for finding in findings if finding.get("code") in _ORIENTATION]
    found = []
    for finding in seen:
        unseen = finding["code"] == "orientation-unseen"
        verdict = "not known" if unseen else _SEVERITY.get(str(finding["severity"]), "not known")
        expected = f"; expected {finding['expected']}" if finding.get("expected") else ""
        found.append(
            Witness("spots in tissue on the tissue of the image", str(finding.get("found") or "-"),
                    f"{finding['what']}{expected}", verdict)
        )  # fmt: skip
    if not found:
        why = "no image was laid under the spots" if attrs.get("provenance") else "its store is not at hand"
        found.append(Witness("spots in tissue on the tissue of the image", "-", why, "not known"))
    return (*found, _turning_sense(attrs))


def _turning_sense(attrs: Mapping[str, Any]) -> Witness:
    name = "turning sense of rows and columns"
    fit = (attrs.get("provenance") or {}).get("lattice_fit")
    if fit is None:
        return Witness(name, "-", "it is in the section store, which is not at hand", "not known")
    sense, usual = int(fit["handedness"]), USUAL_HANDEDNESS.get(str(attrs.get("platform")))
    value = f"{sense:+d}, rows at {float(fit['rotation_degrees']):.2f} degrees"
    if usual is None:
        return Witness(name, value, "this platform has no usual one", "not known")
    if sense == usual:
        return Witness(name, value, "as usual on this platform", "agrees")
    return Witness(name, value, f"usual is {usual:+d}: it warns, and never refuses alone", "warned")
