"""Which share of a pathway's variance lies between sections, and between donors: what a shortcut could live on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from humanst.pathways.audit.features import Moments

COLUMNS = ("pathway", "stage", "between_section", "between_donor", "n_sections", "n_donors", "n_spots", "reason")
BY_CONSTRUCTION = "0 by construction: z within each section"
# Of float32 scores; a clipped z leaves more than this between sections.
ROUNDING = 1e-10


def variance(moments: Sequence[Moments], donor_groups: Sequence[str], names: tuple[str, ...]) -> pd.DataFrame:
    """Split the variance of every pathway's scores.

    Parameters
    ----------
    moments
        (S,) of the whole counts' scores of each section.
    donor_groups
        (S,) the donor group of each section.
    names
        (P,) pathways.

    Returns
    -------
    Two rows a pathway:

    pathway
        Its name.
    stage
        ``raw``, the score as computed, or ``z``, within each section as targets are shipped.
    between_section, between_donor
        Sum of squares between the groups over the total sum of squares of the spots (eta squared of a one-way analysis
        of variance); NaN with fewer than two groups. It is not corrected for the number of groups: spots without any
        difference between g groups give (g - 1) / (n - 1) on average.
    n_sections, n_donors, n_spots
        Those in which the pathway is valid.
    reason
        Why a share is not known, or that it is 0 by construction; else None.
    """
    import pandas as pd

    donors = np.asarray(donor_groups, dtype=np.str_)
    n = np.array([part.n for part in moments], dtype=np.float64)
    stages = {
        "raw": [(part.raw_mean, part.raw_sd) for part in moments],
        "z": [(part.z_mean, part.z_sd) for part in moments],
    }
    rows: list[dict[str, Any]] = []
    for p, name in enumerate(names):
        for stage, figures in stages.items():
            mean, sd = (np.array([pair[which][p] for pair in figures]) for which in (0, 1))
            rows.append({"pathway": name, "stage": stage, **_shares(n, mean, sd, donors, stage)})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _shares(
    n: NDArray[np.float64], mean: NDArray[np.float64], sd: NDArray[np.float64], donors: NDArray[np.str_], stage: str
) -> dict[str, Any]:
    valid = ~np.isnan(mean)
    n, mean, sd, donors = n[valid], mean[valid], sd[valid], donors[valid]
    n_sections, n_donors = len(n), len(np.unique(donors))
    section, donor = (
        between(n, mean, sd, groups) if len(np.unique(groups)) > 1 else float("nan")
        for groups in (np.arange(n_sections), donors)
    )
    # z that are clipped keep a little, and then nothing is by construction.
    reason = BY_CONSTRUCTION if stage == "z" and section < ROUNDING else None
    if n_donors < 2:
        reason = ("not valid in any section", "too few sections", "too few donors")[min(n_sections, 2)]
    return {
        "between_section": section,
        "between_donor": donor,
        "n_sections": n_sections,
        "n_donors": n_donors,
        "n_spots": int(n.sum()),
        "reason": reason,
    }


def between(n: NDArray[np.float64], mean: NDArray[np.float64], sd: NDArray[np.float64], groups: NDArray[Any]) -> float:
    """Return the share of the total sum of squares that lies between groups of sections.

    Parameters
    ----------
    n, mean, sd
        (S,) spots, mean and population sd of each section.
    groups
        (S,) the group of each section.
    """
    grand = (n * mean).sum() / n.sum()
    total = (n * (sd**2 + (mean - grand) ** 2)).sum()
    parts = []
    for one in np.unique(groups):
        here = groups == one
        size = n[here].sum()
        parts.append(size * ((n[here] * mean[here]).sum() / size - grand) ** 2)
    return float(sum(parts) / total) if total > 0 else float("nan")
