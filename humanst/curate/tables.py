"""What the text tables of a legacy ST folder look like: count tables, spot files, labels."""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from humanst.curate.layouts import is_histology

SNIFF_BYTES = 1 << 20
MIN_GENE_COLUMNS = 100
SPOT_ID = re.compile(r"^(\d+(?:\.\d+)?)([x_])(\d+(?:\.\d+)?)$")
TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
# Spellings of spot-file columns, the usual one first.
COLUMN_NAMES = {
    "array_x": ("x", "array_x", "array_col", "col"),
    "array_y": ("y", "array_y", "array_row", "row"),
    "pixel_x": ("pixel_x", "pxl_x", "imagecol", "x_pixel", "pixelx"),
    "pixel_y": ("pixel_y", "pxl_y", "imagerow", "y_pixel", "pixely"),
    "selected": ("selected", "in_tissue", "tissue"),
}
LABEL_COLUMNS = ("label", "annotation", "region", "cluster", "layer")


@dataclass(frozen=True, slots=True)
class Table:
    """The head of a delimited text file.

    Attributes
    ----------
    kind
        ``counts``, ``spots``, ``labels``, ``coordinates`` (two bare columns), or empty.
    header, first
        Fields of the first two lines.
    """

    path: str
    kind: str
    separator: str
    header: tuple[str, ...]
    first: tuple[str, ...]
    transposed: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)


def sniff(folder: Path, path: str) -> Table | None:
    """Look at the first two lines of a text file; ``None`` for what is no table."""
    name = path.lower().removesuffix(".gz")
    if not name.endswith(TEXT_SUFFIXES) or "readme" in PurePosixPath(name).name:
        return None
    try:
        with (folder / path).open("rb") as raw, gzip.GzipFile(fileobj=raw) if path.endswith(".gz") else raw as handle:
            head = handle.read(SNIFF_BYTES).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError):
        return None
    lines = head.splitlines()[:2]
    if len(lines) < 2:
        return None
    separator = max(("\t", ",", ";"), key=lines[0].count)
    header, first = (tuple(field.strip().strip('"') for field in line.split(separator)) for line in lines)
    if len(header) < 2:
        return None
    return _judge(path, separator, header, first)


def _judge(path: str, separator: str, header: tuple[str, ...], first: tuple[str, ...]) -> Table:
    columns = {
        role: found
        for role, names in COLUMN_NAMES.items()
        if (found := next((column for column in header if column.lower() in names), None)) is not None
    }
    if len(header) >= MIN_GENE_COLUMNS and SPOT_ID.match(first[0]):
        return Table(path, "counts", separator, header, first)
    spots_in_header = sum(1 for text in header if SPOT_ID.match(text))
    if spots_in_header > len(header) / 2 and spots_in_header > 3:
        return Table(path, "counts", separator, header, first, transposed=True)
    if any(column.lower() in LABEL_COLUMNS for column in header):
        return Table(path, "labels", separator, header, first, columns=columns)
    if {"array_x", "array_y", "pixel_x", "pixel_y"} <= set(columns):
        return Table(path, "spots", separator, header, first, columns=columns)
    if len(header) == 2 and all(_is_number(text) for text in first):
        return Table(path, "coordinates", separator, header, first)
    return Table(path, "", separator, header, first)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@dataclass(slots=True)
class SpotFolder:
    """A legacy ST folder: section -> file for every role, and the heads of one file of each.

    Attributes
    ----------
    samples
        Kind -> a table of that kind.
    """

    files: dict[str, dict[str, str]]
    samples: dict[str, Table]


def find_spot_folder(folder: Path, paths: list[str], sizes: Mapping[str, int]) -> SpotFolder | None:
    """The legacy ST sections of a folder; ``None`` without a count table of spots by genes."""
    tables = [table for path in paths if (table := sniff(folder, path)) is not None and table.kind]
    counts = [table for table in tables if table.kind == "counts"]
    if not counts:
        return None
    ids = _section_ids([table.path for table in counts])
    files: dict[str, dict[str, str]] = {"counts": {ids[table.path]: table.path for table in counts}}
    samples = {"counts": counts[0]}
    for kind in ("spots", "labels", "coordinates"):
        mine = [table for table in tables if table.kind == kind]
        if mine:
            samples[kind] = mine[0]
            files[kind] = _by_section(ids, {table.path: 1 for table in mine})
    files["image"] = _by_section(ids, {path: sizes[path] for path in paths if is_histology(path)})
    return SpotFolder({kind: found for kind, found in files.items() if found}, samples)


def _section_ids(paths: list[str]) -> dict[str, str]:
    """Path -> section id: the stem without what all stems share at the end; one table alone has the id ''."""
    if len(paths) == 1:
        return {paths[0]: ""}
    stems = {path: PurePosixPath(path).name.split(".")[0] for path in paths}
    shared = ""
    shortest = min(map(len, stems.values()))
    for length in range(1, shortest):
        tail = {stem[-length:] for stem in stems.values()}
        if len(tail) > 1:
            break
        shared = tail.pop()
    # A shared ending is a word of its own only behind a separator: B1 and C1 do not share an ending.
    shared = shared if shared[:1] in ("_", "-", ".") else ""
    return {path: stem.removesuffix(shared) for path, stem in stems.items()}


def _by_section(ids: Mapping[str, str], candidates: Mapping[str, int]) -> dict[str, str]:
    """Section -> the largest candidate whose path holds the section's id as a word."""
    found: dict[str, str] = {}
    for section in sorted(set(ids.values())):
        word = re.compile(rf"(?<![A-Za-z0-9]){re.escape(section)}(?![A-Za-z0-9])") if section else re.compile("")
        mine = [path for path in candidates if word.search(path)]
        if mine:
            found[section] = min(mine, key=lambda path: (-candidates[path], path))
    return found
