"""The hidden truth of a section: tissue classes and programme activity as smooth fields, in micrometres.

Image and counts are both drawn from these fields and from nothing else they share. The fields know no pixels and no
spots, so every platform can be cut from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from humanst.demo.seeding import Field, named_rng, smooth_noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from humanst.demo.layout import SectionPlan

CELL_UM = 10.0
_BORDER_CELLS = 4
BACKGROUND = "background"
CLASSES = ("tumour", "stroma", "adipose", "immune", "necrosis", "gland")
CLASS_NAMES = (BACKGROUND, *CLASSES)

_SHARES = np.array([0.33, 0.27, 0.12, 0.10, 0.07, 0.11])
_LENGTHS_UM = (190.0, 200.0, 160.0, 90.0, 110.0, 130.0)

PROGRAMMES: tuple[tuple[str, str, tuple[float, ...] | None], ...] = (
    ("DEMO_TUMOUR_PROLIFERATION", "class", (0.95, 0.10, 0.05, 0.30, 0.10, 0.15)),
    ("DEMO_EPITHELIAL_IDENTITY", "class", (0.95, 0.05, 0.05, 0.05, 0.35, 0.85)),
    ("DEMO_STROMA_MATRIX", "class", (0.15, 0.95, 0.30, 0.20, 0.20, 0.35)),
    ("DEMO_ADIPOSE_LIPID", "class", (0.05, 0.15, 1.00, 0.05, 0.05, 0.10)),
    ("DEMO_IMMUNE_INFILTRATE", "class", (0.15, 0.20, 0.10, 1.00, 0.20, 0.10)),
    ("DEMO_HYPOXIA_NECROSIS", "class", (0.30, 0.10, 0.10, 0.10, 1.00, 0.10)),
    ("DEMO_GLAND_SECRETION", "class", (0.10, 0.05, 0.10, 0.05, 0.05, 1.00)),
    ("DEMO_OXPHOS_GRADIENT", "colour", None),
    ("DEMO_FIBRE_TEXTURE", "texture", None),
    ("DEMO_HIDDEN_FIELD", "hidden", None),
)
PROGRAMME_NAMES = tuple(name for name, _, _ in PROGRAMMES)
VISIBLE_AS = {name: how for name, how, _ in PROGRAMMES}


@dataclass(frozen=True, slots=True)
class Tissue:
    """Fields of one block on a grid of ``CELL_UM`` cells; cell (i, j) is centred at ((j + .5), (i + .5)) cells.

    Attributes
    ----------
    mask
        (h, w) bool, tissue.
    depth_um
        (h, w) float32, distance to the tissue's edge, positive inside.
    class_index
        (h, w) int8, index into ``CLASS_NAMES``; 0 is background.
    membership
        (6, h, w) float32, share of each of ``CLASSES``, summing to 1.
    activity
        (P, h, w) float32, activity of each of ``PROGRAMME_NAMES``, about 0 to 1.
    density
        (h, w) float32 in 0..1, how far proliferation crowds the nuclei.
    """

    mask: NDArray[np.bool_]
    depth_um: Field
    class_index: NDArray[np.int8]
    membership: Field
    activity: Field
    density: Field

    def at(self, field: Field, xy_um: NDArray[np.float64]) -> Field:
        """Sample (k, h, w) or (h, w) ``field`` bilinearly at (n, 2) positions in um; gives (n, k) or (n,)."""
        from scipy.ndimage import map_coordinates

        where = (xy_um[:, ::-1] / CELL_UM - 0.5).T
        planes = field if field.ndim == 3 else field[None]
        sampled = [map_coordinates(plane, where, order=1, mode="nearest") for plane in planes]
        stacked = np.stack(sampled, axis=1).astype(np.float32)
        return stacked if field.ndim == 3 else stacked[:, 0]

    def class_at(self, xy_um: NDArray[np.float64]) -> NDArray[np.int8]:
        """Class of the cell that holds each of (n, 2) positions in um, as an index into ``CLASS_NAMES``."""
        height, width = self.mask.shape
        column = np.clip((xy_um[:, 0] / CELL_UM).astype(np.int64), 0, width - 1)
        row = np.clip((xy_um[:, 1] / CELL_UM).astype(np.int64), 0, height - 1)
        found: NDArray[np.int8] = self.class_index[row, column]
        return found

    def covered(self, xy_um: NDArray[np.float64], diameter_um: float) -> NDArray[np.bool_]:
        """Whether at least half of the disc round each of (n, 2) positions in um is tissue."""
        offsets = np.arange(-diameter_um / 2, diameter_um / 2 + 1e-6, CELL_UM / 2)
        dx, dy = np.meshgrid(offsets, offsets)
        disc = np.stack([dx.ravel(), dy.ravel()], axis=1)[np.hypot(dx, dy).ravel() <= diameter_um / 2]
        share = np.mean([self.class_at(xy_um + step) > 0 for step in disc], axis=0)
        found: NDArray[np.bool_] = share >= 0.5
        return found


def make_tissue(plan: SectionPlan, *, seed: int) -> Tissue:
    """Draw the tissue of ``plan.block``: the same block, donor and size give the same tissue."""
    shape = (int(np.ceil(plan.height_um / CELL_UM)), int(np.ceil(plan.width_um / CELL_UM)))
    mask, depth_um = _outline(named_rng(seed, plan.block, "outline"), shape, plan.coverage)
    membership = _membership(plan, shape, mask, seed=seed)
    class_index = np.where(mask, membership.argmax(axis=0) + 1, 0).astype(np.int8)
    activity, density = _activity(plan, membership, mask, seed=seed)
    return Tissue(mask, depth_um, class_index, membership, activity, density)


def _outline(rng: np.random.Generator, shape: tuple[int, int], coverage: float) -> tuple[NDArray[np.bool_], Field]:
    """One piece of tissue with an uneven edge that covers ``coverage`` of the field and leaves its border free."""
    from scipy.ndimage import binary_fill_holes, distance_transform_edt, label

    height, width = shape
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    bowl = np.maximum(np.abs(x), np.abs(y)) ** 6 + 0.35 * (x**2 + y**2)
    relief = 0.75 * smooth_noise(rng, shape, 26.0) + 0.12 * smooth_noise(rng, shape, 5.0) - 4.0 * bowl
    inner = np.zeros(shape, dtype=bool)
    inner[_BORDER_CELLS:-_BORDER_CELLS, _BORDER_CELLS:-_BORDER_CELLS] = True
    mask = inner & (relief > np.quantile(relief, 1.0 - coverage))
    pieces, _ = label(mask)
    mask = binary_fill_holes(pieces == np.bincount(pieces[mask]).argmax())
    depth = distance_transform_edt(mask) - distance_transform_edt(~mask)
    return mask, (depth * CELL_UM).astype(np.float32)


def _membership(plan: SectionPlan, shape: tuple[int, int], mask: NDArray[np.bool_], *, seed: int) -> Field:
    """Soft class shares: smooth noise per class, biased until each class takes the donor's share of the tissue."""
    donor = named_rng(seed, plan.donor_id, "class shares")
    shares = donor.dirichlet(_SHARES * 60.0).clip(0.05)
    shares /= shares.sum()
    rng = named_rng(seed, plan.block, "classes")
    logits = np.stack([2.2 * smooth_noise(rng, shape, length / CELL_UM) for length in _LENGTHS_UM]).astype(np.float64)
    bias = np.zeros(len(CLASSES))
    for _ in range(25):
        found = _softmax(3.0 * (logits + bias[:, None, None]))[:, mask].mean(axis=1)
        bias += 0.5 * np.log(shares / found)
    return _softmax(3.0 * (logits + bias[:, None, None])).astype(np.float32)


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max(axis=0))
    shares: NDArray[np.float64] = powers / powers.sum(axis=0)
    return shares


def _activity(plan: SectionPlan, membership: Field, mask: NDArray[np.bool_], *, seed: int) -> tuple[Field, Field]:
    """Activity of every programme, and the crowding of nuclei that shows proliferation within a class.

    Texture and hidden programme are made uncorrelated with everything else that is painted, so that colour cannot
    stand in for texture and nothing in the image can stand in for the hidden one.
    """
    shape = mask.shape
    rng = named_rng(seed, plan.block, "programmes")
    density = _to_unit(smooth_noise(rng, shape, 12.0))
    slope = rng.uniform(0.0, 2.0 * np.pi)
    y, x = np.meshgrid(np.linspace(-1, 1, shape[0]), np.linspace(-1, 1, shape[1]), indexing="ij")
    gradient = _to_unit(1.3 * (x * np.cos(slope) + y * np.sin(slope)) + 0.7 * smooth_noise(rng, shape, 25.0))
    painted = [*membership[1:], membership[0] * density, density, gradient]
    texture = _residual(smooth_noise(rng, shape, 13.0), painted, mask)
    hidden = _residual(smooth_noise(rng, shape, 13.0), [*painted, texture], mask)
    smooth = {"DEMO_OXPHOS_GRADIENT": gradient, "DEMO_FIBRE_TEXTURE": texture, "DEMO_HIDDEN_FIELD": hidden}
    planes = []
    for name, _, by_class in PROGRAMMES:
        if by_class is None:
            planes.append(smooth[name])
            continue
        levels = np.array(by_class)[:, None, None]
        if name == "DEMO_TUMOUR_PROLIFERATION":
            levels = levels * (0.45 + 0.9 * density)
        planes.append((levels * membership).sum(axis=0) + 0.11 * smooth_noise(rng, shape, 12.0))
    return np.clip(np.stack(planes), 0.0, None).astype(np.float32), density


def _to_unit(field: NDArray[np.floating]) -> Field:
    """Squeeze a field of mean 0 into 0..1, with its middle half spread over about 0.25..0.75."""
    unit: Field = np.clip(0.5 + 0.3 * field / field.std(), 0.0, 1.0).astype(np.float32)
    return unit


def _residual(field: Field, regressors: list[Field], mask: NDArray[np.bool_]) -> Field:
    """Take out of ``field`` all that ``regressors`` explain inside ``mask``, then squeeze it into 0..1.

    Gram-Schmidt with plain sums: the result must not depend on the number of BLAS threads.
    """
    basis: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []

    def without(values: NDArray[np.float64]) -> NDArray[np.float64]:
        for plane, inside in basis:
            values = values - plane * (values[mask] * inside).sum()
        return values

    for regressor in [np.ones_like(field), *regressors]:
        left = without(regressor.astype(np.float64))
        norm = np.sqrt((left[mask] ** 2).sum())
        basis.append((left / norm, left[mask] / norm))
    rest = without(field.astype(np.float64))
    unit: Field = np.clip(0.5 + 0.3 * rest / rest[mask].std(), 0.0, 1.0).astype(np.float32)
    return unit
