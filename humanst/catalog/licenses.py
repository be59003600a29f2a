"""What a licence allows, and who accepted it: NC, ND and unread terms are gated until somebody says yes.

What the licences allow is data (``curation/_licenses.yaml``). An acceptance holds for one licence of one study, for
terms that nobody read differ from study to study; it is kept with its date in ``licenses.json`` of the cache folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from humanst import files
from humanst.catalog.yaml_files import read_yaml
from humanst.errors import DataError, LicenseError
from humanst.settings import data_path

LICENSES = "_licenses.yaml"
RECORD = "licenses.json"
RECORD_SCHEMA = "humanst.licenses-accepted/1"
UNREAD = "unread"


@dataclass(frozen=True, slots=True)
class Terms:
    """What a licence is.

    Attributes
    ----------
    family
        A family of ``curation/_licenses.yaml``.
    allows
        What may be done, in one line.
    gated
        Whether it must be accepted before anything is fetched or built.
    redistributable
        Whether derived data may be passed on.
    """

    license: str
    family: str
    allows: str
    gated: bool
    redistributable: bool


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that was asked for: a section or a resource file, its owner (study or resource) and its licences."""

    name: str
    owner: str
    licenses: tuple[str, ...]


@cache
def _table() -> tuple[Mapping[str, Mapping[str, Any]], Mapping[str, str], Mapping[str, str]]:
    """Families; family of each id in lower case; each id in lower case as it is spelled."""
    document = read_yaml(data_path("curation", LICENSES))
    families = {key.casefold(): family for key, family in document["licenses"].items()}
    return document["families"], families, {key.casefold(): key for key in document["licenses"]}


def spelling(license_id: str) -> str | None:
    """How SPDX spells an id that is on record; ``None`` for one that is not."""
    return _table()[2].get(license_id.casefold())


def terms_of(license_id: str) -> Terms:
    """What a licence allows; SPDX ids are the same in any case of their letters."""
    families, known, _ = _table()
    parts = set(license_id.upper().split("-"))
    family = known.get(license_id.casefold(), UNREAD)
    if not license_id.upper().startswith("LICENSEREF-"):
        family = "noncommercial" if "NC" in parts else "no-derivatives" if "ND" in parts else family
    about = families[family]
    return Terms(license_id, family, about["allows"], about["gated"], about["redistributable"])


def is_redistributable(license_id: str) -> bool:
    """Whether data under this SPDX id may be passed on. Under NC, ND and terms that nobody read they may not."""
    return terms_of(license_id).redistributable


@dataclass(frozen=True, slots=True)
class Acceptances:
    """What was accepted: by this command (``given``), and earlier (``recorded``).

    Attributes
    ----------
    given
        Licence ids, in lower case: for whatever the command concerns.
    recorded
        (licence id in lower case, study or resource) -> date.
    path
        Where the record lies.
    """

    given: frozenset[str]
    recorded: Mapping[tuple[str, str], str]
    path: Path

    @classmethod
    def read(cls, folder: Path, given: Iterable[str]) -> Acceptances:
        """Read the record of a cache folder.

        Raises
        ------
        DataError
            ``licences-unreadable`` when the record is not one.
        """
        path = folder / RECORD
        recorded = {(row["license"].casefold(), row["owner"]): row["date"] for row in _rows(path)}
        return cls(frozenset(name.casefold() for name in given), recorded, path)

    def missing(self, item: Item) -> tuple[str, ...]:
        """The gated licences of an item that nobody accepted."""
        return tuple(name for name in gated(item.licenses) if not self.accepts(name, item.owner))

    def accepts(self, license_id: str, owner: str) -> bool:
        """Whether somebody accepted a licence for a study or resource; one that is not gated needs nobody's yes."""
        name = license_id.casefold()
        return not terms_of(license_id).gated or name in self.given or (name, owner) in self.recorded

    def with_given(self, names: Iterable[str]) -> Acceptances:
        """The same with more given."""
        return Acceptances(self.given | {name.casefold() for name in names}, self.recorded, self.path)

    def record(self, items: Iterable[Item], *, date: str, how: str) -> list[str]:
        """Keep what the command accepted now; an earlier date stays. Returns the licences that are new.

        Parameters
        ----------
        date
            ISO 8601.
        how
            ``option``, ``environment`` or ``prompt``.
        """
        wanted = {
            (name, item.owner) for item in items for name in gated(item.licenses) if name.casefold() in self.given
        }
        fresh = sorted(pair for pair in wanted if (pair[0].casefold(), pair[1]) not in self.recorded)
        if not fresh:
            return []
        with files.locked(self.path, what="the record of accepted licences"):
            rows = _rows(self.path)
            known = {_key(row) for row in rows}
            rows += [
                {"license": name, "owner": owner, "date": date, "how": how}
                for name, owner in fresh
                if (name, owner) not in known
            ]
            rows.sort(key=_key)
            files.write_json(self.path, {"schema": RECORD_SCHEMA, "accepted": rows})
        return sorted({name for name, _ in fresh})


def gated(licenses: Iterable[str]) -> list[str]:
    """Those of the licences that must be accepted, each once, in order."""
    return [name for name in dict.fromkeys(licenses) if terms_of(name).gated]


def refusal(items: Sequence[Item], missing: Iterable[str], *, done: str) -> LicenseError:
    """The error for items whose licences nobody accepted: which, of what, and the flag that accepts them.

    Parameters
    ----------
    items
        Those that stay closed.
    missing
        Their licences.
    done
        What was done about it.
    """
    names = list(dict.fromkeys(missing))
    owners = list(dict.fromkeys(item.owner for item in items))
    terms = "; ".join(f"{name} allows {terms_of(name).allows}" for name in names)
    flag = " ".join(f"--accept-license {name}" for name in names)
    return LicenseError(
        f"{' and '.join(names)} was not accepted",
        study=", ".join(owners),
        field="license",
        expected=f"{', '.join(names)} accepted for {_some([item.name for item in items])}",
        found=terms,
        done=done,
        todo=f"If you may use it so, add {flag} (or set HUMANST_ACCEPT_LICENSES={','.join(names)})",
    )


def _some(names: Sequence[str], most: int = 4) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{len(names)} sections ({shown}, ...)"


def _key(row: Mapping[str, str]) -> tuple[str, str]:
    return row["license"], row["owner"]


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        rows = [{key: str(row[key]) for key in ("license", "owner", "date", "how")} for row in document["accepted"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            "The record of accepted licences cannot be read",
            code="licences-unreadable",
            file=path.name,
            found=str(error),
            todo=f"Correct or delete {path}; then accept the licences again",
        ) from error
    return rows
