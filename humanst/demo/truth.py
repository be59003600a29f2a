"""What was painted and counted, kept beside the atlas for tests. No reader of vendor files looks here."""

from __future__ import annotations

import io
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from humanst import files
from humanst.demo.tissue import CELL_UM, CLASS_NAMES, PROGRAMME_NAMES, VISIBLE_AS, Tissue
from humanst.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from humanst.demo.layout import SectionPlan


@dataclass(frozen=True, slots=True)
class Truth:
    """Truth of one section; rows of the spot arrays follow the positions file, spots outside tissue included.

    Attributes
    ----------
    sample_id, donor_id, block
        Names; sections of one block show the same tissue.
    spot_ids
        (n,) str: Visium barcode, ``XxY`` for legacy ST, ``rRcC`` of the 112 um squares of Xenium and HD.
    xy_px
        (n, 2) float64, (x, y) of spot centres in full-resolution pixels as written to the positions file.
    in_tissue
        (n,) bool.
    has_counts
        (n,) bool: the count table has a row for the spot.
    tissue_class
        (n,) int8, index into ``class_names``; 0 is background.
    activity
        (n, P) float32, activity of ``programme_names``, about 0 to 1.
    library_factor
        (n,) float32, expected library size over the section's typical one.
    um_per_pixel
        True scale of the full-resolution image.
    class_names, programme_names
        Tuples of str.
    visible_as
        (P) tuple: ``class``, ``colour``, ``texture`` (grain of the fibres only) or ``hidden`` (not in the image).
    class_map
        (h, w) int8, class of every cell of the tissue grid.
    activity_map
        (P, h, w) float16, activity on the same grid.
    map_um_per_pixel
        Side of a grid cell in um; cell (0, 0) starts at the image's top left corner.
    """

    sample_id: str
    donor_id: str
    block: str
    spot_ids: NDArray[np.str_]
    xy_px: NDArray[np.float64]
    in_tissue: NDArray[np.bool_]
    has_counts: NDArray[np.bool_]
    tissue_class: NDArray[np.int8]
    activity: NDArray[np.float32]
    library_factor: NDArray[np.float32]
    um_per_pixel: float
    class_names: tuple[str, ...]
    programme_names: tuple[str, ...]
    visible_as: tuple[str, ...]
    class_map: NDArray[np.int8]
    activity_map: NDArray[np.float16]
    map_um_per_pixel: float

    @property
    def tissue_mask(self) -> NDArray[np.bool_]:
        """(h, w) bool on the grid of ``class_map``: where tissue was painted."""
        return self.class_map > 0

    @property
    def texture_programme(self) -> str:
        """Name of the one programme that shows as texture and not as colour."""
        return self.programme_names[self.visible_as.index("texture")]

    def activity_of(self, programme: str) -> NDArray[np.float32]:
        """(n,) activity of one programme at the spots."""
        return self.activity[:, self.programme_names.index(programme)]


@dataclass(frozen=True, slots=True)
class SpotTruth:
    """The spot arrays of a :class:`Truth`, as a vendor writer knows them."""

    spot_ids: NDArray[np.str_]
    xy_px: NDArray[np.float64]
    in_tissue: NDArray[np.bool_]
    has_counts: NDArray[np.bool_]
    activity: NDArray[np.float32]
    library_factor: NDArray[np.float32]


def truth_path(folder: Path, sample_id: str) -> Path:
    """Where the truth of a section lies in an atlas folder."""
    return folder / "truth" / f"{sample_id}.npz"


def write_truth(folder: Path, plan: SectionPlan, *, tissue: Tissue, spots: SpotTruth) -> None:
    """Write the truth of one section; the same truth gives the same bytes."""
    outside = ~spots.in_tissue
    truth = Truth(
        sample_id=plan.sample_id,
        donor_id=plan.donor_id,
        block=plan.block,
        spot_ids=spots.spot_ids,
        xy_px=spots.xy_px,
        in_tissue=spots.in_tissue,
        has_counts=spots.has_counts,
        tissue_class=np.where(outside, 0, tissue.class_at(spots.xy_px * plan.um_per_pixel)).astype(np.int8),
        activity=np.where(outside[:, None], 0.0, spots.activity).astype(np.float32),
        library_factor=np.where(outside, 0.0, spots.library_factor).astype(np.float32),
        um_per_pixel=plan.um_per_pixel,
        class_names=CLASS_NAMES,
        programme_names=PROGRAMME_NAMES,
        visible_as=tuple(VISIBLE_AS[name] for name in PROGRAMME_NAMES),
        class_map=tissue.class_index,
        activity_map=tissue.activity.astype(np.float16),
        map_um_per_pixel=CELL_UM,
    )
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {field.name: np.asarray(getattr(truth, field.name)) for field in fields(Truth)}
    np.savez_compressed(buffer, **arrays)
    files.write_bytes(truth_path(folder, plan.sample_id), buffer.getvalue())


def load_truth(folder: Path, sample_id: str) -> Truth:
    """Read the truth of one section of an atlas that :func:`humanst.demo.write_atlas` wrote to ``folder``.

    Raises
    ------
    UsageError
        When the atlas holds no such section.
    """
    path = truth_path(folder, sample_id)
    if not path.is_file():
        known = sorted(found.stem for found in path.parent.glob("*.npz"))
        raise UsageError(
            "There is no truth for this section", section=sample_id, file=path.name, expected=", ".join(known)
        )
    with np.load(path, allow_pickle=False) as stored:
        values = {field.name: _plain(stored[field.name], str(field.type)) for field in fields(Truth)}
    return Truth(**values)


def _plain(array: NDArray[Any], annotation: str) -> Any:
    if annotation.startswith("tuple"):
        return tuple(array.tolist())
    return array.item() if array.ndim == 0 else array
