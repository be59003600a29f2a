"""Gene sets as they are in their file, and on the Ensembl ids of the frozen gene table.

A set is never silently mended: repeated genes and symbols that stand for no gene are kept beside it, by name.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from humanst.errors import DataError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

# C0 and C1, the marks that turn the direction of text and the ends of lines of Unicode, and what is no character.
_CONTROL_CHARACTER = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def require_name(path: Path) -> None:
    """Refuse a file of gene sets whose name cannot be written into a manifest or shown, before anything is made.

    Raises
    ------
    UsageError
        ``file-name``.
    """
    if _CONTROL_CHARACTER.search(path.name):
        raise UsageError(
            "The name of this file of gene sets cannot be put on record",
            code="file-name",
            file=path.name,
            expected="a name in UTF-8 without control characters",
            found=ascii(path.name),
            done="Nothing was written",
            todo="Rename the file",
        )


class ResolvesNames(Protocol):
    """What :func:`resolve` needs of a gene table (:class:`humanst.harmonize.gene_table.GeneTable` has it)."""

    def resolve(self, name: str, /) -> str | None:
        """Return the Ensembl id of the one gene a name stands for, or None."""


@dataclass(frozen=True, slots=True)
class GeneSets:
    """A collection of gene sets, in the order of its file.

    Attributes
    ----------
    name
        Name of the collection, for example ``"hallmark"``.
    names
        (P,) set names, unique.
    members
        (P,) the symbols of each set as in the file, each once, in the file's order.
    sha256
        Hex digest of the file.
    license
        SPDX id, or None when it is not known.
    repeated
        ``(set name, symbols)`` of symbols that a set listed more than once; they count once.
    weights
        (P,) the weight of each member, beside ``members``; ``None`` for sets without weights.
    """

    name: str
    names: tuple[str, ...]
    members: tuple[tuple[str, ...], ...]
    sha256: str
    license: str | None = None
    repeated: tuple[tuple[str, tuple[str, ...]], ...] = ()
    weights: tuple[tuple[float, ...], ...] | None = None


@dataclass(frozen=True, slots=True)
class ResolvedSets:
    """Gene sets on Ensembl ids.

    Attributes
    ----------
    name, names, sha256, license
        As in :class:`GeneSets`.
    ensembl_ids
        (P,) the distinct genes of each set, sorted.
    unmapped
        (P,) the symbols of each set that stand for no gene, sorted.
    n_members
        (P,) genes a set has: its distinct genes and its unmapped symbols. The denominator of coverage.
    weights
        (P,) the weight of each gene, beside ``ensembl_ids``; ``None`` for sets without weights.
    left_out
        ``(set name, n_members)`` of sets outside the size limits, in the file's order.
    repeated
        As in :class:`GeneSets`.
    """

    name: str
    names: tuple[str, ...]
    ensembl_ids: tuple[tuple[str, ...], ...]
    unmapped: tuple[tuple[str, ...], ...]
    n_members: tuple[int, ...]
    sha256: str
    license: str | None = None
    weights: tuple[tuple[float, ...], ...] | None = None
    left_out: tuple[tuple[str, int], ...] = ()
    repeated: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def unmapped_symbols(self) -> tuple[str, ...]:
        """Every symbol of the collection that stands for no gene, sorted, each once."""
        return tuple(sorted({symbol for symbols in self.unmapped for symbol in symbols}))


def read_gmt(path: Path, *, name: str, license: str | None = None) -> GeneSets:  # noqa: A002
    """Read a GMT file: a set a line, ``name TAB description TAB gene TAB gene ...``.

    Blank lines and empty fields at the end of a line are allowed; a set must have at least one gene.

    Parameters
    ----------
    path
        The file.
    name
        Name of the collection.
    license
        SPDX id of the file's licence, if known.

    Raises
    ------
    DataError
        ``gmt-malformed`` for a line that is not such a line, ``gmt-repeated-set`` for a set name used twice,
        ``gmt-empty`` for a file without sets, ``gmt-unreadable`` for a file that is not there or not UTF-8 text.
        File and line are named.
    """
    data, text = read_text(path)
    members: dict[str, tuple[str, ...]] = {}
    repeated: dict[str, tuple[str, ...]] = {}
    first_line: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        set_name, genes = _read_line(line, path.name, number)
        if set_name in members:
            again = f"{set_name!r} again, first on line {first_line[set_name]}"
            raise _malformed(path.name, number, "a set name used once", again, code="gmt-repeated-set")
        first_line[set_name] = number
        members[set_name] = tuple(dict.fromkeys(genes))
        if len(members[set_name]) < len(genes):
            repeated[set_name] = tuple(sorted(gene for gene, n in Counter(genes).items() if n > 1))
    if not members:
        raise _malformed(path.name, None, "at least one gene set", "none", code="gmt-empty")
    return GeneSets(
        name=name,
        names=tuple(members),
        members=tuple(members.values()),
        sha256=hashlib.sha256(data).hexdigest(),
        license=license,
        repeated=tuple(repeated.items()),
    )


def read_text(path: Path) -> tuple[bytes, str]:
    """Bytes and text of a file of gene sets.

    Raises
    ------
    DataError
        ``gmt-unreadable`` for a file that is not there or not UTF-8 text.
    """
    try:
        data = path.read_bytes()
        return data, data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        what = "the gene-set file cannot be read"
        raise DataError(
            what, code="gmt-unreadable", file=path.name, expected="a UTF-8 text file of gene sets", found=error
        ) from error


def _read_line(line: str, file: str, number: int) -> tuple[str, list[str]]:
    fields = [field.strip() for field in line.rstrip("\r").rstrip().split("\t")]
    if len(fields) < 3:
        shown = line.strip() if len(line) <= 60 else f"{line.strip()[:60]}..."
        raise _malformed(file, number, "name, description and at least one gene, separated by tabs", repr(shown))
    if not fields[0]:
        raise _malformed(file, number, "a set name in the first field", "nothing")
    if "" in fields[2:]:
        raise _malformed(file, number, "a gene in every field", f"nothing in field {fields.index('', 2) + 1}")
    for place, field in enumerate(fields, 1):
        if unwanted := _CONTROL_CHARACTER.search(field):
            raise _malformed(file, number, "printable text", f"the control character {unwanted[0]!a} in field {place}")
    return fields[0], fields[2:]


def _malformed(file: str, number: int | None, expected: str, found: str, *, code: str = "gmt-malformed") -> DataError:
    return DataError(
        "the gene-set file is not in GMT format",
        code=code,
        file=file,
        field=None if number is None else f"line {number}",
        expected=expected,
        found=found,
        done="No scores were made",
        todo="Correct the file; the format is described at the MSigDB site under 'GMT'",
    )


def resolve(gene_sets: GeneSets, table: ResolvesNames) -> ResolvedSets:
    """Put gene sets on Ensembl ids.

    Parameters
    ----------
    gene_sets
        Sets of symbols.
    table
        The frozen gene table. Previous symbols and aliases are followed; ambiguous ones are not.

    Returns
    -------
    The sets; two symbols of one set that are one gene count once (with the weight of the first), symbols without a gene
    are listed.
    """
    ensembl_ids: list[tuple[str, ...]] = []
    unmapped: list[tuple[str, ...]] = []
    weights: list[tuple[float, ...]] = []
    for number, symbols in enumerate(gene_sets.members):
        found = {symbol: table.resolve(symbol) for symbol in symbols}
        genes = tuple(sorted({gene for gene in found.values() if gene is not None}))
        ensembl_ids.append(genes)
        unmapped.append(tuple(sorted(symbol for symbol, gene in found.items() if gene is None)))
        if gene_sets.weights is not None:
            weight_of: dict[str | None, float] = {}
            for symbol, weight in zip(symbols, gene_sets.weights[number], strict=True):
                weight_of.setdefault(found[symbol], weight)
            weights.append(tuple(weight_of[gene] for gene in genes))
    return ResolvedSets(
        name=gene_sets.name,
        names=gene_sets.names,
        ensembl_ids=tuple(ensembl_ids),
        unmapped=tuple(unmapped),
        n_members=tuple(len(genes) + len(lost) for genes, lost in zip(ensembl_ids, unmapped, strict=True)),
        sha256=gene_sets.sha256,
        license=gene_sets.license,
        weights=None if gene_sets.weights is None else tuple(weights),
        repeated=gene_sets.repeated,
    )
