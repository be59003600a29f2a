"""``groups.csv``: who goes where by hand."""

from __future__ import annotations

import csv
from pathlib import Path

from humanst.errors import UsageError
from humanst.splits.groups import SPLITS, is_unknown


def read_assignment(path: Path) -> dict[str, str]:
    """Read ``groups.csv``: columns ``donor_id`` (or ``sample_id``) and ``split``.

    Raises
    ------
    UsageError
        For a file without these columns, a split that does not exist, or a row that names nobody.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            rows = list(csv.DictReader(handle))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("The assignment cannot be read", file=path.name, found=str(error)) from error
    columns = set(rows[0]) if rows else set()
    key = next((name for name in ("donor_id", "sample_id") if name in columns), None)
    if key is None or "split" not in columns:
        raise UsageError(
            "The assignment needs a header",
            file=path.name,
            expected="columns donor_id (or sample_id) and split",
            found=", ".join(sorted(columns)) or "an empty file",
        )
    wrong = sorted({str(row["split"]) for row in rows} - set(SPLITS))
    if wrong:
        raise UsageError(
            "The assignment names a split that does not exist",
            file=path.name,
            field="split",
            expected=", ".join(SPLITS),
            found=", ".join(map(repr, wrong)),
        )
    assigned: dict[str, str] = {}
    for row in rows:
        name = (row[key] or "").strip()
        if is_unknown(name):
            raise UsageError(
                "The assignment names nobody in a row",
                file=path.name,
                field=key,
                expected="a donor or a section",
                found=repr(name),
                todo="Name sections of unknown donor in a file with the columns sample_id and split",
            )
        if assigned.setdefault(name, row["split"]) != row["split"]:
            raise UsageError("The assignment contradicts itself", file=path.name, field=key, found=f"{name} twice")
    return assigned
