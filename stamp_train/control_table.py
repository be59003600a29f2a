"""One table of a comparison: what each arm reaches, and paired over donors what it is above the frozen and the aligned.

Every tier gives its figures as *measures*: a row a run, protocol, donor, section and target. Runs of one arm are
averaged first, then units are paired between arms, averaged within donors, and donors are drawn with replacement.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from humanst.errors import DataError
from stamp_train.bootstrap import N_RESAMPLES, Interval, interval, paired_interval
from stamp_train.control_arms import ALIGNED, FROZEN
from stamp_train.verdict import COLUMNS, RIVALS, Gains, Verdict, judge

if TYPE_CHECKING:
    import pandas as pd

MEASURES = (
    "arm", "seed", "tier", "measure", "organ", "donor", "sample_id", "target", "in_sets", "value", "library_alone",
    "ceiling",
)  # fmt: skip
"""Columns of measures. ``organ`` is that of all sections of the donor, empty when they are of several; ``value`` is
what the arm reached, ``library_alone`` what the library size of a spot reaches by the same protocol without an image,
``ceiling`` what noise lets a perfect model reach; NaN where there is none."""

MEASURES_VERSION = 2
"""Counts up whenever the same embeddings would be measured otherwise: what was measured before is measured anew."""

_UNIT = ["donor", "sample_id", "target"]
_DIFFERENCES = ("minus_frozen", "aligned_minus")
_PARTS_OF = ("mean", "low", "high", "note")
ALL = "all"


def comparison(measures: pd.DataFrame, *, seed: int = 0, n_resamples: int = N_RESAMPLES) -> pd.DataFrame:
    """Compare the arms.

    Parameters
    ----------
    measures
        See :data:`MEASURES`.
    seed, n_resamples
        Of the draws of donors.

    Returns
    -------
    pandas.DataFrame
        A row a tier, measure, part and arm. ``part`` is ``all``; of genes also ``organ: NAME``, ``in sets`` and
        ``outside``; of pathways also each one's name. ``mean``, ``low``, ``high``, ``note`` are the arm's own;
        ``minus_frozen_*`` is the arm minus the frozen base, ``aligned_minus_*`` the aligned model minus the arm, each
        of the units that both have. ``sd_of_seeds`` is that of the arm's mean (ddof 1), NaN for one seed.
        ``n_undefined`` counts units without a value; one that a single seed of an arm lacks is left out of all of its
        seeds. ``share_of_ceiling`` is the mean over the units that have a value and a ceiling, over that of their
        ceilings. Donors with sections of several organs are in no ``organ: NAME``.

    Raises
    ------
    DataError
        When a column is missing, or a unit comes twice in one run.
    """
    import pandas as pd

    if missing := [name for name in MEASURES if name not in measures]:
        raise DataError("These are no measures of arms", code="measures", expected=", ".join(MEASURES), found=missing)
    run = ["arm", "seed", "tier", "measure", *_UNIT]
    if n_repeated := int(measures.duplicated(run).sum()):
        raise DataError("Measures come twice", code="measures", expected="each once", found=f"{n_repeated} more")
    arms = list(dict.fromkeys(measures["arm"]))
    rows = []
    for (tier, measure), whole in measures.groupby(["tier", "measure"], sort=False):
        for part, here in _parts(str(tier), whole):
            about = {"tier": tier, "measure": measure, "part": part}
            rows += [row | about for row in _rows_of(here, arms, {"seed": seed, "n_resamples": n_resamples})]
    return pd.DataFrame(rows)


def verdict_of(
    table: pd.DataFrame,
    *,
    leakage: str | None = None,
    unlike: Mapping[str, str] | None = None,
    doubts: Sequence[str] = (),
) -> Verdict:
    """Apply :func:`stamp_train.verdict.judge` to the genes of what :func:`comparison` gave."""
    genes = table[(table["tier"] == "genes") & table["measure"].isin(COLUMNS)]
    organs = [str(part) for part in dict.fromkeys(genes["part"]) if str(part).startswith("organ: ")]
    by_organ = {
        part.removeprefix("organ: "): _gains(genes[genes["part"] == part], ALIGNED, "minus_frozen") for part in organs
    }
    whole = genes[genes["part"] == ALL]
    ran = set(table["arm"])
    over = {name: _gains(whole, name, "aligned_minus") if name in ran else None for name in RIVALS}
    return judge(by_organ, over, leakage=leakage, unlike=unlike, doubts=doubts)


def _gains(rows: pd.DataFrame, arm: str, difference: str) -> Gains:
    found = rows[rows["arm"] == arm].set_index("measure")
    return {str(measure): _interval_in(row, difference) for measure, row in found.iterrows()}


def _interval_in(row: Any, difference: str) -> Interval:
    low, high = row[f"{difference}_low"], row[f"{difference}_high"]
    mean, note = float(row[f"{difference}_mean"]), str(row[f"{difference}_note"])
    if np.isnan(low) or np.isnan(high):
        return Interval(mean, None, None, int(row["n_donors"]), 0, note)
    return Interval(mean, float(low), float(high), int(row["n_donors"]), 0, note)


def _parts(tier: str, whole: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    yield ALL, whole
    if tier == "genes":
        for organ in (name for name in dict.fromkeys(whole["organ"]) if name):
            yield f"organ: {organ}", whole[whole["organ"] == organ]
        inside = whole["in_sets"].astype(bool)
        if inside.any():
            yield from (("in sets", whole[inside]), ("outside", whole[~inside]))
    if tier == "pathways":
        for target in sorted(set(whole["target"])):
            yield target, whole[whole["target"] == target]


def _rows_of(here: pd.DataFrame, arms: Sequence[str], draws: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """A row an arm; units are the index, sorted, so that the order of the input has no say."""
    import pandas as pd

    runs = here.pivot(index=_UNIT, columns=["arm", "seed"], values="value").sort_index()  # noqa: PD010
    # Every seed of an arm is averaged over the same units: those that all of its seeds have.
    whole = {arm: runs[[column for column in runs.columns if column[0] == arm]].dropna() for arm in arms}
    values = pd.DataFrame({arm: found.mean(axis="columns").reindex(runs.index) for arm, found in whole.items()})
    beside = here.groupby(_UNIT)[["library_alone", "ceiling"]].mean().reindex(values.index)
    donors = values.index.get_level_values("donor").astype(str).tolist()
    noise = {name: interval(beside[name], donors, n_resamples=1).mean for name in ("library_alone", "ceiling")}
    for arm in arms:
        own = interval(values[arm], donors, **draws)
        row = {"arm": arm, **cells("", own)}
        if arm != FROZEN:
            row |= cells("minus_frozen_", paired_interval(values[arm], values[FROZEN], donors, **draws))
        if arm not in (FROZEN, ALIGNED):
            row |= cells("aligned_minus_", paired_interval(values[ALIGNED], values[arm], donors, **draws))
        seeds = whole[arm].groupby("donor").mean().to_numpy().mean(axis=0)
        yield (
            empty_row()
            | row
            | {
                "sd_of_seeds": float(np.std(seeds, ddof=1)) if len(seeds) > 1 else float("nan"),
                "library_alone": noise["library_alone"],
                "ceiling": noise["ceiling"],
                "share_of_ceiling": _share(values[arm], beside["ceiling"], donors),
                "n_donors": own.n_donors,
                "n_sections": int(values[arm].dropna().index.get_level_values("sample_id").nunique()),
                "n_units": int(values[arm].notna().sum()),
                "n_undefined": own.n_undefined,
                "n_seeds": len(seeds),
            }
        )


def _share(values: pd.Series, ceilings: pd.Series, donors: Sequence[str]) -> float:
    """Mean of the values over that of the ceilings, of the units that have both."""
    reached, reachable = (
        interval(one.where(other.notna()), donors, n_resamples=1).mean
        for one, other in ((values, ceilings), (ceilings, values))
    )
    return reached / reachable if reachable > 0 else float("nan")


def cells(prefix: str, found: Interval) -> dict[str, Any]:
    """A mean, its interval and its note as the cells of a row."""
    ends = (np.nan if end is None else end for end in (found.low, found.high))
    return dict(zip((f"{prefix}{part}" for part in _PARTS_OF), (found.mean, *ends, found.note), strict=True))


def empty_row() -> dict[str, Any]:
    """The cells of a row in the order of the table, empty: the frozen base is not compared with itself."""
    names = [*_PARTS_OF, *(f"{one}_{part}" for one in _DIFFERENCES for part in _PARTS_OF)]
    cells = {name: "" if name.endswith("note") else float("nan") for name in names}
    beside = dict.fromkeys(("sd_of_seeds", "library_alone", "ceiling", "share_of_ceiling"), float("nan"))
    counted = dict.fromkeys(("n_donors", "n_sections", "n_units", "n_undefined", "n_seeds"), 0)
    return {"tier": "", "measure": "", "part": "", "arm": "", **cells, **beside, **counted}
