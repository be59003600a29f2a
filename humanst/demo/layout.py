"""Which studies, donors and sections the mini atlas holds, and how large each is.

Everything else is drawn from the names given here. Tissue is drawn from ``block``, ``donor_id`` and its field alone, in
micrometres, so that a section of another platform can be cut from the same block and share its truth: the block of the
first Visium section is cut for legacy ST, Xenium and Visium HD too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from humanst.demo.seeding import named_rng
from humanst.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection

Kind = Literal["visium", "visium_v1", "st", "xenium", "visium_hd"]
Era = Literal["current", "previous"]

# Donor, block, width, height and coverage of what four platforms show.
SHARED = ("demo_visium_d1", "block_V1", 1900.0, 1850.0, 0.70)
# The HD array is 1.26 mm wide; a legacy array needs twice the field for a few dozen spots.
_LEAST_UM: dict[Kind, float] = {
    "visium": 1100.0,
    "visium_v1": 1100.0,
    "st": 1700.0,
    "xenium": 1100.0,
    "visium_hd": 1420.0,
}
SPLIT_CYCLE = ("train", "val", "test", "train", "train")


@dataclass(frozen=True, slots=True)
class SectionPlan:
    """One section to write.

    Attributes
    ----------
    block
        Name of the piece of tissue; two sections with the same block, donor, field and coverage show the same tissue.
    um_per_pixel
        Scale of the full-resolution image.
    width_um, height_um
        Field of the image.
    coverage
        Fraction of the field that is tissue.
    era
        Whether renamed genes carry today's symbol or the one before.
    labelled
        Whether the study's pathologist annotated this section (legacy ST only).
    turn_degrees
        How far the H&E image lies turned on the assay's own image (Xenium only).
    """

    study_id: str
    section_id: str
    donor_id: str
    block: str
    um_per_pixel: float
    width_um: float
    height_um: float
    coverage: float
    era: Era = "current"
    labelled: bool = False
    turn_degrees: float = 0.0

    @property
    def sample_id(self) -> str:
        """Name of the section over all studies."""
        return f"{self.study_id}_{self.section_id}"

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height) of the full-resolution image in pixels."""
        return round(self.width_um / self.um_per_pixel), round(self.height_um / self.um_per_pixel)


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """One study: how its files are laid out, and its sections."""

    study_id: str
    title: str
    kind: Kind
    sections: tuple[SectionPlan, ...]


def _of_shared_block(study_id: str, section_id: str, um_per_pixel: float, **more: Any) -> SectionPlan:
    donor, block, width, height, coverage = SHARED
    return SectionPlan(study_id, section_id, donor, block, um_per_pixel, width, height, coverage, **more)


def _visium() -> StudyPlan:
    rows = (
        ("V1", "demo_visium_d1", 0.5, 1900.0, 1850.0, 0.70),
        ("V2", "demo_visium_d2", 0.5, 1850.0, 1900.0, 0.72),
        ("V3", "demo_visium_d3", 0.45, 1850.0, 1800.0, 0.68),
        ("V4", "demo_visium_d4", 0.5, 1950.0, 1850.0, 0.74),
        ("V5", "demo_visium_d5", 0.45, 1800.0, 1850.0, 0.70),
        ("V6", "demo_visium_d5", 0.5, 1850.0, 1850.0, 0.66),
    )
    sections = tuple(
        SectionPlan("demo_visium", name, donor, f"block_{name}", scale, width, height, coverage)
        for name, donor, scale, width, height, coverage in rows
    )
    return StudyPlan("demo_visium", "Synthetic demo study: Visium, Space Ranger 2 layout", "visium", sections)


def _visium_v1() -> StudyPlan:
    rows: tuple[tuple[str, str, float, float, float, float, Era], ...] = (
        ("P1", "demo_visium_v1_d6", 0.36, 1700.0, 1650.0, 0.72, "previous"),
        ("P2", "demo_visium_v1_d7", 0.5, 1850.0, 1800.0, 0.70, "current"),
        ("P3", "demo_visium_v1_d8", 0.45, 1800.0, 1850.0, 0.66, "previous"),
        ("P4", "demo_visium_v1_d9", 0.5, 1900.0, 1850.0, 0.74, "current"),
        ("P5", "demo_visium_v1_d9", 0.5, 1850.0, 1850.0, 0.70, "previous"),
    )
    sections = tuple(
        SectionPlan("demo_visium_v1", name, donor, f"block_{name}", scale, width, height, coverage, era)
        for name, donor, scale, width, height, coverage, era in rows
    )
    return StudyPlan("demo_visium_v1", "Synthetic demo study: Visium, Space Ranger 1 layout", "visium_v1", sections)


def _st() -> StudyPlan:
    rows = (
        ("A1", "demo_st_d10", 0.683, 3500.0, 3450.0, 0.72, True),
        ("B1", "demo_st_d11", 0.685, 3450.0, 3500.0, 0.76, False),
        ("C1", "demo_st_d12", 0.69, 3600.0, 3400.0, 0.70, True),
        ("D1", "demo_st_d13", 0.687, 3400.0, 3500.0, 0.74, False),
    )
    sections = tuple(
        SectionPlan("demo_st", name, donor, f"block_{name}", scale, width, height, coverage, "previous", labelled)
        for name, donor, scale, width, height, coverage, labelled in rows
    )
    sections += (_of_shared_block("demo_st", "E1", 0.688, era="previous"),)
    return StudyPlan("demo_st", "Synthetic demo study: legacy ST, spot files and plain JPEG images", "st", sections)


def _xenium() -> StudyPlan:
    # Another block of a donor of whom there is a Visium section: the test split sees a panel too.
    own = SectionPlan("demo_xenium", "X2", "demo_visium_d3", "block_X2", 0.45, 1750.0, 1850.0, 0.66, turn_degrees=-4.0)
    sections = (_of_shared_block("demo_xenium", "X1", 0.5, turn_degrees=7.0), own)
    return StudyPlan("demo_xenium", "Synthetic demo study: Xenium with a turned H&E image", "xenium", sections)


def _visium_hd() -> StudyPlan:
    own = SectionPlan("demo_hd", "H2", "demo_visium_d2", "block_H2", 0.45, 1420.0, 1440.0, 0.66)
    sections = (_of_shared_block("demo_hd", "H1", 0.5), own)
    return StudyPlan("demo_hd", "Synthetic demo study: Visium HD, bins of 8 um", "visium_hd", sections)


def atlas_layout(sections: Collection[str] | None = None) -> tuple[StudyPlan, ...]:
    """List the studies to write, each with its chosen sections.

    Parameters
    ----------
    sections
        Sample ids (``demo_visium_V1``) to keep; all when None. Studies left without a section are left out.

    Raises
    ------
    UsageError
        When a sample id is not in the atlas.
    """
    studies = (_visium(), _visium_v1(), _st(), _xenium(), _visium_hd())
    if sections is None:
        return studies
    known = {plan.sample_id for study in studies for plan in study.sections}
    if unknown := sorted(set(sections) - known):
        raise UsageError(
            "The demo atlas has no such section",
            found=", ".join(unknown),
            expected=", ".join(sorted(known)),
            done="Nothing was written",
            todo="Choose from the sections listed",
        )
    kept = (
        StudyPlan(study.study_id, study.title, study.kind, tuple(p for p in study.sections if p.sample_id in sections))
        for study in studies
    )
    return tuple(study for study in kept if study.sections)


def random_study(kind: Kind, n_sections: int, *, seed: int = 0) -> StudyPlan:
    """Plan small clean sections at random: no two share tissue, field, coverage, scale or, for Xenium, turn.

    For measurements over many sections; the section's own files come from the seed given to ``write_atlas``.
    """
    least_um = _LEAST_UM[kind]
    sections = []
    for number in range(n_sections):
        rng = named_rng(seed, "random study", kind, str(number))
        width_um, height_um = (least_um + rng.uniform(0.0, 200.0, 2)).tolist()
        plan = SectionPlan(
            study_id=f"random_{kind}",
            section_id=f"S{number:02d}",
            donor_id=f"random_{kind}_d{number}",
            block=f"random_{kind}_b{number}_{seed}",
            um_per_pixel=float(rng.uniform(0.85, 1.15)),
            width_um=width_um,
            height_um=height_um,
            coverage=float(rng.uniform(0.45, 0.78)),
            era="previous" if number % 2 else "current",
            turn_degrees=float(rng.uniform(-180.0, 180.0)),
        )
        sections.append(plan)
    return StudyPlan(f"random_{kind}", f"Synthetic sections planned at random: {kind}", kind, tuple(sections))


def assign_splits(studies: tuple[StudyPlan, ...]) -> dict[str, str]:
    """Give every donor a split by a fixed cycle, so that three donors or more leave no split empty.

    Returns
    -------
    dict
        donor_id -> train, val or test, in the order of the layout.
    """
    donors = dict.fromkeys(plan.donor_id for study in studies for plan in study.sections)
    return {donor: SPLIT_CYCLE[i % len(SPLIT_CYCLE)] for i, donor in enumerate(donors)}
