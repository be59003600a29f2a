"""Gene sets with a weight a gene, out of a table: what a perturbation does to each gene, such as PROGENy's.

Two shapes are read, separated by tabs or commas as the first line has it:

- long: columns ``source`` (or ``pathway``), ``target`` (or ``gene``) and ``weight``, a row a weight;
- wide: a column ``gene`` (or ``target``) and a column a pathway, where 0 and empty cells are no member.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from typing import TYPE_CHECKING

from humanst.errors import DataError
from humanst.pathways.gene_sets import GeneSets, read_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUFFIXES = (".tsv", ".csv", ".txt")
_PATHWAY = ("source", "pathway")
_GENE = ("target", "gene")


def read_weights(path: Path, *, name: str, top: int | None = None, license: str | None = None) -> GeneSets:  # noqa: A002
    """Read a table of weights.

    Parameters
    ----------
    path
        The file, long or wide.
    name
        Name of the collection.
    top
        Genes kept a pathway: those of the largest absolute weight, equal ones by symbol. All without it.
    license
        SPDX id of the file's licence, if known.

    Returns
    -------
    Pathways by name; the genes of each by falling absolute weight. A weight of 0 is no member.

    Raises
    ------
    DataError
        ``weights-malformed`` for a table that is neither, a weight that is no finite number or an empty name,
        ``weights-repeated`` for a gene that a pathway names twice, ``gmt-empty`` without any weight,
        ``gmt-unreadable`` for a file that is not there or not UTF-8 text. File and line are named.
    """
    data, text = read_text(path)
    found: dict[str, dict[str, float]] = {}
    for line, pathway, gene, weight in _rows(text, path.name):
        if any(not text or not text.isprintable() for text in (pathway, gene)):
            raise _malformed(path.name, line, "printable names of pathway and gene", repr((pathway, gene)))
        if gene in found.setdefault(pathway, {}):
            raise _malformed(path.name, line, "each gene once a pathway", f"{gene!r} again", code="weights-repeated")
        if weight:
            found[pathway][gene] = weight
    names = sorted(name for name, members in found.items() if members)
    if not names:
        raise _malformed(path.name, None, "at least one weight", "none", code="gmt-empty")
    chosen = [sorted(found[name].items(), key=lambda item: (-abs(item[1]), item[0]))[:top] for name in names]
    return GeneSets(
        name=name,
        names=tuple(names),
        members=tuple(tuple(gene for gene, _ in items) for items in chosen),
        sha256=hashlib.sha256(data).hexdigest(),
        license=license,
        weights=tuple(tuple(weight for _, weight in items) for items in chosen),
    )


def _rows(text: str, file: str) -> Iterator[tuple[int, str, str, float]]:
    """``(line, pathway, gene, weight)``."""
    first = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t" if "\t" in first else ",", strict=True)
    try:
        header = [cell.strip() for cell in next(reader, [])]
        columns = {cell.lower(): number for number, cell in enumerate(header)}
        gene = next((columns[name] for name in _GENE if name in columns), None)
        pathway = next((columns[name] for name in _PATHWAY if name in columns), None)
        if gene is None or len(set(header)) < len(header) or (pathway is not None) != ("weight" in columns):
            expected = "columns source, target, weight; or gene and a column a pathway, each once"
            raise _malformed(file, 1, expected, ", ".join(header)[:80] or "nothing")
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise _malformed(file, reader.line_num, f"{len(header)} cells", str(len(cells)))
            values = [cell.strip() for cell in cells]
            if pathway is not None:
                weight = _number(values[columns["weight"]], file, reader.line_num)
                yield reader.line_num, values[pathway], values[gene], weight
                continue
            for number, value in enumerate(values):
                if number != gene:
                    weight = _number(value, file, reader.line_num) if value else 0.0
                    yield reader.line_num, header[number], values[gene], weight
    except csv.Error as error:
        raise _malformed(file, reader.line_num, "a table of cells", str(error)) from error


def _number(text: str, file: str, line: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise _malformed(file, line, "a finite number as weight", repr(text[:40]))
    return value


def _malformed(file: str, line: int | None, expected: str, found: str, *, code: str = "weights-malformed") -> DataError:
    return DataError(
        "the table of weights cannot be used",
        code=code,
        file=file,
        field=None if line is None else f"line {line}",
        expected=expected,
        found=found,
        done="No scores were made",
        todo="docs/pathways.md describes the table",
    )
