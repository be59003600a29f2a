"""The indexes of a release as ``humanst verify`` takes them: whole, with the columns it looks at, of the right kind."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from humanst.files import is_one_value, parse_json, parse_parquet
from humanst.findings import Findings

if TYPE_CHECKING:
    import pyarrow as pa

MEMBERS = ("jpg", "json", "pathway.npy", "txt")
_MEMBERS = ("jpg", "json", "npy")
_TEXT = ("uid", "key", "shard", "sample_id", "donor_group", *(f"{member}_hash" for member in _MEMBERS))
_WHOLE = ("n_counts", *(f"{member}_{part}" for member in _MEMBERS for part in ("offset", "length")))
_Z = ("log10_counts_z",)


def read_indexes(release: Path, manifest: Mapping[str, Any], findings: Findings) -> dict[str, pa.Table]:
    """The index of every split that can be read; the others are refused, each with its reason."""
    found: dict[str, pa.Table] = {}
    for split, entry in manifest["splits"].items():
        path = release / entry["index"]
        if not path.is_file():
            findings.refuse("missing-file", "The index of a split is missing", file=entry["index"])
            continue
        try:
            table = parse_parquet(path.read_bytes(), max_rows=entry["n_pairs"])
            fault = _fault(table)
        except (OSError, ValueError) as error:
            fault = str(error)
        if fault is None:
            found[split] = table
            continue
        findings.refuse(
            "index",
            "The index of a split cannot be read",
            file=entry["index"],
            expected="a row a pair, with text and whole numbers where they belong",
            found=fault,
            todo="Fetch or build the release again",
        )
    return found


def rows_of_shard(table: pa.Table, path: str) -> list[dict[str, Any]]:
    """The rows of the shard of this path, in order."""
    import pyarrow.compute as pc

    rows: list[dict[str, Any]] = table.filter(pc.equal(table["shard"], Path(path).name)).to_pylist()
    return rows


def _fault(table: pa.Table) -> str | None:
    """Which column is missing, there twice, of another kind or without values."""
    import pyarrow.types as kinds

    checks = ((_TEXT, kinds.is_string, "text"), (_WHOLE, kinds.is_signed_integer, "whole numbers"))
    # What no check of verify looks at is still read by those who load the release.
    others = ((_Z, kinds.is_floating, "numbers"), (table.column_names, is_one_value, "text or numbers"))
    for names, fits, kind in (*checks, *others):
        for name in names:
            if (n := table.column_names.count(name)) != 1:
                return f"{n} columns {name}"
            if not fits(table.schema.field(name).type):
                return f"{name} is {table.schema.field(name).type}, not {kind}"
            if n := table[name].null_count if name in (*_TEXT, *_WHOLE) else 0:
                return f"{n} rows without {name}"
    return None


def pair_faults(members: list[tarfile.TarInfo], rows: list[dict[str, Any]], handle: Any, n_pathways: int) -> list[str]:
    """Where the members of a shard are not what the index says, in its order."""
    faults = []
    for number, row in enumerate(rows):
        here = members[number * len(MEMBERS) : (number + 1) * len(MEMBERS)]
        if [member.name for member in here] != [f"{row['key']}.{suffix}" for suffix in MEMBERS]:
            faults.append(f"{row['key']}: members {[member.name for member in here]}")
            continue
        for kind, member in zip(("jpg", "json", "npy"), here, strict=False):
            placed = (member.offset_data, member.size) == (row[f"{kind}_offset"], row[f"{kind}_length"])
            # Where the tar has it: what the index says of other places is not even looked at.
            handle.seek(member.offset_data if placed else 0)
            data = handle.read(member.size) if placed else b""
            if not placed or hashlib.blake2b(data, digest_size=8).hexdigest() != row[f"{kind}_hash"]:
                faults.append(f"{row['key']}.{kind}: offset, length or hash")
            elif kind == "npy" and len(data) != 128 + 4 * n_pathways:
                faults.append(f"{row['key']}: {len(data)} bytes of pathways, expected {128 + 4 * n_pathways}")
            elif kind == "json" and json_object(data).get("key") != row["key"]:
                faults.append(f"{row['key']}: its json names another pair")
    return faults


def json_object(data: bytes) -> dict[str, Any]:
    """A JSON object; empty for what is none."""
    try:
        content = parse_json(data)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
