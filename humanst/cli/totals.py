"""What ``humanst list --totals`` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from humanst.cli.output import echo, echo_json, table

if TYPE_CHECKING:
    from humanst.catalog import ListedStudy, Section, Study
    from humanst.catalog.totals import Totals

_COLUMNS = {
    "sections": "sections",
    "distinct": "distinct_sections",
    "fetchable": "fetchable_sections",
    "expected pairs": "expected_pairs",
    "no number": "sections_without_number",
    "redistributable": "redistributable_sections",
    "pairs of these": "redistributable_pairs",
    "only listed": "listed_sections",
}


def show_totals(
    pairs: Sequence[tuple[Study, Section]], listed: Sequence[ListedStudy], *, as_json: bool, whole: bool
) -> None:
    """Print sections and expected pairs by platform, organ and licence.

    Parameters
    ----------
    whole
        Whether ``pairs`` are all sections on record; a choice among them leaves the listed studies out.
    """
    from humanst.catalog.totals import BY, totals

    counted = totals(pairs, listed if whole else ())
    everything = counted["all"][0]
    if as_json:
        rows = {name: [row.to_dict() for row in counted[name]] for name in BY}
        echo_json("humanst.totals/1", {"all": everything.to_dict(), **rows})
        return
    for name in BY:
        _table(name, counted[name])
    n_old = len(pairs) - everything.sections
    echo(
        f"{everything.sections} sections of {everything.studies} studies, {everything.distinct_sections} pieces of "
        f"tissue, {everything.fetchable_sections} sections with a public address"
        + (f"; {n_old} more were processed again and are not counted" if n_old else "")
    )
    echo(
        f"{everything.expected_pairs:,} pairs expected, {everything.redistributable_pairs:,} of them redistributable; "
        f"{everything.sections_without_number} sections state no number of spots"
    )
    if whole:
        echo(
            f"{everything.listed_studies} studies are on record alone, with {everything.listed_sections} sections; "
            f"{everything.listed_without_number} of them state no number"
        )


def _table(name: str, rows: Sequence[Totals]) -> None:
    cells: list[Mapping[str, object]] = [row.to_dict() for row in rows]
    lines = [(name, *_COLUMNS)]
    lines += [(str(cell["value"]), *(f"{cell[field]:,}" for field in _COLUMNS.values())) for cell in cells]
    table(lines, left={0})
    echo("")
